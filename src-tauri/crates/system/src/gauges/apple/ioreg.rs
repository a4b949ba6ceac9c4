//! The graphics part of the I/O registry, as `ioreg -a -r -d 1 -c IOAccelerator` prints it (reference: telemetry,
//! section 1.1).

use plist::{Dictionary, Value};

/// More than any Mac prints; what is longer is no answer of `ioreg`.
const LONGEST: usize = 4 << 20;
/// Values are freed level by level on the stack.
const DEEPEST: usize = 32;

/// A GPU as its driver registers it. `None`: the driver does not tell it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Accelerator {
    /// "AGXAcceleratorG16X".
    pub class: Option<String>,
    /// "Apple M4 Max".
    pub model: Option<String>,
    pub cores: Option<u32>,
    /// Share of a short moment in which it had work, 0–100. Very noisy: one look may say 26 and the next 99.
    pub busy_percent: Option<f64>,
    /// Bytes that are resident for it.
    pub memory_used_bytes: Option<u64>,
    /// Bytes of a card of its own (Macs with Intel processors); `None`: it uses the machine's memory.
    pub memory_total_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature_c: Option<f64>,
}

impl Accelerator {
    /// Apple's own GPUs, of all generations.
    pub fn is_apple(&self) -> bool {
        self.class.as_deref().is_some_and(|class| class.starts_with("AGX"))
    }
}

/// The accelerators of a property list in XML. One that tells no statistics is left out.
/// Errors: what is given is no such list.
pub fn parse_accelerators(plist: &[u8]) -> Result<Vec<Accelerator>, String> {
    if plist.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    check_shape(plist)?;
    let list = Value::from_reader_xml(plist).map_err(|error| format!("no property list: {error}"))?;
    let nodes = list.as_array().ok_or("no list of devices")?;
    Ok(nodes.iter().filter_map(|node| accelerator(node.as_dictionary()?)).collect())
}

fn accelerator(node: &Dictionary) -> Option<Accelerator> {
    let statistics = node.get("PerformanceStatistics")?.as_dictionary()?;
    let amount = |key: &str| statistics.get(key).and_then(number);
    let bytes = |key: &str| amount(key).filter(|bytes| *bytes >= 0.0).map(|bytes| bytes as u64);
    let busy = amount("Device Utilization %").or_else(|| amount("GPU Activity(%)"));
    let own = bytes("vramUsedBytes").zip(bytes("vramFreeBytes"));
    Some(Accelerator {
        class: text(node.get("IOClass")).or_else(|| text(node.get("IOObjectClass"))),
        model: text(node.get("model")),
        cores: node
            .get("gpu-core-count")
            .and_then(number)
            .filter(|cores| *cores >= 1.0)
            .map(|cores| cores as u32),
        busy_percent: busy.map(|percent| percent.clamp(0.0, 100.0)),
        // "Alloc system memory" counts what was only promised, and may exceed the machine's memory.
        memory_used_bytes: bytes("In use system memory").or(own.map(|(used, _)| used)),
        memory_total_bytes: own.map(|(used, free)| used.saturating_add(free)).filter(|total| *total > 0),
        temperature_c: amount("Temperature(C)").filter(|degrees| super::TEMPERATURES.contains(degrees)),
    })
}

/// An integer or a real that is a number.
fn number(value: &Value) -> Option<f64> {
    let integer =
        || value.as_unsigned_integer().map(|it| it as f64).or(value.as_signed_integer().map(|it| it as f64));
    value.as_real().or_else(integer).filter(|number| number.is_finite())
}

/// A string, or the same as data with a zero at its end.
fn text(value: Option<&Value>) -> Option<String> {
    let value = value?;
    let text = match value.as_data() {
        Some(data) => std::str::from_utf8(data).ok()?.trim_end_matches('\0'),
        None => value.as_string()?,
    };
    (!text.is_empty()).then(|| text.to_owned())
}

/// Refuses what would make a reader of values run out of stack: too much, or too deep. Only plain tags are let through,
/// as Apple writes them: without attributes, comments and the like, so that each `<` is a tag and each `>` its end.
fn check_shape(plist: &[u8]) -> Result<(), String> {
    if plist.len() > LONGEST {
        return Err(format!("longer than {} MiB", LONGEST >> 20));
    }
    let mut depth = 0_usize;
    let mut rest = plist;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        rest = &rest[start + 1..];
        let end = rest.iter().position(|byte| *byte == b'>').ok_or("a tag has no end")?;
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let head = tag.starts_with(b"?xml ")
            || tag.starts_with(b"!DOCTYPE plist ")
            || tag == br#"plist version="1.0""#;
        match tag.first() {
            _ if head && depth == 0 && !tag.contains(&b'<') && !tag.contains(&b'[') => {
                depth += usize::from(tag.starts_with(b"plist"));
            }
            Some(b'/') => depth = depth.checked_sub(1).ok_or("a tag is closed that was not open")?,
            _ if tag.ends_with(b"/") && plain(&tag[..tag.len() - 1]) => {}
            _ if plain(tag) => depth += 1,
            _ => return Err("a tag that no property list of ioreg has".into()),
        }
        if depth > DEEPEST {
            return Err(format!("nested more than {DEEPEST} times"));
        }
    }
    Ok(())
}

