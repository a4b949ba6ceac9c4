//! The kinds of entries that a menu is made of.

use super::{TrayAction, TrayItem, TrayItemKind};

pub(super) fn line(id: &str, text: &str) -> TrayItem {
    TrayItem { id: id.into(), kind: TrayItemKind::Plain, text: text.into(), enabled: false }
}

pub(super) fn separator(id: &str) -> TrayItem {
    TrayItem { id: id.into(), kind: TrayItemKind::Separator, text: String::new(), enabled: true }
}

pub(super) fn submenu(id: &str, text: &str, children: Vec<TrayItem>) -> TrayItem {
    TrayItem { id: id.into(), kind: TrayItemKind::Submenu { children }, text: text.into(), enabled: true }
}

pub(super) fn action(action: &TrayAction, text: &str, enabled: bool) -> TrayItem {
    TrayItem { id: action.id(), kind: TrayItemKind::Plain, text: text.into(), enabled }
}
