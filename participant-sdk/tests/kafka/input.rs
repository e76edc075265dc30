use handfast_participant::resources::kafka::{
    GroupMember, KafkaOperation, MAX_OPERATION_BYTES, MAX_RECORDS, Payload,
};
use handfast_participant::{Refusal, Resource, Work};

use super::{LIMIT, Shop, branch, next, prepare, promise, refused, seen};

async fn refusal(shop: &Shop, operation: &KafkaOperation) -> Refusal {
    let resource = shop.open().await;
    refused(prepare(&resource, branch(), operation).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_does_not_have_is_refused_by_name() {
    let shop = Shop::new();
    let topic = &shop.topic;
    let record = |topic: &str| KafkaOperation::new().record(topic, "key", "value");
    for (operation, reason, words) in [
        (record("no-such-topic"), "UNKNOWN_TOPIC", "no-such-topic"),
        (
            record(topic).to_partition(3),
            "UNKNOWN_PARTITION",
            "has 3 partitions",
        ),
        (record(topic).to_partition(-1), "UNKNOWN_PARTITION", "not -1"),
        (
            KafkaOperation::new().position("group", "no-such-topic", 0, 1),
            "UNKNOWN_TOPIC",
            "position 1",
        ),
        (
            KafkaOperation::new().position("group", topic, 7, 1),
            "UNKNOWN_PARTITION",
            "not 7",
        ),
    ] {
        let refusal = refusal(&shop, &operation).await;
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert!(!refusal.retryable, "{}", refusal.message);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    assert_eq!(shop.open_transactions(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_refused_and_takes_its_branch_along() {
    let shop = Shop::new();
    let small = format!("small-{}", next());
    shop.broker
        .create_topic_with(&small, 1, &[("max.message.bytes", "1000")])
        .unwrap();
    let resource = shop.open().await;
    let operation = shop.order("fits").record(&small, "key", "x".repeat(2_000));
    let refusal = refused(prepare(&resource, branch(), &operation).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("RECORD_TOO_LARGE", false)
    );
    assert!(refusal.message.contains(&small), "{}", refusal.message);
    shop.stable().await;
    assert_eq!(shop.committed(), [""; 0]);
    promise(&resource, branch(), &shop.order("fits")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_has_lost_its_partitions_is_refused() {
    let shop = Shop::new();
    let mut operation = shop
        .order("never")
        .position(format!("group-{}", next()), &shop.topic, 0, 1);
    operation.offsets.as_mut().unwrap().member = Some(GroupMember {
        id: "a consumer of long ago".to_owned(),
        generation: 5,
        instance: None,
    });
    let refusal = refusal(&shop, &operation).await;
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("GROUP_FENCED", false)
    );
    shop.stable().await;
    assert_eq!(shop.committed(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_cannot_be_read_is_refused_in_words() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let records = format!(
        r#"{{"handfast_kafka":1,"records":[{}]}}"#,
        vec![r#"{"topic":"t","value":null}"#; MAX_RECORDS + 1].join(",")
    );
    for (bytes, words) in [
        ("{}", "handfast_kafka"),
        ("]", "not JSON"),
        (r#"{"handfast_kafka":2}"#, "version 2"),
        (r#"{"handfast_kafka":1,"record":[]}"#, "unknown field `record`"),
        (
            r#"{"handfast_kafka":1,"records":[{"topic":"t"}]}"#,
            "missing field `value`",
        ),
        (
            r#"{"handfast_kafka":1,"records":[{"topic":"a b","value":"x"}]}"#,
            "no topic",
        ),
        (
            r#"{"handfast_kafka":1,"records":[{"topic":"t","value":7}]}"#,
            "hexadecimal",
        ),
        (
            r#"{"handfast_kafka":1,"records":[{"topic":"t","value":{"bytes":"0"}}]}"#,
            "hexadecimal",
        ),
        (
            r#"{"handfast_kafka":1,"offsets":{"group":"g","positions":[{"topic":"t","partition":0,"offset":-1}]}}"#,
            "not negative",
        ),
        (
            r#"{"handfast_kafka":1,"offsets":{"group":"","positions":[]}}"#,
            "\"group\" is empty",
        ),
        (&records, "10000 are the most"),
    ] {
        let work = Work::Operation(bytes.to_owned().into());
        let refusal = refused(resource.prepare(branch(), work, seen(1, 1), LIMIT).await.unwrap());
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("MALFORMED_OPERATION", false)
        );
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    let large = KafkaOperation::new().record(&shop.topic, Payload(None), "x".repeat(MAX_OPERATION_BYTES));
    assert_eq!(
        refused(prepare(&resource, branch(), &large).await).reason,
        "OPERATION_TOO_LARGE"
    );
    let largest =
        KafkaOperation::new().record(&shop.topic, Payload(None), "x".repeat(MAX_OPERATION_BYTES - 200));
    promise(&resource, branch(), &largest).await;
}
