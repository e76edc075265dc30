//! The least that a service does which keeps its promises over a crash: one file that was filled with zeros before, so that a
//! sync writes data alone, and one thread that writes whatever has gathered and syncs it once.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::{mpsc, oneshot};

use super::accounts::{Accounts, Post};
use super::load::CLIENTS;

/// Bytes of the file. Whoever reaches its end begins anew: this journal is never read.
const FILE_BYTES: u64 = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a record: about as many as the SDK's has, with the names of log, transaction and branch.
const RECORD_BYTES: usize = 64;
/// Records that wait, one a client at most.
const QUEUE_RECORDS: usize = CLIENTS[CLIENTS.len() - 1] as usize;

struct Waiting {
    record: [u8; RECORD_BYTES],
    synced: oneshot::Sender<()>,
}

/// Accounts with a journal; its thread ends when it is dropped.
pub struct Service {
    accounts: Mutex<Accounts>,
    journal: mpsc::Sender<Waiting>,
}

impl Service {
    /// With a new journal.
    pub fn start(path: &Path) -> Self {
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(path)
            .unwrap();
        let zeros = vec![0; CHUNK_BYTES];
        for at in (0..FILE_BYTES).step_by(CHUNK_BYTES) {
            file.write_all_at(&zeros, at).unwrap();
        }
        file.sync_all().unwrap();
        let (journal, waiting) = mpsc::channel(QUEUE_RECORDS);
        std::thread::spawn(move || write(&file, waiting));
        Service {
            accounts: Mutex::default(),
            journal,
        }
    }

    /// Whether it can be done; then it is on the disk that it will.
    pub async fn promise(&self, post: Post) -> bool {
        let is_promised = self.accounts().promise(post);
        if is_promised {
            self.note(b'p', post).await;
        }
        is_promised
    }

    /// Carries out what was decided of a promise, if there was one.
    pub async fn finish(&self, post: Post, is_promised: bool, is_commit: bool) {
        if !is_promised {
            return;
        }
        match is_commit {
            true => self.accounts().post(post),
            false => self.accounts().let_go(post),
        }
        self.note(if is_commit { b'c' } else { b'a' }, post).await;
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap()
    }

    async fn note(&self, step: u8, post: Post) {
        let mut record = [step; RECORD_BYTES];
        let post = post.encode();
        record[1..=post.len()].copy_from_slice(&post);
        let (synced, is_synced) = oneshot::channel();
        let waiting = Waiting { record, synced };
        assert!(
            self.journal.send(waiting).await.is_ok(),
            "the journal's thread lives"
        );
        is_synced.await.unwrap();
    }
}

fn write(file: &File, mut waiting: mpsc::Receiver<Waiting>) {
    let (mut at, mut batch, mut bytes) = (0, Vec::new(), Vec::new());
    while waiting.blocking_recv_many(&mut batch, QUEUE_RECORDS) > 0 {
        bytes.clear();
        bytes.extend(batch.iter().flat_map(|one| one.record));
        if at + bytes.len() as u64 > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at).unwrap();
        file.sync_data().unwrap();
        at += bytes.len() as u64;
        for one in batch.drain(..) {
            // Nobody listens when the benchmark is over.
            let _ = one.synced.send(());
        }
    }
}
