//! What runs say under plans with a result of their own, as tables: the same rows on a terminal, in Markdown and on a page.

use super::figures::ABSENT;
use pilothouse_domain::{
    bench::{
        Run, Summary,
        conversation::{Conversation, ConversationTurn},
        copies::{Copies, CopiesPoint},
        load::{LoadFrom, LoadSummary, Loads},
        open_loop::{Latency, MOST_UNDER_WAY, OpenLoop},
        percentiles::{MIN_FOR_P99, Percentiles},
        replay::Replay,
        stats::Interval,
        sweep::{Sweep, SweepPoint},
    },
    units::{gigabytes, short},
};

/// One result. The first cell of each row names it; the others are figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    pub title: &'static str,
    /// Units stand in the heads.
    pub heads: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// The row that was found to be the one to take.
    pub chosen: Option<usize>,
    /// What the table says, and what it leaves out: whole sentences.
    pub notes: Vec<String>,
}

/// The results of a run; none of a plan that only repeats its requests.
pub fn results(run: &Run) -> Vec<Results> {
    let mut all = vec![];
    all.extend(run.loads.as_ref().map(loads));
    all.extend(run.copies.as_ref().map(copies));
    all.extend(run.sweep.as_ref().map(sweep));
    all.extend(run.open_loop.as_ref().map(open_loop));
    all.extend(run.conversation.as_ref().map(conversation));
    all.extend(run.replay.as_ref().map(replay));
    all
}

fn heads<const N: usize>(heads: [&str; N]) -> Vec<String> {
    heads.map(str::to_owned).to_vec()
}

fn absent() -> String {
    ABSENT.to_owned()
}

fn one(figure: Option<f64>) -> String {
    figure.map_or_else(absent, short)
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(absent, |share| format!("{:.0} %", 100.0 * share).replace('-', "−"))
}

/// "49.7 (49.2–50.1)"; of too few values for an interval it is said that it is a range.
pub fn spread(summary: Option<&Summary>) -> String {
    let Some(summary) = summary else { return absent() };
    let range = if summary.interval == Interval::Range { "range " } else { "" };
    format!("{} ({range}{}–{})", short(summary.median), short(summary.low), short(summary.high))
}

fn loads(found: &Loads) -> Results {
    let row = |kind: &LoadSummary| {
        vec![
            kind.from.words().to_owned(),
            kind.loads.to_string(),
            spread(kind.load_s.as_ref()),
            spread(kind.ttft_cold_ms.as_ref()),
            spread(kind.ttft_warm_ms.as_ref()),
            kind.bytes_s.map_or_else(absent, |bytes| format!("{:.2}", bytes / 1e9)),
        ]
    };
    let from_disk =
        found.kinds.iter().filter(|kind| kind.from == LoadFrom::Disk).map(|kind| kind.loads).sum();
    let disk = found.disk_absent.iter().map(|why| match from_disk {
        0u32 => sentence(&format!("Not measured from disk: {why}")),
        loads => sentence(&format!("Only {loads} from disk: {why}")),
    });
    let flawed = found.trials.iter().enumerate().filter_map(|(index, trial)| {
        let flaw = trial.flaw.as_ref()?;
        Some(sentence(&format!("Load {} does not count: {flaw}", index + 1)))
    });
    Results {
        title: "Loads",
        heads: heads(["Weights", "Loads", "Load s", "First token ms", "Next first token ms", "GB/s"]),
        rows: found.kinds.iter().map(row).collect(),
        chosen: None,
        notes: disk.chain(flawed).collect(),
    }
}

fn copies(found: &Copies) -> Results {
    let row = |point: &CopiesPoint| {
        vec![
            point.copies.to_string(),
            one(point.out_tok_s),
            one(point.decode_tok_s),
            one(point.ttft_ms.map(|ttft| ttft.median)),
            one(point.ttft_ms.map(|ttft| ttft.p95)),
            point.memory_bytes.map_or_else(absent, gigabytes),
            failed_of(point.failed, point.requests),
        ]
    };
    Results {
        title: "Copies of the model in memory",
        heads: heads([
            "Copies",
            "All tok/s",
            "Each tok/s",
            "First token ms",
            "95 % ms",
            "Memory",
            "Requests",
        ]),
        rows: found.points.iter().map(row).collect(),
        chosen: None,
        notes: found.stopped.iter().map(|why| sentence(why)).collect(),
    }
}

