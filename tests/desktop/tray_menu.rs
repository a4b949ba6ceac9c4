//! The tray menu as the desktop gets it over D-Bus (com.canonical.dbusmenu), and the place of its rows on the screen.

use crate::desktop::Area;
use std::collections::HashMap;
use zbus::{
    Connection,
    zvariant::{OwnedObjectPath, OwnedValue, Structure, Value},
};

const ITEM: &str = "org.kde.StatusNotifierItem";
const MENU: &str = "com.canonical.dbusmenu";
/// Height of a separator in the theme of the tests, in pixels.
const SEPARATOR: i32 = 5;
/// Room above and below all rows.
const EDGE: i32 = 5;

/// Number, properties and children of an entry.
type Layout = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

/// One row of the menu.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: i32,
    pub label: String,
    pub separator: bool,
    pub enabled: bool,
    pub checked: bool,
}

/// The tray icon of our program on a session bus.
pub struct TrayItem {
    connection: Connection,
    owner: String,
    path: String,
    menu: String,
}

impl TrayItem {
    /// The only item that the tray host knows; `None` while there is none.
    pub async fn find(bus: &str) -> Option<Self> {
        let connection = zbus::connection::Builder::address(bus).ok()?.build().await.ok()?;
        let watcher = zbus::Proxy::new(
            &connection,
            "org.kde.StatusNotifierWatcher",
            "/StatusNotifierWatcher",
            "org.kde.StatusNotifierWatcher",
        )
        .await
        .ok()?;
        let items: Vec<String> = watcher.get_property("RegisteredStatusNotifierItems").await.ok()?;
        let (owner, path) = items.first()?.split_once('/')?;
        let (owner, path) = (owner.to_owned(), format!("/{path}"));
        let item = zbus::Proxy::new(&connection, owner.clone(), path.clone(), ITEM).await.ok()?;
        let menu: OwnedObjectPath = item.get_property("Menu").await.ok()?;
        let menu = menu.to_string();
        Some(Self { connection, owner, path, menu })
    }

    /// What the icon shows: the name or path of its picture.
    pub async fn icon(&self) -> String {
        let item =
            zbus::Proxy::new(&self.connection, self.owner.clone(), self.path.clone(), ITEM).await.unwrap();
        item.get_property("IconName").await.unwrap()
    }

    /// The text that a host may show beside the icon.
    pub async fn label(&self) -> String {
        let item =
            zbus::Proxy::new(&self.connection, self.owner.clone(), self.path.clone(), ITEM).await.unwrap();
        item.get_property("XAyatanaLabel").await.unwrap()
    }

    /// The rows of the top level, from the top.
    pub async fn rows(&self) -> Vec<Row> {
        self.rows_under(0).await
    }

    /// The rows of a submenu; 0: of the top level.
    pub async fn rows_under(&self, parent: i32) -> Vec<Row> {
        let reply = self
            .connection
            .call_method(
                Some(self.owner.as_str()),
                self.menu.as_str(),
                Some(MENU),
                "GetLayout",
                &(parent, 1_i32, Vec::<&str>::new()),
            )
            .await
            .unwrap();
        let (_, (_, _, children)): (u32, Layout) = reply.body().deserialize().unwrap();
        children.into_iter().map(row).collect()
    }

    /// Clicks a row as a tray host does.
    pub async fn click(&self, row: &Row) {
        self.connection
            .call_method(
                Some(self.owner.as_str()),
                self.menu.as_str(),
                Some(MENU),
                "Event",
                &(row.id, "clicked", Value::from(0_i32), 0_u32),
            )
            .await
            .unwrap();
    }
}

fn row(child: OwnedValue) -> Row {
    let structure: Structure<'_> = Value::from(child).downcast().unwrap();
    let fields = structure.fields();
    let Value::I32(id) = fields[0] else { panic!("an entry without a number: {fields:?}") };
    let properties: HashMap<String, Value<'_>> = fields[1].try_clone().unwrap().downcast().unwrap();
    let text = |key: &str| match properties.get(key) {
        Some(Value::Str(text)) => text.to_string(),
        _ => String::new(),
    };
    Row {
        id,
        // A single underscore marks a mnemonic.
        label: text("label").replace("__", "_"),
        separator: text("type") == "separator",
        enabled: !matches!(properties.get("enabled"), Some(Value::Bool(false))),
        checked: matches!(properties.get("toggle-state"), Some(Value::I32(1))),
    }
}

/// The row of a model under its server's name.
pub fn model_row<'a>(rows: &'a [Row], server: &str, model: &str) -> &'a Row {
    rows.iter()
        .skip_while(|row| row.label != server)
        .skip(1)
        .find(|row| row.label.starts_with(model))
        .unwrap_or_else(|| panic!("no {model} under {server} in {rows:#?}"))
}

pub fn row_named<'a>(rows: &'a [Row], label: &str) -> &'a Row {
    rows.iter().find(|row| row.label == label).unwrap_or_else(|| panic!("no {label} in {rows:#?}"))
}

/// Where on the screen a row is, reckoned from the menu's place: all rows but separators are equally high.
pub fn place(rows: &[Row], wanted: &Row, menu: Area) -> (i32, i32) {
    let separators = i32::try_from(rows.iter().filter(|row| row.separator).count()).unwrap();
    let plain = i32::try_from(rows.len()).unwrap() - separators;
    let height = (menu.height - 2 * EDGE - separators * SEPARATOR) / plain;
    assert!((18..=36).contains(&height), "rows of {height} pixels are not those of the theme: {menu:?}");
    let above = rows.iter().take_while(|row| row.id != wanted.id);
    let top = above.map(|row| if row.separator { SEPARATOR } else { height }).sum::<i32>();
    (menu.x + menu.width / 3, menu.y + EDGE + top + height / 2)
}
