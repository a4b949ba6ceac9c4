//! Plans with a course of their own, from the command line to what it says: an open loop before a server that stands still,
//! conversations with one that keeps their beginning and one that does not, and a person's own prompts.

use pilothouse_tests::{
    sandbox::{Group, Sandbox, Tools, until},
    sims::{
        front::{Front, Reading, Rules},
        lmstudio::{LmStudioSim, Options},
    },
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A model of the simulator.
const MODEL: &str = "simulated/alpha-2b";
const LIMIT: Duration = Duration::from_secs(60);

/// A Pilothouse and a simulated server behind a door that can be told to stand still.
struct Behind {
    sandbox: Arc<Sandbox>,
    engine: Group,
    front: Front,
    server: LmStudioSim,
    _folder: tempfile::TempDir,
}

impl Behind {
    async fn start() -> Option<Self> {
        let tools = Tools { ollama: "/no/ollama".into(), ..Tools::find()? };
        let folder = tempfile::tempdir().unwrap();
        let options = Options { ttft_ms: 10, tokens_per_second: 4000.0, ..Options::new(folder.path()) };
        let server = LmStudioSim::start(options).await.unwrap();
        let front = Front::open(0, &format!("{}/v1", server.base_url().unwrap()), None).await.unwrap();
        let settings = format!(
            "[servers.llama-server]\nautostart = false\n\n[servers.remote.studio]\naddress = \"http://127.0.0.1:{}\"\n",
            front.port
        );
        let sandbox = Sandbox::new(&tools, &settings);
        let mut engine = sandbox.serve().await;
        sandbox.until_ready(&mut engine, "studio").await;
        sandbox.until_listed(MODEL).await;
        Some(Self { sandbox: Arc::new(sandbox), engine, front, server, _folder: folder })
    }

    /// The document of a benchmark that goes well.
    fn bench(&self, arguments: &[&str]) -> Value {
        let answer = self.sandbox.run(&[&["bench", MODEL, "--quiet-wait", "0"], arguments].concat());
        assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
        answer.json
    }

    /// The message and hint of one that is refused.
    fn refused(&self, arguments: &[&str]) -> String {
        let answer = self.sandbox.run(&[&["bench"], arguments].concat());
        let error = &answer.json["error"];
        assert_eq!(
            (answer.code, &error["code"]),
            (Some(2), &"invalid_call".into()),
            "{arguments:?}: {answer:?}"
        );
        format!("{} {}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap())
    }

    async fn end(mut self) {
        self.engine.terminate();
        self.sandbox.assert_clean_end(&mut self.engine).await;
        self.front.close().await;
        self.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_shows_a_second_that_a_client_which_waits_does_not_see_simulated() {
    let Some(behind) = Behind::start().await else { return };
    let sandbox = behind.sandbox.clone();
    let run = tokio::task::spawn_blocking(move || {
        let plan = ["--rate", "10", "--seconds", "15", "--arrivals", "constant"];
        sandbox.run(&[&["bench", MODEL, "--quiet-wait", "0"][..], &plan].concat())
    });
    // Twelve warm-ups at the most.
    until("the middle of the run", LIMIT, || async { (behind.front.asked() >= 50).then_some(()) }).await;
    let still_until = Some(Instant::now() + Duration::from_secs(1));
    behind.front.set(Rules { still_until, ..Rules::default() });
    let run = run.await.unwrap();
    assert_eq!(run.code, Some(0), "{run:?}");
    let open = &run.json["open_loop"];
    assert_eq!(
        (&run.json["plan"], &open["planned"], &open["sent"]),
        (&"open".into(), &150.into(), &150.into())
    );
    assert_eq!(
        (&open["rate_per_s"], &open["seconds"], &open["pattern"]),
        (&10.0.into(), &15.into(), &"constant".into())
    );
    let p99 = |latency: &str| open[latency]["ttft_ms"]["p99"].as_f64().unwrap();
    // Ten requests wait for 100 to 1000 ms: that is the slowest 7 of 100.
    assert!((700.0..3000.0).contains(&p99("from_due")), "{open:#}");
    assert!(p99("waiting") < 0.7 * p99("from_due"), "without the correction it does not show: {open:#}");
    let hidden = open["hidden_ms"].as_f64().unwrap();
    assert!((hidden - (p99("from_due") - p99("waiting"))).abs() < 0.01, "{open:#}");
    assert!(open["words"].as_str().is_some_and(|words| words.contains("are hidden from it")), "{open:#}");

    let number = run.json["run_id"].to_string();
    let kept = behind.sandbox.ask(&["report", &number]).unwrap();
    assert_eq!(kept["runs"][0]["open_loop"], *open, "it is kept");
    let words = behind.refused(&["--resume", &number]);
    assert!(words.contains("it is done"), "{words}");
    for (arguments, limit) in [
        (&["--rate", "1000"][..], "0.01 to 100 requests by the second, not 1000"),
        (&["--rate", "10", "--seconds", "601"], "5 to 600 seconds, not 601"),
        (&["--rate", "100", "--seconds", "60"], "5 to 2000 requests, not 6000"),
        (&["--trials", "1000"], "The plan quick takes 5 to 100 trials, not 1000."),
        (&["--against", MODEL, "--blocks", "100"], "The plan ab takes 6 to 60 blocks, not 100."),
        (&["--plan", "agent", "--blocks", "100"], "3 to 20 conversations, not 100"),
        (&["--turns", "13"], "2 to 12 turns, not 13"),
        (&["--quiet-wait", "601"], "0 to 600 seconds of waiting, not 601"),
    ] {
        let words = behind.refused(arguments);
        assert!(words.contains(limit), "{arguments:?}: {words}");
    }
    let sweep = behind.sandbox.run(&["sweep", "--up-to", "65"]);
    let message = sweep.json["error"]["message"].as_str().unwrap();
    assert!(sweep.code == Some(2) && message.contains("1 to 64 requests at a time, not 65"), "{sweep:?}");
    behind.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_show_which_server_keeps_their_beginning_simulated() {
    let Some(behind) = Behind::start().await else { return };
    for (keeps, reuse, turns) in [(true, "kept", 3), (false, "no", 2)] {
        let reads = Some(Reading { word_takes: Duration::from_millis(1), keeps });
        behind.front.set(Rules { reads, ..Rules::default() });
        let count = turns.to_string();
        let run = behind.bench(&["--plan", "agent", "--turns", &count, "--blocks", "3"]);
        let conversation = &run["conversation"];
        assert_eq!(
            (&run["plan"], &conversation["reuse"]),
            (&"agent".into(), &reuse.into()),
            "{conversation:#}"
        );
        let told = conversation["turns"].as_array().unwrap();
        assert_eq!(told.len(), turns, "{conversation:#}");
        for (turn, number) in told.iter().zip(1..) {
            assert_eq!(turn["turn"], number, "{turn:#}");
            assert_eq!((&turn["ttft_cached_ms"]["n"], &turn["ttft_cold_ms"]["n"]), (&3.into(), &3.into()));
            assert!(turn["cached_tokens"].is_null(), "this server does not say it: {turn:#}");
            assert!(turn["prompt_tokens"].as_u64() > Some(150 * number), "{turn:#}");
        }
        let saved = |turn: usize| told[turn - 1]["saved"].as_f64().unwrap();
        assert_eq!(saved(turns) > 0.3, keeps, "{conversation:#}");
        let words = conversation["words"].as_str().unwrap();
        assert!(words.contains("told by the times"), "{words}");
        assert_eq!(run["trials"], 3 * turns, "the half that a program would send");
    }
    behind.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_prompts_are_asked_once_and_not_kept_simulated() {
    let Some(behind) = Behind::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let secret = "xylophonist";
    let prompts = format!(
        "{{\"prompt\": \"Why does the {secret} practise?\", \"max_tokens\": 8}}\n\
         {{\"messages\": [{{\"role\": \"user\", \"content\": \"And now?\"}}]}}\n"
    );
    let run = behind.bench(&["--replay", &file("own.jsonl", &prompts)]);
    let replay = &run["replay"];
    assert_eq!((&run["plan"], &run["trials"]), (&"replay".into(), &2.into()), "{run:#}");
    assert_eq!(
        (&replay["prompts"], &replay["answered"], &replay["failed"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!(replay["digest"].as_str().map(str::len), Some(64), "{replay:#}");
    let tokens = |end: &str| replay["output_tokens"][end].as_f64().unwrap();
    assert!((8.0..20.0).contains(&tokens("p5")) && (9.0..=128.0).contains(&tokens("greatest")), "{replay:#}");
    for spread in ["ttft_ms", "decode_tok_s", "e2e_ms", "prompt_tokens"] {
        let of = |end: &str| replay[spread][end].as_f64().unwrap();
        assert!(of("p5") <= of("p50") && of("p50") <= of("p95") && of("p95") <= of("greatest"), "{replay:#}");
    }
    let plain = behind.bench(&["--replay", &file("plain.txt", "Why?\nHow?\nWhen?\n")]);
    assert_eq!(plain["replay"]["prompts"], 3, "{plain:#}");

    for (name, text, words) in [
        ("broken.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": }\n", "Line 2 of the prompts: expected value"),
        ("blank.txt", "a\n\nb\n", "Line 2 of the prompts: it is empty"),
        ("many.txt", &"a\n".repeat(201), "Line 201 of the prompts: a replay takes at most 200 prompts"),
        ("large.txt", &"a".repeat(500_001), "more than 500000 bytes"),
        ("empty.txt", "", "is empty"),
    ] {
        let said = behind.refused(&[MODEL, "--replay", &file(name, text)]);
        assert!(said.contains(words), "{name}: {said}");
    }
    let said = behind.refused(&[MODEL, "--replay", &file("own.txt", "a"), "--trials", "9"]);
    assert!(said.contains("each prompt of its file once"), "{said}");
    assert_eq!(behind.sandbox.run(&["bench", MODEL, "--replay", "/no/such/file"]).code, Some(4));

    // Neither the history nor what leaves it has a word of them.
    let export = folder.path().join("runs.jsonl");
    assert_eq!(behind.sandbox.ask(&["export", export.to_str().unwrap()]).unwrap()["runs"], 2);
    assert!(!std::fs::read_to_string(&export).unwrap().contains(secret));
    let sandbox = behind.sandbox.clone();
    behind.end().await;
    let database = std::fs::read(sandbox.database()).unwrap();
    assert!(!database.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()));
}
