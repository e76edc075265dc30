use std::cell::Cell;
use std::future::ready;

use super::*;

/// Attempts that are made while the journal is away.
const OUTAGE: u32 = 12;
/// Shorter than the pauses of an outage together.
const EVERY: Duration = Duration::from_millis(20);

fn away() -> KafkaError {
    KafkaError::NoAnswer {
        address: "kafka.example:9092".to_owned(),
        what: "the journal",
        why: "it is away".to_owned(),
    }
}

#[tokio::test]
async fn an_outage_of_any_length_is_outlasted_and_spoken_of() {
    let (attempts, said) = (Cell::new(0), Cell::new(0));
    let attempt = || {
        attempts.set(attempts.get() + 1);
        ready(if attempts.get() <= OUTAGE {
            Err(away())
        } else {
            Ok(())
        })
    };
    assert!(persist(attempt, || false, EVERY, |_| said.set(said.get() + 1)).await);
    assert_eq!(attempts.get(), OUTAGE + 1);
    assert!((1..OUTAGE).contains(&said.get()), "said {} times", said.get());
}

#[tokio::test]
async fn a_journal_that_is_broken_is_waited_for_no_longer() {
    let attempts = Cell::new(0);
    let attempt = || {
        attempts.set(attempts.get() + 1);
        ready(Err(away()))
    };
    assert!(!persist(attempt, || attempts.get() == 3, EVERY, |_| {}).await);
}
