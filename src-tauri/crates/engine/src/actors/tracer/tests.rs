use super::*;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use pilothouse_domain::{
    Timestamp,
    snapshot::EngineView,
    traffic::{Client, Dialect, RequestState, Tokens, TraceParent},
};
use prost::Message;
use tokio::net::TcpListener;

/// What it answers, and what it was told.
#[derive(Clone)]
struct Collector {
    status: Arc<Mutex<StatusCode>>,
    told: mpsc::UnboundedSender<(HeaderMap, Bytes)>,
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let status = *collector.status.lock().unwrap();
    collector.told.send((headers, body)).unwrap();
    status
}

struct Scene {
    hub: Hub,
    settings: watch::Sender<Settings>,
    tracer: Tracer,
    status: Arc<Mutex<StatusCode>>,
    told: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    address: String,
}

impl Scene {
    async fn new() -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(StatusCode::OK));
        let collector = Collector { status: status.clone(), told: sender };
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let hub = Hub::new(EngineView::default(), pilothouse_leases::Leases::default());
        let (settings, seen) = watch::channel(Settings::default());
        let tracer = Tracer::start(hub.clone(), seen);
        Self { hub, settings, tracer, status, told, address }
    }

    fn set(&self, collector: &str) {
        self.settings.send_modify(|settings| settings.gateway.otlp = collector.into());
    }

    /// The spans of the next batch.
    async fn spans(&mut self) -> Vec<Span> {
        let (headers, body) = timeout(Duration::from_secs(30), self.told.recv()).await.unwrap().unwrap();
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let mut request = ExportTraceServiceRequest::decode(body).unwrap();
        let mut resource = request.resource_spans.remove(0);
        let own = resource.resource.take().unwrap().attributes;
        assert_eq!(text(&own, "service.name").as_deref(), Some("pilothouse"));
        assert!(request.resource_spans.is_empty() && resource.scope_spans.len() == 1);
        resource.scope_spans.remove(0).spans
    }

    async fn trouble(&self, wanted: bool) -> Option<ApiError> {
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let troubles = self.hub.now().troubles.clone();
            let found = troubles.into_iter().find(|trouble| trouble.code == ErrorCode::SpansLost);
            if found.is_some() == wanted || tokio::time::Instant::now() > until {
                assert_eq!(found.is_some(), wanted, "{found:?}");
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn value(all: &[KeyValue], name: &str) -> Option<Value> {
    all.iter().find(|one| one.key == name)?.value.clone()?.value
}

fn text(all: &[KeyValue], name: &str) -> Option<String> {
    match value(all, name)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{name}: {other:?}"),
    }
}

fn whole(all: &[KeyValue], name: &str) -> Option<i64> {
    match value(all, name)? {
        Value::IntValue(number) => Some(number),
        other => panic!("{name}: {other:?}"),
    }
}

fn done() -> RequestRecord {
    RequestRecord {
        id: 7,
        at: Timestamp::from_millisecond(1_790_000_000_000).unwrap(),
        client: Client { program: Some("agent".into()), ..Client::default() },
        dialect: Dialect::Messages,
        asked: Some("active".into()),
        server: Some("ollama".into()),
        model: Some("qwen3:8b".into()),
        role: Some("critical".into()),
        state: RequestState::Done,
        ttft_ms: Some(300),
        total_ms: Some(1500),
        tokens: Tokens { input: Some(40), cached: Some(32), output: Some(9), counted: true },
        most_output: Some(64),
        decode_tok_s: Some(7.5),
        finish: Some("stop".into()),
        status: Some(200),
        streamed: true,
        ..RequestRecord::default()
    }
}

#[tokio::test]
async fn a_request_is_told_by_the_conventions() {
    let mut scene = Scene::new().await;
    scene.set(&scene.address.clone());
    scene.tracer.tell(&[Arc::new(done())]);
    let spans = scene.spans().await;
    let [span] = &spans[..] else { panic!("{} spans", spans.len()) };
    assert_eq!(span.name, "chat active");
    assert_eq!((span.kind, span.trace_id.len(), span.span_id.len()), (3, 16, 8), "a client's");
    assert!(span.parent_span_id.is_empty() && span.trace_id != [0; 16]);
    assert_eq!(span.start_time_unix_nano, 1_790_000_000_000_000_000);
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1_500_000_000);
    let all = &span.attributes;
    for (name, wanted) in [
        ("gen_ai.operation.name", Some("chat")),
        ("gen_ai.provider.name", Some("ollama")),
        ("gen_ai.request.model", Some("active")),
        ("gen_ai.response.model", Some("qwen3:8b")),
        ("pilothouse.client", Some("agent")),
        ("pilothouse.role", Some("critical")),
        ("pilothouse.request.state", Some("done")),
        ("error.type", None),
    ] {
        assert_eq!(text(all, name).as_deref(), wanted, "{name}");
    }
    for (name, wanted) in [
        ("gen_ai.request.max_tokens", Some(64)),
        ("gen_ai.usage.input_tokens", Some(40)),
        ("gen_ai.usage.cache_read.input_tokens", Some(32)),
        ("gen_ai.usage.output_tokens", Some(9)),
        ("http.response.status_code", Some(200)),
        ("pilothouse.request.id", Some(7)),
        ("pilothouse.ttft_ms", Some(300)),
        ("pilothouse.queued_ms", None),
        ("pilothouse.output_tokens_estimated", None),
    ] {
        assert_eq!(whole(all, name), wanted, "{name}");
    }
    let Some(Value::ArrayValue(reasons)) = value(all, "gen_ai.response.finish_reasons") else {
        panic!("none")
    };
    assert_eq!(reasons.values[0].value, Some(Value::StringValue("stop".into())));
}

