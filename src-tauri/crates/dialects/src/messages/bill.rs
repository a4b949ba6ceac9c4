//! The billing text that Claude Code puts before its system prompt.

/// Begins a text of the system that changes with each request (`cch=…`): were it sent on, no server could use again what it has
/// computed of the prompt behind it.
const BILLING: &str = "x-anthropic-billing-header:";

/// The text without its first line, if that is the billing text.
pub fn without_bill(text: &str) -> &str {
    match text.get(..BILLING.len()) {
        Some(start) if start.eq_ignore_ascii_case(BILLING) => {
            text.split_once('\n').map(|(_, rest)| rest.trim_start_matches(['\r', '\n'])).unwrap_or_default()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_billing_text_ends_with_its_line() {
        for (text, wanted) in [
            ("x-anthropic-billing-header: cc_version=2.1.36; cch=0a1b2;", ""),
            ("x-anthropic-billing-header: cch=0a1b2;\nYou are", "You are"),
            ("X-Anthropic-Billing-Header: a\r\n\r\nYou\nare", "You\nare"),
            ("x-anthropic-billing-header", "x-anthropic-billing-header"),
            ("You are x-anthropic-billing-header: a", "You are x-anthropic-billing-header: a"),
            ("ééééééééééééééééééé", "ééééééééééééééééééé"),
            ("", ""),
        ] {
            assert_eq!(without_bill(text), wanted, "{text:?}");
        }
    }
}
