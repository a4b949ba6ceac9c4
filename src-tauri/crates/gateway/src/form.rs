//! Forms (`multipart/form-data`, RFC 7578), as audio and images are sent: where the field `model` stands in one. Nothing is
//! decoded or copied; the rest of the body goes on as it came.

use memchr::memmem::Finder;
use std::ops::Range;

/// What the gateway needs of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The text of the field `model`.
    pub model: Option<Range<usize>>,
    /// Where the first part begins: another one can be put before it.
    pub begin: usize,
}

impl Form {
    /// Errors: in words, what is wrong with it.
    pub fn read(body: &[u8], boundary: &str) -> Result<Self, &'static str> {
        let mark = format!("--{boundary}");
        let finder = Finder::new(mark.as_bytes());
        let (mut begin, mut model, mut content) = (None, None, None::<usize>);
        for at in finder.find_iter(body) {
            let after = at + mark.len();
            let at_line_start = at == 0 || body[..at].ends_with(b"\r\n");
            let Some(end) = line_end(&body[after..]).filter(|_| at_line_start) else { continue };
            begin.get_or_insert(at);
            if let Some(start) = content {
                let part = start..at.saturating_sub(2).max(start);
                if let Some(text) = model_in(&body[part.clone()]) {
                    let place = part.start + text.start..part.start + text.end;
                    if model.replace(place).is_some() {
                        return Err("it names its model twice");
                    }
                }
            }
            match end {
                LineEnd::More(bytes) => content = Some(after + bytes),
                LineEnd::Last => {
                    let begin = begin.unwrap_or(at);
                    return Ok(Self { model, begin });
                }
            }
        }
        Err(if begin.is_some() { "its end is missing" } else { "the boundary of its head is nowhere in it" })
    }
}

/// How the line of a boundary goes on.
enum LineEnd {
    /// A part follows after so many bytes.
    More(usize),
    Last,
}

fn line_end(rest: &[u8]) -> Option<LineEnd> {
    if rest.starts_with(b"--") {
        return Some(LineEnd::Last);
    }
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    rest[padding..].starts_with(b"\r\n").then_some(LineEnd::More(padding + 2))
}

/// Where in a part its text stands, if it is the field `model` and no file.
fn model_in(part: &[u8]) -> Option<Range<usize>> {
    const GAP: &[u8] = b"\r\n\r\n";
    let head = memchr::memmem::find(part, GAP)?;
    let lines = String::from_utf8_lossy(&part[..head]);
    let disposition = lines.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let is_model = parameter(disposition, "name")? == "model" && parameter(disposition, "filename").is_none();
    is_model.then_some(head + GAP.len()..part.len())
}

/// The boundary that a `Content-Type` names. `None`: it is no form, or has none (or one that RFC 2046 section 5.1.1 forbids).
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let boundary =
        parameter(content_type, "boundary").filter(|_| kind.eq_ignore_ascii_case("multipart/form-data"))?;
    ((1..=70).contains(&boundary.len()) && boundary.bytes().all(|byte| (b' '..0x7f).contains(&byte)))
        .then_some(boundary)
}

/// A parameter behind the first `;` of a header's value, bare or in quotes.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let name = name.trim_matches([' ', '\t', ';']);
        let (text, next) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (text, next) = behind.split_once(';').unwrap_or((behind, ""));
                (text.trim().to_owned(), next)
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = next;
    }
}

/// The text up to the closing quote, and what stands behind that.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            '\\' => text.push(chars.next()?.1),
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(body: &str) -> Result<Option<&str>, &'static str> {
        Form::read(body.as_bytes(), "b0").map(|form| form.model.map(|place| &body[place]))
    }

    fn part(head: &str, text: &str) -> String {
        format!("--b0\r\n{head}\r\n\r\n{text}\r\n")
    }

    #[test]
    fn the_model_is_found_wherever_it_stands_and_however_it_is_written() {
        let file = part(
            "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"",
            "RIFF\0\r\n--b\r\n\r\n",
        );
        for (head, text) in [
            ("Content-Disposition: form-data; name=\"model\"", "whisper-1"),
            ("content-disposition:form-data;name=model", "whisper-1"),
            ("Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"model\"", "hf.co/a/b:Q4"),
            ("Content-Disposition: form-data; name=\"mod\\el\"", "a"),
            ("Content-Disposition: form-data; name=\"model\"", ""),
        ] {
            for body in [
                format!("{}{file}--b0--\r\n", part(head, text)),
                format!("preamble\r\n{file}{}--b0--", part(head, text)),
            ] {
                assert_eq!(model(&body), Ok(Some(text)), "{body:?}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_the_field_is_not_it() {
        let own = part("Content-Disposition: form-data; name=\"model\"", "right");
        for other in [
            part("Content-Disposition: form-data; name=\"model\"; filename=\"model\"", "wrong"),
            part("Content-Disposition: form-data; name=\"Model\"", "wrong"),
            part("Content-Disposition: form-data; name=\"model_id\"", "wrong"),
            part("Content-Disposition: form-data; title=\"a; name=model\"; name=\"x\"", "wrong"),
            part(
                "Content-Disposition: form-data; name=\"prompt\"",
                "\r\n--b01\r\n name=\"model\"\r\n\r\nwrong",
            ),
            part(
                "Content-Disposition: form-data; name=\"prompt\"",
                "x --b0\r\nContent-Disposition: form-data; name=\"model\"",
            ),
            part("X-Content-Disposition: form-data; name=\"model\"", "wrong"),
        ] {
            let body = format!("{other}{own}--b0--\r\n");
            assert_eq!(model(&body), Ok(Some("right")), "{other:?}");
            assert_eq!(model(&format!("{other}--b0--\r\n")), Ok(None), "{other:?}");
        }
    }

    #[test]
    fn a_form_that_is_none_is_said_to_be_so() {
        let own = part("Content-Disposition: form-data; name=\"model\"", "a");
        for body in
            ["", "{}", "--b0", "--b0\r\n", &own, &format!("{own}{own}--b0--"), &own.replace("\r\n", "\n")]
        {
            assert!(model(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn the_boundary_is_read_as_mail_has_it() {
        for (text, wanted) in [
            ("multipart/form-data; boundary=b0", Some("b0")),
            ("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"b 0;=\"", Some("b 0;=")),
            (
                "multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxk; x=y",
                Some("----WebKitFormBoundary7MA4YWxk"),
            ),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"open", None),
            ("multipart/mixed; boundary=b0", None),
            ("application/json; boundary=b0", None),
        ] {
            assert_eq!(boundary(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "b".repeat(71))), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_to_its_end(body in proptest::collection::vec(proptest::sample::select(vec![
            "--b0", "--", "\r\n", "\r\n\r\n", "Content-Disposition: form-data; name=\"model\"", "x", ";", "\"", "\\",
        ]), 0..20)) {
            let body = body.concat();
            if let Ok(Form { model: Some(place), begin }) = Form::read(body.as_bytes(), "b0") {
                proptest::prop_assert!(begin < place.start && place.end <= body.len());
            }
        }
    }
}