fn sweep(found: &Sweep) -> Results {
    let row = |point: &SweepPoint| {
        let first = |ttft: pilothouse_domain::bench::sweep::TtftSpread| match ttft.low.zip(ttft.high) {
            Some((low, high)) => {
                let range = if ttft.interval == Some(Interval::Range) { "range " } else { "" };
                format!("{} ({range}{}–{})", short(ttft.median), short(low), short(high))
            }
            None => short(ttft.median),
        };
        vec![
            point.concurrency.to_string(),
            one(point.out_tok_s),
            point.decode.as_ref().map_or_else(|| one(point.decode_tok_s), |decode| spread(Some(decode))),
            point.ttft_ms.map_or_else(absent, first),
            one(point.ttft_ms.map(|ttft| ttft.p95)),
            percent(point.goodput),
            point.memory_bytes.map_or_else(absent, gigabytes),
            point.gpu_load_percent.map_or_else(absent, |load| format!("{load:.0} %")),
            point.power_w.map_or_else(absent, |watts| format!("{watts:.0}")),
            failed_of(point.failed, point.requests),
        ]
    };
    let knee = match (&found.knee, &found.knee_absent) {
        (Some(knee), _) => sentence(&format!("Knee at {} at a time: {}", knee.concurrency, knee.method)),
        (None, Some(why)) => sentence(&format!("No knee: {why}")),
        (None, None) => "No knee was found.".into(),
    };
    let best = match found.best {
        Some(best) => format!("Best with first tokens within {} ms: {best} at a time.", found.slo_ms),
        None => format!("No number of requests has its first tokens within {} ms.", found.slo_ms),
    };
    let again = found.again.map(|again| {
        format!("One at a time once more, at the end: {:+.1} %.", 100.0 * again).replace('-', "−")
    });
    let knee_at = found.knee.as_ref().map(|knee| knee.concurrency);
    let in_time = format!("In {} ms", found.slo_ms);
    Results {
        title: "Requests at a time",
        heads: heads([
            "At a time",
            "All tok/s",
            "Each tok/s",
            "First token ms",
            "95 % ms",
            &in_time,
            "Memory",
            "GPU",
            "Power W",
            "Requests",
        ]),
        rows: found.points.iter().map(row).collect(),
        chosen: found.points.iter().position(|point| Some(point.concurrency) == knee_at),
        notes: [knee, best].into_iter().chain(again).collect(),
    }
}

fn failed_of(failed: u32, requests: u32) -> String {
    if failed > 0 { format!("{requests}, {failed} failed") } else { requests.to_string() }
}

fn open_loop(found: &OpenLoop) -> Results {
    let row = |name: &str, latency: &Latency| {
        let of = |percentiles: Option<Percentiles>| match percentiles {
            Some(found) => [found.p50, found.p95, found.p99].map(whole),
            None => [absent(), absent(), absent()],
        };
        let n = latency.e2e_ms.map_or(0, |e2e| e2e.n);
        let mut cells = vec![name.to_owned()];
        cells.extend(of(latency.ttft_ms));
        cells.extend(of(latency.e2e_ms));
        cells.push(n.to_string());
        cells
    };
    let mut rows = vec![row("from when it was due", &found.from_due)];
    if found.late > 0 {
        rows.push(row("from when it was sent", &found.from_sent));
    }
    rows.push(row("a client that waits", &found.waiting));
    let mut notes = vec![
        found.words.clone(),
        format!("{} of {} planned requests were sent, {} failed.", found.sent, found.planned, found.failed),
    ];
    if found.capped {
        notes.push(format!(
            "{} requests were sent late, up to {:.0} ms: at most {MOST_UNDER_WAY} are under way at a time.",
            found.late,
            found.most_late_ms.unwrap_or(0.0)
        ));
    }
    if let Some(few) = found.from_due.ttft_ms.filter(|ttft| ttft.n < MIN_FOR_P99) {
        notes.push(format!(
            "99 % of {} values is a rough estimate; the greatest is {:.0} ms.",
            few.n, few.greatest
        ));
    }
    Results {
        title: "Open loop",
        heads: heads([
            "Counted",
            "First token ms",
            "95 %",
            "99 %",
            "Whole answer ms",
            "95 %",
            "99 %",
            "Requests",
        ]),
        rows,
        chosen: None,
        notes,
    }
}

fn conversation(found: &Conversation) -> Results {
    let count = |count: Option<u32>| count.map_or_else(absent, |count| count.to_string());
    let row = |turn: &ConversationTurn| {
        vec![
            turn.turn.to_string(),
            count(turn.prompt_tokens),
            count(turn.cached_tokens),
            spread(turn.ttft_cached_ms.as_ref()),
            spread(turn.ttft_cold_ms.as_ref()),
            percent(turn.saved),
        ]
    };
    Results {
        title: "Conversations",
        heads: heads([
            "Turn",
            "Prompt tokens",
            "Cached",
            "First token ms, beginning kept",
            "First token ms, all new",
            "Saved",
        ]),
        rows: found.turns.iter().map(row).collect(),
        chosen: None,
        notes: vec![found.words.clone()],
    }
}

