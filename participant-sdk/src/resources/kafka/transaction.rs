//! What is asked of a transaction coordinator, and of the brokers on behalf of a transaction.
//!
//! A place is kept for KIP-939: with it, `begin` would initialise an id with two-phase commit enabled, which has no timeout, and
//! could do so on an id that holds a prepared branch. No release of Kafka serves that, so nothing here builds on it.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    BrokerId, DescribeTransactionsRequest, EndTxnRequest, InitProducerIdRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::cluster::{Cluster, Coordinated, version};
use super::options::{ANSWER_LIMIT, DESCRIBE_BATCH};
use super::record::KafkaTransaction;
use super::wire::{KafkaError, name};

/// Why a transaction was not begun.
#[derive(Debug)]
pub(super) enum NotBegun {
    /// Nothing of the attempt is left. The id may be used again.
    Refused(KafkaError),
    /// The initialisation may still arrive, however late, and would abort whatever the id holds by then. It must never hold
    /// anything again.
    Unknown(KafkaError),
}

/// Initialises an id, which aborts whatever it holds and raises its epoch: from here on, producer id and epoch name one
/// transaction. Only for ids of this process that hold nothing promised, and of which no other initialisation may be on its way.
pub(super) async fn begin(
    cluster: &Cluster,
    transactional_id: &str,
    timeout: Duration,
    deadline: Instant,
) -> Result<KafkaTransaction, NotBegun> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(transactional_id)))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let response = cluster
        .ask_coordinator(
            Coordinated::Transaction,
            transactional_id,
            &request,
            version::INIT_PRODUCER_ID,
            deadline,
            |response| refusal("InitProducerId", response.error_code),
        )
        .await
        .map_err(|error| match error.is_unanswered::<InitProducerIdRequest>() {
            true => NotBegun::Unknown(error),
            false => NotBegun::Refused(error),
        })?;
    Ok(KafkaTransaction {
        transactional_id: transactional_id.to_owned(),
        producer: response.producer_id.0,
        epoch: response.producer_epoch,
    })
}

/// Ends a transaction, from any process. `Ok` once the end is durable at its coordinator, now or before.
pub(super) async fn end(
    cluster: &Cluster,
    transaction: &KafkaTransaction,
    committed: bool,
    deadline: Instant,
) -> Result<(), KafkaError> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(&transaction.transactional_id))
        .with_producer_id(transaction.producer.into())
        .with_producer_epoch(transaction.epoch)
        .with_committed(committed);
    cluster
        .ask_coordinator(
            Coordinated::Transaction,
            &transaction.transactional_id,
            &request,
            version::END_TXN,
            deadline,
            |response| refusal("EndTxn", response.error_code),
        )
        .await
        .map(drop)
}

/// Whether an error of [`end`] says that the transaction does not wait for this end: expired, ended otherwise, or its id went
/// on to another one.
pub(super) fn is_gone(error: &KafkaError) -> bool {
    matches!(
        error.code(),
        Some(
            ResponseError::InvalidProducerEpoch
                | ResponseError::InvalidTxnState
                | ResponseError::InvalidProducerIdMapping
                | ResponseError::ProducerFenced
                | ResponseError::TransactionalIdNotFound
        )
    )
}

/// How a transaction stands, as its coordinator says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// The coordinator's word, such as `Ongoing` or `CompleteAbort`; empty if it does not know the id.
    pub state: String,
    pub producer: i64,
    pub epoch: i16,
    pub since_ms: i64,
}

impl Standing {
    /// Whether exactly this transaction is open.
    pub fn is_open(&self, transaction: &KafkaTransaction) -> bool {
        self.state == "Ongoing" && (self.producer, self.epoch) == (transaction.producer, transaction.epoch)
    }

    /// Whether exactly this transaction was aborted and nothing was done with the id since: the epoch grows by one when a
    /// transaction ends, and by one more when that is done by the timeout.
    pub fn is_aborted(&self, transaction: &KafkaTransaction) -> bool {
        let grown = i32::from(self.epoch) - i32::from(transaction.epoch);
        matches!(
            self.state.as_str(),
            "PrepareAbort" | "CompleteAbort" | "PrepareEpochFence"
        ) && self.producer == transaction.producer
            && (0..=2).contains(&grown)
    }

    /// Whether exactly this transaction was committed and nothing was done with the id since.
    pub fn is_committed(&self, transaction: &KafkaTransaction) -> bool {
        let grown = i32::from(self.epoch) - i32::from(transaction.epoch);
        matches!(self.state.as_str(), "PrepareCommit" | "CompleteCommit")
            && self.producer == transaction.producer
            && (0..=1).contains(&grown)
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.state.is_empty() {
            return f.write_str("the coordinator does not know the id any more");
        }
        write!(
            f,
            "the coordinator says {} for producer {} epoch {}",
            self.state, self.producer, self.epoch
        )
    }
}

/// How the transactions of these ids stand.
pub(super) async fn describe(
    cluster: &Cluster,
    transactional_ids: &[String],
    deadline: Instant,
) -> Result<BTreeMap<String, Standing>, KafkaError> {
    let mut of_broker: BTreeMap<BrokerId, Vec<&String>> = BTreeMap::new();
    for transactional_id in transactional_ids {
        let broker = cluster
            .coordinator(Coordinated::Transaction, transactional_id)
            .await?;
        of_broker.entry(broker).or_default().push(transactional_id);
    }
    let mut standings = BTreeMap::new();
    for batch in of_broker.values().flat_map(|ids| ids.chunks(DESCRIBE_BATCH)) {
        let request = DescribeTransactionsRequest::default().with_transactional_ids(
            batch
                .iter()
                .map(|transactional_id| id(transactional_id))
                .collect(),
        );
        // All of a batch have the same coordinator now; if that changes, each of them says so.
        let response = cluster
            .ask_coordinator(
                Coordinated::Transaction,
                batch[0],
                &request,
                version::DESCRIBE_TRANSACTIONS,
                deadline.min(Instant::now() + ANSWER_LIMIT),
                |response| {
                    response.transaction_states.iter().find_map(|state| {
                        match ResponseError::try_from_code(state.error_code) {
                            None | Some(ResponseError::TransactionalIdNotFound) => None,
                            Some(_) => refusal("DescribeTransactions", state.error_code),
                        }
                    })
                },
            )
            .await?;
        for state in response.transaction_states {
            standings.insert(state.transactional_id.to_string(), standing(&state));
        }
    }
    Ok(standings)
}

fn standing(state: &TransactionState) -> Standing {
    Standing {
        state: state.transaction_state.to_string(),
        producer: state.producer_id.0,
        epoch: state.producer_epoch,
        since_ms: state.transaction_start_time_ms,
    }
}

pub(super) fn refusal(what: &'static str, code: i16) -> Option<KafkaError> {
    (code != 0).then(|| KafkaError::refused(what, code))
}

pub(super) fn id(transactional_id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(transactional_id.to_owned()))
}

/// For evidence.
pub(super) fn name_of(error: &KafkaError) -> String {
    match error {
        KafkaError::Refused { code, .. } => format!("{} ({code})", name(*code)),
        other => other.to_string(),
    }
}
