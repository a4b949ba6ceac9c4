use crate::{
    output::{Output, quiet},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::units::short;
use pilothouse_engine::api::{AnswerChunk, ApiError, Call, ErrorCode, Reply};
use serde_json::json;
use std::io::{IsTerminal, Read};

/// The most bytes of a prompt; the engine takes no more either.
const MOST: u64 = 100_000;

#[derive(Args)]
pub struct Ask {
    /// What is asked; without it, or as `-`, it is read from stdin.
    prompt: Vec<String>,
    /// The most tokens of the answer.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_tokens: u32,
}

/// Asks the active model and prints the answer as it comes.
pub async fn run(arguments: Ask, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let prompt = prompt(&arguments.prompt)?;
    let Reply::Asked { answer } =
        session.call(Call::Ask { prompt, max_tokens: Some(arguments.max_tokens) }).await?
    else {
        return Err(ApiError::internal("The engine did not say where the answer comes."));
    };
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let (mut offset, mut text, mut waited_for) = (0, String::new(), None);
    loop {
        let read = session.call(Call::ReadAnswer { answer, offset });
        let reply = tokio::select! {
            heard = &mut interrupt => {
                session.call(Call::CancelAnswer { answer }).await?;
                return heard.map(|()| 130).map_err(|error| {
                    ApiError::new(ErrorCode::System, format!("Ctrl-C could not be heard: {error}."))
                });
            }
            reply = read => reply?,
        };
        let Reply::Answer { chunk } = reply else { return Err(unexpected(&reply)) };
        offset = chunk.offset;
        if chunk.waiting.is_some() && chunk.waiting != waited_for {
            waited_for.clone_from(&chunk.waiting);
            output.remark(&format!("{} …", chunk.waiting.as_deref().unwrap_or_default()));
        }
        text.push_str(&chunk.text);
        if !output.is_json() {
            output.bytes(chunk.text.as_bytes());
        }
        if output.is_lost() {
            session.call(Call::CancelAnswer { answer }).await?;
            return Ok(0);
        }
        if chunk.done {
            return end(&chunk, &text, output);
        }
    }
}

fn end(chunk: &AnswerChunk, text: &str, output: &Output) -> Result<u8, ApiError> {
    if !output.is_json() && !text.is_empty() {
        output.line("");
    }
    if let Some(error) = &chunk.error {
        return Err(error.clone());
    }
    if output.is_json() {
        let document = json!({
            "text": text,
            "server": chunk.server,
            "model": chunk.model,
            "ttft_ms": chunk.ttft_ms,
            "decode_tok_s": chunk.decode_tok_s,
            "output_tokens": chunk.output_tokens,
        });
        output.answer(document, String::new);
    } else if std::io::stderr().is_terminal() {
        let first = chunk.ttft_ms.map(|ms| format!("first token after {ms:.0} ms"));
        let rate = chunk.decode_tok_s.map(|rate| format!("{} tok/s", short(rate)));
        let facts: Vec<String> = [Some(format!("{} on {}", chunk.model, chunk.server)), first, rate]
            .into_iter()
            .flatten()
            .collect();
        output.remark(&quiet(&facts.join(" · ")));
    }
    Ok(0)
}

/// Words of the command line as they were said, or what stands on stdin. Errors: invalid_call.
fn prompt(words: &[String]) -> Result<String, ApiError> {
    let said = words.join(" ");
    if !said.is_empty() && said != "-" {
        return Ok(said);
    }
    let wrong = |why: &str| {
        ApiError::new(ErrorCode::InvalidCall, why)
            .hint("pilothouse ask \"Why is the sky blue?\", or a prompt on stdin: pilothouse ask < file")
    };
    let stdin = std::io::stdin();
    if said.is_empty() && stdin.is_terminal() {
        return Err(wrong("There is no prompt."));
    }
    let mut text = String::new();
    let read = stdin.lock().take(MOST + 1).read_to_string(&mut text);
    read.map_err(|error| wrong(&format!("The prompt could not be read from stdin: {error}.")))?;
    if text.len() as u64 > MOST {
        return Err(wrong(&format!("The prompt on stdin has more than {MOST} bytes.")));
    }
    Ok(text)
}
