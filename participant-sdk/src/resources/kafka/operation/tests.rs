use proptest::prelude::*;

use super::*;

#[test]
fn what_the_documentation_shows_can_be_read() {
    let text = r#"{"handfast_kafka": 1,
      "records": [{"topic": "orders", "key": "4711", "value": "paid", "headers": [["kind", "payment"]]},
                  {"topic": "audit", "partition": 0, "value": {"bytes": "00ff"}}],
      "offsets": {"group": "billing", "positions": [{"topic": "invoices", "partition": 3, "offset": 42}]}}"#;
    let built = KafkaOperation::new()
        .record("orders", "4711", "paid")
        .header("kind", "payment")
        .record("audit", Payload(None), vec![0_u8, 255])
        .to_partition(0)
        .position("billing", "invoices", 3, 42);
    assert_eq!(KafkaOperation::decode(text.as_bytes()).unwrap(), built);
}

fn payload() -> impl Strategy<Value = Payload> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)).prop_map(Payload::from)
}

proptest! {
    #[test]
    fn an_operation_comes_back_as_it_was_written(
        records in proptest::collection::vec((payload(), payload(), proptest::option::of(0..9_i32), payload()), 0..5),
        offset in proptest::option::of(0..i64::MAX),
    ) {
        let mut operation = KafkaOperation::new();
        for (key, value, partition, header) in records {
            operation = operation.record("topic", key, value).header("name", header);
            if let Some(partition) = partition {
                operation = operation.to_partition(partition);
            }
        }
        if let Some(offset) = offset {
            operation = operation.position("group", "topic", 0, offset);
        }
        prop_assert_eq!(KafkaOperation::decode(&operation.encode()).unwrap(), operation);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = KafkaOperation::decode(&bytes);
    }
}
