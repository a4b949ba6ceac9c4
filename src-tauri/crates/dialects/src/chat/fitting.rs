//! Messages for servers and templates that take less than chat allows.

use super::{Content, Message, Part};

/// The text of each message of the system that comes after another message begins the next message of the user; where none follows
/// it becomes one. Only the very first message stays what it is.
pub fn with_early_system(messages: &[Message]) -> Vec<Message> {
    let mut out: Vec<Message> = vec![];
    let mut late: Vec<String> = vec![];
    for message in messages {
        match (message.role, &message.content) {
            ("system", Content::Text(text)) if !out.is_empty() => late.push(text.clone()),
            ("user", content) if !late.is_empty() => {
                let before = std::mem::take(&mut late).join("\n\n");
                out.push(Message { content: after(before, content), ..message.clone() });
            }
            // A result belongs to the call before it: nothing comes between.
            ("tool", _) => out.push(message.clone()),
            _ => {
                out.extend(said_by_user(&mut late));
                out.push(message.clone());
            }
        }
    }
    out.extend(said_by_user(&mut late));
    out
}

fn said_by_user(late: &mut Vec<String>) -> Option<Message> {
    (!late.is_empty()).then(|| Message::text("user", std::mem::take(late).join("\n\n")))
}

fn after(before: String, content: &Content) -> Content {
    match content {
        Content::Nothing => Content::Text(before),
        Content::Text(text) => Content::Text(format!("{before}\n\n{text}")),
        Content::Parts(parts) => {
            Content::Parts(std::iter::once(Part::text(before)).chain(parts.iter().cloned()).collect())
        }
    }
}

/// The text in one part and then the images, for a server that makes a message of each part.
pub fn one_text_first(parts: &[Part]) -> Vec<Part> {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            Part::ImageUrl { .. } => None,
        })
        .collect();
    let images = parts.iter().filter(|part| matches!(part, Part::ImageUrl { .. })).cloned();
    let text = (!texts.is_empty()).then(|| Part::text(texts.join("\n")));
    text.into_iter().chain(images).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_late_is_said_by_the_user() {
        for (before, wanted) in [
            ("s:a u:b", "s:a u:b"),
            ("s:a s:b u:c", "s:a u:b\n\nc"),
            ("u:a s:b s:c u:d", "u:a u:b\n\nc\n\nd"),
            ("u:a a:b t:c s:d", "u:a a:b t:c u:d"),
            ("u:a a:b s:c t:d u:e", "u:a a:b t:d u:c\n\ne"),
            ("u:a s:b a:c", "u:a u:b a:c"),
            ("", ""),
        ] {
            let role = |letter: &str| match letter {
                "s" => "system",
                "u" => "user",
                "a" => "assistant",
                _ => "tool",
            };
            let read = |text: &str| -> Vec<(&str, String)> {
                let pairs = text.split(' ').filter_map(|word| word.split_once(':'));
                pairs.map(|(letter, text)| (role(letter), text.to_owned())).collect()
            };
            let messages: Vec<Message> =
                read(before).into_iter().map(|(role, text)| Message::text(role, text)).collect();
            let said: Vec<(&str, String)> = with_early_system(&messages)
                .into_iter()
                .map(|message| match message.content {
                    Content::Text(text) => (message.role, text),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(said, read(wanted), "{before}");
        }
    }
}
