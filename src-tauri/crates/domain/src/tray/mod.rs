//! The tray as data: what a snapshot looks like as icon and menu, and what differs between two of them.

mod action;
mod diff;
mod view;

pub use action::TrayAction;
pub use diff::{TrayOp, diff};
pub use view::tray_model;

/// Four shapes, not only colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrayIcon {
    Idle,
    /// Loading, switching or measuring.
    Busy,
    /// Something needs a look: a server gave up, a switch was put back, Pilothouse itself has trouble.
    Attention,
    /// No server answers.
    Down,
}

/// Icon, title and menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrayModel {
    pub icon: TrayIcon,
    /// Tooltip, or the text beside the icon where there is one.
    pub title: String,
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
