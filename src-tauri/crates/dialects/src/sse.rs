//! Server-sent events (WHATWG HTML, section 9.2): splitting them, and writing them.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Of its `event:` line; empty without one.
    pub name: String,
    /// Its `data:` lines, joined by line feeds.
    pub data: String,
}

/// Splits a stream into events, however it is cut into pieces. Comments are passed over. Line ends may be `\n`, `\r\n` or `\r`.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a `\r`, so that a `\n` belongs to it.
    after_return: bool,
    /// Bytes held for the event under way.
    held: usize,
}

/// Longest event that is collected: an image in an answer is some MB.
pub const LONGEST_EVENT: usize = 16 << 20;

/// An event of a stream is longer than [`LONGEST_EVENT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Splitter {
    /// The events that end within these bytes. Errors: an event has no end within the limit; the splitter is of no use after that.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = vec![];
        let mut rest = bytes;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
            let (line, end) = (&rest[..at], rest[at]);
            rest = &rest[at + 1..];
            let is_second_half = end == b'\n' && at == 0 && std::mem::take(&mut self.after_return);
            self.after_return = end == b'\r';
            if is_second_half {
                continue;
            }
            self.hold(line)?;
            let line = std::mem::take(&mut self.line);
            events.extend(self.line(&line));
        }
        if !rest.is_empty() {
            self.after_return = false;
        }
        self.hold(rest)?;
        Ok(events)
    }

    /// What an event that lacks the blank line behind it says, at the end of a stream.
    pub fn finish(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line);
        }
        self.event()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.held += bytes.len();
        if self.held > LONGEST_EVENT {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            return self.event();
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"event" => self.event.name = value.into_owned(),
            b"data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(&value);
            }
            // Comments, ids, times, and what a newer server says.
            _ => {}
        }
        None
    }

    fn event(&mut self) -> Option<Event> {
        self.held = 0;
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

/// Writes one event; `name` empty: none is said. `data` is one line, as JSON is.
pub fn write(out: &mut Vec<u8>, name: &str, data: &str) {
    if !name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    fn split(pieces: &[&[u8]]) -> Vec<Event> {
        let mut splitter = Splitter::default();
        let mut events: Vec<Event> = pieces.iter().flat_map(|piece| splitter.take(piece).unwrap()).collect();
        events.extend(splitter.finish());
        events
    }

    #[test]
    fn events_are_found_whatever_ends_their_lines() {
        for (text, wanted) in [
            ("data: a\n\n", vec![event("", "a")]),
            ("event: x\r\ndata:a\r\n\r\ndata: b\r\n\r\n", vec![event("x", "a"), event("", "b")]),
            ("data: a\r\rdata:  b\r\r", vec![event("", "a"), event("", " b")]),
            ("data: a\ndata: b\n\n", vec![event("", "a\nb")]),
            (": comment\n\nevent: lonely\n\ndata: a", vec![event("", "a")]),
            ("data\n\n", vec![event("", "")]),
            ("id: 7\nretry: 3\nevent: x\ndata: {\"a\":\"b: c\"}\n\n", vec![event("x", "{\"a\":\"b: c\"}")]),
            ("", vec![]),
        ] {
            assert_eq!(split(&[text.as_bytes()]), wanted, "{text:?}");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(split(&bytes), wanted, "byte by byte: {text:?}");
        }
    }

    #[test]
    fn an_event_without_an_end_has_one() {
        let mut splitter = Splitter::default();
        let piece = [b'x'; 1 << 20];
        let taken: Vec<bool> = (0..17).map(|_| splitter.take(&piece).is_ok()).collect();
        assert_eq!(taken.iter().filter(|good| **good).count(), 16);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = vec![];
        write(&mut out, "message_stop", "{}");
        write(&mut out, "", "[DONE]");
        assert_eq!(split(&[&out]), [event("message_stop", "{}"), event("", "[DONE]")]);
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(text in "(data: ?[a-c:]{0,3}|event: x|: c|\r\n|\n|\r){0,12}", at in 0usize..60) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            proptest::prop_assert_eq!(split(&[&bytes[..at], &bytes[at..]]), split(&[bytes]));
        }
    }
}
