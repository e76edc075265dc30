use super::{Found, judge};
use crate::asked::{Asked, Told};
use crate::orders::{Order, Place};
use crate::report::Report;
use crate::systems::Holdings;

fn asked(id: &str, told: Told) -> Asked {
    Asked {
        order: Order {
            id: id.to_owned(),
            item: "item-00".to_owned(),
            pieces: 1,
        },
        place: Place {
            partition: 0,
            offset: 7,
        },
        told,
        was_unknown: false,
    }
}

fn holding(ids: &[&str]) -> Holdings {
    let mut holdings = Holdings::default();
    for id in ids {
        holdings.note(*id);
    }
    holdings
}

/// The same in all four, and the offsets in step.
fn everywhere(ids: &[&str]) -> Found {
    let held = holding(ids);
    Found {
        orders: held.clone(),
        stock: held.clone(),
        events: held.clone(),
        invoices: held,
        last_offsets: [(0, 7)].into(),
        group_offsets: [(0, 8)].into(),
        pieces: 100,
    }
}

fn judged(asked: &[Asked], found: &Found) -> Report {
    let mut report = Report {
        pieces_before: 100,
        recoveries: 1,
        kills: vec![("kafka".to_owned(), 1)],
        client_deaths: 1,
        is_enough: true,
        ..Report::default()
    };
    judge(asked, found, &mut report);
    report
}

#[test]
fn what_is_everywhere_once_or_nowhere_is_clean() {
    let orders = [asked("a", Told::Committed), asked("b", Told::Refused)];
    let report = judged(&orders, &everywhere(&["a"]));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        report.held,
        ["PostgreSQL", "MariaDB", "Kafka", "files"].map(|name| (name.to_owned(), 1))
    );
}

#[test]
fn every_kind_of_damage_is_seen_in_every_system() {
    let committed = [asked("a", Told::Committed)];
    assert_eq!(judged(&committed, &everywhere(&[])).lost, 1);
    assert_eq!(
        judged(&[asked("a", Told::Refused)], &everywhere(&["a"])).refused_but_done,
        1
    );
    assert_eq!(
        judged(&[], &everywhere(&["a"])).doubled,
        1,
        "an order that nobody took"
    );
    assert!(!judged(&[asked("a", Told::Unknown)], &everywhere(&[])).is_clean());
    assert!(!judged(&[asked("a", Told::Failed("hazard".to_owned()))], &everywhere(&[])).is_clean());

    let systems: [fn(&mut Found) -> &mut Holdings; 4] = [
        |found| &mut found.orders,
        |found| &mut found.stock,
        |found| &mut found.events,
        |found| &mut found.invoices,
    ];
    for system in systems {
        let mut found = everywhere(&["a"]);
        system(&mut found).orders.clear();
        assert_eq!(judged(&committed, &found).half_done, 1);
        let mut found = everywhere(&["a"]);
        system(&mut found).note("a");
        assert_eq!(judged(&committed, &found).doubled, 1);
        let mut found = everywhere(&["a"]);
        system(&mut found).prepared = 1;
        let report = judged(&committed, &found);
        assert!(report.left_prepared == 1 && !report.is_clean());
    }
}

#[test]
fn offsets_and_stock_must_be_in_step() {
    let committed = [asked("a", Told::Committed)];
    for offsets in [vec![(0, 7)], vec![(0, 9)], vec![], vec![(0, 8), (1, 1)]] {
        let found = Found {
            group_offsets: offsets.into_iter().collect(),
            ..everywhere(&["a"])
        };
        let report = judged(&committed, &found);
        assert!(
            report.offsets_out_of_step == 1 && !report.is_clean(),
            "{report:?}"
        );
    }
    let found = Found {
        pieces: 99,
        ..everywhere(&["a"])
    };
    assert!(!judged(&committed, &found).is_clean(), "pieces are missing");
}

#[test]
fn a_run_in_which_somebody_was_spared_is_void() {
    let mut report = judged(&[asked("a", Told::Committed)], &everywhere(&["a"]));
    assert!(report.is_clean());
    report.kills.push(("postgres".to_owned(), 0));
    assert!(report.is_void() && !report.is_clean());
    report.kills.pop();
    report.least_kills = 2;
    assert!(report.is_void(), "deaths of clients are no kills");
    report.least_kills = 1;
    assert!(report.is_clean());
    report.is_enough = false;
    assert!(report.is_void());
}