fn replay(found: &Replay) -> Results {
    let row = |(name, percentiles, digits): (&str, Option<Percentiles>, usize)| {
        let cells = match percentiles {
            Some(of) => [of.p5, of.p50, of.p95, of.greatest].map(|value| format!("{value:.digits$}")),
            None => [absent(), absent(), absent(), absent()],
        };
        [vec![name.to_owned()], cells.to_vec()].concat()
    };
    let rows = [
        ("first token ms", found.ttft_ms, 0),
        ("decode tok/s", found.decode_tok_s, 1),
        ("whole answer ms", found.e2e_ms, 0),
        ("prompt tokens", found.prompt_tokens, 0),
        ("output tokens", found.output_tokens, 0),
    ];
    Results {
        title: "Over the prompts",
        heads: heads(["Figure", "5 %", "Median", "95 %", "Greatest"]),
        rows: rows.into_iter().map(row).collect(),
        chosen: None,
        notes: vec![format!(
            "{} prompts were answered, {} were not. The prompts are not kept.",
            found.answered, found.failed
        )],
    }
}

/// Words of elsewhere as a sentence: with one full stop at its end.
fn sentence(words: &str) -> String {
    format!("{}.", words.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Made, page, runs_markdown, seeds};
    use pilothouse_domain::bench::{RunDetail, Trial, comparison::NoiseFloor, load::LoadTrial};
    use std::collections::BTreeMap;

    /// A run under each plan that has a result of its own.
    fn each() -> Vec<(&'static str, RunDetail)> {
        let plain = || seeds::detail(7, "ollama", "qwen2.5:7b", 50.0);
        let with = |change: &dyn Fn(&mut RunDetail)| {
            let mut detail = plain();
            change(&mut detail);
            detail
        };
        let load = |from, load_s| LoadTrial {
            from,
            cached_share: None,
            load_s,
            ttft_cold_ms: Some(412.0),
            ttft_warm_ms: Some(236.0),
            flaw: (load_s > 9.0).then(|| "somebody else read the file.".into()),
        };
        let loads: Vec<LoadTrial> =
            [1.5, 1.6, 1.7, 9.5].into_iter().map(|load_s| load(LoadFrom::PageCache, load_s)).collect();
        let talk: Vec<Trial> = plain().trials;
        vec![
            (
                "Load 4 does not count: somebody else read the file.",
                with(&|detail| {
                    detail.run.loads = Some(Loads::of(
                        loads.clone(),
                        Some(3_000_000_000),
                        Some("no right to drop it".into()),
                    ));
                }),
            ),
            (
                "The machine has no room for more.",
                with(&|detail| {
                    let memory = BTreeMap::from([(1, 1_000_000_000)]);
                    detail.run.copies =
                        Some(Copies::of(&talk, &memory, Some("The machine has no room for more.".into())));
                }),
            ),
            ("Knee at 4 at a time:", seeds::sweep(7, "ollama", "qwen2.5:7b")),
            (
                "planned requests were sent",
                with(&|detail| {
                    detail.run.open_loop = Some(OpenLoop::of(&detail.run.plan, &detail.trials));
                }),
            ),
            (
                "Too few answers count",
                with(&|detail| {
                    detail.run.conversation = Some(Conversation::of(&detail.trials));
                }),
            ),
            (
                "The prompts are not kept.",
                with(&|detail| detail.run.replay = Some(Replay::of(&detail.trials))),
            ),
        ]
    }

    #[test]
    fn what_a_plan_finds_stands_in_every_form_of_a_report() {
        let made = Made { at: seeds::at(0), version: "0.1.0".into() };
        for (words, detail) in each() {
            let [found] = &results(&detail.run)[..] else { panic!("{words}: one result") };
            assert!(found.rows.iter().all(|row| row.len() == found.heads.len()), "{found:?}");
            assert!(found.notes.join(" ").contains(words), "{found:?}");
            let markdown = runs_markdown(std::slice::from_ref(&detail), &made);
            let html = page(std::slice::from_ref(&detail), &NoiseFloor::assumed(), &made);
            for text in [&markdown, &html] {
                assert!(text.contains(found.title) && text.contains(words), "{words}: {text}");
            }
            for note in &found.notes {
                assert!(note.ends_with('.') && !note.ends_with(".."), "{note}");
            }
        }
        assert!(results(&seeds::detail(1, "ollama", "m", 50.0).run).is_empty());
    }

    #[test]
    fn a_range_is_not_called_an_interval() {
        let summary = |interval| Summary {
            median: 49.66,
            low: 49.1,
            high: 50.4,
            interval,
            ..seeds::detail(1, "ollama", "m", 50.0).run.decode_tok_s.unwrap()
        };
        assert_eq!(spread(Some(&summary(Interval::Range))), "49.7 (range 49.1–50.4)");
        assert_eq!(spread(Some(&summary(Interval::Confidence95))), "49.7 (49.1–50.4)");
        assert_eq!(spread(None), ABSENT);
    }
}
