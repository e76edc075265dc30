//! What applications use: run a transaction over several resources, and learn how it came out.
//!
//! ```no_run
//! # async fn run(expires_at: std::time::SystemTime) -> Result<(), Box<dyn std::error::Error>> {
//! use handfast_participant::{Client, Key, Outcome, Transaction, Wait};
//!
//! let client = Client::connect(["127.0.0.1:7420"])?;
//! let transaction = Transaction::new()
//!     .operation("orders-db", b"insert ...".as_slice())
//!     .operation("ledger", b"debit ...".as_slice())
//!     .key(Key::new("order-4711", expires_at))
//!     .wait(Wait::Applied);
//! match client.execute(transaction).await? {
//!     Outcome::Committed { transaction } => println!("{transaction} is done"),
//!     Outcome::Aborted { reason, .. } => println!("nothing was done: {reason}"),
//!     Outcome::Unknown { why, .. } => println!("ask again with the same key: {why}"),
//!     Outcome::Heuristic { evidence, .. } => println!("an operator must look: {evidence:?}"),
//! }
//! # Ok(()) }
//! ```
//!
//! An `Err` says that nothing was executed. What is not known is [`Outcome::Unknown`], never an error and never an abort.
//!
//! | request | tried again after |
//! |---|---|
//! | `get`, `list`, `watch`, `begin` | every failure that can pass |
//! | `execute` with a key | the same; the same key is the same transaction |
//! | `execute` without a key | a connection that was not made, or a refusal that says that nothing was executed |
//! | `commit`, `abort` of an id | every failure that can pass: both are idempotent |

mod active;
mod call;
mod error;
mod outcome;
mod pipeline;
mod request;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use handfast_proto::ids::{IdempotencyKey, InvalidName, TransactionId};
use handfast_proto::sizes::REQUEST_BYTES;
use handfast_proto::{convert, v1};

use crate::runtime;
use call::{Ambiguity, Caller, Tries};

pub use active::ActiveTransaction;
pub use error::ClientError;
pub use outcome::{Evidence, Outcome, RefusedBy};
pub use request::{Key, Transaction, Wait};
pub use watch::Watch;

/// How long a client works on a request, and where it asks.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The addresses of one coordinator, `host:port` or URI; after a failure the next one is tried.
    pub addresses: Vec<String>,
    /// Deadline of a transaction that names none.
    pub default_timeout: Duration,
    /// How much longer than a transaction's deadline its answer is waited for. Then its outcome is unknown.
    pub answer_margin: Duration,
    /// For how long reads are tried.
    pub read_patience: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How one-shot transactions travel.
    pub transport: Transport,
    /// The most bytes of a one-shot transaction with all of its operations; a longer one is refused before anything is sent. As
    /// much as the coordinator's `server.frame_bytes`: raise both.
    pub request_bytes: usize,
    /// First wait between tries; doubles.
    pub backoff_first: Duration,
    /// Longest wait between tries.
    pub backoff_longest: Duration,
}

impl ClientOptions {
    /// The defaults, for a coordinator at these addresses.
    pub fn new(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        ClientOptions {
            addresses: addresses.into_iter().map(Into::into).collect(),
            default_timeout: Duration::from_secs(10),
            answer_margin: Duration::from_secs(5),
            read_patience: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(3),
            transport: Transport::default(),
            request_bytes: REQUEST_BYTES,
            backoff_first: Duration::from_millis(20),
            backoff_longest: Duration::from_secs(2),
        }
    }
}

/// How one-shot transactions travel to the coordinator. What a caller sees is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// All on one stream of the connection: far cheaper as soon as several are under way. A coordinator that knows no
    /// streams is sent calls.
    #[default]
    Stream,
    /// Each as a call of its own, which proxies can route and meter.
    Calls,
}

/// A client of one coordinator. Clones share the connection, which is made when it is first needed and made anew when it
/// is lost.
#[derive(Clone, Debug)]
pub struct Client {
    caller: Arc<Caller>,
}

impl Client {
    /// A client of the coordinator at these addresses, with the default options. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::FixRequest`] if there is no address.
    pub fn connect(addresses: impl IntoIterator<Item = impl Into<String>>) -> Result<Client, ClientError> {
        Client::with_options(ClientOptions::new(addresses))
    }

    /// A client with these options. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::FixRequest`] if there is no address.
    pub fn with_options(options: ClientOptions) -> Result<Client, ClientError> {
        if options.addresses.is_empty() {
            return Err(ClientError::fix(
                "name at least one address of the coordinator, such as 127.0.0.1:7420",
            ));
        }
        Ok(Client {
            caller: Arc::new(Caller::new(options)),
        })
    }

    /// Runs a whole transaction and waits for its outcome.
    ///
    /// # Errors
    /// Nothing was executed, and the error says what to do.
    pub async fn execute(&self, transaction: Transaction) -> Result<Outcome, ClientError> {
        let ambiguity = match transaction.key {
            Some(_) => Ambiguity::TryAgain,
            None => Ambiguity::GiveUp,
        };
        self.execute_with(transaction, ambiguity).await
    }

