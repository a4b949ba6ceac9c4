//! Desktops that show the icon in other ways than the panel of Xfce: a StatusNotifier host as KDE's, which draws icon and menu
//! itself from what D-Bus tells (lxqt-panel, of Qt), and an old tray of the X server, into which the icon's own window goes
//! (trayer).

use crate::{
    app::start,
    desktop::{Area, Desktop},
    tools::Tools,
    tray_menu::{TrayItem, row_named},
};
use pilothouse_tests::sandbox::{Group, Sandbox, until};
use std::{fs, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);
/// Half a row of either menu.
const HALF_A_ROW: i32 = 14;
/// lxqt-panel with nothing but its tray, at the right end of the top.
const LXQT: &str = "[General]\npanels=panel1\n\n[panel1]\nalignment=-1\nanimation-duration=0\niconSize=22\npanelSize=32\n\
                    plugins=statusnotifier\nposition=Top\nwidth=100\nwidth-percent=true\n\n[statusnotifier]\n\
                    alignment=Right\ntype=statusnotifier\n";

/// An app without any server: what is shown is its own.
fn sandbox(tools: &Tools) -> Sandbox {
    let settings = "[servers.llama-server]\nenabled = false\n";
    let sandbox = Sandbox::new(&tools.sandbox, settings);
    let text = fs::read_to_string(sandbox.settings_file()).unwrap();
    fs::write(sandbox.settings_file(), text.replace("[servers.ollama]", "[servers.ollama]\nenabled = false"))
        .unwrap();
    sandbox
}

/// The menu that stands open, among the windows of a class.
fn menu(desktop: &Desktop, class: &str) -> Option<Area> {
    let under_the_icon = |area: &Area| area.height > 100 && (20..40).contains(&area.y);
    desktop.windows(&["--class", class]).into_iter().find(under_the_icon)
}

async fn open_menu(desktop: &Desktop, icon: (i32, i32), button: u8, class: &str, picture: &str) -> Area {
    desktop.click(icon, button);
    let menu = until("the menu on the screen", LIMIT, || async { menu(desktop, class) }).await;
    desktop.picture(picture);
    menu
}

/// Chooses “Start at login” with the keys and looks whether it was heard, then quits with the mouse.
async fn use_menu(
    desktop: &Desktop,
    sandbox: &Sandbox,
    app: &mut Group,
    icon: (i32, i32),
    button: u8,
    class: &str,
) {
    open_menu(desktop, icon, button, class, "menu").await;
    desktop.press(&["Up", "Up", "Return"]);
    let entries = sandbox.home().parent().unwrap().join("home/.config/autostart");
    until("start at login to follow the menu", LIMIT, || async {
        fs::read_dir(&entries).ok()?.next().map(drop)
    })
    .await;
    until("the menu to close", LIMIT, || async { menu(desktop, class).is_none().then_some(()) }).await;
    let area = open_menu(desktop, icon, button, class, "menu-checked").await;
    desktop.click((area.x + area.width / 3, area.y + area.height - HALF_A_ROW), 1);
    assert!(sandbox.assert_clean_end(app).await.success());
}

fn panel_windows(desktop: &Desktop) -> usize {
    desktop.windows(&["--name", "^Pilothouse$"]).iter().filter(|area| area.width > 300).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_as_of_kde_shows_the_icon_and_its_menu() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("host-kde").await;
    desktop.write("config/lxqt/panel.conf", LXQT);
    desktop.start_part("lxqt-panel", &[]);
    let top = |area: &Area| area.y == 0 && area.width == 1280;
    let bar = until("the panel", LIMIT, || async {
        desktop.windows(&["--class", "^lxqt-panel$"]).into_iter().find(top)
    })
    .await;
    let sandbox = sandbox(&tools);
    let mut app = start(&desktop, &sandbox, &tools);
    let tray = until("the icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    assert!(!row_named(&tray.rows().await, "Start at login").checked);
    let corner = Area { x: bar.width - 32, y: 0, width: 32, height: bar.height };
    until("the icon to be drawn", LIMIT, || async { (desktop.colours(corner) > 8).then_some(()) }).await;
    desktop.picture("icon");
    use_menu(&desktop, &sandbox, &mut app, corner.centre(), 3, "^lxqt-panel$").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_tray_of_the_x_server_shows_the_icon_and_its_menu() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("host-xembed").await;
    let bar = ["--edge", "top", "--align", "right", "--widthtype", "request", "--height", "24"];
    desktop.start_part("trayer", &bar);
    let sandbox = sandbox(&tools);
    let mut app = start(&desktop, &sandbox, &tools);
    let icon = until("the icon in the tray", LIMIT, || async {
        let own = |area: &Area| (16..=24).contains(&area.width) && area.y < 8 && area.x > 1200;
        desktop.windows(&["--name", "^pilothouse-tray$"]).into_iter().find(own)
    })
    .await;
    until("the icon to be drawn", LIMIT, || async { (desktop.colours(icon) > 8).then_some(()) }).await;
    // The panel opens by itself only where no icon is shown, and that is decided by then.
    let log = sandbox.home().join("logs/pilothouse.log");
    until("the tray to be found", LIMIT, || async {
        fs::read_to_string(&log).ok()?.contains("a tray shows the icon").then_some(())
    })
    .await;
    assert_eq!(panel_windows(&desktop), 0, "the icon is enough");
    desktop.picture("icon");
    use_menu(&desktop, &sandbox, &mut app, icon.centre(), 1, "[Pp]ilothouse-tray").await;
}
