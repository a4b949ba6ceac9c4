use super::{
    Failed,
    arguments::Load,
    backend::{Backend, Reach, lost},
    field,
    models::gibibytes,
    prompt, say,
};
use crate::sims::lmstudio::control::{self, LoadLine};
use serde_json::Value;
use std::io::Write;

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

pub async fn run(load: Load, reach: &Reach) -> Result<(), Failed> {
    let backend = reach.or_wake(Some(&load.connection)).await?;
    let models: Vec<Value> = backend.get("models").await?;
    let model = choose(&models, &load)?;
    let key = field(model, "modelKey").to_owned();
    let size = gibibytes(model["sizeBytes"].as_u64().unwrap_or_default());
    if load.estimate_only {
        estimate(&key, &size, load.context_length);
        return Ok(());
    }
    let wish = control::Load {
        key: key.clone(),
        context: load.context_length,
        identifier: load.identifier,
        ttl_s: load.ttl,
        parallel: load.parallel,
    };
    let (id, seconds) = follow(&backend, &wish).await?;
    say(&format!("Model loaded successfully in {seconds:.1}s."));
    say(&format!("({size})"));
    say(&format!("To use the model in the API/SDK, use the identifier \"{id}\"."));
    Ok(())
}

/// With `--yes` the best match; else the picker, unless there is exactly one match.
fn choose<'a>(models: &'a [Value], load: &Load) -> Result<&'a Value, Failed> {
    let Some(wanted) = &load.model else {
        return Err(prompt("? Select a model to load"));
    };
    if load.exact {
        let found = models.iter().find(|model| field(model, "path") == wanted);
        return found.ok_or_else(|| not_found(wanted));
    }
    let keys: Vec<&str> = models.iter().map(|model| field(model, "modelKey")).collect();
    let ranked = rank(&keys, wanted);
    let certain =
        load.yes || ranked.len() == 1 || ranked.first().is_some_and(|first| is_exact(keys[*first], wanted));
    match ranked.first() {
        Some(first) if certain => Ok(&models[*first]),
        None if load.yes => Err(not_found(wanted)),
        _ => Err(prompt("? Select a model to load")),
    }
}

fn not_found(wanted: &str) -> Failed {
    format!("Model not found: {wanted}")
}

fn is_exact(key: &str, wanted: &str) -> bool {
    key.eq_ignore_ascii_case(wanted)
}

/// Positions of the keys in which the letters of `wanted` come in this order, the best first: the exact one, then those
/// that hold it in one piece, then the shortest.
fn rank(keys: &[&str], wanted: &str) -> Vec<usize> {
    let wanted = wanted.to_lowercase();
    let fits = |key: &str| {
        let mut letters = key.chars();
        wanted.chars().all(|letter| letters.any(|other| other == letter))
    };
    let mut ranked: Vec<(bool, bool, usize, usize)> = vec![];
    for (position, key) in keys.iter().enumerate() {
        let key = key.to_lowercase();
        if fits(&key) {
            ranked.push((key != wanted, !key.contains(&wanted), key.len(), position));
        }
    }
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., position)| position).collect()
}

fn estimate(key: &str, size: &str, context: Option<u64>) {
    say(&format!("Model: {key}"));
    if let Some(context) = context {
        say(&format!("Context Length: {context}"));
    }
    say(&format!("Estimated GPU Memory:   {size}\nEstimated Total Memory: {size}\n"));
    say("Estimate: This model may be loaded based on your resource guardrails settings. (simulated)");
}

/// Shows the progress on stdout until the load ends.
async fn follow(backend: &Backend, wish: &control::Load) -> Result<(String, f64), Failed> {
    let mut answer = backend.post("load", wish).await?;
    let mut stdout = std::io::stdout();
    let (mut unread, mut turn) = (Vec::new(), 0);
    while let Some(bytes) = answer.chunk().await.map_err(lost)? {
        unread.extend_from_slice(&bytes);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            match serde_json::from_slice(&line).map_err(|error| error.to_string())? {
                LoadLine::Progress(progress) => {
                    let wheel = SPINNER[turn % SPINNER.len()];
                    turn += 1;
                    // A closed stdout does not stop the load.
                    let _ =
                        write!(stdout, "\r\u{1b}[2KLoading {} {:.0}% {wheel}", wish.key, progress * 100.0);
                    let _ = stdout.flush();
                }
                LoadLine::Loaded { id, seconds } => {
                    let _ = write!(stdout, "\r\u{1b}[2K");
                    return Ok((id, seconds));
                }
                LoadLine::Failed { text, .. } => {
                    let _ = write!(stdout, "\r\u{1b}[2K");
                    return Err(text);
                }
            }
        }
    }
    Err("The load was cut off.".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["acme/alpha-2b-instruct", "acme/alpha-2b", "beta-7b", "alpha"];

    fn best(wanted: &str) -> Option<&'static str> {
        rank(&KEYS, wanted).first().map(|position| KEYS[*position])
    }

    #[test]
    fn the_exact_key_comes_first_and_a_typo_finds_something_else() {
        assert_eq!(best("ACME/Alpha-2b"), Some("acme/alpha-2b"));
        assert_eq!(best("alpha-2b"), Some("acme/alpha-2b"), "the shorter one");
        assert_eq!(best("alph"), Some("alpha"));
        assert_eq!(best("bt7"), Some("beta-7b"), "letters in this order suffice");
    }

    #[test]
    fn a_variant_key_is_not_found() {
        assert_eq!(best("acme/alpha-2b@q4_k_m"), None);
    }
}
