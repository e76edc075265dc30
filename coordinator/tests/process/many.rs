//! The largest numbers of the fault list, through the real binary: its log, its sockets, and participants that dial in.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use handfast_coordinator::driver::codec;
use handfast_core::{BranchRecord, DecisionRecord, Limits, Lsn, Record};
use handfast_ids::{BranchId, Epoch, Generation, LogId, Partition, ResourceName, StoreId, TransactionId};
use handfast_proto::convert::transaction_id_bytes;
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;
use handfast_wal::{Disk, GroupCommit, Log, Options, RealDisk};
use serde_json::Value;
use tokio::time::Instant;

use crate::coordinator::{Coordinator, SEGMENT_BYTES, data_directory, run, stderr, stdout};
use crate::participant::{Manner, Session, State, Store};
use crate::requests::{committed, keyed, now_ms, unkeyed};
use crate::{PATIENCE, soon, until};

/// Resources that the branches of a large transaction are spread over.
const RESOURCES: [&str; 4] = ["orders-db", "ledger", "stock-db", "mail"];

/// Transactions that nobody has acknowledged when the coordinator starts.
const IN_DOUBT: usize = 100_000;

/// Bytes that a transaction of two branches in doubt may cost the coordinator at its peak, above what an empty one takes.
///
/// What stays of one takes less than 400 (`handfast-core`, `table/tests.rs`), its outcome in the history some 100, and the record of its
/// end some 50. The rest is what each of two participants says first: a line of its scan for each branch, on the wire (48) and as the
/// core reads it (some 60). Of decisions, few are under way. That is 800, in lists of which a part may be unused. It must not grow
/// with time.
const PEAK_BYTES_PER_TRANSACTION: u64 = 2048;

/// Steadily: for so long no branch may have been delivered while some are left. A second does, on a machine that is not busy.
const LONGEST_PAUSE: Duration = Duration::from_secs(25);

/// For all of them together: some seconds, on a machine that is not busy.
const LONGEST_DRAIN: Duration = Duration::from_secs(180);

/// The resource of each branch of a transaction that is as large as may be.
fn resources() -> Vec<&'static str> {
    let branches = Limits::default().branches_per_transaction;
    assert!(branches >= 4096);
    (0..branches)
        .map(|branch| RESOURCES[branch % RESOURCES.len()])
        .collect()
}

/// The number of a resource's store: its place, from 1.
fn number(resource: &str) -> u8 {
    let place = RESOURCES.iter().position(|known| *known == resource);
    place.unwrap() as u8 + 1
}

fn branches_of_each() -> usize {
    resources().len() / RESOURCES.len()
}

// FAULTS 61: one more branch than may be is refused, and as many as may be are one transaction.
#[tokio::test]
async fn thousands_of_branches_commit_as_one_and_one_more_is_refused() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let stores = RESOURCES.map(|resource| Store::new(resource, number(resource)));
    for store in &stores {
        store.serve(&coordinator.address).await;
    }
    let mut client = coordinator.client().await;
    let mut too_many = resources();
    too_many.push(RESOURCES[0]);
    let status = client.execute(unkeyed(&too_many)).await.unwrap_err();
    assert_eq!(
        Failure::from_status(&status).unwrap().reason,
        Reason::TooManyBranches
    );
    assert!(stores.iter().all(|store| store.branches().is_empty()));

    let request = v1::ExecuteRequest {
        wait: v1::Wait::Applied.into(),
        ..unkeyed(&resources())
    };
    committed(soon("the answer", client.execute(request)).await);
    for store in &stores {
        assert_eq!(store.count(State::Committed), branches_of_each());
        assert_eq!(store.branches().len(), branches_of_each());
    }
    assert_eq!(coordinator.live().await, 0);
}

