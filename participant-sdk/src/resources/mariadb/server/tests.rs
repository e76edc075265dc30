use std::time::Duration;

use super::{Flavor, Limits};

#[test]
fn the_version_tells_whose_server_it_is() {
    assert_eq!(Flavor::of("10.11.19-MariaDB-0+deb12u1"), Flavor::Mariadb);
    assert_eq!(Flavor::of("8.0.36"), Flavor::Mysql);
    assert_eq!(Flavor::of("8.0.36-28"), Flavor::Mysql);
}

#[test]
fn only_the_lengths_tell_where_a_gtrid_ends() {
    let mariadb = |lengths, data: &str| Flavor::Mariadb.split(7, lengths, data.as_bytes());
    let both = |gtrid: &str, bqual: &str| Some((gtrid.as_bytes().to_vec(), bqual.as_bytes().to_vec()));
    assert_eq!(mariadb((2, 1), "'ab','c',7"), both("ab", "c"));
    assert_eq!(mariadb((1, 2), "'a','bc',7"), both("a", "bc"));
    assert_eq!(mariadb((1, 0), "'a','',7"), both("a", ""));
    assert_eq!(
        mariadb((3, 1), "'','','c',7"),
        both("','", "c"),
        "a quote in it is data"
    );
    let mysql = |lengths, data: &str| Flavor::Mysql.split(7, lengths, data.as_bytes());
    assert_eq!(mysql((2, 1), "0x616263"), both("ab", "c"));
    assert_eq!(mysql((1, 2), "0x616263"), both("a", "bc"));
}

#[test]
fn what_is_not_as_written_is_nobodys() {
    for (lengths, data) in [
        ((1, 1), ""),
        ((1, 1), "'a'"),
        ((1, 1), "'a','b'"),
        ((1, 1), "'a','b',8"),
        ((1, 1), "X'00','b',7"),
        ((9, 9), "'a','b',7"),
        ((1, 1), "'a','b',7 "),
    ] {
        assert_eq!(Flavor::Mariadb.split(7, lengths, data.as_bytes()), None, "{data}");
    }
    for (lengths, data) in [
        ((1, 1), "6162"),
        ((1, 1), "0x61"),
        ((1, 1), "0x616"),
        ((3, 0), "0x6162"),
        ((1, 0), "0xzz"),
    ] {
        assert_eq!(Flavor::Mysql.split(7, lengths, data.as_bytes()), None, "{data}");
    }
}

#[test]
fn limits_are_never_zero_which_would_mean_none() {
    let limits = |statement| {
        Limits {
            statement,
            idle: statement,
        }
        .assignments(Flavor::Mariadb)
    };
    assert_eq!(
        limits(Duration::ZERO),
        "max_statement_time = 0.001, innodb_lock_wait_timeout = 1, lock_wait_timeout = 1, wait_timeout = 1"
    );
    assert!(limits(Duration::MAX).contains("max_statement_time = 2147483.647"));
    assert!(
        Limits {
            statement: Duration::from_millis(1_500),
            idle: Duration::from_secs(60)
        }
        .assignments(Flavor::Mysql)
        .starts_with("max_execution_time = 1500, innodb_lock_wait_timeout = 2")
    );
}
