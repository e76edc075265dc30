use super::judge;
use crate::clients::{Asked, Told};
use crate::report::Report;
use crate::side::{Change, Holdings};
use crate::transfers::{Name, OPENING_BALANCE, Transfer};

const ACCOUNT: &str = "acct-00";

/// One unit from the left to the right.
fn asked(id: &str, told: Told) -> Asked {
    let transfer = Transfer {
        id: id.to_owned(),
        from: Name::Left,
        from_account: ACCOUNT.to_owned(),
        to_account: ACCOUNT.to_owned(),
        amount: 1,
    };
    Asked {
        transfer,
        told,
        resolved: false,
    }
}

/// A store of one account that has made these changes and no others.
fn holding(changes: &[(&str, i64)]) -> Holdings {
    let mut holdings = Holdings::default();
    let balance = changes
        .iter()
        .fold(OPENING_BALANCE, |balance, (_, amount)| balance + amount);
    holdings.balances.insert(ACCOUNT.to_owned(), balance);
    for &(id, amount) in changes {
        let change = Change {
            account: ACCOUNT.to_owned(),
            amount,
        };
        holdings.applied.entry(id.to_owned()).or_default().push(change);
    }
    holdings
}

fn judged(asked: &[Asked], left: &Holdings, right: &Holdings) -> Report {
    let mut report = Report {
        total_before: 2 * OPENING_BALANCE,
        recoveries: 1,
        kills: vec![("left".to_owned(), 1)],
        ..Report::default()
    };
    judge(asked, [left, right], &mut report);
    report
}

#[test]
fn what_happened_once_or_not_at_all_is_clean() {
    let (left, right) = (holding(&[("a", -1)]), holding(&[("a", 1)]));
    let report = judged(
        &[asked("a", Told::Committed), asked("b", Told::Aborted)],
        &left,
        &right,
    );
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn every_kind_of_damage_is_seen() {
    let none = holding(&[]);
    let (debit, credit) = (holding(&[("a", -1)]), holding(&[("a", 1)]));
    let twice = holding(&[("a", -1), ("a", -1)]);
    let committed = [asked("a", Told::Committed)];
    let aborted = [asked("a", Told::Aborted)];
    let see = |asked: &[Asked], left: &Holdings, right: &Holdings| {
        let report = judged(asked, left, right);
        assert!(!report.is_clean(), "{report:?}");
        report
    };
    assert_eq!(see(&committed, &none, &none).lost, 1);
    assert_eq!(see(&committed, &debit, &none).half_done, 1);
    assert_eq!(see(&aborted, &none, &credit).half_done, 1);
    assert_eq!(see(&committed, &twice, &credit).doubled, 1);
    assert_eq!(see(&aborted, &debit, &credit).aborted_but_done, 1);
    assert_eq!(
        see(&[], &debit, &credit).doubled,
        1,
        "an effect that nobody asked for"
    );
    let unknown = see(&[asked("a", Told::Unknown)], &none, &none);
    assert_eq!(
        (unknown.unknown, unknown.exit_code()),
        (1, 2),
        "nothing is known to be wrong"
    );
    let prepared = Holdings {
        prepared: 1,
        ..debit.clone()
    };
    assert_eq!(see(&committed, &prepared, &credit).left_prepared, 1);
}

#[test]
fn a_change_that_was_not_asked_for_so_is_seen_though_the_sum_is_right() {
    let committed = [asked("a", Told::Committed)];
    let report = judged(&committed, &holding(&[("a", -2)]), &holding(&[("a", 2)]));
    assert_eq!((report.altered, report.unbalanced), (1, 0));
    assert_eq!(report.total_after, report.total_before);
    assert!(!report.is_clean());
}

#[test]
fn a_balance_that_is_not_its_history_is_seen_though_the_sum_is_right() {
    let committed = [asked("a", Told::Committed)];
    let (mut left, mut right) = (holding(&[("a", -1)]), holding(&[("a", 1)]));
    *left.balances.get_mut(ACCOUNT).unwrap() += 5;
    *right.balances.get_mut(ACCOUNT).unwrap() -= 5;
    let report = judged(&committed, &left, &right);
    assert_eq!((report.altered, report.unbalanced), (0, 2));
    assert_eq!(report.total_after, report.total_before);
    assert!(!report.is_clean());
}

#[test]
fn a_run_without_kills_is_void() {
    let (left, right) = (holding(&[("a", -1)]), holding(&[("a", 1)]));
    let mut report = judged(&[asked("a", Told::Committed)], &left, &right);
    assert!(report.is_clean());
    assert_eq!(report.exit_code(), 0);
    report.kills.clear();
    assert!(report.is_void() && !report.is_clean());
    assert_eq!(report.exit_code(), 2);
    report.half_done = 1;
    assert_eq!(report.exit_code(), 1, "damage is damage, whatever was killed");
}
