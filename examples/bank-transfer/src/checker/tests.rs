use std::collections::BTreeMap;

use super::judge;
use crate::clients::{Asked, Told};
use crate::report::Report;
use crate::side::Holdings;
use crate::transfers::{Name, Transfer};

fn asked(id: &str, told: Told) -> Asked {
    let transfer = Transfer {
        id: id.to_owned(),
        from: Name::Left,
        from_account: "acct-00".to_owned(),
        to_account: "acct-00".to_owned(),
        amount: 1,
    };
    Asked {
        transfer,
        told,
        resolved: false,
    }
}

fn holding(applied: &[(&str, u64)], total: i64) -> Holdings {
    let applied: BTreeMap<String, u64> = applied
        .iter()
        .map(|&(id, count)| (id.to_owned(), count))
        .collect();
    Holdings {
        total,
        applied,
        prepared: 0,
    }
}

fn judged(asked: &[Asked], left: &Holdings, right: &Holdings) -> Report {
    let mut report = Report {
        total_before: 200,
        recoveries: 1,
        kills: vec![("left".to_owned(), 1)],
        ..Report::default()
    };
    judge(asked, [left, right], &mut report);
    report
}

#[test]
fn what_happened_once_or_not_at_all_is_clean() {
    let (left, right) = (holding(&[("a", 1)], 99), holding(&[("a", 1)], 101));
    let report = judged(
        &[asked("a", Told::Committed), asked("b", Told::Aborted)],
        &left,
        &right,
    );
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn every_kind_of_damage_is_seen() {
    let empty = holding(&[], 100);
    let once = holding(&[("a", 1)], 100);
    let twice = holding(&[("a", 2)], 100);
    let committed = [asked("a", Told::Committed)];
    let aborted = [asked("a", Told::Aborted)];
    assert_eq!(judged(&committed, &empty, &empty).lost, 1);
    assert_eq!(judged(&committed, &once, &empty).half_done, 1);
    assert_eq!(judged(&aborted, &empty, &once).half_done, 1);
    assert_eq!(judged(&committed, &twice, &once).doubled, 1);
    assert_eq!(judged(&aborted, &once, &once).aborted_but_done, 1);
    assert_eq!(
        judged(&[], &once, &once).doubled,
        1,
        "an effect that nobody asked for"
    );
    assert!(!judged(&[asked("a", Told::Unknown)], &empty, &empty).is_clean());
    assert!(
        !judged(&committed, &holding(&[("a", 1)], 98), &once).is_clean(),
        "money is missing"
    );
    let prepared = Holdings {
        prepared: 1,
        ..holding(&[("a", 1)], 100)
    };
    assert!(!judged(&committed, &prepared, &once).is_clean());
}

#[test]
fn a_run_without_kills_is_void() {
    let once = holding(&[("a", 1)], 100);
    let mut report = judged(&[asked("a", Told::Committed)], &once, &once);
    assert!(report.is_clean());
    report.kills.clear();
    assert!(report.is_void() && !report.is_clean());
}
