//! The least that a transaction in Kafka costs: one id initialised once, then produce and commit, again and again.

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{
    EndTxnRequest, InitProducerIdRequest, RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is written by each transaction.
pub const VALUE: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// One producer on a connection of its own.
pub struct Client {
    stream: TcpStream,
    id: TransactionalId,
    topic: TopicName,
    partition: i32,
    producer: i64,
    epoch: i16,
}

impl Client {
    /// Connects and initialises its id.
    pub async fn connect(broker: &str, id: &str, topic: &str, partition: i32) -> Self {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let stream = TcpStream::connect(broker).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client {
            stream,
            id: TransactionalId(text(id)),
            topic: TopicName(text(topic)),
            partition,
            producer: -1,
            epoch: -1,
        };
        // Asking for the coordinator makes the topic of transactions, if this is the first id of all.
        let find = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_coordinator_keys(vec![text(id)]);
        client.ask(4, &find).await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(client.id.clone()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = loop {
            let answer = client.ask(4, &request).await;
            match ResponseError::try_from_code(answer.error_code) {
                None => break answer,
                Some(error) => assert!(error.is_retriable(), "{error}"),
            }
        };
        (client.producer, client.epoch) = (answer.producer_id.0, answer.producer_epoch);
        client
    }

    /// One transaction.
    pub async fn one(&mut self) {
        let partition = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(self.batch()));
        let topic = TopicProduceData::default()
            .with_name(self.topic.clone())
            .with_partition_data(vec![partition]);
        let produce = ProduceRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        // The transaction before may still be ending.
        loop {
            let answer = self.ask(12, &produce).await;
            match answer.responses[0].partition_responses[0].error_code {
                0 => break,
                code => assert_eq!(code, ResponseError::ConcurrentTransactions.code()),
            }
        }
        let end = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_committed(true);
        let answer = self.ask(5, &end).await;
        assert_eq!(answer.error_code, 0);
        (self.producer, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
    }

    fn batch(&self) -> Bytes {
        let record = Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.producer,
            producer_epoch: self.epoch,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence: 0,
            timestamp: 0,
            key: Some("key".into()),
            value: Some(VALUE.into()),
            headers: IndexMap::new(),
        };
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, [&record], &options).unwrap();
        bytes.freeze()
    }

    async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let mut frame = BytesMut::from(&[0; 4][..]);
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .encode(&mut frame, R::header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        let length = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await.unwrap();
        let length = usize::try_from(self.stream.read_i32().await.unwrap()).unwrap();
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.unwrap();
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        R::Response::decode(&mut answer, version).unwrap()
    }
}
