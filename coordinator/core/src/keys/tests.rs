use handfast_ids::{Epoch, IdempotencyKey, Partition, TransactionId};

use super::{Claimed, Keys};
use crate::{KeyClaim, KeyRecord, Lsn, Outcome, RequestDigest};

fn id(sequence: u32) -> TransactionId {
    TransactionId::new(1, Partition(0), Epoch(1), sequence)
}

fn record(expires_at_ms: u64, digest: u8) -> KeyRecord {
    KeyRecord {
        key: IdempotencyKey::new("k1").expect("a key"),
        expires_at_ms,
        digest: RequestDigest([digest; 32]),
    }
}

fn claim(expires_at_ms: u64, digest: u8) -> KeyClaim {
    let KeyRecord {
        key,
        expires_at_ms,
        digest,
    } = record(expires_at_ms, digest);
    KeyClaim {
        key,
        expires_at_ms,
        digest,
    }
}

fn found(keys: &Keys, claim: &KeyClaim, wall_ms: u64) -> &'static str {
    match keys.claim(claim, wall_ms) {
        Claimed::Free => "free",
        Claimed::Held(_) => "held",
        Claimed::Mismatch(_) => "mismatch",
        Claimed::Expired => "expired",
    }
}

#[test]
fn a_claim_finds_what_the_table_says() {
    // Held with expiry and digest, or not; horizon; wall clock; expiry and digest of the claim; what it finds.
    let table = [
        (None, 0, 50, (100, 1), "free"),
        (None, 0, 99, (100, 1), "free"),
        (None, 0, 100, (100, 1), "expired"),
        (None, 99, 50, (100, 1), "free"),
        (None, 100, 50, (100, 1), "expired"),
        (None, 150, 50, (100, 1), "expired"),
        (Some((100, 1)), 0, 50, (100, 1), "held"),
        (Some((100, 1)), 0, 50, (100, 2), "mismatch"),
        (Some((100, 1)), 0, 50, (101, 1), "mismatch"),
        (Some((100, 1)), 0, 50, (99, 2), "mismatch"),
        (Some((100, 1)), 0, 200, (100, 1), "held"),
        (Some((100, 1)), 0, 200, (100, 2), "mismatch"),
        (Some((100, 1)), 0, 200, (300, 1), "mismatch"),
        (Some((100, 1)), 150, 200, (100, 1), "held"),
        (Some((100, 1)), 150, 50, (100, 1), "held"),
        (Some((100, 1)), 150, 50, (100, 2), "mismatch"),
    ];
    for (held, horizon_ms, wall_ms, (expires_at_ms, digest), expected) in table {
        let mut keys = Keys::default();
        keys.raise_horizon(horizon_ms);
        if let Some((expires_at_ms, digest)) = held {
            keys.bind(record(expires_at_ms, digest), id(1));
        }
        let claim = claim(expires_at_ms, digest);
        let found = found(&keys, &claim, wall_ms);
        assert_eq!(
            found, expected,
            "held {held:?}, horizon {horizon_ms}, wall {wall_ms}, {claim:?}"
        );
    }
}

#[test]
fn only_an_answered_key_expires_and_what_is_dropped_raises_the_horizon() {
    let mut keys = Keys::default();
    keys.bind(record(100, 1), id(1));
    assert!(keys.expire(200).is_empty());
    assert_eq!(keys.horizon_ms(), 0);
    keys.answer(&record(100, 1).key, id(1), Outcome::Committed, Lsn(1));
    assert!(keys.expire(99).is_empty());
    assert_eq!(keys.expire(100), [record(100, 1).key]);
    assert_eq!(
        (keys.horizon_ms(), keys.len(), keys.next_expiry_ms()),
        (100, 0, None)
    );
    assert_eq!(found(&keys, &claim(100, 1), 50), "expired");
    assert_eq!(found(&keys, &claim(101, 1), 50), "free");
}

#[test]
fn a_later_use_of_a_key_keeps_its_own_expiry_and_answer() {
    let mut keys = Keys::default();
    let key = record(100, 1).key;
    keys.bind(record(100, 1), id(1));
    keys.answer(&key, id(1), Outcome::Committed, Lsn(1));
    keys.bind(record(300, 1), id(2));
    assert_eq!(keys.next_expiry_ms(), Some(300));
    keys.answer(&key, id(1), Outcome::Committed, Lsn(2));
    assert!(
        keys.find(&key).is_some_and(|held| held.answer.is_none()),
        "id 1 answers nothing any more"
    );
    keys.answer(&key, id(2), Outcome::Committed, Lsn(3));
    assert!(keys.expire(200).is_empty());
    assert_eq!(found(&keys, &claim(300, 1), 200), "held");
    assert_eq!(keys.expire(300), [key]);
}

#[test]
fn a_checkpoint_carries_the_answered_keys() {
    let mut keys = Keys::default();
    keys.bind(record(100, 1), id(1));
    assert_eq!(keys.answered().count(), 0);
    keys.answer(&record(100, 1).key, id(1), Outcome::Committed, Lsn(1));
    assert_eq!(
        keys.answered()
            .map(|(held, _)| held.transaction)
            .collect::<Vec<_>>(),
        [id(1)]
    );
}
