use handfast_ids::{Epoch, Partition, TransactionId};

use super::Mint;
use crate::Moment;

const WALL_MS: u64 = 1_000_000;

fn mint(epoch: u32, wall_ms: u64, floor_ms: u64) -> Mint {
    Mint::new(
        Partition(3),
        Epoch(epoch),
        Moment(100),
        wall_ms,
        floor_ms,
        floor_ms,
    )
}

#[test]
fn ids_never_go_back_even_if_the_clock_does() {
    let mut mint = mint(1, WALL_MS, 0);
    let moments = [100, 100, 150, 120, 0, 150, 151];
    let ids: Vec<TransactionId> = moments.iter().map(|&at| mint.next(Moment(at))).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(mint.last(), ids[6]);
}

#[test]
fn the_first_id_is_above_the_bound_that_stands_for_none() {
    let mut mint = mint(1, WALL_MS, 0);
    let bound = mint.last();
    assert!(mint.next(Moment(100)) > bound);
}

#[test]
fn an_exhausted_sequence_borrows_the_next_millisecond() {
    let mut mint = mint(1, WALL_MS, 0);
    mint.last = TransactionId::new(WALL_MS, Partition(3), Epoch(1), u32::MAX);
    let borrowed = mint.next(Moment(100));
    assert_eq!((borrowed.milliseconds(), borrowed.sequence()), (WALL_MS + 1, 0));
    let next = mint.next(Moment(100));
    assert_eq!((next.milliseconds(), next.sequence()), (WALL_MS + 1, 2));
    let later = mint.next(Moment(105));
    assert_eq!((later.milliseconds(), later.sequence()), (WALL_MS + 5, 0));
}

#[test]
fn an_odd_sequence_marks_what_may_lack_a_record() {
    let mut mint = mint(1, WALL_MS, 0);
    let ids = [
        mint.next(Moment(100)),
        mint.next_unrecorded(Moment(100)),
        mint.next_unrecorded(Moment(100)),
        mint.next(Moment(100)),
        mint.next_unrecorded(Moment(101)),
    ];
    assert_eq!(ids.map(TransactionId::sequence), [0, 1, 3, 4, 1]);
    assert_eq!(
        ids.map(TransactionId::is_unrecorded),
        [false, true, true, false, true]
    );
    assert!(ids.is_sorted());
    mint.last = TransactionId::new(WALL_MS + 1, Partition(3), Epoch(1), u32::MAX - 1);
    assert_eq!(mint.next_unrecorded(Moment(101)).sequence(), u32::MAX);
    let borrowed = mint.next_unrecorded(Moment(101));
    assert_eq!((borrowed.milliseconds(), borrowed.sequence()), (WALL_MS + 2, 1));
    mint.last = TransactionId::new(WALL_MS + 2, Partition(3), Epoch(1), u32::MAX - 1);
    let borrowed = mint.next(Moment(102));
    assert_eq!((borrowed.milliseconds(), borrowed.sequence()), (WALL_MS + 3, 0));
}

#[test]
fn a_clock_that_was_set_back_over_a_restart_moves_nothing() {
    let mut first = mint(1, WALL_MS, 0);
    let last = first.next(Moment(500));
    let mut second = mint(2, WALL_MS - 3_600_000_u64.min(WALL_MS), last.milliseconds());
    assert!(second.next(Moment(100)) > last);
    assert!(second.wall_ms(Moment(100)) > last.milliseconds());
}

#[test]
fn unix_time_follows_the_monotonic_clock() {
    let mint = mint(1, WALL_MS, 0);
    assert_eq!(mint.wall_ms(Moment(100)), WALL_MS);
    assert_eq!(mint.wall_ms(Moment(1100)), WALL_MS + 1000);
    assert_eq!(mint.wall_ms(Moment(0)), WALL_MS);
    assert_eq!(mint.moment_of(WALL_MS + 1000), Moment(1100));
    assert_eq!(mint.moment_of(0), Moment(100));
}

#[test]
fn ids_carry_their_owner() {
    let id = mint(9, WALL_MS, 0).next(Moment(100));
    assert_eq!((id.partition(), id.epoch()), (Partition(3), Epoch(9)));
}

#[test]
fn keys_expire_late_rather_than_early() {
    const HOUR: u64 = 3_600_000;
    let began = 1_000 * HOUR;
    // What the clock says, what the log has seen last, and the time by which keys expire.
    let table = [
        (began, 0, began),
        (began + 5, began, began),
        (began + HOUR, began, began),
        (began + HOUR + 7, began, began + 7),
        (began + 50 * HOUR, began, began + 49 * HOUR),
        (began - HOUR, began, began - HOUR),
    ];
    for (wall_ms, floor_ms, expected) in table {
        let mint = mint(2, wall_ms, floor_ms);
        assert_eq!(
            mint.key_ms(Moment(100)),
            expected,
            "clock {wall_ms}, log {floor_ms}"
        );
        assert_eq!(mint.key_ms(Moment(350)), expected + 250);
    }
}
