//! The log behind a queue: many tasks append, each waits until its record is durable.

use std::collections::VecDeque;

use handfast_wal::{Counters, Disk, GroupCommit, Log, Lsn, WalError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::failed;
use crate::error::Error;

/// Records that wait to be taken in.
pub const QUEUE: usize = 16_384;
/// Records that one turn takes in.
pub const RECORDS_PER_TURN: usize = 2048;

/// A record and who waits for it.
pub struct Append {
    pub record: Vec<u8>,
    pub durable: oneshot::Sender<()>,
}

/// Appends from any task.
#[derive(Clone)]
pub struct Appender {
    queue: mpsc::Sender<Append>,
}

impl Appender {
    /// An appender in front of this queue.
    pub fn new(queue: mpsc::Sender<Append>) -> Self {
        Appender { queue }
    }

    /// Takes an open log. The loop ends when the last clone is gone, and tells what was written.
    pub fn of_log<D: Disk>(log: Log<D>) -> (Appender, JoinHandle<Result<Counters, WalError>>) {
        let (queue, records) = mpsc::channel(QUEUE);
        (
            Appender { queue },
            tokio::spawn(run(GroupCommit::new(log), records)),
        )
    }

    /// Returns once the record is durable.
    pub async fn append(&self, record: Vec<u8>) -> Result<(), Error> {
        let ended = || failed("the log has failed");
        let (durable, is_durable) = oneshot::channel();
        let append = Append { record, durable };
        self.queue.send(append).await.map_err(|_| ended())?;
        is_durable.await.map_err(|_| ended())
    }
}

async fn run<D: Disk>(
    mut log: GroupCommit<D>,
    mut records: mpsc::Receiver<Append>,
) -> Result<Counters, WalError> {
    let mut waiting: VecDeque<(Lsn, oneshot::Sender<()>)> = VecDeque::new();
    let mut gathered = Vec::new();
    loop {
        let has_room = log.has_room();
        tokio::select! { biased;
            durable = log.completed() => {
                let durable = durable?;
                while waiting.front().is_some_and(|(lsn, _)| *lsn <= durable) {
                    if let Some((_, waiter)) = waiting.pop_front() {
                        // Its task may have been stopped.
                        let _ = waiter.send(());
                    }
                }
            }
            count = records.recv_many(&mut gathered, RECORDS_PER_TURN), if has_room => {
                if count == 0 {
                    log.flush().await?;
                    return Ok(log.counters());
                }
                for Append { record, durable } in gathered.drain(..) {
                    let lsn = log.append(&record)?;
                    log.force(lsn);
                    waiting.push_back((lsn, durable));
                }
            }
        }
        log.start();
    }
}
