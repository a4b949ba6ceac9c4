//! What apps in containers are told.

use super::*;

#[test]
fn a_container_of_linux_is_told_its_way_in_and_that_it_needs_a_key() {
    let roots = ["http://172.17.0.1:11480", "http://172.18.0.1:11480", "http://10.89.0.1:11480"];
    let roots: Vec<String> = roots.map(str::to_owned).into();
    let told = |bridges: Option<Vec<String>>, system| {
        let notes = notes(app("open-webui").unwrap(), &Wanted { bridges, system, ..wanted() });
        assert!(notes.iter().all(|note| note.ends_with('.') && note.chars().count() < 160), "{notes:?}");
        notes.join("\n")
    };
    let off = told(None, System::Linux);
    assert!(off.contains("gateway.container_bridges") && off.contains("--network=host"), "{off}");
    let on = told(Some(roots.clone()), System::Linux);
    for words in [
        "--add-host=host.docker.internal:host-gateway",
        "http://172.17.0.1:11480/v1 or http://172.18.0.1:11480/v1.",
    ] {
        assert!(on.contains(words), "{on}");
    }
    let none = told(Some(vec![]), System::Linux);
    assert!(none.contains("no bridge") && none.contains("127.0.0.1:11480"), "{none}");
    assert!(!told(Some(roots.clone()), System::Macos).contains("172.17"));
    for (id, bridges, system, wants_a_key) in [
        ("open-webui", Some(roots.clone()), System::Linux, true),
        ("open-webui", Some(roots.clone()), System::Macos, false),
        ("open-webui", Some(vec![]), System::Linux, false),
        ("open-webui", None, System::Linux, false),
        ("codex", Some(roots.clone()), System::Linux, false),
        // What speaks Ollama's own API has a port of its own, which is on no bridge.
        ("home-assistant", Some(roots), System::Linux, false),
    ] {
        let wanted = Wanted { bridges, system, ollama: Ok("http://127.0.0.1:11435".into()), ..wanted() };
        assert_eq!(wanted.comes_by_a_bridge(app(id).unwrap()), wants_a_key, "{id}");
        let notes = notes(app(id).unwrap(), &wanted).join("\n");
        assert!(id != "home-assistant" || !notes.contains("172.17"), "{notes}");
    }
}