#[tokio::test]
async fn a_request_belongs_to_its_callers_trace_and_what_is_not_measured_is_not_told_as_such() {
    let mut scene = Scene::new().await;
    scene.set(&format!("{}/", scene.address.trim_start_matches("http://")));
    let parent = TraceParent { trace_id: [9; 16], span_id: [8; 8], sampled: true };
    let estimated = Tokens { output: Some(5), counted: false, ..Tokens::default() };
    let failed = RequestRecord {
        parent: Some(parent),
        dialect: Dialect::Embeddings,
        asked: None,
        state: RequestState::Failed,
        status: Some(503),
        error: Some("queue_full".into()),
        detail: Some("1024 wait".into()),
        tokens: estimated,
        ..done()
    };
    let unrecorded = RequestRecord { parent: Some(TraceParent { sampled: false, ..parent }), ..done() };
    let left = RequestRecord { state: RequestState::Cancelled, status: None, ..done() };
    scene.tracer.tell(&[failed, unrecorded, left].map(Arc::new));
    let spans = scene.spans().await;
    let [failed, left] = &spans[..] else { panic!("{} spans", spans.len()) };
    assert_eq!((&failed.trace_id[..], &failed.parent_span_id[..]), (&[9; 16][..], &[8; 8][..]));
    assert_eq!((failed.name.as_str(), failed.status.as_ref().unwrap().code), ("embeddings", 2));
    assert_eq!(failed.status.as_ref().unwrap().message, "1024 wait");
    assert_eq!(text(&failed.attributes, "error.type").as_deref(), Some("queue_full"));
    assert_eq!(whole(&failed.attributes, "gen_ai.usage.output_tokens"), None);
    assert_eq!(whole(&failed.attributes, "pilothouse.output_tokens_estimated"), Some(5));
    assert_eq!(text(&left.attributes, "error.type"), None, "that a client leaves is no fault");
    assert_eq!(text(&left.attributes, "pilothouse.request.state").as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn nothing_is_told_without_a_collector() {
    let mut scene = Scene::new().await;
    scene.tracer.tell(&[Arc::new(done())]);
    scene.set(&format!("{}/v1/traces", scene.address));
    scene.tracer.tell(&[Arc::new(RequestRecord { id: 8, ..done() })]);
    let spans = scene.spans().await;
    assert_eq!(whole(&spans[0].attributes, "pilothouse.request.id"), Some(8));
    // What was waiting when it was switched off stays here.
    scene.set("");
    scene.tracer.tell(&[Arc::new(done())]);
    scene.tracer.shutdown().await;
    assert!(scene.told.try_recv().is_err());
    assert_eq!(scene.tracer.lost.load(Relaxed), 0);
}

#[tokio::test]
async fn a_collector_that_refuses_is_a_trouble_until_it_takes_them() {
    let mut scene = Scene::new().await;
    scene.set(&scene.address.clone());
    *scene.status.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
    scene.tracer.tell(&[Arc::new(done()), Arc::new(done())]);
    let trouble = scene.trouble(true).await.unwrap();
    assert!(trouble.message.contains(&scene.address), "{}", trouble.message);
    assert!(trouble.hint.unwrap().contains("gateway.otlp"));
    assert_eq!(scene.tracer.lost.load(Relaxed), 2);
    *scene.status.lock().unwrap() = StatusCode::OK;
    scene.tracer.tell(&[Arc::new(done())]);
    scene.trouble(false).await;
    // Nor does it stay when nobody wants it any more.
    scene.set("http://127.0.0.1:9");
    scene.tracer.tell(&[Arc::new(done())]);
    scene.trouble(true).await;
    scene.set("");
    scene.trouble(false).await;
    assert_eq!(scene.spans().await.len(), 2);
}

#[tokio::test]
async fn a_silent_collector_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = Scene::new().await;
    scene.set(&format!("http://{}", silent.local_addr().unwrap()));
    for _ in 0..2000 {
        scene.tracer.tell(&[Arc::new(done())]);
        tokio::task::yield_now().await;
    }
    // One is on its way, so many wait, and the rest is counted.
    let lost = scene.tracer.lost.load(Relaxed);
    assert!((2000 - WAITING as u64 - 1..=2000 - WAITING as u64).contains(&lost), "{lost}");
    let begun = std::time::Instant::now();
    scene.tracer.shutdown().await;
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}
