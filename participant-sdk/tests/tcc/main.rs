//! `TccResource` against a real service on loopback, over HTTP and over gRPC.
//!
//! - `steps`: what each step does, and what it leaves
//! - `unknown`: answers that do not come, or say nothing
//! - `grpc`: names of one's own, deadlines, and what only status codes can say
//! - `secure`: certificates
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Each of these tests, once over each wire.
macro_rules! over_each_wire {
    ($($name:ident)*) => {
        mod over_http {
            $(#[tokio::test] async fn $name() { super::$name($crate::hotel::Wire::Http).await })*
        }
        mod over_grpc {
            $(#[tokio::test] async fn $name() { super::$name($crate::hotel::Wire::Grpc).await })*
        }
    };
}

#[path = "../support/certificates.rs"]
mod certificates;
mod grpc;
#[path = "../support/hotel.rs"]
mod hotel;
mod secure;
mod steps;
mod unknown;

use std::time::Duration;

use handfast_participant::ids::{BranchId, Epoch, LogId, Partition, TransactionId};
use handfast_participant::resources::tcc::{TccOptions, TccResource};
use handfast_participant::{BranchKey, Completion, Decision, Refusal, Resource, SeenLog, Vote, Work};
use hotel::{Hotel, Wire};

const PREPARED: Vote = Vote::Prepared { prepared_for: None };
/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

fn branch(number: u32) -> BranchKey {
    BranchKey {
        log: LogId(7),
        transaction: TransactionId::new(1_000, Partition(0), Epoch(1), number),
        branch: BranchId(0),
    }
}

fn seen(lsn: u64) -> SeenLog {
    SeenLog {
        log: LogId(7),
        epoch: Epoch(1),
        lsn,
    }
}

/// A hotel, and a folder for the journal of its bookings.
struct Stay {
    hotel: Hotel,
    folder: tempfile::TempDir,
}

impl Stay {
    async fn over(wire: Wire) -> Self {
        Self::at(Hotel::over(wire).await)
    }

    fn at(hotel: Hotel) -> Self {
        Stay {
            hotel,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn options(&self) -> TccOptions {
        match self.hotel.wire {
            Wire::Http => TccOptions::new(self.folder.path(), &self.hotel.url),
            Wire::Grpc => TccOptions::grpc(self.folder.path(), &self.hotel.url),
        }
    }

    async fn open(&self) -> TccResource {
        open(self.options()).await
    }
}

/// Opens it, once the journal is free: the thread of a dropped resource's disk lets go of the lock a little later.
async fn open(options: TccOptions) -> TccResource {
    if let Ok(lock) = std::fs::File::open(options.data_dir.join("LOCK")) {
        let freed = tokio::task::spawn_blocking(move || lock.lock());
        let freed = tokio::time::timeout(LIMIT, freed).await;
        freed.expect("the journal is free").unwrap().unwrap();
    }
    let resource = TccResource::new(options);
    resource.open().await.unwrap();
    resource
}

async fn prepare(resource: &TccResource, number: u32, room: u64) -> Vote {
    let operation = format!("{{\"room\": {room}}}");
    resource
        .prepare(
            branch(number),
            Work::Operation(operation.into()),
            seen(u64::from(number)),
            LIMIT,
        )
        .await
        .unwrap()
}

async fn refused(resource: &TccResource, number: u32, room: u64) -> Refusal {
    match prepare(resource, number, room).await {
        Vote::Refused(refusal) => refusal,
        other => panic!("{other:?} instead of a refusal"),
    }
}

async fn finish(resource: &TccResource, number: u32, decision: Decision) -> Completion {
    resource.finish(branch(number), decision).await.unwrap()
}
