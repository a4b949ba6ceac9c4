//! An OpenTelemetry collector that the settings name hears of each request, and of nothing else.

use crate::address::Client;
use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, LIMIT, Sandbox, Tools, until};
use prost::Message;
use serde_json::json;
use std::time::Duration;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};

fn text(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_of_each_request_in_the_trace_of_its_client() {
    let Some(tools) = Tools::find() else { return };
    let (sender, bodies) = mpsc::unbounded_channel();
    let bodies = Mutex::new(bodies);
    let take = move |body: Bytes| {
        let _ = sender.send(body);
        async {}
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(take))).await });
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    for wrong in ["grpc://127.0.0.1:4317", "http://127.0.0.1:4318/?key=x", "http://"] {
        let refused = sandbox.run(&["settings", "set", "gateway.otlp", wrong]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
    assert_eq!(client.chat("active").await.status, 200);
    assert_eq!(sandbox.run(&["settings", "set", "gateway.otlp", &collector]).code, Some(0));

    let asked = json!({ "model": "active", "max_tokens": 8,
        "messages": [{ "role": "user", "content": "What is the colour of the heron?" }] });
    let traced = async || {
        let request = client.http.post(client.url("/chat/completions"));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let answer = request.header("traceparent", parent).json(&asked).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    };
    // The change of the settings is seen a moment later, and what ended just before it may be told with what came after.
    let span = until("the collector to be told", LIMIT, || async {
        traced().await;
        let next = async { bodies.lock().await.recv().await };
        let body = timeout(Duration::from_secs(3), next).await.ok().flatten()?;
        assert!(!String::from_utf8_lossy(&body).contains("heron"), "what was asked is nobody's business");
        let mut request = ExportTraceServiceRequest::decode(body).unwrap();
        let spans = request.resource_spans.remove(0).scope_spans.remove(0).spans;
        spans.into_iter().find(|span| !span.parent_span_id.is_empty())
    })
    .await;
    assert_eq!(span.name, "chat active");
    assert_eq!((span.trace_id[0], span.parent_span_id[0]), (0x0a, 0xb7));
    assert_eq!(text(&span, "gen_ai.provider.name").as_deref(), Some("llama-server"));
    assert_eq!(text(&span, "gen_ai.response.model").as_deref(), Some(EMBEDDED_MODEL));
    assert_eq!(text(&span, "gen_ai.request.max_tokens").as_deref(), Some("8"));
    let tokens: u64 = text(&span, "gen_ai.usage.output_tokens").unwrap().parse().unwrap();
    assert!((1..=8).contains(&tokens), "{tokens}");

    // A collector that is gone is said, and nobody waits for it.
    assert_eq!(sandbox.run(&["settings", "set", "gateway.otlp", "http://127.0.0.1:9"]).code, Some(0));
    until("the trouble", LIMIT, || async {
        traced().await;
        let status = sandbox.ask(&["status"])?;
        status["troubles"].as_array()?.iter().find(|one| one["code"] == "spans_lost").map(|_| ())
    })
    .await;
    assert_eq!(sandbox.run(&["settings", "reset", "gateway.otlp"]).code, Some(0));
    until("the trouble to be over", LIMIT, || async {
        let status = sandbox.ask(&["status"])?;
        let stays = status["troubles"].as_array()?.iter().any(|one| one["code"] == "spans_lost");
        (!stays).then_some(())
    })
    .await;
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}
