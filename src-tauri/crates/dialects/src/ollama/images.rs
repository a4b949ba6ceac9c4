//! Images that come as bare base64: what they are is in their first bytes.

use crate::Refused;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The address of an image that is written as `text`: a `data:` one, or one of the web as it is. `place` names it in errors.
pub(super) fn address(text: &str, place: &str) -> Result<String, Refused> {
    if is_web(text) {
        return Ok(text.to_owned());
    }
    let data = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(',').map(|(_, data)| data).unwrap_or_default(),
        None => text,
    };
    let mut data: String = data.split_ascii_whitespace().collect();
    let bytes = BASE64.decode(&data).map_err(|_| {
        Refused::invalid(format!("{place} is neither base64 nor an address.")).about("images")
    })?;
    let kind = kind_of(&bytes).ok_or_else(|| {
        Refused::unsupported(format!("{place} is none of PNG, JPEG, WebP and GIF.")).about("images")
    })?;
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    Ok(format!("data:{kind};base64,{data}"))
}

pub(super) fn is_web(text: &str) -> bool {
    let has = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    has("http://") || has("https://")
}

/// By the marks that each format begins with.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_its_first_bytes_say() {
        let long = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 90]].concat();
        for (bytes, wanted) in [
            (b"\x89PNG\r\n\x1a\n".as_slice(), Some("image/png")),
            (&long, Some("image/png")),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("image/jpeg")),
            (b"\xff\xd8\xff\xe1", Some("image/jpeg")),
            (b"GIF89a\x01\0", Some("image/gif")),
            (b"GIF87a", Some("image/gif")),
            (b"RIFF\x1a\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\x1a\0\0\0WAVEfmt ", None),
            (b"RIFF", None),
            (b"BM\0\0", None),
            (b"", None),
        ] {
            let text = BASE64.encode(bytes);
            let wanted = wanted.map(|kind| format!("data:{kind};base64,{text}"));
            assert_eq!(address(&text, "It").ok(), wanted, "{text}");
            let bare = text.trim_end_matches('=');
            assert_eq!(address(bare, "It").ok(), wanted, "without padding");
            assert_eq!(address(&format!("data:x/y;base64,{text}"), "It").ok(), wanted, "as an address");
            let broken: String = text.chars().flat_map(|letter| [letter, '\n']).collect();
            assert_eq!(address(&broken, "It").ok(), wanted, "over many lines");
        }
    }

    #[test]
    fn what_is_no_image_is_told_from_one_that_is_not_known() {
        for (text, code) in [
            ("/home/me/cat.png", "invalid_request"),
            ("iVBO*w0KGgo=", "invalid_request"),
            ("data:image/png", "unsupported"),
            ("Qk0AAA==", "unsupported"),
        ] {
            let refused = address(text, "“images[0]” of message 1").unwrap_err();
            assert_eq!(refused.code, code, "{text}");
            assert!(refused.message.starts_with("“images[0]” of message 1 is "), "{refused}");
        }
        for web in ["http://a/b.png", "HTTPS://a/b"] {
            assert_eq!(address(web, "It").as_deref(), Ok(web));
        }
    }
}