// FAULTS 61: the coordinator is killed when all are told and nobody has acknowledged; the next one delivers all of it.
#[tokio::test]
async fn thousands_of_branches_are_delivered_after_a_kill_between_decision_and_acknowledgements() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut sessions = Vec::new();
    for resource in RESOURCES {
        sessions.push(Session::welcomed(&coordinator.address, resource, number(resource)).await);
    }
    let mut client = coordinator.client().await;
    let request = keyed("order-1", &resources());
    let executing = {
        let request = request.clone();
        tokio::spawn(async move { client.execute(request).await })
    };
    let mut stores = Vec::new();
    for (resource, session) in RESOURCES.iter().zip(&mut sessions) {
        let promised = promise(session, branches_of_each()).await;
        stores.push(Store::promised(resource, number(resource), promised.into_iter()));
    }
    for session in &mut sessions {
        hear_commits(session, branches_of_each()).await;
    }
    let id = committed(soon("the answer", executing).await.unwrap());
    coordinator.kill();

    let coordinator = Coordinator::start(&data);
    assert_eq!(coordinator.live().await, 1);
    for store in &stores {
        store.serve(&coordinator.address).await;
    }
    until("the end of every branch", async || {
        let committed = stores.iter().map(|store| store.count(State::Committed));
        (committed.sum::<usize>() == resources().len()).then_some(())
    })
    .await;
    until("the end of the transaction", async || {
        (coordinator.live().await == 0).then_some(())
    })
    .await;
    let mut client = coordinator.client().await;
    assert_eq!(committed(client.execute(request).await), id);
    assert!(
        stores
            .iter()
            .all(|store| store.branches().len() == branches_of_each())
    );

    coordinator.terminate();
    assert_eq!(coordinator.ended().await.0, Some(0));
    let records = records(&data, &id);
    let branches: Vec<_> = records
        .iter()
        .filter(|record| record["record"] == "decided")
        .map(|record| record["branches"].as_array().unwrap().len())
        .collect();
    assert_eq!(branches, [resources().len()], "decided once, with all of them");
    assert_eq!(records.last().unwrap()["record"], "ended");
}

/// Votes yes to so many prepares of one transaction: which they were.
async fn promise(session: &mut Session, count: usize) -> BTreeSet<(Bytes, u32)> {
    let mut promised = BTreeSet::new();
    while promised.len() < count {
        let prepares = session.next().await.unwrap().prepares;
        let votes = prepares.iter().map(|prepare| v1::Vote {
            transaction_id: prepare.transaction_id.clone(),
            branch: prepare.branch,
            kind: v1::VoteKind::Prepared.into(),
            ..v1::Vote::default()
        });
        let frame = v1::SessionRequest {
            votes: votes.collect(),
            ..v1::SessionRequest::default()
        };
        session.send(frame).await;
        promised.extend(
            prepares
                .into_iter()
                .map(|prepare| (prepare.transaction_id, prepare.branch)),
        );
    }
    promised
}

/// Waits until so many branches are told to commit, and says nothing.
async fn hear_commits(session: &mut Session, count: usize) {
    let mut told = BTreeSet::new();
    while told.len() < count {
        for decision in session.next().await.unwrap().decisions {
            assert_eq!(decision.kind(), v1::DecisionKind::Commit);
            told.insert((decision.transaction_id, decision.branch));
        }
    }
}

/// The records of a stopped log that name a transaction.
fn records(data: &Path, id: &str) -> Vec<Value> {
    let dump = run(&["log", "dump", "--data-dir", data.to_str().unwrap(), "-o", "json"]);
    assert_eq!(dump.status.code(), Some(0), "{}", stderr(&dump));
    let text = stdout(&dump);
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["transaction_id"] == id).collect()
}

// FAULTS 60
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_in_doubt_at_start_are_drained_while_new_work_is_served_in_bounded_memory() {
    let resources = &RESOURCES[..2];
    let (_temporary, data) = data_directory();
    let transactions = leave_in_doubt(&data, resources).await;
    let stores: Vec<_> = (0..)
        .zip(resources)
        .map(|(branch, resource)| {
            let promised = transactions.iter().map(|id| (id.clone(), branch));
            Store::promised(resource, number(resource), promised)
        })
        .collect();
    let (_nothing, nothing) = data_directory();
    let empty = Coordinator::start(&nothing).peak_bytes();

    let coordinator = Coordinator::start(&data);
    assert_eq!(coordinator.live().await, IN_DOUBT as u64);
    let others = RESOURCES[2..]
        .iter()
        .map(|other| Store::new(other, number(other)));
    for other in others {
        other.serve(&coordinator.address).await;
    }
    for store in &stores {
        store.serve_as(&coordinator.address, Manner::Synced).await;
    }
    let mut client = coordinator.client().await;
    // New work of those that come back stands behind the decisions that are under way to them, which are few; that of others behind
    // none.
    for new in [resources, &RESOURCES[2..]] {
        committed(soon("new work", client.execute(unkeyed(new))).await);
        let left = stores
            .iter()
            .map(|store| store.count(State::Prepared))
            .sum::<usize>();
        assert!(
            left > IN_DOUBT,
            "new work of {new:?} waited for what was in doubt: {left} branches are left"
        );
    }
    drain(&stores).await;
    until("the last end", async || {
        (coordinator.live().await == 0).then_some(())
    })
    .await;
    for store in &stores {
        assert_eq!(store.count(State::Committed), IN_DOUBT + 1);
        assert_eq!(store.branches().len(), IN_DOUBT + 1);
    }
    let peak = coordinator.peak_bytes();
    let bound = empty + IN_DOUBT as u64 * PEAK_BYTES_PER_TRANSACTION;
    assert!(
        peak <= bound,
        "{peak} bytes at the peak, where {bound} are the bound"
    );

    coordinator.terminate();
    assert_eq!(coordinator.ended().await.0, Some(0));
    assert_eq!(Coordinator::start(&data).live().await, 0);
}

