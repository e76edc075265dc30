//! The broker asked directly: what is open, and what a request does that is late, repeated or made by hand.

use bytes::{Bytes, BytesMut};
use handfast_servers::KafkaBroker;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{
    CreateAclsRequest, DeleteAclsRequest, DeleteTopicsRequest, DescribeTransactionsRequest, EndTxnRequest,
    InitProducerIdRequest, ListTransactionsRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

/// A transaction as its coordinator describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    pub id: String,
    pub state: String,
    pub producer: i64,
    pub epoch: i16,
    pub topics: Vec<String>,
}

fn id(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

/// Open transactions that have written to this topic.
pub fn open_transactions(broker: &KafkaBroker, topic: &str) -> Vec<Transaction> {
    let request =
        ListTransactionsRequest::default().with_state_filters(vec![StrBytes::from_static_str("Ongoing")]);
    let listed = broker.ask(0, &request).unwrap();
    assert_eq!(listed.error_code, 0);
    listed
        .transaction_states
        .iter()
        .map(|state| describe(broker, &state.transactional_id))
        .filter(|transaction| transaction.topics.iter().any(|name| name == topic))
        .collect()
}

/// How the transaction of an id stands.
pub fn describe(broker: &KafkaBroker, transactional_id: &str) -> Transaction {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id(transactional_id)]);
    let answer = broker.ask(0, &request).unwrap();
    let state = answer.transaction_states.first().unwrap();
    Transaction {
        id: transactional_id.to_owned(),
        state: state.transaction_state.to_string(),
        producer: state.producer_id.0,
        epoch: state.producer_epoch,
        topics: state.topics.iter().map(|topic| topic.topic.to_string()).collect(),
    }
}

/// Ends a transaction by hand; the error code.
pub fn end(broker: &KafkaBroker, transaction: &Transaction, committed: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(&transaction.id))
        .with_producer_id(transaction.producer.into())
        .with_producer_epoch(transaction.epoch)
        .with_committed(committed);
    broker.ask(5, &request).unwrap().error_code
}

/// Initialises an id; with `expected`, only if its producer id and epoch are these. The error code.
pub fn initialise(broker: &KafkaBroker, transactional_id: &str, expected: Option<(i64, i16)>) -> i16 {
    let (producer, epoch) = expected.unwrap_or((-1, -1));
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(transactional_id)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(producer.into())
        .with_producer_epoch(epoch);
    broker.ask(4, &request).unwrap().error_code
}

/// What rules are about; the numbers are Kafka's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
}

/// What a rule denies; the numbers are Kafka's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
    DescribeConfigs = 10,
}

/// How the cluster is named in rules.
pub const CLUSTER: &str = "kafka-cluster";
/// Whether a rule is about all whose names begin with its own.
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ALL: i8 = 2;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const ANY: i8 = 1;

/// Denies an operation upon one resource to everybody; a name that ends with `*` is the beginning of many. Needs a broker with an
/// authorizer, and holds a moment later.
pub fn deny(broker: &KafkaBroker, about: About, name: &str, denied: Denied) {
    let (name, pattern) = pattern(name);
    let rule = |operation, permission| {
        AclCreation::default()
            .with_resource_type(about as i8)
            .with_resource_name(name.clone())
            .with_resource_pattern_type(pattern)
            .with_principal(StrBytes::from_static_str("User:*"))
            .with_host(StrBytes::from_static_str("*"))
            .with_operation(operation)
            .with_permission_type(permission)
    };
    // What has rules is denied to everybody whom they do not name.
    let rules = vec![rule(ALL, ALLOW), rule(denied as i8, DENY)];
    let request = CreateAclsRequest::default().with_creations(rules);
    for result in broker.ask(3, &request).unwrap().results {
        assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    }
}

/// Takes back what [`deny`] did, a moment later.
pub fn allow_again(broker: &KafkaBroker, about: About, name: &str) {
    let (name, pattern) = pattern(name);
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(about as i8)
        .with_resource_name_filter(Some(name))
        .with_pattern_type_filter(pattern)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    for result in broker.ask(3, &request).unwrap().filter_results {
        assert_eq!(
            (result.error_code, result.matching_acls.len()),
            (0, 2),
            "{:?}",
            result.error_message
        );
    }
}

fn pattern(name: &str) -> (StrBytes, i8) {
    match name.strip_suffix('*') {
        Some(beginning) => (StrBytes::from_string(beginning.to_owned()), PREFIXED),
        None => (StrBytes::from_string(name.to_owned()), LITERAL),
    }
}

/// Deletes a topic.
pub fn delete_topic(broker: &KafkaBroker, topic: &str) {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(vec![TopicName(StrBytes::from_string(topic.to_owned()))])
        .with_timeout_ms(10_000);
    assert_eq!(broker.ask(5, &request).unwrap().responses[0].error_code, 0);
}

/// Writes one record, outside of any transaction.
pub fn write(broker: &KafkaBroker, topic: &str, key: Option<Bytes>, value: Option<Bytes>) {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 0,
        key,
        value,
        headers: IndexMap::new(),
    };
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut batch = BytesMut::new();
    RecordBatchEncoder::encode(&mut batch, [&record], &options).unwrap();
    let partition = PartitionProduceData::default().with_records(Some(batch.freeze()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    let answer = broker.ask(9, &request).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}
