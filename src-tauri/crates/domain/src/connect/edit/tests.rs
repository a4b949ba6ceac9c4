use super::*;
use proptest::prelude::*;
use serde_json::json;

fn one(form: Form, before: &str, entry: Entry) -> Result<String, Refused> {
    edit(form, Some(before), &[entry])
}

/// Whether everything of a text stands in another one, in its order.
fn stands_in(before: &str, after: &str) -> bool {
    let mut rest = after.chars();
    before.chars().all(|letter| rest.any(|other| other == letter))
}

#[test]
fn json_is_changed_where_the_value_stands() {
    for (before, after) in [
        ("", "{\n  \"env\": {\n    \"A\": \"1\"\n  }\n}\n"),
        ("{}", "{\n  \"env\": {\n    \"A\": \"1\"\n  }\n}"),
        ("{\n}\n", "{\n  \"env\": {\n    \"A\": \"1\"\n  }\n}\n"),
        ("// none\n", "// none\n{\n  \"env\": {\n    \"A\": \"1\"\n  }\n}\n"),
        ("{\n  // none\n}", "{\n  // none\n  \"env\": {\n    \"A\": \"1\"\n  }\n}"),
        ("{ // none\n}", "{ // none\n  \"env\": {\n    \"A\": \"1\"\n  }\n}"),
        (r#"{"a":1}"#, r#"{"a":1, "env": {"A":"1"}}"#),
        (r#"{"a":1,}"#, r#"{"a":1, "env": {"A":"1"}}"#),
        (r#"{"env":{}}"#, r#"{"env":{"A": "1"}}"#),
        (r#"{"env":{"A":"0"}} "#, r#"{"env":{"A":"1"}} "#),
        ("{\"env\":{\"A\":\"\\u0031\"}}", "{\"env\":{\"A\":\"\\u0031\"}}"),
        ("{\n\t\"a\": 1\n}", "{\n\t\"a\": 1,\n\t\"env\": {\n\t\t\"A\": \"1\"\n\t}\n}"),
        ("{\n  \"a\": 1 // one\n}", "{\n  \"a\": 1, // one\n  \"env\": {\n    \"A\": \"1\"\n  }\n}"),
        (
            "{\n  \"a\": 1, /* x */ // one, two\n  // last\n}",
            "{\n  \"a\": 1, /* x */ // one, two\n  \"env\": {\n    \"A\": \"1\"\n  },\n  // last\n}",
        ),
        (
            "{\r\n    \"env\": {\r\n        \"B\": \"ü→😀\"\r\n    }\r\n}\r\n",
            "{\r\n    \"env\": {\r\n        \"B\": \"ü→😀\",\r\n        \"A\": \"1\"\r\n    }\r\n}\r\n",
        ),
        (
            "{\n  \"a\": 1,\n\n  \"b\": 2}",
            "{\n  \"a\": 1,\n\n  \"b\": 2,\n  \"env\": {\n    \"A\": \"1\"\n  }}",
        ),
        ("{\"a\": {\n  \"b\": 2 }}", "{\"a\": {\n  \"b\": 2 },\n\"env\": {\n  \"A\": \"1\"\n}}"),
        ("\u{feff}{\"env\": {\"A\": \"\"}}", "\u{feff}{\"env\": {\"A\": \"1\"}}"),
    ] {
        let changed = one(Form::Json, before, Entry::at(["env", "A"], json!("1")));
        assert_eq!(changed.as_deref(), Ok(after), "{before}");
    }
}

#[test]
fn the_item_of_a_json_list_is_told_by_its_name() {
    let entry = || Entry::path(["m"]).item("name", "x").key("n").is(json!(7));
    for (before, after) in [
        ("{}", "{\n  \"m\": [\n    {\n      \"n\": 7,\n      \"name\": \"x\"\n    }\n  ]\n}"),
        (r#"{"m": []}"#, r#"{"m": [{"n":7,"name":"x"}]}"#),
        (r#"{"m": [1, {"name": "y"}]}"#, r#"{"m": [1, {"name": "y"}, {"n":7,"name":"x"}]}"#),
        (r#"{"m": [{"name": "x", "n": 6}]}"#, r#"{"m": [{"name": "x", "n": 7}]}"#),
        (
            "{\n  \"m\": [\n    { \"name\": \"x\" }, // mine\n  ],\n}",
            "{\n  \"m\": [\n    { \"name\": \"x\", \"n\": 7 }, // mine\n  ],\n}",
        ),
    ] {
        assert_eq!(one(Form::Json, before, entry()).as_deref(), Ok(after), "{before}");
    }
}

#[test]
fn toml_is_changed_where_the_value_stands() {
    let entries = [Entry::at(["model"], json!("m")), Entry::at(["p", "q", "port"], json!(2))];
    for (before, after) in [
        ("", "model = \"m\"\n\n[p.q]\nport = 2\n"),
        ("# top\n", "model = \"m\"\n\n[p.q]\nport = 2\n# top\n"),
        ("model = 'm' # mine\n", "model = 'm' # mine\n\n[p.q]\nport = 2\n"),
        ("model   =  \"old\"   # mine\n[p.q]\nport=1", "model   =  \"m\"   # mine\n[p.q]\nport=2"),
        ("# about x\n[x]\na = 1\n", "model = \"m\"\n# about x\n[x]\na = 1\n\n[p.q]\nport = 2\n"),
        ("[p]\nq = { port = 1, z = 3 }\n", "model = \"m\"\n[p]\nq = { port = 2, z = 3 }\n"),
        ("p.q.port = 1\r\n'ü' = 'é'\r\n", "p.q.port = 2\r\n'ü' = 'é'\r\nmodel = \"m\"\r\n"),
        (
            "a = 1\r\nb = 2\nmodel = 'x'\r\n[p.q]\r\nport = 1 # x\n",
            "a = 1\r\nb = 2\nmodel = \"m\"\r\n[p.q]\r\nport = 2 # x\n",
        ),
        ("[p.other]\na = 1\n\n\n[z]\n", "model = \"m\"\n[p.other]\na = 1\n\n[p.q]\nport = 2\n\n\n[z]\n"),
    ] {
        assert_eq!(edit(Form::Toml, Some(before), &entries).as_deref(), Ok(after), "{before}");
    }
}

#[test]
fn yaml_is_changed_where_the_value_stands() {
    let entries = [
        Entry::at(["base"], json!("http://x:1/v1")),
        Entry::path(["models"]).item("name", "P").key("model").is(json!("on")),
        Entry::path(["models"]).item("name", "P").then(&["o", "num"]).is(json!(5)),
    ];
    let fresh = "base: http://x:1/v1\nmodels:\n  - name: P\n    model: \"on\"\n    o:\n      num: 5\n";
    let item = "  - name: P\n    model: \"on\"\n    o:\n      num: 5\n";
    for (before, after) in [
        ("", fresh.to_owned()),
        ("# only this\n", format!("# only this\n{fresh}")),
        ("---\n", format!("---\n{fresh}")),
        ("a: 1", format!("a: 1\n{fresh}")),
        ("base:\nmodels: []\n", fresh.to_owned()),
        ("base: # x\nmodels: [ ] # none\nz: 1\n", format!("base: http://x:1/v1 # x\nmodels: # none\n{item}z: 1\n")),
        ("base: 'old'  # x\nmodels:\n\nz: 1", format!("base: http://x:1/v1  # x\nmodels:\n{item}\nz: 1")),
        (
            "models:\n  - name: Q # theirs\n    text: |\n      # no remark\n\n      end\n\n# last\nbase: \"http://x:1/v1\"\n",
            format!(
                "models:\n  - name: Q # theirs\n    text: |\n      # no remark\n\n      end\n{item}\n# last\nbase: \"http://x:1/v1\"\n"
            ),
        ),
        (
            "models:\n- name: Q\n- model: off\n  name: P\nbase: a\n",
            "models:\n- name: Q\n- model: \"on\"\n  name: P\n  o:\n    num: 5\nbase: http://x:1/v1\n".to_owned(),
        ),
        (
            "\u{feff}models:\r\n-   name: P\r\n    o: {}\r\n    ü: é\r\n",
            "\u{feff}models:\r\n-   name: P\r\n    o:\r\n      num: 5\r\n    ü: é\r\n    model: \"on\"\r\nbase: http://x:1/v1\r\n"
                .to_owned(),
        ),
    ] {
        let changed = edit(Form::Yaml, Some(before), &entries);
        assert_eq!(changed.as_deref(), Ok(after.as_str()), "{before}");
    }
    let root = Entry::path([""; 0]).item("id", "p").key("num").is(json!("yes"));
    for (before, after) in [
        ("", "- id: p\n  num: \"yes\"\n"),
        ("- id: q\n  a:\n  - 1\n", "- id: q\n  a:\n  - 1\n- id: p\n  num: \"yes\"\n"),
        ("- id: p\n  num: \"a\\\"\" # \"x\"\n", "- id: p\n  num: \"yes\" # \"x\"\n"),
        ("- id: p\n  num: 'it''s'\t# 'x'\n", "- id: p\n  num: \"yes\"\t# 'x'\n"),
        ("- id: p\n  num: a#b 'c' # x\n", "- id: p\n  num: \"yes\" # x\n"),
        ("- num: 1\n  id: p # x\n- id: r\n", "- num: \"yes\"\n  id: p # x\n- id: r\n"),
    ] {
        assert_eq!(one(Form::Yaml, before, root.clone()).as_deref(), Ok(after), "{before}");
    }
}

#[test]
fn what_cannot_be_changed_faithfully_is_refused() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(MOST_BYTES));
    let deep_json = deep("[", "]");
    let deep_yaml = deep("- ", "");
    for (form, before, reason) in [
        (Form::Json, "{", "has a mistake"),
        (Form::Json, "{\"a\": 1} {}", "has a mistake"),
        (Form::Json, "{a: 1}", "has a mistake"),
        (Form::Json, "{\"a\": 1 \"b\": 2}", "has a mistake"),
        (Form::Json, "[]", "something else than named values at its top"),
        (Form::Json, "7", "something else than named values at its top"),
        (Form::Json, "{\"a\": 5}", "“a” as something else than a group"),
        (Form::Json, "{\"a\": null}", "“a” as something else than a group"),
        (Form::Json, "{\"a\": {}, \"a\": {}}", "“a” twice"),
        (Form::Json, "{\"a\": {\"b\": 1, \"b\": 2}}", "“b” twice"),
        (Form::Json, &deep_json, "has a mistake"),
        (Form::Json, &large, "larger than 1 MiB"),
        (Form::Toml, "a = ", "has a mistake"),
        (Form::Toml, "a = 5", "“a” as something else than a group"),
        (Form::Toml, "[[a]]\nb = 1\n", "“a” as something else than a group"),
        (Form::Toml, "[a.b]\nc = 1\n", "“b” as a group"),
        (Form::Yaml, "a: [", "has a mistake"),
        (Form::Yaml, "a: 1\n---\na: 2\n", "several documents"),
        (Form::Yaml, "{a: {b: 1}, c: 2}", "cannot be changed"),
        (Form::Yaml, "a: 5\n", "“a” as something else than a group"),
        (Form::Yaml, "- a\n", "something else than named values at its top"),
        (Form::Yaml, "a:\n  b: |\n    text\n", "cannot be changed"),
        (Form::Yaml, "a: &x\n  b: 1\nc: *x\n", "cannot be changed"),
        (Form::Yaml, &deep_yaml, "cannot be changed"),
    ] {
        let refused = one(form, before, Entry::at(["a", "b"], json!("new"))).unwrap_err();
        let start: String = before.chars().take(40).collect();
        assert!(refused.0.contains(reason), "{start}: {refused}");
    }
}

#[test]
fn what_is_there_already_may_be_left() {
    for (form, before) in
        [(Form::Json, "{\"a\": {\"b\": 1}}"), (Form::Toml, "[a]\nb = 1\n"), (Form::Yaml, "a:\n  b: 1\n")]
    {
        let entry = Entry::at(["a", "b"], json!("new"));
        assert_eq!(one(form, before, entry.clone().unless_there()).as_deref(), Ok(before));
        assert!(one(form, before, entry.clone()).unwrap().contains("new"));
        assert!(one(form, "", entry.unless_there()).unwrap().contains("new"));
    }
}

#[test]
fn a_difference_says_what_goes_and_comes() {
    assert_eq!(difference("f", Some("a\n"), Some("a\n")), "");
    let shown = difference("f", Some("a\r\nb\r\n"), Some("a\r\nc\r\n"));
    assert_eq!(shown, "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
    assert!(difference("f", None, Some("a\n")).starts_with("--- /dev/null\n+++ f\n"));
    assert!(difference("f", Some("a\n"), None).starts_with("--- f\n+++ /dev/null\n"));
}

/// Somebody else's values.
fn value() -> impl Strategy<Value = Value> {
    let text =
        prop_oneof!["[ -~äß→😀\n\t#:{}\\[\\]\"'\\\\,]{0,12}", Just("http://127.0.0.1:1/v1".to_owned())];
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from), group_of(inner),]
    })
}

fn group_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = "[a-mäß ]{1,6}";
    proptest::collection::btree_map(name, inner, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

/// White space and remarks between tokens, by a row of dice.
struct Layout<'d> {
    dice: std::iter::Cycle<std::slice::Iter<'d, u8>>,
}

impl Layout<'_> {
    fn roll(&mut self, sides: u8) -> u8 {
        self.dice.next().map_or(0, |die| die % sides)
    }

    fn gap(&mut self) -> &'static str {
        ["", "", " ", "\n", "\r\n", "\n\t ", " // re, mark }\n", "/* {\"a\": 1, */", " /*\n*/ ", "\n\n    "]
            [self.roll(10) as usize]
    }

    fn json(&mut self, value: &Value, out: &mut String) {
        let parts: Vec<(Option<&String>, &Value)> = match value {
            Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (Some(name), value)).collect(),
            scalar => return out.push_str(&scalar.to_string()),
        };
        out.push(if value.is_array() { '[' } else { '{' });
        let last = parts.len();
        for (index, (name, part)) in parts.into_iter().enumerate() {
            out.push_str(self.gap());
            if let Some(name) = name {
                out.push_str(&format!("{}{}:{}", json!(name), self.gap(), self.gap()));
            }
            self.json(part, out);
            out.push_str(self.gap());
            if index + 1 < last || self.roll(2) == 0 {
                out.push(',');
            }
            out.push_str(self.gap());
        }
        out.push(if value.is_array() { ']' } else { '}' });
    }

    /// One line for each value; deeper ones as JSON, which is YAML too.
    fn yaml(&mut self, value: &Value, column: usize, out: &mut String) {
        let end = if self.roll(2) == 0 { "\n" } else { "\r\n" };
        for (name, part) in value.as_object().into_iter().flatten() {
            let remark = ["", " # re: mark", "  # - x"][self.roll(3) as usize];
            let before = ["", "\n", "# top\n", "        # deep\n"][self.roll(4) as usize];
            let indent = " ".repeat(column);
            out.push_str(&format!("{before}{indent}{}:", json!(name)));
            match part {
                Value::Object(members) if !members.is_empty() && self.roll(3) > 0 => {
                    out.push_str(&format!("{remark}{end}"));
                    let deeper = column + 1 + self.roll(4) as usize;
                    self.yaml(part, deeper, out);
                }
                part => out.push_str(&format!(" {part}{remark}{end}")),
            }
        }
    }
}

