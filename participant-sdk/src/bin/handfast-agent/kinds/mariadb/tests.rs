use std::time::Duration;

use handfast_participant::resources::mariadb::Isolation;

use super::Settings;

/// The settings in a table's JSON form: the file's own reader is tested where it is.
fn settings(json: &str) -> Settings {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_url_or_its_parts_say_where_the_database_is() {
    let by_url = settings(r#"{"url": "mysql://ada:secret@db.example:3307/stock"}"#)
        .options()
        .unwrap();
    let by_parts = settings(
        r#"{"host": "db.example", "port": 3307, "database": "stock", "user": "ada", "password": "secret",
            "work_connections": 3, "prepared_connections": 0, "connect_timeout_ms": 7000, "isolation": "read-committed"}"#,
    )
    .options()
    .unwrap();
    for options in [&by_url, &by_parts] {
        let database = &options.database;
        assert_eq!(
            (database.ip_or_hostname(), database.tcp_port()),
            ("db.example", 3307)
        );
        assert_eq!((database.user(), database.pass()), (Some("ada"), Some("secret")));
        assert_eq!(database.db_name(), Some("stock"));
    }
    assert_eq!((by_parts.work_connections, by_parts.prepared_connections), (3, 0));
    assert_eq!(by_parts.connect_limit, Duration::from_secs(7));
    assert_eq!(
        (by_url.isolation, by_parts.isolation),
        (Isolation::RepeatableRead, Isolation::ReadCommitted)
    );
}

#[test]
fn what_makes_no_sense_is_told_in_words() {
    for (json, words) in [
        (r#"{"url": "mysql://a@b/c", "host": "d"}"#, "both given"),
        (r#"{"host": "d"}"#, "no MariaDB database is named"),
        (r#"{"url": "http://a/b"}"#, "mysql://"),
        (
            r#"{"database": "a", "password": "b", "password_env": "C"}"#,
            "both given",
        ),
        (
            r#"{"database": "a", "password_env": "HANDFAST_NO_SUCH_VARIABLE"}"#,
            "HANDFAST_NO_SUCH_VARIABLE",
        ),
        (
            r#"{"database": "a", "work_connections": 0}"#,
            "work_connections = 0",
        ),
    ] {
        let error = settings(json).options().map(drop).unwrap_err();
        assert!(format!("{error:#}").contains(words), "{json}: {error:#}");
    }
    for json in [
        r#"{"databse": "a"}"#,
        r#"{"database": "a", "isolation": "snapshot"}"#,
    ] {
        assert!(serde_json::from_str::<Settings>(json).is_err(), "{json}");
    }
}
