use super::Shared;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use pilothouse_records::MetricsPage;

pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.handler.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, MetricsPage::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
