//! What the log is compared with: one group-commit loop that does as little as possible.
//!
//! Records come through the same queue as the log's; whatever has gathered while the last batch was on its way is written
//! and synced by one thread, on a file whose blocks are there already. No checksum, no header, no segment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::appender::{Append, Appender, QUEUE, RECORDS_PER_TURN};

/// Bytes of the file, which is written over and over.
const FILE_BYTES: u64 = 64 << 20;
/// Batches on their way.
const BATCHES: usize = 1;
/// Zeros that are written at once.
const CHUNK_BYTES: usize = 1 << 20;

type Batch = (Vec<u8>, oneshot::Sender<std::io::Result<Vec<u8>>>);

/// Starts the loop. It ends when the last clone of the appender is gone, and tells how many syncs it has made.
pub fn start(path: &Path) -> std::io::Result<(Appender, JoinHandle<std::io::Result<u64>>)> {
    let file = File::create(path)?;
    let zeros = vec![0; CHUNK_BYTES];
    for offset in (0..FILE_BYTES).step_by(CHUNK_BYTES) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    let (batches, queue) = sync_channel(BATCHES);
    tokio::task::spawn_blocking(move || write(&file, &queue));
    let (sender, records) = mpsc::channel(QUEUE);
    let appender = Appender::new(sender);
    let running = tokio::spawn(async move { run(records, |batch| batches.send(batch).is_ok()).await });
    Ok((appender, running))
}

fn write(file: &File, queue: &Receiver<Batch>) {
    let mut offset = 0;
    while let Ok((bytes, done)) = queue.recv() {
        if offset + bytes.len() as u64 > FILE_BYTES {
            offset = 0;
        }
        let written = file.write_all_at(&bytes, offset).and_then(|()| file.sync_data());
        offset += bytes.len() as u64;
        // The loop waits for it.
        let _ = done.send(written.map(|()| bytes));
    }
}

async fn run(mut records: mpsc::Receiver<Append>, send: impl Fn(Batch) -> bool) -> std::io::Result<u64> {
    let ended = || std::io::Error::other("the thread that writes has ended");
    let (mut gathered, mut bytes, mut syncs) = (Vec::new(), Vec::new(), 0);
    while records.recv_many(&mut gathered, RECORDS_PER_TURN).await > 0 {
        while gathered.len() < QUEUE
            && let Ok(append) = records.try_recv()
        {
            gathered.push(append);
        }
        for append in &gathered {
            bytes.extend_from_slice(&append.record);
        }
        let (done, written) = oneshot::channel();
        if !send((bytes, done)) {
            return Err(ended());
        }
        bytes = written.await.map_err(|_| ended())??;
        bytes.clear();
        syncs += 1;
        for append in gathered.drain(..) {
            // Its writer may have been stopped.
            let _ = append.durable.send(());
        }
    }
    Ok(syncs)
}