    /// [`Client::execute`], but tells doubt as soon as it arises: the first answer that is lost makes the outcome unknown, even
    /// where a key would let the client ask again by itself. For callers who note the doubt, and ask again with the same key.
    ///
    /// # Errors
    /// Those of [`Client::execute`].
    pub async fn execute_once(&self, transaction: Transaction) -> Result<Outcome, ClientError> {
        self.execute_with(transaction, Ambiguity::GiveUp).await
    }

    async fn execute_with(
        &self,
        transaction: Transaction,
        ambiguity: Ambiguity,
    ) -> Result<Outcome, ClientError> {
        let timeout = transaction.timeout.unwrap_or(self.options().default_timeout);
        let tries = Tries {
            patience: timeout.saturating_add(self.options().answer_margin),
            ambiguity,
        };
        let request = transaction.into_wire(millis(timeout).max(1), self.options().request_bytes)?;
        let answer = self
            .caller
            .call(tries, |client, remaining| {
                let mut request = request.clone();
                // A later try has what is left of the same deadline; at least a millisecond, because 0 is the default.
                request.timeout_ms = request.timeout_ms.min(millis(remaining)).max(1);
                async move { client.execute(request).await }
            })
            .await;
        Outcome::from_told(answer)
    }

    /// [`Client::execute`], and asks again with the same key while the outcome is unknown, for as long as `patience`.
    ///
    /// # Errors
    /// Those of [`Client::execute`], and [`ClientError::FixRequest`] for a transaction without a key.
    pub async fn execute_until_known(
        &self,
        transaction: Transaction,
        patience: Duration,
    ) -> Result<Outcome, ClientError> {
        if transaction.key.is_none() {
            return Err(ClientError::fix(
                "only a transaction with a key can be asked for again: give it one",
            ));
        }
        let give_up_at = runtime::from_now(patience);
        let mut backoff = self.caller.backoff();
        let mut unknown = None;
        loop {
            let answer = self.execute(transaction.clone()).await;
            unknown = match (answer, unknown) {
                (Ok(outcome @ Outcome::Unknown { .. }), _) => Some(outcome),
                (Ok(outcome), _) => return Ok(outcome),
                // An earlier try may have been executed, so that this refusal proves nothing.
                (Err(error), Some(_)) => Some(Outcome::unknown(None, error.to_string())),
                (Err(error), None) => return Err(error),
            };
            let again_at = runtime::from_now(backoff.wait());
            if again_at >= give_up_at {
                return Ok(unknown.expect("set right above"));
            }
            runtime::sleep_until(again_at).await;
        }
    }

    /// Opens an interactive transaction that aborts by itself unless it is committed within `timeout`.
    ///
    /// # Errors
    /// No transaction was opened that anybody could commit, and the error says what to do.
    pub async fn begin(&self, timeout: Option<Duration>) -> Result<ActiveTransaction, ClientError> {
        let request = v1::BeginRequest {
            timeout_ms: timeout.map_or(0, |timeout| millis(timeout).max(1)),
        };
        let response = self
            .caller
            .call(self.reads(), |mut client, _| async move {
                client.transactions.begin(request).await
            })
            .await?;
        let id = convert::transaction_id_from_text(&response.transaction_id).map_err(ClientError::from)?;
        Ok(ActiveTransaction::new(
            self.caller.clone(),
            id,
            Duration::from_millis(response.timeout_ms),
        ))
    }

    /// What is known of a transaction.
    ///
    /// # Errors
    /// What to do; a transaction that is not known is never told as aborted.
    pub async fn get(&self, id: TransactionId) -> Result<v1::Transaction, ClientError> {
        self.get_request(v1::get_request::Of::TransactionId(id.to_string()))
            .await
    }

    /// What is known of the transaction under an idempotency key.
    ///
    /// # Errors
    /// Those of [`Client::get`].
    pub async fn get_by_key(&self, key: &str) -> Result<v1::Transaction, ClientError> {
        let key =
            IdempotencyKey::new(key).map_err(|error: InvalidName| ClientError::fix(error.to_string()))?;
        self.get_request(v1::get_request::Of::Key(key.as_str().to_owned()))
            .await
    }

    /// One page of live and recently finished transactions, oldest first, and where the next page begins.
    ///
    /// # Errors
    /// What to do.
    pub async fn list(&self, request: v1::ListRequest) -> Result<v1::ListResponse, ClientError> {
        self.caller
            .call(self.reads(), |mut client, _| {
                let request = request.clone();
                async move { client.transactions.list(request).await }
            })
            .await
            .map_err(ClientError::from)
    }

    /// The state of a transaction now and after each change, until it has ended. Survives lost connections.
    pub fn watch(&self, id: TransactionId) -> Watch {
        Watch::new(self.caller.clone(), id)
    }

    async fn get_request(&self, of: v1::get_request::Of) -> Result<v1::Transaction, ClientError> {
        let request = v1::GetRequest { of: Some(of) };
        let response = self
            .caller
            .call(self.reads(), |mut client, _| {
                let request = request.clone();
                async move { client.transactions.get(request).await }
            })
            .await?;
        response
            .transaction
            .ok_or_else(|| ClientError::ask("the coordinator answered without a transaction"))
    }

    fn options(&self) -> &ClientOptions {
        self.caller.options()
    }

    fn reads(&self) -> Tries {
        Tries {
            patience: self.options().read_patience,
            ambiguity: Ambiguity::TryAgain,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
