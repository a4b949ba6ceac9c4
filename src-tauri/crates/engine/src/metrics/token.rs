use pilothouse_domain::{
    endpoint::Secret,
    error::{ApiError, ErrorCode},
};
use pilothouse_system::{files::write_private, paths::Paths, redact};
use std::{io::ErrorKind, path::Path};

/// Letters of a token: 256 bits.
const LETTERS: usize = 64;

/// The token that scrapers show, from its file of mode 0600 in the data folder; a new one where there is none, or what is there is
/// none of ours. Errors: system.
pub fn metrics_token(paths: &Paths) -> Result<Secret, ApiError> {
    let file = paths.data.join("metrics-token");
    let token = match read(&file)? {
        Some(token) => token,
        None => {
            let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
            write_private(&file, token.as_bytes()).map_err(|error| cannot("written", &file, &error))?;
            token
        }
    };
    let token = Secret::new(token);
    redact::register(&token);
    Ok(token)
}

fn read(file: &Path) -> Result<Option<String>, ApiError> {
    match std::fs::read(file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            let is_ours = text.len() == LETTERS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            Ok(is_ours.then_some(text))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", file, &error)),
    }
}

fn cannot(verb: &str, file: &Path, error: &std::io::Error) -> ApiError {
    let text = format!("The token for Prometheus cannot be {verb}: {error}.");
    ApiError::new(ErrorCode::System, text)
        .hint(format!("Look at {}. Until then nobody reads the figures.", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_outlives_a_restart_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let asked = |name: &str| (name == "PILOTHOUSE_HOME").then(|| home.clone().into_os_string());
        let paths = Paths::resolve(&asked).unwrap();
        paths.create_all().unwrap();
        let first = metrics_token(&paths).unwrap();
        assert_eq!(first.expose().len(), LETTERS);
        assert!(metrics_token(&paths).unwrap() == first);
        let file = paths.data.join("metrics-token");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        // As an editor leaves it.
        std::fs::write(&file, format!("{}\n", first.expose())).unwrap();
        assert!(metrics_token(&paths).unwrap() == first);
        for damaged in ["", "short", "\u{fffd}", &"g".repeat(64), &"a".repeat(63)] {
            std::fs::write(&file, damaged).unwrap();
            let other = metrics_token(&paths).unwrap();
            assert!(other != first && other.expose() != damaged, "{damaged}");
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(metrics_token(&paths).unwrap_err().code, ErrorCode::System);
    }
}
