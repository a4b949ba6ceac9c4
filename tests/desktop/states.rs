//! The tray says of every server in which state it is, and why.

use crate::{
    app::start,
    desktop::Desktop,
    tools::Tools,
    tray_menu::{Row, TrayItem, place, row_named},
};
use pilothouse_tests::{
    program,
    sandbox::{Group, Sandbox, free_port, server, until},
    sims::{
        front::{Front, Rules},
        lmstudio::{LmStudioSim, Options},
    },
};
use std::{net::TcpListener, path::Path, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

/// Server, its state in the status, its state in the menu, and words of its reason.
const STATES: [(&str, &str, &str, &str); 7] = [
    ("llama-server", "gave_up", "gave up restarting", "code 3"),
    ("ollama", "not_ours", "address held by another program", "pid"),
    ("lmstudio", "not_installed", "not installed", "LM Studio is not on this machine"),
    ("attic", "starting", "starting", "Loading model"),
    ("cellar", "degraded", "ready with trouble", "wants a key"),
    ("den", "ready", "ready", ""),
    ("shed", "failed", "not reached", "Nothing answers"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_tray_says_each_state_with_its_reason() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("states").await;
    desktop.start_panel().await;
    let folder = tempfile::tempdir().unwrap();
    let theirs = LmStudioSim::start(Options::new(folder.path())).await.unwrap();
    let base = format!("{}/v1", theirs.base_url().unwrap());
    let (den, cellar) =
        (Front::open(0, &base, None).await.unwrap(), Front::open(0, &base, None).await.unwrap());
    let attic = Front::open(0, &base, None).await.unwrap();
    attic.set(Rules { loading: true, ..Rules::default() });
    let remotes = [
        ("attic", "Attic", attic.port),
        ("cellar", "Cellar", cellar.port),
        ("den", "Den", den.port),
        ("shed", "Shed", free_port()),
    ];
    let mut settings = String::from("[restart]\nfirst_ms = 50\nmax_ms = 100\nmax_crashes = 3\n\n");
    settings += &format!(
        "[servers.llama-server]\nprogram = {:?}\n\n[servers.lmstudio]\nhome = \"/no/lmstudio\"\naddress = \"http://127.0.0.1:{}\"\n\n",
        crashing(folder.path()),
        free_port()
    );
    for (id, title, port) in remotes {
        settings +=
            &format!("[servers.remote.{id}]\naddress = \"http://127.0.0.1:{port}\"\ntitle = \"{title}\"\n\n");
    }
    let sandbox = Sandbox::new(&tools.sandbox, &settings);
    let stranger = TcpListener::bind(("127.0.0.1", sandbox.ollama_port)).unwrap();
    let mut app = start(&desktop, &sandbox, &tools);
    reached(&sandbox, &mut app, "cellar", "ready").await;
    cellar.set(Rules { key: Some("secret".into()), ..Rules::default() });
    for (id, state, ..) in STATES {
        reached(&sandbox, &mut app, id, state).await;
    }

    let tray = until("the tray icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    desktop.read_notifications();
    let rows = tray.rows().await;
    let servers = row_named(&rows, "Servers");
    // The tray follows the engine at most twice a second.
    let heads = until("every state in the menu", LIMIT, || async {
        let heads = tray.rows_under(servers.id).await;
        let told = |word: &str| heads.iter().any(|head| head.label.ends_with(&format!(" · {word}")));
        STATES.iter().all(|(.., word, _)| told(word)).then_some(heads)
    })
    .await;
    assert_eq!(heads.len(), STATES.len(), "{heads:#?}");
    for (nth, head) in heads.iter().enumerate() {
        desktop.click(desktop.tray_area().unwrap().centre(), 1);
        let menu = until("the menu on the screen", LIMIT, || async { desktop.menu_area() }).await;
        desktop.point(place(&rows, servers, menu));
        let down = vec!["Down"; nth];
        desktop.press(&[&["Right"], &down[..], &["Right"]].concat());
        desktop.picture(&format!("state-{nth}"));
        let told = tray.rows_under(head.id).await;
        assert_told(&sandbox, head, &told[0]);
        desktop.press(&["Escape"; 3]);
        until("the menu to close", LIMIT, || async { desktop.menu_area().is_none().then_some(()) }).await;
    }
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    until("the end of the app", LIMIT, || async { sandbox.ask(&["status"]).is_none().then_some(()) }).await;
    drop(stranger);
    assert!(sandbox.assert_clean_end(&mut app).await.success());
    theirs.stop().await;
}

async fn reached(sandbox: &Sandbox, app: &mut Group, id: &str, state: &str) {
    sandbox
        .until(app, &format!("{id} to be {state}"), |status| {
            (server(status, id)?["state"] == state).then_some(())
        })
        .await;
}

/// The entry of a server names its state; the first line below it adds the reason.
fn assert_told(sandbox: &Sandbox, head: &Row, line: &Row) {
    let status = sandbox.ask(&["status"]).unwrap();
    let (id, _, word, reason) = STATES
        .into_iter()
        .find(|(id, ..)| {
            let title = server(&status, id).unwrap()["title"].as_str().unwrap().to_owned();
            head.label.starts_with(&format!("{title} · "))
        })
        .unwrap_or_else(|| panic!("whose is {head:?}"));
    assert!(head.label.ends_with(word), "{id}: {head:?}");
    assert!(line.label.contains(word) && line.label.contains(reason), "{id}: {line:?}");
    assert!(line.label.chars().count() < 160, "too wide for a menu: {line:?}");
}

fn crashing(folder: &Path) -> String {
    let file = folder.join("llama-server");
    let lines = "[ \"$1\" = --help ] && { echo --models-dir; exit 0; }\necho bad weather\nexit 3";
    program::script(&file, lines).unwrap();
    file.display().to_string()
}
