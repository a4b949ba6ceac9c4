//! A request as a span, by the semantic conventions for generative AI of OpenTelemetry
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>), which are in development; what they have no name for
//! is named `pilothouse.…`.

use opentelemetry::{
    InstrumentationScope, KeyValue, StringValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use pilothouse_domain::traffic::{Dialect, RequestRecord, RequestState};
use std::time::{Duration, SystemTime};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn resource() -> Resource {
    let own = [KeyValue::new("service.name", "pilothouse"), KeyValue::new("service.version", VERSION)];
    Resource::builder_empty().with_attributes(own).build()
}

/// `None`: its caller does not record the trace that it belongs to.
pub(super) fn of(record: &RequestRecord) -> Option<SpanData> {
    let (trace_id, parent) = match record.parent {
        Some(parent) if !parent.sampled => return None,
        Some(parent) => (TraceId::from_bytes(parent.trace_id), SpanId::from_bytes(parent.span_id)),
        None => (TraceId::from_bytes(rand::random()), SpanId::INVALID),
    };
    let context = SpanContext::new(
        trace_id,
        SpanId::from_bytes(rand::random()),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let operation = operation(record.dialect);
    let name = record.asked.as_ref().map(|asked| format!("{operation} {asked}").into());
    let start_time = SystemTime::from(record.at);
    let took = Duration::from_millis(u64::from(record.total_ms.unwrap_or_default()));
    let error = error(record);
    let status = match error {
        Some(_) => Status::error(record.detail.clone().unwrap_or_default()),
        None => Status::Unset,
    };
    Some(SpanData {
        span_context: context,
        parent_span_id: parent,
        parent_span_is_remote: parent != SpanId::INVALID,
        span_kind: SpanKind::Client,
        name: name.unwrap_or_else(|| operation.into()),
        start_time,
        end_time: start_time + took,
        attributes: attributes(record, operation, error),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder("pilothouse").with_version(VERSION).build(),
    })
}

fn operation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat | Dialect::Responses | Dialect::Messages | Dialect::Ollama => "chat",
        Dialect::Completions => "text_completion",
        Dialect::Embeddings => "embeddings",
        Dialect::Other => "other",
    }
}

/// Of what kind, where it failed. That a client left is no fault.
fn error(record: &RequestRecord) -> Option<String> {
    let status = || record.status.map_or_else(|| "_OTHER".to_owned(), |status| status.to_string());
    record.state.is_failure().then(|| record.error.clone().unwrap_or_else(status))
}

fn attributes(record: &RequestRecord, operation: &'static str, error: Option<String>) -> Vec<KeyValue> {
    let mut all = vec![KeyValue::new("gen_ai.operation.name", operation)];
    let mut add = |name: &'static str, value: Option<Value>| {
        all.extend(value.map(|value| KeyValue::new(name, value)));
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let whole = |number: Option<u32>| number.map(|number| Value::from(i64::from(number)));
    add("gen_ai.provider.name", record.server.as_ref().map(|server| server.as_str().to_owned().into()));
    add("gen_ai.request.model", text(&record.asked));
    add("gen_ai.response.model", text(&record.model));
    add("gen_ai.request.max_tokens", whole(record.most_output));
    let tokens = record.tokens;
    // What was estimated is no measured figure.
    let counted = |number: Option<u32>| whole(number.filter(|_| tokens.counted));
    add("gen_ai.usage.input_tokens", counted(tokens.input));
    add("gen_ai.usage.cache_read.input_tokens", counted(tokens.cached));
    add("gen_ai.usage.output_tokens", counted(tokens.output));
    add("pilothouse.output_tokens_estimated", whole(tokens.output.filter(|_| !tokens.counted)));
    let finish = record.finish.clone().map(|finish| vec![StringValue::from(finish)]);
    add("gen_ai.response.finish_reasons", finish.map(|finish| Value::Array(finish.into())));
    add("http.response.status_code", record.status.map(|status| Value::from(i64::from(status))));
    add("error.type", error.map(Value::from));
    add("pilothouse.request.id", i64::try_from(record.id).ok().map(Value::from));
    add("pilothouse.request.state", Some(state(record.state).into()));
    add("pilothouse.request.streamed", Some(record.streamed.into()));
    add("pilothouse.client", Some(record.client.name().to_owned().into()));
    add("pilothouse.role", text(&record.role));
    add("pilothouse.queued_ms", whole(record.queued_ms));
    add("pilothouse.load_ms", whole(record.load_ms));
    add("pilothouse.ttft_ms", whole(record.ttft_ms));
    add("pilothouse.decode_tok_s", record.decode_tok_s.map(Value::from));
    all
}

fn state(state: RequestState) -> &'static str {
    match state {
        RequestState::Waiting => "waiting",
        RequestState::Loading => "loading",
        RequestState::Answering => "answering",
        RequestState::Done => "done",
        RequestState::Failed => "failed",
        RequestState::Cancelled => "cancelled",
        RequestState::Cut => "cut",
    }
}
