//! What the log's frames cost the processor: a batch of records appended, framed, checksummed and handed to a disk that
//! costs nothing, and a whole log read and checked again. What the medium costs is measured by `handfast bench log`.
#![allow(clippy::unwrap_used)] // a benchmark that cannot go on ends

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use handfast_wal::{Disk, GroupCommit, Log, Options, visit};

const RECORD: [u8; 128] = [0x5A; 128];
/// Records of a batch.
const BATCHES: [usize; 3] = [1, 64, 1024];
/// Records of the log that is read.
const RECORDS: usize = 100_000;

/// Files in memory, so that only the log's own work is measured. Everything is ready at once.
#[derive(Clone, Default)]
struct Memory {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Memory {
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(self.files.lock().unwrap().entry(name.to_owned()).or_default())
    }
}

impl Disk for Memory {
    type Lock = ();

    async fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let files = self.files.lock().unwrap();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let from = file.len().min(offset as usize);
        Ok(file[from..file.len().min(from + len)].to_vec())
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.with(name, |file| {
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            file.resize(file.len().max(to), 0);
            file[from..to].copy_from_slice(&bytes);
        });
        Ok(bytes)
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.write(name, offset, bytes).await
    }

    async fn sync(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files.lock().unwrap().remove(name);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        let files = self.files.lock().unwrap();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.len() as u64)
    }
}

/// Nothing here ever waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("files in memory are ready at once"),
    }
}

fn new_log(disk: &Memory) -> GroupCommit<Memory> {
    GroupCommit::new(
        ready(Log::create(disk.clone(), [7; 16], Options::default()))
            .unwrap()
            .log,
    )
}

fn append(log: &mut GroupCommit<Memory>, records: usize) {
    for _ in 0..records {
        log.append(&RECORD).unwrap();
    }
    ready(log.flush()).unwrap();
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    for records in BATCHES {
        group.throughput(Throughput::Bytes((records * RECORD.len()) as u64));
        // A batch that goes on to the next segment is rare enough to be left out: a log takes a few batches only.
        group.bench_function(format!("write a batch of {records}"), |bencher| {
            let fresh = || new_log(&Memory::default());
            bencher.iter_batched_ref(fresh, |log| append(log, records), BatchSize::PerIteration);
        });
    }
    let disk = Memory::default();
    let mut log = new_log(&disk);
    for _ in 0..RECORDS / BATCHES[1] {
        append(&mut log, BATCHES[1]);
    }
    let bytes = log.counters().bytes;
    group.throughput(Throughput::Bytes(bytes)).sample_size(20);
    group.bench_function("read and check", |bencher| {
        bencher.iter(|| {
            let mut records = 0;
            assert!(ready(visit(&disk, |_| records += 1)).unwrap().is_sound());
            records
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