fn plain(tag: &[u8]) -> bool {
    !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Statistics as recorded on an M4 Max (reference: telemetry, section 1.1); other keys of the node removed.
    pub(crate) const M4_MAX: &str = include_str!("../../../../../../tests/fixtures/apple/ioreg-m4-max.plist");

    /// A node with these statistics.
    fn node(statistics: &str, more: &str) -> String {
        format!(
            "<plist version=\"1.0\"><array><dict>{more}<key>PerformanceStatistics</key><dict>{statistics}</dict></dict></array></plist>"
        )
    }

    fn one(text: &str) -> Accelerator {
        let found = parse_accelerators(text.as_bytes()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn the_recorded_mac_is_read() {
        let expected = Accelerator {
            class: Some("AGXAcceleratorG16X".into()),
            model: Some("Apple M4 Max".into()),
            cores: Some(32),
            busy_percent: Some(16.0),
            memory_used_bytes: Some(2_914_402_304),
            memory_total_bytes: None,
            temperature_c: None,
        };
        assert_eq!(one(M4_MAX), expected);
        assert!(expected.is_apple());
    }

    /// Device %, in use and allocated of other Macs (reference: telemetry, section 1.1).
    #[test]
    fn other_recorded_values_come_out_and_promised_memory_does_not_count() {
        for (percent, used, promised) in [
            (4, 632_307_712_u64, 3_455_598_592_u64),
            (12, 1_142_489_088, 4_455_694_336),
            (46, 843_038_720, 7_340_146_688),
            (86, 1_334_083_584, 22_620_471_296),
            (0, 925_630_464, 4_859_609_088),
        ] {
            let text = node(
                &format!(
                    "<key>Alloc system memory</key><integer>{promised}</integer><key>Device Utilization %</key>\
                     <integer>{percent}</integer><key>In use system memory (driver)</key><integer>0</integer>\
                     <key>In use system memory</key><integer>{used}</integer>"
                ),
                "",
            );
            let read = one(&text);
            assert_eq!((read.busy_percent, read.memory_used_bytes), (Some(f64::from(percent)), Some(used)));
        }
    }

    #[test]
    fn odd_values_are_taken_for_what_they_are() {
        let text = "<key>Device Utilization %</key><real>137.5</real><key>In use system memory</key><string>much</string>";
        let read = one(&node(text, "<key>model</key><data>QXBwbGUgTTEA</data>"));
        assert_eq!((read.busy_percent, read.memory_used_bytes), (Some(100.0), None));
        assert_eq!(read.model.as_deref(), Some("Apple M1"));
        let read =
            one(&node("<key>In use system memory</key><integer>-5</integer>", "<key>model</key><true/>"));
        assert_eq!(read, Accelerator::default());
        let promised = one(&node("<key>Alloc system memory</key><integer>5</integer>", ""));
        assert_eq!(promised.memory_used_bytes, None, "a missing key is unknown");
    }

    #[test]
    fn a_card_of_an_older_mac_has_memory_of_its_own() {
        let text = "<key>vramUsedBytes</key><integer>3</integer><key>vramFreeBytes</key><integer>5</integer>\
                    <key>GPU Activity(%)</key><integer>7</integer><key>Temperature(C)</key><integer>61</integer>";
        let both = node(text, "<key>IOClass</key><string>AMDRadeonX6000</string>")
            .replace("<array>", "<array><dict><key>IOClass</key><string>IntelAccelerator</string></dict>");
        let read = one(&both);
        assert_eq!((read.memory_used_bytes, read.memory_total_bytes), (Some(3), Some(8)));
        assert_eq!((read.busy_percent, read.temperature_c, read.is_apple()), (Some(7.0), Some(61.0), false));
    }

    #[test]
    fn what_is_no_list_of_devices_is_an_error() {
        assert_eq!(
            parse_accelerators(b" \n"),
            Ok(vec![]),
            "ioreg prints nothing where there is no such device"
        );
        let deep = "<array>".repeat(100_000);
        let hidden = format!("<plist version=\"1.0\">{}", "<array><!-- </array> -->".repeat(100_000));
        let attribute = format!("<plist version=\"1.0\">{}", "<array a=\"</array>\">".repeat(100_000));
        let long = " ".repeat(LONGEST) + "<plist>";
        let texts = [
            "junk",
            "<plist",
            "<dict/>",
            "bplist00",
            "<array></array></array>",
            "<plist version=\"1.0\"><dict/></plist>",
        ];
        for text in texts.into_iter().chain([&deep, &hidden, &attribute, &long].map(String::as_str)) {
            assert!(parse_accelerators(text.as_bytes()).is_err(), "{:.80}", text);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_accelerators(&bytes);
        }

        /// The recorded list with a piece of it replaced or cut.
        #[test]
        fn no_damage_makes_it_panic(at in 0..1900_usize, length in 0..40_usize, patch in "[<>/a-z\"! ]{0,12}") {
            let at = at.min(M4_MAX.len());
            let end = (at + length).min(M4_MAX.len());
            let damaged = [&M4_MAX.as_bytes()[..at], patch.as_bytes(), &M4_MAX.as_bytes()[end..]].concat();
            let _ = parse_accelerators(&damaged);
        }
    }
}
