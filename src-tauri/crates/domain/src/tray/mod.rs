//! The tray as data: what a snapshot looks like as icon and menu, and what differs between two of them.

mod action;
mod attention;
mod diff;
#[cfg(test)]
pub(crate) mod fixtures;
mod gauge;
mod items;
mod recent;
mod scenes;
mod view;

pub use action::TrayAction;
pub use diff::{TrayOp, diff};
pub use gauge::{BAR_STEPS, TrayBars};
pub use recent::previous_model;
pub use scenes::arranging_line;
pub use view::{switching_line, tray_model};

/// Four shapes, not only colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrayIcon {
    Idle,
    /// Loading, switching or measuring.
    Busy,
    /// Something needs a look: a server gave up, a switch was put back, Pilothouse itself has trouble.
    Attention,
    /// Nothing answers: the active model's server does not run, or no server does.
    Down,
}

/// Icon, words and menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrayModel {
    pub icon: TrayIcon,
    /// The gauge in the icon.
    pub bars: TrayBars,
    /// The tooltip.
    pub title: String,
    /// Beside the icon, where the bar shows a text there (macOS; GNOME with its extension) and it is wanted.
    pub beside: Option<String>,
    pub items: Vec<TrayItem>,
}

/// One entry of the menu. Ids are stable as long as the entry means the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrayItem {
    pub id: String,
    pub kind: TrayItemKind,
    pub text: String,
    pub enabled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrayItemKind {
    Plain,
    Check { checked: bool },
    Separator,
    Submenu { children: Vec<TrayItem> },
}
