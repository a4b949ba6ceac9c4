use super::*;

#[test]
fn the_defaults_are_allowed() {
    assert_eq!(Settings::default().check(), Ok(()));
}

#[test]
fn a_value_out_of_range_is_named() {
    let mut settings = Settings::default();
    settings.gauges.interval_ms = 5;
    assert_eq!(settings.check().unwrap_err().key, "gauges.interval_ms");
}

#[test]
fn hosts_of_the_gateway_are_exact_names() {
    let check = |host: &str| {
        let mut settings = Settings::default();
        settings.gateway.hosts = vec!["ok.example".into(), host.into()];
        settings.check().map_err(|mistake| mistake.key)
    };
    for host in ["host.docker.internal", "192.168.1.5", "[fd00::1]", "my_box", "xn--bcher-kva.example"] {
        assert_eq!(check(host), Ok(()), "{host}");
    }
    for host in
        ["", "*", "*.example", "http://a", "a:80", "a/b", "a b", "a@b", "fd00::1", "[x]", "bücher.example"]
    {
        assert_eq!(check(host), Err("gateway.hosts".into()), "{host}");
    }
}

#[test]
fn origins_of_the_gateway_are_exact_too() {
    let check = |origin: &str| {
        let mut settings = Settings::default();
        settings.gateway.origins = vec!["https://ok.example".into(), origin.into()];
        settings.check().map_err(|mistake| mistake.key)
    };
    for origin in [
        "app://obsidian.md",
        "http://localhost:3000",
        "http://[::1]:80",
        "vscode-webview://0abc",
        "http://[::1]",
    ] {
        assert_eq!(check(origin), Ok(()), "{origin}");
    }
    for origin in [
        "",
        "*",
        "null",
        "http://*",
        "localhost:3000",
        "http://a/",
        "http://a/b",
        "http://A.example",
        "http://a:x",
        "HTTP://a",
        "http://a b",
        "://a",
        "http://",
    ] {
        assert_eq!(check(origin), Err("gateway.origins".into()), "{origin}");
    }
}

#[test]
fn remote_servers_need_a_name_of_their_own_and_an_address_without_secrets() {
    let check = |name: &str, address: &str| {
        let mut settings = Settings::default();
        let remote = RemoteSettings { address: address.into(), ..RemoteSettings::default() };
        settings.servers.remote.insert(name.into(), remote);
        settings.check().map_err(|mistake| mistake.key)
    };
    assert_eq!(check("studio", "https://studio.local:8000/v1"), Ok(()));
    assert_eq!(check("ollama", "https://studio.local/v1"), Err("servers.remote.ollama".into()));
    assert_eq!(check("My Mac", "https://studio.local/v1"), Err("servers.remote.My Mac".into()));
    for address in [
        "",
        "studio.local",
        "http://",
        "http:///v1",
        "http://me:secret@studio/v1",
        "http://@studio/v1",
        "https://x/v1?key=1",
        "https://x/v1#key",
        "http://x:99999/v1",
        "http://x y/v1",
        "http://[::1/v1",
        "ftp://x/v1",
    ] {
        assert_eq!(check("studio", address), Err("servers.remote.studio.address".into()), "{address}");
    }
}

#[test]
fn what_is_kept_of_runs_may_be_for_ever_and_minutes_not_shorter_than_samples() {
    let check = |traces_days: u32, trace_minutes_days: u32, gaps_days: u32| {
        let history =
            HistorySettings { gaps_days, traces_days, trace_minutes_days, ..HistorySettings::default() };
        Settings { history, ..Settings::default() }.check().map_err(|mistake| mistake.key)
    };
    for (traces, minutes) in [(30, 365), (0, 0), (0, 365), (30, 30), (30, 0), (36_500, 36_500)] {
        assert_eq!(check(traces, minutes, 90), Ok(()), "{traces} {minutes}");
    }
    assert_eq!(check(30, 29, 90), Err("history.trace_minutes_days".into()));
    assert_eq!(check(30, 365, 36_501), Err("history.gaps_days".into()));
    for (slo_ms, fine) in [(0, false), (1, true), (300, true), (60_000, true), (60_001, false)] {
        let bench = BenchSettings { slo_ms, ..BenchSettings::default() };
        assert_eq!(Settings { bench, ..Settings::default() }.check().is_ok(), fine, "{slo_ms}");
    }
}

#[test]
fn quiet_hours_are_none_or_two_times() {
    for (quiet, fine) in [
        ("", true),
        ("22:00-07:00", true),
        ("9:00-17:30", true),
        ("22:00", false),
        ("22:00-22:00", false),
        (" ", false),
    ] {
        let notifications = NotificationSettings { quiet: quiet.into(), ..NotificationSettings::default() };
        let checked = Settings { notifications, ..Settings::default() }.check();
        assert_eq!(
            checked.map_err(|mistake| mistake.key).err(),
            (!fine).then(|| "notifications.quiet".into()),
            "{quiet:?}"
        );
    }
}

#[test]
fn the_port_that_is_offered_for_ollamas_api_is_allowed() {
    let mut settings = Settings::default();
    for (gateway, ollama, web, wanted) in [
        (11_480, "http://127.0.0.1:11434", 0, 11_435),
        (11_435, "http://127.0.0.1:11434", 0, 11_436),
        (11_435, "http://127.0.0.1:11436", 11_437, 11_438),
    ] {
        settings.gateway.port = gateway;
        settings.servers.ollama.address = ollama.into();
        settings.web.port = web;
        settings.gateway.ollama_port = 0;
        assert_eq!(settings.free_ollama_port(), wanted);
        settings.gateway.ollama_port = wanted;
        assert_eq!(settings.check(), Ok(()));
    }
}
