use super::*;
use crate::report::seeds;
use pilothouse_domain::{bench::open_loop::OpenLoop, gauge::GaugeHistory};

fn made() -> Made {
    Made { at: seeds::at(0), version: "0.1.0".into() }
}

fn whole() -> Vec<RunDetail> {
    let [a, b] = seeds::pair(20, "qwen2.5:7b", (49.7, 58.2));
    let mut flawed = seeds::detail(3, "llama-server", "Qwen2.5-7B-Instruct", 52.0);
    flawed.trials[5].flaw = Some("stopped after 9 of 64 tokens".into());
    flawed.run.note = Some("The server had not settled after 12 warm-up requests.".into());
    let mut open = seeds::detail(6, "ollama", "qwen2.5:7b", 50.0);
    open.run.open_loop = Some(OpenLoop::of(&open.run.plan, &open.trials));
    vec![open, a, b, seeds::sweep(4, "ollama", "qwen2.5:0.5b"), flawed, seeds::bare(5, "studio", "gemma3")]
}

fn of(details: &[RunDetail]) -> String {
    page(details, &NoiseFloor::assumed(), &made())
}

/// The names of the tags, in order; panics where markup is broken.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let inner = &rest[at + 1..end];
        assert!(!inner.contains('<'), "{inner}");
        tags.push(inner.split(|c: char| c.is_whitespace()).next().unwrap().trim_end_matches('/').to_owned());
        rest = &rest[end + 1..];
    }
    tags
}

#[test]
fn a_page_needs_nothing_from_anywhere() {
    let html = of(&whole());
    assert!(html.contains("nothing is hidden from it"), "what an open loop says");
    for outside in [
        "http:", "https:", "//", "src=", "url(", "@import", "<link", "<script", "<img", "<iframe", "<base",
        "srcset",
    ] {
        assert!(!html.contains(outside), "{outside} at {:?}", html.find(outside));
    }
    for reference in html.split("href=\"").skip(1) {
        assert!(reference.starts_with("#run-"), "{}", &reference[..20]);
    }
    assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'"));
}

#[test]
fn whatever_a_thing_is_called_it_stays_text() {
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style><b>",
        "a&amp;b",
        "]]><!--",
        "\u{202e}evil",
        "new\nline\u{0}",
    ] {
        let mut detail = seeds::sweep(1, name, name);
        detail.run.server_version = Some(name.into());
        detail.run.plan.name = name.into();
        detail.run.note = Some(name.into());
        for value in detail.run.fingerprint.values_mut() {
            *value = name.into();
        }
        detail.run.fingerprint.insert(name.into(), name.into());
        detail.trials[3].flaw = Some(name.into());
        if let Some(sweep) = &mut detail.run.sweep {
            sweep.knee.as_mut().unwrap().method = name.into();
        }
        let mut plain = seeds::sweep(1, "name", "name");
        plain.run.note = Some("name".into());
        plain.run.fingerprint.insert("name".into(), "name".into());
        plain.trials[3].flaw = Some("name".into());
        let (html, like) = (of(&[detail]), of(&[plain]));
        assert_eq!(tags(&html), tags(&like), "{name}");
        assert!(!html.contains(name) || name.len() < 3, "{name} is nowhere as it came");
        let strange = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!html.contains(strange), "{name:?}");
    }
}

#[test]
fn tags_are_closed_as_they_were_opened() {
    let html = of(&whole());
    let mut open: Vec<String> = Vec::new();
    for tag in tags(&html) {
        if matches!(tag.as_str(), "!doctype" | "meta" | "br" | "line" | "path" | "rect") {
            continue;
        }
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "within {open:?}"),
            None => open.push(tag),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn every_request_every_level_and_every_lane_is_drawn() {
    let html = of(&[seeds::detail(1, "ollama", "m", 50.0)]);
    assert_eq!(html.matches("class=\"point faint\"").count(), 10);
    assert_eq!(html.matches("class=\"warmup\"").count(), 2);
    for lane in ["GPU load", "GPU power", "Memory of servers", "Processor"] {
        assert!(html.contains(&format!(">{lane}</text>")), "{lane}");
    }
    assert!(
        !html.contains(">Swap<") && !html.contains(">Memory of GPUs<"),
        "nothing was swapped, no card has its own"
    );
    let html = of(&[seeds::sweep(1, "ollama", "m")]);
    assert_eq!(html.matches("tok/s at 8</title>").count(), 2);
    assert!(
        html.contains("Knee at 4 at a time") && html.contains("<tr class=\"chosen\"><th scope=\"row\">4<")
    );
    assert!(of(&whole()).contains("does not count: stopped after 9 of 64 tokens"));
}

#[test]
fn each_card_has_lanes_of_its_own() {
    let detail = RunDetail { cards: Some(seeds::cards()), ..seeds::detail(1, "ollama", "m", 50.0) };
    let html = of(&[detail]);
    for lane in [
        "GPU load, RTX 4090",
        "GPU power, RTX 4090",
        "GPU load, RTX &lt;3060&gt;",
        "Memory of the instance",
        "Processor",
    ] {
        assert!(html.contains(&format!(">{lane}</text>")), "{lane}");
    }
    assert!(!html.contains("GPU power, RTX &lt;3060"), "it tells none");
    assert!(!html.contains(">GPU load</text>"), "no sum beside the parts");
}

#[test]
fn a_comparison_stands_before_its_runs_and_once() {
    let html = of(&whole());
    assert_eq!(html.matches("(run 21) against").count(), 1);
    assert!(html.find("measured in turns") < html.find("id=\"run-20\""));
}

#[test]
fn what_is_absent_is_not_drawn() {
    let html = of(&[seeds::bare(5, "studio", "gemma3")]);
    assert!(html.contains("no rate") && html.contains("First token of every request"));
    assert!(!html.contains("Time line") && !html.contains("What it was measured on"));
    assert!(!html.contains("NaN") && !html.contains("inf"), "no figure without a value");
    let mut dark = seeds::detail(1, "ollama", "m", 50.0);
    let rows = dark.trace.as_ref().unwrap().at_ms.len();
    dark.trace.as_mut().unwrap().columns.gpu_load_percent = vec![None; rows];
    assert!(of(&[dark.clone()]).contains("No GPU told its load."));
    dark.trace = Some(GaugeHistory::default());
    assert!(!of(&[dark]).contains("Time line"));
    assert!(of(&[]).contains("No finished benchmark run"));
}

#[test]
fn absurd_figures_stay_in_the_plot() {
    let mut detail = seeds::sweep(1, "a", "b");
    detail.trials[2].decode_tok_s = Some(1e300);
    detail.trials[3].decode_tok_s = Some(f64::INFINITY);
    detail.trials[4].decode_tok_s = Some(0.0);
    detail.trials[5].begun_ms = Some(1e15);
    detail.run.sum_up(&detail.trials);
    let html = of(&[detail]);
    assert!(!html.contains("NaN") && !html.contains("=\"inf"));
}

/// Writes the page for a look at it: `PILOTHOUSE_REPORT_PAGE=FILE cargo test -p pilothouse-engine look_at_a_page`.
#[test]
fn look_at_a_page() {
    let html = of(&whole());
    if let Some(file) = std::env::var_os("PILOTHOUSE_REPORT_PAGE") {
        std::fs::write(file, &html).unwrap();
    }
    assert!(html.len() < 200_000, "{} bytes", html.len());
}
