//! How the application reaches the services of an interactive transaction: a connection to each process of participants,
//! on which requests are answered in any order.
//!
//! ```text
//!   request  ┌────────┬────────┬─────────────┬────────────────┬───────────┐   answer  ┌────────┬──────────────────┐
//!            │ length │ number │ participant │ transaction id │ operation │           │ number │ branch, or all 1 │
//!            │ u32    │ u64    │ u32         │ 16             │           │           │ u64    │ u32              │
//!            └────────┴────────┴─────────────┴────────────────┴───────────┘           └────────┴──────────────────┘
//! ```
//! Numbers are little-endian; the length counts what follows it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use handfast_ids::{BranchId, TransactionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Messages that wait to be written to a connection.
const QUEUE: usize = 4096;
const HEADER_BYTES: usize = 8 + 4 + 16;
const REQUEST_BYTES: usize = HEADER_BYTES + (1 << 20);
const ANSWER_BYTES: usize = 12;
const REFUSED: u32 = u32::MAX;

/// A request that a service gets.
pub struct Request {
    /// Which participant of the process.
    pub participant: u32,
    /// The transaction to join.
    pub transaction: TransactionId,
    /// What to do in it.
    pub operation: Bytes,
}

/// Answers requests for as long as the process lives. `work` gives the branch as which the service joined.
pub async fn serve<F, W>(listener: TcpListener, work: F) -> io::Result<()>
where
    F: Fn(Request) -> W + Clone + Send + 'static,
    W: Future<Output = Option<BranchId>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (answers, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_queue(writer, queue));
        tokio::spawn(serve_connection(reader, answers, work.clone()));
    }
}

async fn serve_connection<F, W>(
    mut reader: OwnedReadHalf,
    answers: mpsc::Sender<Bytes>,
    work: F,
) -> io::Result<()>
where
    F: Fn(Request) -> W + Clone + Send + 'static,
    W: Future<Output = Option<BranchId>> + Send + 'static,
{
    loop {
        let length = reader.read_u32_le().await? as usize;
        if !(HEADER_BYTES..=REQUEST_BYTES).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).await?;
        let mut bytes = Bytes::from(bytes);
        let number = bytes.get_u64_le();
        let participant = bytes.get_u32_le();
        let transaction = TransactionId::from_slice(&bytes.split_to(16))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let request = Request {
            participant,
            transaction,
            operation: bytes,
        };
        let (answers, work) = (answers.clone(), work.clone());
        tokio::spawn(async move {
            let branch = work(request).await;
            let mut answer = BytesMut::with_capacity(ANSWER_BYTES);
            answer.put_u64_le(number);
            answer.put_u32_le(branch.map_or(REFUSED, |branch| branch.0));
            // The application may have gone.
            let _ = answers.send(answer.freeze()).await;
        });
    }
}

/// What waits is written together.
async fn write_queue(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut gathered = Vec::new();
    let mut bytes = BytesMut::new();
    while queue.recv_many(&mut gathered, QUEUE).await > 0 {
        for message in gathered.drain(..) {
            bytes.put(message);
        }
        writer.write_all(&bytes).await?;
        bytes.clear();
    }
    Ok(())
}

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Option<BranchId>>>>>;

/// The application's connection to one process of participants.
pub struct Connection {
    requests: mpsc::Sender<Bytes>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Connection {
    /// Connects.
    pub async fn to(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (requests, queue) = mpsc::channel(QUEUE);
        let waiting = Waiting::default();
        tokio::spawn(write_queue(writer, queue));
        tokio::spawn(read_answers(reader, waiting.clone()));
        Ok(Connection {
            requests,
            waiting,
            next: AtomicU64::new(0),
        })
    }

    /// Has a service join and work; the branch as which it joined, or `None` if it could not.
    pub async fn work(
        &self,
        participant: u32,
        transaction: TransactionId,
        operation: &[u8],
    ) -> Option<BranchId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let length = HEADER_BYTES + operation.len();
        let mut bytes = BytesMut::with_capacity(4 + length);
        bytes.put_u32_le(u32::try_from(length).ok()?);
        bytes.put_u64_le(number);
        bytes.put_u32_le(participant);
        bytes.put_slice(&transaction.to_bytes());
        bytes.put_slice(operation);
        let (sender, answer) = oneshot::channel();
        self.wait(number, sender);
        self.requests.send(bytes.freeze()).await.ok()?;
        answer.await.ok()?
    }

    fn wait(&self, number: u64, sender: oneshot::Sender<Option<BranchId>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(number, sender);
    }
}

async fn read_answers(mut reader: OwnedReadHalf, waiting: Waiting) {
    let mut answer = [0; ANSWER_BYTES];
    while reader.read_exact(&mut answer).await.is_ok() {
        let mut bytes = &answer[..];
        let (number, branch) = (bytes.get_u64_le(), bytes.get_u32_le());
        let waiter = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        if let Some(waiter) = waiter {
            // The client may have been stopped.
            let _ = waiter.send((branch != REFUSED).then_some(BranchId(branch)));
        }
    }
    // Whoever still waits is told by the dropped senders.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
