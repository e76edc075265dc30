use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn variables(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

#[test]
fn without_sources_the_defaults_hold() {
    let settings = Settings::from_sources(None, HashMap::new(), &Flags::default()).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.limits.core(), handfast_core::Limits::default());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = file("[server]\nlisten = '127.0.0.1:1'\nheartbeat_ms = 1\nsessions = 1\n");
    let environment = variables(&[
        ("HANDFAST_SERVER__LISTEN", "127.0.0.1:2"),
        ("HANDFAST_SERVER__HEARTBEAT_MS", "2"),
    ]);
    let flags = Flags {
        listen: Some("127.0.0.1:3".parse().unwrap()),
        ..Flags::default()
    };
    let settings = Settings::from_sources(Some(file.path()), environment, &flags).unwrap();
    assert_eq!(settings.server.listen.port(), 3);
    assert_eq!(settings.server.heartbeat_ms, 2);
    assert_eq!(settings.server.sessions, 1);
}

#[test]
fn an_unknown_key_is_refused_with_the_accepted_ones() {
    let file = file("[log]\nsegment_size = 1\n");
    let error = Settings::from_sources(Some(file.path()), HashMap::new(), &Flags::default()).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(
        error.message.contains("segment_size") && error.message.contains("segment_bytes"),
        "{error}"
    );
    let environment = variables(&[("HANDFAST_LIMIT__KEYS", "1")]);
    let error = Settings::from_sources(None, environment, &Flags::default()).unwrap_err();
    assert!(error.message.contains("limits"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let cases = [
        ("SERVER__FRAME_BYTES", "1000", "limits.operation_bytes"),
        // One resource that is stuck would take what the others need.
        (
            "SERVER__CALLS",
            "150000",
            "limits.unfinished_branches_per_resource",
        ),
        (
            "LIMITS__UNFINISHED_BRANCHES_PER_RESOURCE",
            "125001",
            "server.calls",
        ),
        (
            "LIMITS__LIVE_OPERATION_BYTES",
            "300000000",
            "limits.operation_bytes_per_resource",
        ),
        ("LIMITS__REDELIVERY_MIN_MS", "60001", "limits.redelivery_max_ms"),
        ("LIMITS__REDELIVERY_MAX_MS", "999", "limits.redelivery_min_ms"),
        // A batch could need two new segments, and one is reserved.
        ("LOG__BUFFER_BYTES", "33554433", "log.segment_bytes"),
        ("LOG__SEGMENT_BYTES", "16773120", "log.buffer_bytes"),
    ];
    for (name, value, named) in cases {
        let environment = variables(&[(&format!("HANDFAST_{name}"), value)]);
        let error = Settings::from_sources(None, environment, &Flags::default()).unwrap_err();
        assert!(error.message.contains(named), "{name}: {error}");
    }
}

/// Each would end the process later, or hold it up for ever: with an overflow, at a bound of a library, or at the first record that does not fit.
#[test]
fn what_would_end_the_process_later_is_refused_now() {
    let largest = usize::MAX.to_string();
    let cases = [
        ("SERVER__SESSION_BACKLOG", "0", "server.session_backlog"),
        ("SERVER__INBOX_INPUTS", &largest[..18], "server.inbox_inputs"),
        ("SERVER__SESSIONS", &largest[..18], "server.sessions"),
        (
            "LIMITS__OPERATION_BYTES",
            &largest[..18],
            "limits.operation_bytes",
        ),
        // Without an end, these: what is due again at once is due for ever.
        ("LIMITS__REDELIVERY_MIN_MS", "0", "limits.redelivery_min_ms"),
        ("LIMITS__REDELIVERY_MAX_MS", "0", "limits.redelivery_max_ms"),
        ("LIMITS__MAX_TIMEOUT_MS", "0", "limits.max_timeout_ms"),
        (
            "LIMITS__WAITERS_PER_TRANSACTION",
            "0",
            "limits.waiters_per_transaction",
        ),
        ("LIMITS__BRANCHES_PER_TRANSACTION", "1000000", "log.buffer_bytes"),
        ("LOG__BUFFER_BYTES", "65536", "log.buffer_bytes"),
        ("LOG__SEGMENT_BYTES", "65536", "log.segment_bytes"),
    ];
    for (name, value, named) in cases {
        let environment = variables(&[(&format!("HANDFAST_{name}"), value)]);
        let error = Settings::from_sources(None, environment, &Flags::default()).unwrap_err();
        assert_eq!(error.kind, Kind::Usage, "{name}");
        assert!(error.message.contains(named), "{name}: {error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let path = Path::new("/nonexistent/handfast.toml");
    let error = Settings::from_sources(Some(path), HashMap::new(), &Flags::default()).unwrap_err();
    assert!(error.message.contains("handfast.toml"), "{error}");
}

/// docs/SETTINGS.md is where people look: each setting has a row there, with its default.
#[test]
fn every_setting_stands_in_the_documents_with_its_default() {
    let table = include_str!("../../../docs/SETTINGS.md");
    let serde_json::Value::Object(sections) = serde_json::to_value(Settings::default()).unwrap() else {
        panic!("the settings are a table of sections");
    };
    for (section, keys) in &sections {
        for (key, value) in keys.as_object().unwrap() {
            let default = match value {
                serde_json::Value::Null => "none".to_owned(),
                serde_json::Value::String(text) => format!("`{text}`"),
                number => number.to_string(),
            };
            let row = format!("\n| `{section}.{key}` | {default} |");
            assert!(
                table.contains(&row),
                "docs/SETTINGS.md has no row that begins with {row}"
            );
        }
    }
}
