use crate::{Epoch, IdempotencyKey, InvalidName, Partition, ResourceName, TransactionId};

#[test]
fn a_transaction_id_gives_back_what_it_was_made_of() {
    let id = TransactionId::new((1 << 48) - 1, Partition(4095), Epoch::MAX, u32::MAX);
    assert_eq!(id.milliseconds(), (1 << 48) - 1);
    assert_eq!(id.partition(), Partition(4095));
    assert_eq!(id.epoch(), Epoch::MAX);
    assert_eq!(id.sequence(), u32::MAX);
    assert_eq!(TransactionId::from_slice(&id.to_bytes()), Ok(id));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(uuid::Uuid::from_u128(id.as_u128()).get_version_num(), 8);
}

#[test]
fn ids_sort_by_time_then_partition_then_epoch_then_sequence() {
    let id = |milliseconds, partition, epoch, sequence| {
        TransactionId::new(milliseconds, Partition(partition), Epoch(epoch), sequence)
    };
    let sorted = [
        TransactionId::ZERO,
        id(5, 0, 9, 9),
        id(6, 0, 1, 0),
        id(6, 0, 1, 1),
        id(6, 0, 2, 0),
        id(6, 1, 1, 0),
        id(7, 0, 0, 0),
    ];
    assert!(sorted.is_sorted());
}

#[test]
fn a_uuid_of_another_version_is_not_a_transaction_id() {
    let error = "6f1c1c6e-0d57-4d5c-9df0-2f1f3f9e7a11"
        .parse::<TransactionId>()
        .unwrap_err();
    assert!(error.to_string().contains("version-8 UUID"), "{error}");
    assert!(TransactionId::from_slice(b"short").is_err());
}

#[test]
fn names_are_checked_once_at_the_edge() {
    for good in ["orders-db", "a", "0.x_y", &"n".repeat(64)] {
        assert_eq!(
            ResourceName::new(good).map(|name| name.as_str().to_owned()),
            Ok(good.to_owned())
        );
    }
    for bad in ["", "-a", "Orders", "a b", "é", &"n".repeat(65)] {
        assert!(
            matches!(ResourceName::new(bad), Err(InvalidName::Resource(_))),
            "{bad:?}"
        );
    }
    assert!(IdempotencyKey::new("Bestellung 4711 ü").is_ok());
    for bad in ["", "line\nbreak", &"k".repeat(129)] {
        assert!(
            matches!(IdempotencyKey::new(bad), Err(InvalidName::Key(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn an_error_shows_the_beginning_of_a_long_text() {
    let long = "x".repeat(100_000);
    let error = long.parse::<TransactionId>().unwrap_err();
    assert!(error.to_string().len() < 250, "{} bytes", error.to_string().len());
    assert!(error.to_string().contains("xxxx"));
}
