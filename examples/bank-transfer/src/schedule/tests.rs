use std::time::{Duration, Instant};

use super::Schedule;
use crate::transfers::{Name, Source, Transfer};

const LENGTH: Duration = Duration::from_secs(40);

fn file_of(count: usize) -> Source {
    let transfer = |number| Transfer {
        id: format!("invoice-{number}"),
        from: Name::Left,
        from_account: "acct-00".to_owned(),
        to_account: "acct-00".to_owned(),
        amount: 1,
    };
    Source::File((0..count).map(transfer).collect())
}

#[test]
fn a_file_is_spread_over_the_run_and_made_to_its_end() {
    let began = Instant::now();
    let mut schedule = Schedule::new(file_of(4), began, LENGTH);
    let late = began + 2 * LENGTH;
    let due: Vec<Duration> = std::iter::from_fn(|| schedule.next(late))
        .map(|(_, due)| due - began)
        .collect();
    assert_eq!(due, [0, 10, 20, 30].map(Duration::from_secs));
    assert_eq!((schedule.steps(), schedule.progress(late, 3)), (4, 3));
}

#[test]
fn random_transfers_follow_each_other_until_the_time_is_over() {
    let began = Instant::now();
    let mut schedule = Schedule::new(Source::random(1, 8, 1..=9), began, LENGTH);
    let now = began + LENGTH / 2;
    assert_eq!(schedule.next(now).map(|(_, due)| due), Some(now));
    assert_eq!((schedule.steps(), schedule.progress(now, 3)), (40, 20));
    assert_eq!(schedule.next(began + LENGTH), None);
}

#[test]
fn a_closed_schedule_gives_nothing() {
    let began = Instant::now();
    for source in [file_of(2), Source::random(1, 8, 1..=9)] {
        let mut schedule = Schedule::new(source, began, LENGTH);
        assert!(schedule.next(began).is_some());
        schedule.close();
        assert_eq!(schedule.next(began), None);
    }
}