proptest! {
    #[test]
    fn json_of_others_stays(theirs in group_of(value()), dice in proptest::collection::vec(any::<u8>(), 1..60)) {
        let mut layout = Layout { dice: dice.iter().cycle() };
        let mut before = layout.gap().to_owned();
        layout.json(&theirs, &mut before);
        before.push_str(layout.gap());
        let entries = [
            Entry::at(["ours", "x"], json!("1")),
            Entry::path(["ours", "list"]).item("name", "n").key("y").is(json!(2)),
            Entry::at(["zero"], json!(true)),
        ];
        let after = edit(Form::Json, Some(&before), &entries).unwrap();
        prop_assert!(stands_in(&before, &after), "{before}\n---\n{after}");
        let mut said = json::value(&after).unwrap();
        let members = said.as_object_mut().unwrap();
        prop_assert_eq!(members.remove("ours"), Some(json!({"x": "1", "list": [{"name": "n", "y": 2}]})));
        prop_assert_eq!(members.remove("zero"), Some(json!(true)));
        prop_assert_eq!(said, theirs);
        // Once it is there, only the value changes.
        prop_assert_eq!(edit(Form::Json, Some(&after), &entries).unwrap(), after.clone());
        let again = edit(Form::Json, Some(&after), &[Entry::at(["ours", "x"], json!("777"))]).unwrap();
        prop_assert_eq!(again.len(), after.len() + 2);
    }

    #[test]
    fn yaml_of_others_stays(theirs in group_of(value()), dice in proptest::collection::vec(any::<u8>(), 1..60)) {
        let mut layout = Layout { dice: dice.iter().cycle() };
        let mut before = String::new();
        layout.yaml(&theirs, 0, &mut before);
        if layout.roll(3) == 0 {
            before.truncate(before.trim_end().len());
        }
        let entries = [
            Entry::at(["ours"], json!("1")),
            Entry::path(["list"]).item("name", "n").then(&["y", "z"]).is(json!(2)),
        ];
        // A layout that was not foreseen may be refused; what is written must be right.
        let Ok(after) = edit(Form::Yaml, Some(&before), &entries) else {
            prop_assert!(before.contains('{') || before.contains('['), "refused:\n{before}");
            return Ok(());
        };
        prop_assert!(stands_in(&before, &after), "{before}\n---\n{after}");
        let mut said = yaml::value(&after).unwrap();
        let members = said.as_object_mut().unwrap();
        prop_assert_eq!(members.remove("ours"), Some(json!("1")));
        prop_assert_eq!(members.remove("list"), Some(json!([{"name": "n", "y": {"z": 2}}])));
        prop_assert_eq!(said, match yaml::value(&before).unwrap() { Value::Null => json!({}), said => said });
        prop_assert_eq!(edit(Form::Yaml, Some(&after), &entries).unwrap(), after);
    }

    #[test]
    fn toml_of_others_stays(theirs in group_of(group_of(value())), ends in proptest::collection::vec(any::<bool>(), 1..9)) {
        let Ok(plain) = toml_edit::ser::to_string_pretty(&theirs) else { return Ok(()) };
        let mut ends = ends.iter().cycle();
        let mut before = String::new();
        for line in plain.lines() {
            let end = if *ends.next().unwrap() { " # remark\r\n" } else { "\n" };
            // Inside a text of several lines everything is text.
            before.push_str(&format!("{line}{}", if plain.contains("\"\"\"") || plain.contains("'''") { "\n" } else { end }));
        }
        let before = if toml::value(&before.replace("\r\n", "\n")).is_ok() { before } else { plain };
        let entries = [Entry::at(["zero"], json!("1")), Entry::at(["ours", "a", "x"], json!(2))];
        let after = edit(Form::Toml, Some(&before), &entries).unwrap();
        prop_assert!(stands_in(&before, &after), "{before}\n---\n{after}");
        let mut said = toml::value(&after).unwrap();
        let members = said.as_object_mut().unwrap();
        prop_assert_eq!(members.remove("zero"), Some(json!("1")));
        prop_assert_eq!(members.remove("ours"), Some(json!({"a": {"x": 2}})));
        prop_assert_eq!(said, toml::value(&before).unwrap());
        prop_assert_eq!(edit(Form::Toml, Some(&after), &entries).unwrap(), after);
    }
}
