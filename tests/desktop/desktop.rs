//! A desktop of its own for one test: X server, session bus, window manager, panel with a tray, notification server.

use pilothouse_tests::sandbox::{Group, command, marked, signal, until};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const MARK: &str = "DESKTOP_TEST";
const LIMIT: Duration = Duration::from_secs(20);

/// A running desktop. Everything of it is stopped when it is dropped; logs and pictures stay in
/// `artefacts/desktop/<test>`.
pub struct Desktop {
    /// The address of its session bus.
    pub bus: String,
    display: String,
    folder: TempDir,
    artefacts: PathBuf,
    mark: String,
    parts: Vec<Group>,
}

/// A place on the screen, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

impl Area {
    pub fn centre(self) -> (i32, i32) {
        (self.x + self.width / 2, self.y + self.height / 2)
    }
}

impl Desktop {
    /// Everything but the panel, which is started by [`Self::start_panel`].
    pub async fn start(test: &str) -> Self {
        let artefacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../artefacts/desktop").join(test);
        fs::create_dir_all(&artefacts).unwrap();
        let folder = tempfile::Builder::new().prefix("desktop-").tempdir().unwrap();
        configure(folder.path());
        let mark = format!("{}-{test}", std::process::id());
        let mut desktop =
            Self { bus: String::new(), display: String::new(), folder, artefacts, mark, parts: Vec::new() };
        let number = desktop.start_and_read(command("Xvfb").args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1280x800x24",
            "-nolisten",
            "tcp",
            "-noreset",
        ]));
        desktop.display = format!(":{number}");
        let mut bus = desktop.command("dbus-daemon");
        desktop.bus = desktop.start_and_read(bus.args(["--session", "--nofork", "--print-address=1"]));
        desktop.start_part("openbox", &[]);
        let dunstrc = desktop.folder.path().join("config/dunst/dunstrc");
        desktop.start_part("dunst", &["-conf", dunstrc.to_str().unwrap()]);
        until("the notification server", LIMIT, || async { desktop.shown_notifications() }).await;
        desktop
    }

    /// The panel with its tray: a StatusNotifier host.
    pub async fn start_panel(&mut self) {
        self.start_part("xfce4-panel", &["--disable-wm-check"]);
        until("the panel's tray", LIMIT, || async { self.tray_area() }).await;
    }

    /// The panel anew, light on dark.
    pub async fn start_dark_panel(&mut self) {
        // It was started last.
        self.parts.pop().unwrap().stop();
        write_theme(self.folder.path(), "gtk-application-prefer-dark-theme=1\n");
        until("the panel to go", LIMIT, || async { self.tray_area().is_none().then_some(()) }).await;
        self.start_panel().await;
    }

    /// A command that belongs to this desktop, with nothing of the person's own session.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = command(program);
        let folder = |name: &str| self.folder.path().join(name);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", folder("home"))
            .env("XDG_CONFIG_HOME", folder("config"))
            .env("XDG_CACHE_HOME", folder("cache"))
            .env("XDG_DATA_HOME", folder("data"))
            .env("XDG_RUNTIME_DIR", folder("runtime"))
            .env("TMPDIR", folder("tmp"))
            .env("NO_AT_BRIDGE", "1")
            .env(MARK, &self.mark)
            .stdin(Stdio::null());
        for (name, value) in [("DISPLAY", &self.display), ("DBUS_SESSION_BUS_ADDRESS", &self.bus)] {
            if !value.is_empty() {
                command.env(name, value);
            }
        }
        command
    }

    /// A file in the folder of this test's artefacts.
    pub fn artefact(&self, name: &str) -> PathBuf {
        self.artefacts.join(name)
    }

    /// Writes a file into the folder of the desktop: "config/…" is the person's configuration.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// A picture of the screen as `artefacts/desktop/<test>/<name>.png`.
    pub fn picture(&self, name: &str) {
        let file = self.artefact(&format!("{name}.png"));
        let status = self.command("import").args(["-window", "root"]).arg(&file).status().unwrap();
        assert!(status.success(), "no picture {}", file.display());
    }

    /// How many colours an area of the screen has now.
    pub fn colours(&self, area: Area) -> u64 {
        let Area { x, y, width, height } = area;
        let part = format!("{width}x{height}+{x}+{y}");
        let counted = self.output("import", &["-window", "root", "-crop", &part, "-format", "%k", "info:-"]);
        counted.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// What a program of the desktop prints; `None` when it fails.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = self.command(program).args(arguments).stderr(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The visible windows that `search` (of `xdotool search`) finds.
    pub fn windows(&self, search: &[&str]) -> Vec<Area> {
        let mut arguments = vec!["search", "--onlyvisible"];
        arguments.extend(search);
        arguments.extend(["getwindowgeometry", "--shell", "%@"]);
        areas(&self.output("xdotool", &arguments).unwrap_or_default())
    }

    /// The tray in the panel. It holds one icon in these tests, so its centre is the icon's.
    pub fn tray_area(&self) -> Option<Area> {
        self.windows(&["--class", "^Wrapper-2.0$"]).into_iter().find(|area| area.y == 0)
    }

    /// The menu that the tray shows now.
    pub fn menu_area(&self) -> Option<Area> {
        self.windows(&["--class", "^Wrapper-2.0$"]).into_iter().find(|area| area.y > 0 && area.height > 60)
    }

    /// Moves the pointer and presses a mouse button (1 left, 3 right).
    pub fn click(&self, (x, y): (i32, i32), button: u8) {
        let (x, y, button) = (x.to_string(), y.to_string(), button.to_string());
        self.output("xdotool", &["mousemove", "--sync", &x, &y, "click", &button]).unwrap();
    }

    /// Moves the pointer.
    pub fn point(&self, (x, y): (i32, i32)) {
        self.output("xdotool", &["mousemove", "--sync", &x.to_string(), &y.to_string()]).unwrap();
    }

    /// Presses keys, by their X names, one after the other.
    pub fn press(&self, keys: &[&str]) {
        let mut arguments = vec!["key", "--delay", "150"];
        arguments.extend(keys);
        self.output("xdotool", &arguments).unwrap();
    }

    /// How many notifications stand on the screen; `None` when nobody shows any.
    pub fn shown_notifications(&self) -> Option<u64> {
        self.output("dunstctl", &["count", "displayed"])?.trim().parse().ok()
    }

    /// Takes all notifications off the screen and gives (title, text) of every one so far, newest first.
    pub fn read_notifications(&self) -> Vec<(String, String)> {
        self.output("dunstctl", &["close-all"]).unwrap();
        let history: Value =
            serde_json::from_str(&self.output("dunstctl", &["history"]).unwrap()).unwrap_or_default();
        let text = |entry: &Value, key: &str| entry[key]["data"].as_str().unwrap_or_default().to_owned();
        let entries = history["data"][0].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| (text(entry, "summary"), text(entry, "body"))).collect()
    }

    /// Starts a program that belongs to the desktop.
    pub fn start_part(&mut self, program: &str, arguments: &[&str]) {
        let log = File::create(self.artefact(&format!("{program}.log"))).unwrap();
        let mut command = self.command(program);
        command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        self.parts.push(Group::spawn(&mut command));
    }

    /// Starts something that tells one line once it is ready.
    fn start_and_read(&mut self, command: &mut Command) -> String {
        let log = File::create(self.artefact(&format!("{}.log", command.get_program().display()))).unwrap();
        let mut part = Group::spawn(command.stdout(Stdio::piped()).stderr(log));
        let output = part.child().stdout.take().unwrap();
        self.parts.push(part);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert!(!line.trim().is_empty(), "{:?} told nothing", command.get_program());
        line.trim().to_owned()
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        while let Some(mut part) = self.parts.pop() {
            part.stop();
        }
        // What the session bus started by itself (the panel's settings daemon).
        for (pid, _) in marked(MARK, &self.mark) {
            signal(pid, libc::SIGKILL);
        }
    }
}

