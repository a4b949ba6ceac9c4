//! Tests of `options.rs`.

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

fn options(text: &str) -> Result<(Options, Vec<Governed>), Refused> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
    read(Some(&all), None)
}

#[test]
fn keep_alive_is_read_as_ollama_reads_it() {
    let seconds = |n: u64| Some(KeepAlive::For(Duration::from_secs(n)));
    for (text, wanted) in [
        ("0", Some(KeepAlive::Not)),
        ("0.0", Some(KeepAlive::Not)),
        ("\"0\"", Some(KeepAlive::Not)),
        ("\"0s\"", Some(KeepAlive::Not)),
        ("300", seconds(300)),
        ("1.5", Some(KeepAlive::For(Duration::from_millis(1500)))),
        ("-1", Some(KeepAlive::Forever)),
        ("\"-1\"", Some(KeepAlive::Forever)),
        ("\"-1m\"", Some(KeepAlive::Forever)),
        ("1e300", Some(KeepAlive::Forever)),
        ("\"5m\"", seconds(300)),
        ("\"30m\"", seconds(1800)),
        ("\"1h30m\"", seconds(5400)),
        ("\"1.5h\"", seconds(5400)),
        ("\"24h0m0s\"", seconds(86400)),
        ("\"300ms\"", Some(KeepAlive::For(Duration::from_millis(300)))),
        ("\"+5s\"", seconds(5)),
        ("\"\"", None),
        ("\"m\"", None),
        ("\"5 m\"", None),
        ("\"5d\"", None),
        ("\"1.2.3s\"", None),
        ("\"inf\"", None),
        ("\"forever\"", None),
        ("true", None),
        ("[]", None),
        ("{}", None),
    ] {
        assert_eq!(KeepAlive::read(&raw(text)).ok(), wanted, "{text}");
    }
}

#[test]
fn options_go_to_the_servers_that_know_them() {
    let (read, governed) = options(
        r#"{"num_ctx":8192,"num_gpu":-1,"temperature":0.70,"top_k":40,"min_p":0.0,"repeat_penalty":1.1,
            "mirostat":2,"num_keep":24,"seed":7,"num_predict":128,"stop":["a","","b"],"of_tomorrow":{"a":1},"top_p":null}"#,
    )
    .unwrap();
    assert_eq!(governed, [Governed::Context(8192), Governed::Load("num_gpu")]);
    assert_eq!(
        (read.max_tokens, read.stop.as_slice()),
        (Some(128), ["a".to_owned(), "b".to_owned()].as_slice())
    );
    for (kind, wanted) in [
        (
            ServerKind::LlamaServer,
            "temperature=0.70 seed=7 top_k=40 min_p=0.0 repeat_penalty=1.1 n_keep=24 mirostat=2",
        ),
        (ServerKind::LmStudio, "temperature=0.70 seed=7 top_k=40 min_p=0.0 repeat_penalty=1.1"),
        (ServerKind::Ollama, "temperature=0.70 seed=7 top_k=40 min_p=0.0 repeat_penalty=1.1"),
        (ServerKind::OpenAi, "temperature=0.70 seed=7"),
    ] {
        let said: Vec<String> =
            read.same(Speaks::of(kind)).iter().map(|(name, raw)| format!("{name}={}", raw.get())).collect();
        assert_eq!(said.join(" "), wanted);
    }
}

#[test]
fn values_that_mean_none_are_none() {
    for text in [
        "{}",
        r#"{"num_predict":-1,"seed":-1,"stop":[],"num_ctx":0}"#,
        r#"{"num_predict":-2.0,"stop":"","num_ctx":null}"#,
        r#"{"num_predict":0}"#,
    ] {
        let (read, governed) = options(text).unwrap();
        assert!(governed.is_empty() && read.max_tokens.is_none() && read.stop.is_empty(), "{text}");
        assert!(read.same(Speaks::of(ServerKind::LlamaServer)).is_empty(), "{text}");
    }
    assert_eq!(options(r#"{"stop":"x"}"#).unwrap().0.stop, ["x"]);
    assert_eq!(options(r#"{"num_predict":1e30}"#).unwrap().0.max_tokens, Some(u64::MAX));
}

#[test]
fn an_option_of_another_type_is_refused_by_name() {
    for (text, name) in [
        (r#"{"temperature":"hot"}"#, "temperature"),
        (r#"{"num_ctx":"8k"}"#, "num_ctx"),
        (r#"{"num_predict":true}"#, "num_predict"),
        (r#"{"stop":[1]}"#, "stop"),
        (r#"{"seed":[]}"#, "seed"),
        (r#"{"mirostat":{}}"#, "mirostat"),
    ] {
        let refused = options(text).unwrap_err();
        assert_eq!((refused.status, refused.param.as_deref()), (400, Some(name)));
    }
}

#[test]
fn thinking_is_said_as_an_effort() {
    for (text, wanted) in [
        ("true", Some("medium")),
        ("false", Some("none")),
        ("\"low\"", Some("low")),
        ("\"medium\"", Some("medium")),
        ("\"high\"", Some("high")),
        ("\"max\"", Some("max")),
        ("\"loud\"", None),
        ("\"\"", None),
        ("1", None),
        ("{}", None),
    ] {
        let read = effort(&raw(text));
        assert_eq!(read.as_ref().ok(), wanted.as_ref(), "{text}");
        assert!(read.err().is_none_or(|refused| refused.param.as_deref() == Some("think")));
    }
}

#[test]
fn a_schema_is_said_as_it_was_written() {
    let said = |text: &str, kind| {
        Format::read(&raw(text))
            .unwrap()
            .and_then(|format| format.response_format(kind))
            .map(|raw| raw.get().to_owned())
    };
    let schema = r#"{ "type" : "object", "properties":{"z":{},"a":{}} }"#;
    assert!(said(schema, ServerKind::LlamaServer).unwrap().contains(schema));
    assert_eq!(said("\"json\"", ServerKind::Ollama).unwrap(), r#"{"type":"json_object"}"#);
    assert!(said("\"json\"", ServerKind::LmStudio).unwrap().contains(r#""schema":{"type":"object"}"#));
    assert_eq!(said("\"\"", ServerKind::Ollama), None);
    for text in ["\"xml\"", "[]", "1", "true"] {
        assert_eq!(Format::read(&raw(text)).unwrap_err().param.as_deref(), Some("format"));
    }
}
