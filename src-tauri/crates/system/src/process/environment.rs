use crate::process::ProcessSpec;

/// Variables that packagings of our own program set for itself and that would make a child load the wrong libraries
/// (Tauri's AppImage sets them: tauri-bundler, appimage/AppRun), and our own switches.
const NEVER_INHERITED: &[&str] =
    &["LD_LIBRARY_PATH", "LD_PRELOAD", "GDK_*", "GIO_*", "GTK_*", "APPDIR", "APPIMAGE", "PILOTHOUSE_*"];

/// The environment of a child: ours, less what must not be inherited, plus what the spec adds.
pub(super) fn build(spec: &ProcessSpec) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let refused = |name: &str| {
        NEVER_INHERITED.iter().copied().chain(spec.env_remove.iter().map(String::as_str)).any(|pattern| {
            match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            }
        })
    };
    std::env::vars_os()
        .filter(|(name, _)| !refused(&name.to_string_lossy()))
        .chain(spec.env.iter().cloned())
        .collect()
}
