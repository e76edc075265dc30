use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::*;
use crate::RealDisk;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Whatever lets such a record in: the log says so, and the process can end in order.
#[test]
fn a_record_that_no_segment_can_take_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 8192,
        buffer_bytes: 4096,
    };
    let disk = RealDisk::open(directory.path()).unwrap();
    let mut log = block_on(Log::create(disk, *b"the log's own id", options))
        .unwrap()
        .log;
    let mut raw = Vec::new();
    frame::push_record(&mut raw, &[1; 10_000]);
    let refused = block_on(log.write_batch(&raw)).unwrap_err();
    assert!(
        matches!(refused, WalError::RecordTooLarge { bytes: 10_000, limit } if limit < 8192),
        "{refused}"
    );
}
