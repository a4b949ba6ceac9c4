//! The vector of a text, in OpenAI's form.

use crate::http::ServerHttp;
use pilothouse_domain::error::{ApiError, ErrorCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A processor that computes answers beside it takes its time for a short text.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
struct Asked<'a> {
    model: &'a str,
    input: &'a str,
}

#[derive(Debug, Deserialize)]
struct Answered {
    data: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    embedding: Vec<f32>,
}

/// `base`: the path of the API at that server; `title`: its name in errors. Errors: as `ServerHttp::post`, and bad_answer where it
/// is no vector of numbers.
pub async fn embed(
    http: &ServerHttp,
    base: &str,
    title: &str,
    model: &str,
    text: &str,
) -> Result<Vec<f32>, ApiError> {
    let asked = Asked { model, input: text };
    let answered: Answered = http.post(&format!("{base}/embeddings"), &asked, Some(LIMIT)).await?;
    let vector = answered.data.into_iter().next().map(|row| row.embedding).unwrap_or_default();
    match !vector.is_empty() && vector.iter().all(|number| number.is_finite()) {
        true => Ok(vector),
        false => Err(ApiError::new(ErrorCode::BadAnswer, format!("{title} gave no vector for a text."))),
    }
}
