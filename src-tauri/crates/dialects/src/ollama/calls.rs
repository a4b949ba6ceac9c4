//! Calls of tools, gathered from their pieces: Ollama tells each whole, with its arguments as an object.

use crate::chat::CallPiece;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    index: u32,
    id: Option<String>,
    name: String,
    arguments: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Call {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    index: usize,
    name: String,
    arguments: Box<RawValue>,
}

impl Calls {
    pub fn take(&mut self, piece: &CallPiece) {
        let gathered = self.0.iter_mut().rev().find(|call| call.index == piece.index);
        // Some servers count every call as the first (Ollama before 0.5); another id with a name begins another call.
        let is_same = |call: &&mut Gathered| {
            !(piece.name.is_some() && piece.id.is_some() && call.id.is_some() && call.id != piece.id)
        };
        match gathered.filter(is_same) {
            Some(call) => {
                call.arguments.push_str(&piece.arguments);
                if call.id.is_none() {
                    call.id.clone_from(&piece.id);
                }
                if call.name.is_empty() {
                    call.name = piece.name.clone().unwrap_or_default();
                }
            }
            None => self.0.push(Gathered {
                index: piece.index,
                id: piece.id.clone(),
                name: piece.name.clone().unwrap_or_default(),
                arguments: piece.arguments.clone(),
            }),
        }
    }

    /// All of them. `is_cut`: the answer ended at the limit of its length, and the last call may be a part of one, which is none.
    /// Errors: what is wrong with a call, for people.
    pub fn whole(&self, is_cut: bool) -> Result<Vec<Call>, String> {
        let mut whole = vec![];
        for (at, call) in self.0.iter().enumerate() {
            match call.whole(at) {
                Ok(call) => whole.push(call),
                Err(_) if is_cut && at + 1 == self.0.len() => {}
                Err(why) => return Err(why),
            }
        }
        Ok(whole)
    }
}

impl Gathered {
    fn whole(&self, index: usize) -> Result<Call, String> {
        let Self { id, name, arguments, .. } = self;
        if name.is_empty() {
            return Err("The model called a tool without its name.".into());
        }
        let text = match arguments.trim() {
            "" | "null" => "{}".to_owned(),
            // A line feed within a text of JSON is always written as two characters: these stand between the values.
            text => text.replace(['\n', '\r'], " "),
        };
        let arguments = RawValue::from_string(text).ok().filter(|raw| raw.get().starts_with('{'));
        let arguments = arguments.ok_or_else(|| {
            format!("The model called the tool {name} with arguments that are no JSON object.")
        })?;
        Ok(Call { id: id.clone(), function: Function { index, name: name.clone(), arguments } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: u32, id: &str, name: &str, arguments: &str) -> CallPiece {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        CallPiece { index, id: some(id), name: some(name), arguments: arguments.into() }
    }

    fn told(pieces: &[CallPiece], is_cut: bool) -> Result<String, String> {
        let mut calls = Calls::default();
        pieces.iter().for_each(|piece| calls.take(piece));
        calls.whole(is_cut).map(|calls| serde_json::to_string(&calls).unwrap())
    }

    #[test]
    fn pieces_become_whole_calls() {
        for (pieces, wanted) in [
            (vec![], "[]"),
            (
                vec![piece(0, "a", "f", "{\"z\":"), piece(0, "", "", "1, \"a\":2}")],
                r#"[{"id":"a","function":{"index":0,"name":"f","arguments":{"z":1, "a":2}}}]"#,
            ),
            (
                vec![
                    piece(0, "a", "f", ""),
                    piece(1, "b", "g", "{"),
                    piece(0, "", "", "{}"),
                    piece(1, "", "", "}"),
                ],
                r#"[{"id":"a","function":{"index":0,"name":"f","arguments":{}}},{"id":"b","function":{"index":1,"name":"g","arguments":{}}}]"#,
            ),
            (
                vec![piece(0, "a", "f", "{}"), piece(0, "b", "f", "{}")],
                r#"[{"id":"a","function":{"index":0,"name":"f","arguments":{}}},{"id":"b","function":{"index":1,"name":"f","arguments":{}}}]"#,
            ),
            (vec![piece(3, "", "f", " null ")], r#"[{"function":{"index":0,"name":"f","arguments":{}}}]"#),
            (
                vec![piece(0, "", "f", "{\n \"a\":\"b\\nc\"\r\n}\n")],
                r#"[{"function":{"index":0,"name":"f","arguments":{  "a":"b\nc"  }}}]"#,
            ),
        ] {
            assert_eq!(told(&pieces, false).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn a_call_that_is_none_is_said_to_be() {
        let good = || piece(0, "", "f", "{}");
        for (broken, word) in [
            (piece(1, "", "g", "{\"a\":"), "tool g with arguments"),
            (piece(1, "", "g", "[1]"), "tool g with arguments"),
            (piece(1, "", "g", "\"x\""), "tool g with arguments"),
            (piece(1, "", "g", "{} {}"), "tool g with arguments"),
            (piece(1, "", "", "{}"), "without its name"),
        ] {
            assert!(told(&[good(), broken.clone()], false).unwrap_err().contains(word), "{broken:?}");
            assert!(told(&[good(), broken.clone()], true).unwrap().contains("\"f\""), "cut off: {broken:?}");
            let first = CallPiece { index: 9, ..broken };
            assert!(told(&[first, good()], true).is_err(), "only the last one can be cut");
        }
    }
}