/// Waits until nothing is prepared any more; it may never stand still for long.
async fn drain(stores: &[Store]) {
    let (mut left, mut moved) = (usize::MAX, Instant::now());
    let drained = async {
        while left > 0 {
            let now = stores.iter().map(|store| store.count(State::Prepared)).sum();
            if now < left {
                (left, moved) = (now, Instant::now());
            }
            assert!(
                moved.elapsed() < LONGEST_PAUSE,
                "nothing was delivered for {LONGEST_PAUSE:?}, and {left} branches are left"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let drained = tokio::time::timeout(LONGEST_DRAIN, drained).await;
    assert!(drained.is_ok(), "not all was delivered within {LONGEST_DRAIN:?}");
}

/// The log of a coordinator that was killed when it had decided to commit, and nobody had acknowledged: written by the log's
/// own writer, in the records that the coordinator writes. The ids, as they are on the wire.
async fn leave_in_doubt(data: &Path, resources: &[&str]) -> Vec<Bytes> {
    let disk = RealDisk::create(data.join("log")).unwrap();
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    let log_id = LogId(1);
    let log = Log::create(disk.clone(), log_id.to_bytes(), options)
        .await
        .unwrap()
        .log;
    let mut log = GroupCommit::new(log);
    let mut bytes = Vec::new();
    let mut append = async |record: Record| {
        bytes.clear();
        codec::encode(&record, &mut bytes);
        if !log.has_room() || log.pending_bytes() >= FRAME_BYTES {
            log.flush().await.unwrap();
        }
        log.append(&bytes).unwrap();
    };
    let began_ms = now_ms() - 60_000;
    append(Record::EpochStarted {
        log: log_id,
        epoch: Epoch(1),
        predecessor_end: Lsn::ZERO,
        wall_ms: began_ms,
        key_ms: began_ms,
    })
    .await;
    let branches: Vec<_> = (0..)
        .zip(resources)
        .map(|(branch, resource)| BranchRecord {
            branch: BranchId(branch),
            resource: ResourceName::new(resource).unwrap(),
            // As a session of the test says it.
            store: StoreId(u128::from_be_bytes([number(resource); 16])),
        })
        .collect();
    for branch in branches.clone() {
        append(Record::Resource {
            name: branch.resource,
            store: branch.store,
            generation: Generation(0),
        })
        .await;
    }
    let mut transactions = Vec::new();
    for number in 0..IN_DOUBT as u64 {
        let sequence = 2 * (number % PER_MILLISECOND) as u32;
        let milliseconds = began_ms + number / PER_MILLISECOND;
        let transaction = TransactionId::new(milliseconds, Partition(0), Epoch(1), sequence);
        append(Record::Registered {
            transaction,
            branches: branches.clone(),
        })
        .await;
        append(Record::Decided {
            transaction,
            decision: DecisionRecord::Commit,
            branches: branches.clone(),
            key: None,
        })
        .await;
        transactions.push(transaction_id_bytes(transaction));
    }
    log.flush().await.unwrap();
    drop(log);
    // The lock is given back in turn, so it is free once the disk has answered what was asked after that.
    disk.list().await.unwrap();
    transactions
}

/// Bytes of records that one frame of the log holds, as under load.
const FRAME_BYTES: usize = 256 << 10;

/// Transactions that began in one millisecond.
const PER_MILLISECOND: u64 = 100;

const _: () = assert!(PATIENCE.as_secs() > LONGEST_PAUSE.as_secs());