/// `X=…`, `Y=…`, `WIDTH=…`, `HEIGHT=…` lines of any number of windows.
fn areas(text: &str) -> Vec<Area> {
    let values = |key: &str| -> Vec<i32> {
        text.lines().filter_map(|line| line.strip_prefix(key)?.parse().ok()).collect()
    };
    let (xs, ys, widths, heights) = (values("X="), values("Y="), values("WIDTH="), values("HEIGHT="));
    let count = xs.len().min(ys.len()).min(widths.len()).min(heights.len());
    (0..count).map(|i| Area { x: xs[i], y: ys[i], width: widths[i], height: heights[i] }).collect()
}

fn configure(folder: &Path) {
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    for name in ["home", "cache", "data", "runtime", "tmp"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    // Programs refuse a runtime folder that others may read.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(folder.join("runtime"), private).unwrap();
    write("config/xfce4/xfconf/xfce-perchannel-xml/xfce4-panel.xml", include_str!("xfce4-panel.xml"));
    write("config/dunst/dunstrc", include_str!("dunstrc"));
    write_theme(folder, "");
}

/// The rows of a menu are found by their height, so the theme is fixed.
fn write_theme(folder: &Path, more: &str) {
    let file = folder.join("config/gtk-3.0/settings.ini");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = format!("[Settings]\ngtk-theme-name=Adwaita\ngtk-font-name=DejaVu Sans 10\n{more}");
    fs::write(file, text).unwrap();
}
