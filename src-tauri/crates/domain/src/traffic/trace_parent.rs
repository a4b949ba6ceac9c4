/// Whose trace a request belongs to, as its header `traceparent` says it (W3C Trace Context, level 1:
/// <https://www.w3.org/TR/trace-context-1/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: [u8; 16],
    /// The span of the caller.
    pub span_id: [u8; 8],
    /// Whether the caller records its own.
    pub sampled: bool,
}

impl TraceParent {
    /// `None`: the specification allows no such value; whoever gets it begins a trace of its own.
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let (head, more) = bytes.split_at_checked(55)?;
        let dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        let [version] = hex(&head[..2])?;
        // Later versions may say more behind another dash.
        let is_whole = more.is_empty() || (version > 0 && more[0] == b'-');
        let trace_id = hex(&head[3..35])?;
        let span_id = hex(&head[36..52])?;
        let [flags] = hex(&head[53..])?;
        let is_some = trace_id != [0; 16] && span_id != [0; 8];
        let parent = Self { trace_id, span_id, sampled: flags & 1 == 1 };
        (dashes && is_whole && version < 0xff && is_some).then_some(parent)
    }
}

/// Small letters only.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_the_specification_has_it() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceParent::parse(text).unwrap();
        assert_eq!((parent.trace_id[0], parent.trace_id[15]), (0x0a, 0x9c));
        assert_eq!(parent.span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert!(parent.sampled);
        assert!(
            !TraceParent::parse(&text.replace("-01", "-02")).unwrap().sampled,
            "other flags say nothing of it"
        );
        // Of a later version only what is known counts.
        let later = TraceParent::parse(&format!("cc{}-more", &text[2..]));
        assert_eq!(later, Some(parent));
    }

    #[test]
    fn what_is_none_is_not_guessed_at() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for wrong in [
            String::new(),
            text[..54].to_owned(),
            format!("{text}-more"),
            format!("cc{}more", &text[2..]),
            format!("ff{}", &text[2..]),
            text.to_uppercase(),
            text.replace("-b7", "_b7"),
            text.replace("0af7", "0ag7"),
            text.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            text.replace("b7ad6b7169203331", &"0".repeat(16)),
            format!(" {}", &text[..54]),
            "é".repeat(40),
        ] {
            assert_eq!(TraceParent::parse(&wrong), None, "{wrong}");
        }
    }
}
