//! Which row of the owner's notes a run belongs to.

use crate::report::figures::told;
use pilothouse_domain::bench::Run;

/// One row of the notes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeClass {
    pub title: &'static str,
    /// As the notes in the fit check name it.
    pub(super) noted_as: &'static str,
    /// Parameters from and to, in billions.
    from: f64,
    to: f64,
    /// The bits of its weights.
    bits: &'static str,
    /// A model of this size as Ollama and as LM Studio name it, for the command that would measure one.
    pub(super) usual: &'static str,
    pub(super) usual_lmstudio: &'static str,
    pub(super) noted_gb: f64,
    /// Copies in memory at a time.
    pub(super) noted_copies: &'static str,
}

#[rustfmt::skip]
pub(super) const CLASSES: [SizeClass; 7] = [
    SizeClass { title: "0.5B", noted_as: "0.5b", from: 0.4, to: 0.7, bits: "4", usual: "qwen2.5:0.5b", usual_lmstudio: "qwen2.5-0.5b-instruct", noted_gb: 0.7, noted_copies: "50+" },
    SizeClass { title: "1.5B", noted_as: "1.5b", from: 1.2, to: 1.9, bits: "4", usual: "qwen2.5:1.5b", usual_lmstudio: "qwen2.5-1.5b-instruct", noted_gb: 1.5, noted_copies: "20+" },
    SizeClass { title: "3B", noted_as: "3b", from: 2.6, to: 3.4, bits: "4", usual: "qwen2.5:3b", usual_lmstudio: "qwen2.5-3b-instruct", noted_gb: 2.5, noted_copies: "12+" },
    SizeClass { title: "7B", noted_as: "7b", from: 6.2, to: 8.3, bits: "4", usual: "qwen2.5:7b", usual_lmstudio: "qwen2.5-7b-instruct", noted_gb: 5.0, noted_copies: "6+" },
    SizeClass { title: "13B", noted_as: "13b", from: 11.5, to: 15.0, bits: "4", usual: "llama2:13b", usual_lmstudio: "llama-2-13b-chat", noted_gb: 9.0, noted_copies: "3+" },
    SizeClass { title: "30B", noted_as: "30b", from: 27.0, to: 36.0, bits: "4", usual: "qwen2.5:32b", usual_lmstudio: "qwen2.5-32b-instruct", noted_gb: 20.0, noted_copies: "1–2" },
    SizeClass { title: "70B Q2_K", noted_as: "70b:q2_k", from: 65.0, to: 75.0, bits: "2", usual: "llama3.1:70b-instruct-q2_K", usual_lmstudio: "llama-3.1-70b-instruct", noted_gb: 30.0, noted_copies: "1" },
];

impl SizeClass {
    /// Whether a run is of a model of this size and of these bits, as its server or its name says.
    pub(super) fn holds(&self, run: &Run) -> bool {
        let billions = told(run, "parameters").and_then(billions).or_else(|| billions_in(&run.model));
        let size = billions.is_some_and(|billions| (self.from..self.to).contains(&billions));
        size && bits_of(run).is_some_and(|bits| bits == self.bits)
    }
}

/// The row of a run. `None`: of another size, or it is not known.
pub fn class_of(run: &Run) -> Option<&'static SizeClass> {
    CLASSES.iter().find(|class| class.holds(run))
}

/// Parameters in billions of a text such as "7.6B", "135M", "26B-A4B" or a plain count.
fn billions(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(count) = text.parse::<u64>() {
        return Some(count as f64 / 1e9);
    }
    billions_in(text)
}

/// The first word of a name that is a size: "qwen2.5:7b", "SmolLM2-135M-Instruct".
fn billions_in(name: &str) -> Option<f64> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '.';
    name.split(|character| !is_part(character)).find_map(|word| {
        let (figure, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let scale = match unit {
            "b" | "B" => 1.0,
            "m" | "M" => 1e-3,
            _ => return None,
        };
        figure
            .parse::<f64>()
            .ok()
            .filter(|figure| figure.is_finite() && *figure > 0.0)
            .map(|figure| figure * scale)
    })
}

/// Bits of a weight as its mix is named: "Q4_K_M", "4bit", "IQ2_XS", "MXFP4".
fn bits_of(run: &Run) -> Option<String> {
    let of = |text: &str| {
        text.split(|character: char| !character.is_ascii_alphanumeric()).find_map(|word| {
            let word = word.to_ascii_lowercase();
            let begins = ["iq", "q", "mxfp", "nvfp", "int"].iter().find_map(|begin| word.strip_prefix(begin));
            let bits = begins.or_else(|| word.strip_suffix("bit"))?;
            matches!(bits, "2" | "3" | "4" | "5" | "6" | "8").then(|| bits.to_owned())
        })
    };
    told(run, "quantization").and_then(of).or_else(|| of(&run.model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::seeds;

    #[test]
    fn a_run_belongs_to_the_row_of_its_size_and_bits() {
        for (name, quantization, parameters, row) in [
            ("qwen2.5:7b", Some("Q4_K_M"), None, Some("7B")),
            ("qwen2.5-7b-instruct", Some("4bit"), None, Some("7B")),
            ("Qwen2.5-Coder-0.5B-Instruct-Q4_K_M", None, None, Some("0.5B")),
            ("llama3.2", Some("Q4_K_M"), Some("3.2B"), Some("3B")),
            ("mine", Some("Q4_K_M"), Some("7615616512"), Some("7B")),
            ("qwen3-30b-a3b", Some("MXFP4"), None, Some("30B")),
            ("llama3.1:70b", Some("Q2_K"), None, Some("70B Q2_K")),
            ("llama3.1:70b", Some("Q4_K_M"), None, None),
            ("qwen2.5:7b", Some("Q8_0"), None, None),
            ("qwen2.5:7b", None, None, None),
            ("SmolLM2-135M-Instruct.Q4_1", None, None, None),
            ("gemma3", Some("Q4_K_M"), None, None),
            ("b", Some("Q4_0"), None, None),
            ("größe-é", Some("Q4_0"), None, None),
        ] {
            let mut run = seeds::bare(1, "s", name).run;
            let mut set = |key: &str, value: Option<&str>| {
                run.fingerprint.insert(key.into(), value.unwrap_or("not reported").into());
            };
            set("quantization", quantization);
            set("parameters", parameters);
            assert_eq!(class_of(&run).map(|class| class.title), row, "{name} {quantization:?}");
        }
    }
}
