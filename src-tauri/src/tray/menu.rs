//! The live menu: entries by id, changed in place.

use pilothouse_domain::tray::{TrayItem, TrayItemKind, TrayOp};
use std::collections::HashMap;
use tauri::{
    AppHandle, Wry,
    menu::{CheckMenuItem, IsMenuItem, Menu, MenuItem, PredefinedMenuItem, Submenu},
};

enum Live {
    Plain(MenuItem<Wry>),
    Check { item: CheckMenuItem<Wry>, checked: bool },
    Separator(PredefinedMenuItem<Wry>),
    Submenu(Submenu<Wry>),
}

impl Live {
    fn as_item(&self) -> &dyn IsMenuItem<Wry> {
        match self {
            Self::Plain(item) => item,
            Self::Check { item, .. } => item,
            Self::Separator(item) => item,
            Self::Submenu(item) => item,
        }
    }
}

pub(super) struct LiveMenu {
    root: Menu<Wry>,
    entries: HashMap<String, Live>,
}

impl LiveMenu {
    pub fn build(app: &AppHandle, items: &[TrayItem]) -> tauri::Result<Self> {
        let mut menu = Self { root: Menu::new(app)?, entries: HashMap::new() };
        for (index, item) in items.iter().enumerate() {
            menu.insert(app, None, index, item)?;
        }
        Ok(menu)
    }

    pub fn root(&self) -> &Menu<Wry> {
        &self.root
    }

    /// Carries out one change; changes of icon and title are not the menu's. Unknown ids are no error: the entry has
    /// gone in the meantime.
    pub fn apply(&mut self, app: &AppHandle, op: &TrayOp) -> tauri::Result<()> {
        match op {
            TrayOp::Icon(..) | TrayOp::Title(_) | TrayOp::Beside(_) => Ok(()),
            TrayOp::Text { id, text } => match self.entries.get(id) {
                Some(Live::Plain(item)) => item.set_text(escaped(text)),
                Some(Live::Check { item, .. }) => item.set_text(escaped(text)),
                // Renamed ones are put in anew.
                Some(Live::Submenu(_) | Live::Separator(_)) | None => Ok(()),
            },
            TrayOp::Enabled { id, enabled } => match self.entries.get(id) {
                Some(Live::Plain(item)) => item.set_enabled(*enabled),
                Some(Live::Check { item, .. }) => item.set_enabled(*enabled),
                Some(Live::Submenu(item)) => item.set_enabled(*enabled),
                Some(Live::Separator(_)) | None => Ok(()),
            },
            TrayOp::Checked { id, checked: wanted } => {
                if let Some(Live::Check { item, checked }) = self.entries.get_mut(id) {
                    *checked = *wanted;
                    return item.set_checked(*wanted);
                }
                Ok(())
            }
            TrayOp::Insert { parent, index, item } => self.insert(app, parent.as_deref(), *index, item),
            TrayOp::Remove { parent, id } => self.remove(parent.as_deref(), id),
        }
    }

    /// Writes the check mark that an entry should have.
    pub fn rewrite_check(&self, id: &str) {
        if let Some(Live::Check { item, checked }) = self.entries.get(id)
            && let Err(error) = item.set_checked(*checked)
        {
            tracing::warn!(%error, id, "a check mark could not be written");
        }
    }

    fn insert(
        &mut self,
        app: &AppHandle,
        parent: Option<&str>,
        index: usize,
        item: &TrayItem,
    ) -> tauri::Result<()> {
        let text = escaped(&item.text);
        let live = match &item.kind {
            TrayItemKind::Plain => {
                Live::Plain(MenuItem::with_id(app, &item.id, text, item.enabled, None::<&str>)?)
            }
            TrayItemKind::Check { checked } => Live::Check {
                item: CheckMenuItem::with_id(app, &item.id, text, item.enabled, *checked, None::<&str>)?,
                checked: *checked,
            },
            TrayItemKind::Separator => Live::Separator(PredefinedMenuItem::separator(app)?),
            TrayItemKind::Submenu { .. } => {
                Live::Submenu(Submenu::with_id(app, &item.id, text, item.enabled)?)
            }
        };
        match parent.map(|id| self.entries.get(id)) {
            None => self.root.insert(live.as_item(), index)?,
            Some(Some(Live::Submenu(submenu))) => submenu.insert(live.as_item(), index)?,
            Some(_) => return Ok(()),
        }
        self.entries.insert(item.id.clone(), live);
        if let TrayItemKind::Submenu { children } = &item.kind {
            for (index, child) in children.iter().enumerate() {
                self.insert(app, Some(&item.id), index, child)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, parent: Option<&str>, id: &str) -> tauri::Result<()> {
        let Some(live) = self.entries.remove(id) else {
            return Ok(());
        };
        match parent.map(|id| self.entries.get(id)) {
            None => self.root.remove(live.as_item()),
            Some(Some(Live::Submenu(submenu))) => submenu.remove(live.as_item()),
            Some(_) => Ok(()),
        }
    }
}

/// `&` marks a mnemonic in menus.
fn escaped(text: &str) -> String {
    text.replace('&', "&&")
}
