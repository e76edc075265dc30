//! The least that a transaction in Kafka costs: produce and commit, again and again, under transactional ids that were initialised
//! once.
//!
//! A broker answers a commit before it has written the ends of the transaction into its partitions, and until then lets nobody begin
//! the next one under the same id. So there is a pool of ids, as many as the resource has, and each transaction takes the one that has
//! rested longest. What comes too soon all the same is asked again after a pause, as the resource does.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

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

/// The pause before a request is made again whose id was used too recently, and what it grows to. Kafka tells nobody when that has
/// passed.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long one request is made again.
const LIMIT: Duration = Duration::from_secs(30);

/// An id, and what names its next transaction.
struct Producer {
    id: TransactionalId,
    producer: i64,
    epoch: i16,
}

/// Ids that wait for their next transaction, longest unused first.
#[derive(Default)]
pub struct Pool(Mutex<VecDeque<Producer>>);

impl Pool {
    /// So many new ids.
    pub async fn initialise(client: &mut Client, prefix: &str, size: usize) -> Self {
        let pool = Pool::default();
        for number in 0..size {
            let producer = client.initialise(&format!("{prefix}-{number}")).await;
            pool.ids().push_back(producer);
        }
        pool
    }

    fn ids(&self) -> MutexGuard<'_, VecDeque<Producer>> {
        self.0.lock().unwrap()
    }
}

/// A connection of its own, which writes to one partition.
pub struct Client {
    stream: TcpStream,
    topic: TopicName,
    partition: i32,
}

impl Client {
    /// Connects.
    pub async fn connect(broker: &str, topic: &str, partition: i32) -> Self {
        let stream = TcpStream::connect(broker).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            topic: TopicName(text(topic)),
            partition,
        }
    }

    async fn initialise(&mut self, id: &str) -> Producer {
        // Asking for the coordinator makes the topic of transactions, if this is the first id of all.
        let find = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_coordinator_keys(vec![text(id)]);
        self.ask(4, &find).await;
        let id = TransactionalId(text(id));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self
            .ask_until(
                4,
                &request,
                |answer| answer.error_code,
                ResponseError::is_retriable,
            )
            .await;
        Producer {
            id,
            producer: answer.producer_id.0,
            epoch: answer.producer_epoch,
        }
    }

    /// One transaction.
    pub async fn one(&mut self, pool: &Pool) {
        let mut producer = pool.ids().pop_front().expect("more ids than clients");
        let partition = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(batch(&producer)));
        let topic = TopicProduceData::default()
            .with_name(self.topic.clone())
            .with_partition_data(vec![partition]);
        let produce = ProduceRequest::default()
            .with_transactional_id(Some(producer.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        self.ask_until(
            12,
            &produce,
            |answer| answer.responses[0].partition_responses[0].error_code,
            |error| *error == ResponseError::ConcurrentTransactions,
        )
        .await;
        let end = EndTxnRequest::default()
            .with_transactional_id(producer.id.clone())
            .with_producer_id(producer.producer.into())
            .with_producer_epoch(producer.epoch)
            .with_committed(true);
        let answer = self.ask(5, &end).await;
        assert_eq!(answer.error_code, 0);
        (producer.producer, producer.epoch) = (answer.producer_id.0, answer.producer_epoch);
        pool.ids().push_back(producer);
    }

    /// Asks, and again after a pause while the answer is an error that `passes`.
    async fn ask_until<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
        passes: impl Fn(&ResponseError) -> bool,
    ) -> R::Response {
        let (give_up_at, mut pause) = (Instant::now() + LIMIT, FIRST_PAUSE);
        loop {
            let answer = self.ask(version, request).await;
            let Some(error) = ResponseError::try_from_code(code(&answer)) else {
                return answer;
            };
            assert!(passes(&error) && Instant::now() < give_up_at, "{error}");
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
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

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn batch(producer: &Producer) -> Bytes {
    let record = Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.producer,
        producer_epoch: producer.epoch,
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
