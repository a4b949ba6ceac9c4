use super::{TrayBars, TrayIcon, TrayItem, TrayItemKind, TrayModel};

/// One change of a live tray. Entries are named by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrayOp {
    Icon(TrayIcon, TrayBars),
    Title(String),
    Beside(Option<String>),
    Text {
        id: String,
        text: String,
    },
    Enabled {
        id: String,
        enabled: bool,
    },
    Checked {
        id: String,
        checked: bool,
    },
    /// Into a submenu, or the menu itself when `parent` is `None`.
    Insert {
        parent: Option<String>,
        index: usize,
        item: TrayItem,
    },
    Remove {
        parent: Option<String>,
        id: String,
    },
}

/// What must change so that `old` becomes `new`. Entries that stay are changed in place: a click into an open menu must
/// not hit a dead entry.
pub fn diff(old: &TrayModel, new: &TrayModel) -> Vec<TrayOp> {
    let mut ops = Vec::new();
    if (old.icon, old.bars) != (new.icon, new.bars) {
        ops.push(TrayOp::Icon(new.icon, new.bars));
    }
    if old.title != new.title {
        ops.push(TrayOp::Title(new.title.clone()));
    }
    if old.beside != new.beside {
        ops.push(TrayOp::Beside(new.beside.clone()));
    }
    list(None, &old.items, &new.items, &mut ops);
    ops
}

fn list(parent: Option<&str>, old: &[TrayItem], new: &[TrayItem], ops: &mut Vec<TrayOp>) {
    let parent_id = || parent.map(str::to_owned);
    let stays = |item: &TrayItem, others: &[TrayItem]| others.iter().any(|other| same(item, other));
    // Entries whose order has changed are taken out and put in again.
    let mut kept: Vec<&TrayItem> = old.iter().filter(|item| stays(item, new)).collect();
    let wanted: Vec<&TrayItem> = new.iter().filter(|item| stays(item, old)).collect();
    if !kept.iter().zip(&wanted).all(|(a, b)| same(a, b)) {
        kept.clear();
    }
    for item in old.iter().filter(|item| !kept.iter().any(|other| same(item, other))) {
        ops.push(TrayOp::Remove { parent: parent_id(), id: item.id.clone() });
    }
    for (index, item) in new.iter().enumerate() {
        match kept.iter().find(|other| same(item, other)) {
            Some(before) => change(before, item, ops),
            None => ops.push(TrayOp::Insert { parent: parent_id(), index, item: item.clone() }),
        }
    }
}

/// Whether two entries are the same live entry. A submenu with another name is another one: under GTK muda 0.20 packs the
/// name of a submenu into a box of its own, where no later text reaches it.
fn same(a: &TrayItem, b: &TrayItem) -> bool {
    let renamed = matches!(a.kind, TrayItemKind::Submenu { .. }) && a.text != b.text;
    a.id == b.id && !renamed && std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
}

fn change(old: &TrayItem, new: &TrayItem, ops: &mut Vec<TrayOp>) {
    let id = || new.id.clone();
    if old.text != new.text {
        ops.push(TrayOp::Text { id: id(), text: new.text.clone() });
    }
    if old.enabled != new.enabled {
        ops.push(TrayOp::Enabled { id: id(), enabled: new.enabled });
    }
    match (&old.kind, &new.kind) {
        (TrayItemKind::Check { checked: before }, TrayItemKind::Check { checked }) if before != checked => {
            ops.push(TrayOp::Checked { id: id(), checked: *checked });
        }
        (TrayItemKind::Submenu { children: before }, TrayItemKind::Submenu { children }) => {
            list(Some(&new.id), before, children, ops);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(model: &mut TrayModel, op: TrayOp) {
        fn find<'a>(items: &'a mut Vec<TrayItem>, id: &str) -> Option<&'a mut TrayItem> {
            for item in items {
                if item.id == id {
                    return Some(item);
                }
                if let TrayItemKind::Submenu { children } = &mut item.kind
                    && let Some(hit) = find(children, id)
                {
                    return Some(hit);
                }
            }
            None
        }
        fn menu<'a>(model: &'a mut TrayModel, parent: Option<&String>) -> &'a mut Vec<TrayItem> {
            match parent {
                None => &mut model.items,
                Some(id) => match &mut find(&mut model.items, id).unwrap().kind {
                    TrayItemKind::Submenu { children } => children,
                    other => panic!("{other:?} is no submenu"),
                },
            }
        }
        match op {
            TrayOp::Icon(icon, bars) => (model.icon, model.bars) = (icon, bars),
            TrayOp::Beside(text) => model.beside = text,
            TrayOp::Title(title) => model.title = title,
            TrayOp::Text { id, text } => find(&mut model.items, &id).unwrap().text = text,
            TrayOp::Enabled { id, enabled } => find(&mut model.items, &id).unwrap().enabled = enabled,
            TrayOp::Checked { id, checked } => {
                find(&mut model.items, &id).unwrap().kind = TrayItemKind::Check { checked }
            }
            TrayOp::Insert { parent, index, item } => menu(model, parent.as_ref()).insert(index, item),
            TrayOp::Remove { parent, id } => menu(model, parent.as_ref()).retain(|item| item.id != id),
        }
    }

    fn items(prefix: &'static str, depth: u32) -> BoxedStrategy<Vec<TrayItem>> {
        let kind = if depth == 0 {
            prop_oneof![
                Just(TrayItemKind::Plain),
                any::<bool>().prop_map(|checked| TrayItemKind::Check { checked })
            ]
            .boxed()
        } else {
            prop_oneof![
                Just(TrayItemKind::Plain),
                any::<bool>().prop_map(|checked| TrayItemKind::Check { checked }),
                items("c", depth - 1).prop_map(|children| TrayItemKind::Submenu { children }),
            ]
            .boxed()
        };
        let entry = (0u8..6, kind, "[ab]", any::<bool>());
        proptest::collection::vec(entry, 0..6)
            .prop_map(move |entries| {
                let mut seen = Vec::new();
                let mut items = Vec::new();
                for (number, kind, text, enabled) in entries {
                    if !seen.contains(&number) {
                        seen.push(number);
                        let mut item = TrayItem { id: format!("{prefix}{number}"), kind, text, enabled };
                        let id = item.id.clone();
                        if let TrayItemKind::Submenu { children } = &mut item.kind {
                            for child in children {
                                child.id = format!("{id}.{}", child.id);
                            }
                        }
                        items.push(item);
                    }
                }
                items
            })
            .boxed()
    }

    fn model() -> impl Strategy<Value = TrayModel> {
        (items("i", 1), "[ab]", any::<bool>()).prop_map(|(items, title, busy)| TrayModel {
            icon: if busy { TrayIcon::Busy } else { TrayIcon::Idle },
            bars: TrayBars { memory: busy.then_some(title.len() as u8), gpu: None },
            beside: busy.then(|| title.clone()),
            title,
            items,
        })
    }

    proptest! {
        #[test]
        fn the_difference_applied_to_the_old_gives_the_new(old in model(), new in model()) {
            let mut live = old.clone();
            for op in diff(&old, &new) {
                apply(&mut live, op);
            }
            prop_assert_eq!(live, new);
        }

        #[test]
        fn the_same_needs_nothing(model in model()) {
            prop_assert!(diff(&model, &model).is_empty());
        }
    }
}
