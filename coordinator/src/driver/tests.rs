use std::time::Duration;

use bytes::Bytes;
use handfast_core::{Event, ExecuteRequest, OperationRequest, Outcome, Reply, SessionHello, SessionId, Wait};
use handfast_ids::{BranchId, Generation, InstanceId, ResourceName, StoreId, TransactionId};
use handfast_proto::status::Reason;
use handfast_proto::{convert, v1};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::{
    Answer, DriverHandle, Input, Outgoing, Question, Request, SessionSender, create_log, inbox, recover,
};
use crate::config::Settings;
use crate::error::{Error, Kind};
use crate::index::MemoryIndex;
use crate::runtime::{self, Phase};
use disk::MemoryDisk;

mod disk;
mod forces;
mod gone;
mod room;

const PATIENCE: Duration = Duration::from_secs(10);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    runtime::timeout(PATIENCE, future).await.expect("it happens soon")
}

struct Cluster {
    disk: MemoryDisk,
    handle: DriverHandle,
    running: JoinHandle<Result<(), Error>>,
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.log.segment_bytes = 1 << 16;
    settings.log.buffer_bytes = 1 << 13;
    settings
}

impl Cluster {
    async fn new(settings: &Settings) -> Cluster {
        let disk = MemoryDisk::default();
        create_log(disk.clone(), settings).await.unwrap();
        Cluster::on(disk, settings).await
    }

    async fn on(disk: MemoryDisk, settings: &Settings) -> Cluster {
        let (handle, inbox) = inbox(&settings.server);
        let (phase, _) = watch::channel(Phase::Serving);
        let open_index = |_, _| MemoryIndex::new(100);
        let driver = recover(disk.clone(), open_index, inbox, settings, phase)
            .await
            .unwrap();
        Cluster {
            disk,
            handle,
            running: runtime::spawn(driver.run()),
        }
    }

    async fn dial(&self, resource: &str) -> Session {
        self.dial_as(resource, false).await
    }

    async fn dial_as(&self, resource: &str, one_phase: bool) -> Session {
        self.greet(resource, one_phase).await.0
    }

    async fn greet(&self, resource: &str, one_phase: bool) -> (Session, v1::Welcome) {
        let session = self.handle.session_id();
        let (frames, received) = mpsc::channel(super::FRAMES_IN_FLIGHT);
        let (released, release) = oneshot::channel();
        let number = u128::from(session.0);
        let hello = SessionHello {
            resource: ResourceName::new(resource).unwrap(),
            store: StoreId(resource.len() as u128),
            generation: Generation(0),
            instance: InstanceId(number),
            attached: one_phase,
            one_phase,
            seen: Vec::new(),
        };
        let sender = SessionSender { frames, released };
        let up = Input::SessionUp {
            session,
            hello,
            sender,
        };
        self.handle.put(up).await.unwrap();
        let mut session = Session {
            handle: self.handle.clone(),
            session,
            received,
            _release: release,
        };
        let welcome = session.frame().await.welcome.unwrap();
        (session, welcome)
    }

    fn execute(&self, resources: &[&str]) -> JoinHandle<Answer> {
        let handle = self.handle.clone();
        let request = Request::Execute(ExecuteRequest {
            key: None,
            operations: resources.iter().map(|resource| operation(resource)).collect(),
            timeout_ms: None,
            wait: Wait::Decided,
        });
        runtime::spawn(async move { handle.call(request, 0).await })
    }

    async fn state(&self, transaction: TransactionId) -> handfast_core::view::StateView {
        let question = |answer| Question::Transaction(transaction, answer);
        soon(self.handle.ask(question)).await.unwrap().view.state
    }
}

fn operation(resource: &str) -> OperationRequest {
    OperationRequest {
        resource: ResourceName::new(resource).unwrap(),
        operation: b"work".as_slice().into(),
    }
}

struct Session {
    handle: DriverHandle,
    session: SessionId,
    received: mpsc::Receiver<Outgoing>,
    _release: oneshot::Receiver<()>,
}

impl Session {
    async fn frame(&mut self) -> v1::SessionResponse {
        loop {
            let frame = soon(self.received.recv())
                .await
                .expect("the session goes on")
                .unwrap();
            let heartbeat = v1::SessionResponse {
                durable_lsn: frame.durable_lsn,
                ..v1::SessionResponse::default()
            };
            if frame != heartbeat {
                return frame;
            }
        }
    }

    async fn prepares(&mut self) -> Vec<TransactionId> {
        let prepares = self.frame().await.prepares;
        assert!(!prepares.is_empty());
        prepares
            .iter()
            .map(|prepare| id(&prepare.transaction_id))
            .collect()
    }

    async fn vote(&self, transactions: &[TransactionId]) {
        let prepared = handfast_core::Vote::Prepared {
            prepared_for_ms: None,
        };
        self.vote_as(transactions, BranchId(0), &prepared).await;
    }

    async fn vote_as(&self, transactions: &[TransactionId], branch: BranchId, vote: &handfast_core::Vote) {
        let vote = |transaction: &TransactionId| Event::Vote {
            session: self.session,
            transaction: *transaction,
            branch,
            vote: vote.clone(),
        };
        let events = transactions.iter().map(vote).collect();
        let room = self.handle.room(0).await.unwrap();
        self.handle.put(Input::Frame { events, room }).await.unwrap();
    }
}

fn id(bytes: &Bytes) -> TransactionId {
    convert::transaction_id(bytes).unwrap()
}

fn is_commit(answer: &Answer) -> bool {
    matches!(
        answer,
        Ok(Reply::Outcome {
            outcome: Outcome::Committed,
            ..
        })
    )
}

#[tokio::test]
async fn nobody_hears_of_a_decision_before_it_is_durable() {
    let cluster = Cluster::new(&settings()).await;
    let mut session = cluster.dial("orders-db").await;
    let executing = cluster.execute(&["orders-db"]);
    let transactions = session.prepares().await;
    cluster.disk.stall();
    session.vote(&transactions).await;
    soon(cluster.disk.stalled()).await;
    // The decision is on its way to the disk, and three turns later still nobody knows.
    for _ in 0..3 {
        let state = cluster.state(transactions[0]).await;
        assert_eq!(state, handfast_core::view::StateView::Preparing);
    }
    assert!(!executing.is_finished());
    assert!(session.received.try_recv().is_err());
    cluster.disk.resume();
    assert!(is_commit(&soon(executing).await.unwrap()));
    assert_eq!(session.frame().await.decisions.len(), 1);
}

#[tokio::test]
async fn the_first_error_of_the_log_ends_everything() {
    let cluster = Cluster::new(&settings()).await;
    let mut session = cluster.dial("orders-db").await;
    let executing = cluster.execute(&["orders-db"]);
    let transactions = session.prepares().await;
    cluster.disk.break_down();
    session.vote(&transactions).await;
    let failure = soon(executing).await.unwrap().unwrap_err();
    assert_eq!(failure.reason, Reason::Stopped);
    let error = soon(cluster.running).await.unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::LogIo, "{error}");
    // No decision was sent.
    while let Some(frame) = soon(session.received.recv()).await {
        assert!(frame.unwrap().decisions.is_empty());
    }
}

#[tokio::test]
async fn a_record_that_nobody_demands_becomes_durable_all_the_same() {
    let cluster = Cluster::new(&settings()).await;
    let _session = cluster.dial("orders-db").await;
    let durable = async {
        loop {
            let status = cluster.handle.ask(Question::Status).await.unwrap().core;
            if status.durable == status.accepted && status.accepted.0 >= 2 {
                return;
            }
            runtime::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(durable).await;
}

#[tokio::test]
async fn more_decisions_at_once_than_the_buffer_holds_are_all_taken() {
    let mut settings = settings();
    settings.log.buffer_bytes = 512;
    let cluster = Cluster::new(&settings).await;
    let mut session = cluster.dial("orders-db").await;
    let executing: Vec<_> = (0..100).map(|_| cluster.execute(&["orders-db"])).collect();
    let mut transactions = Vec::new();
    while transactions.len() < executing.len() {
        transactions.extend(session.prepares().await);
    }
    session.vote(&transactions).await;
    for executed in executing {
        assert!(is_commit(&soon(executed).await.unwrap()));
        // The session must be read, or it would be the slow one.
        while session.received.try_recv().is_ok() {}
    }
}

#[tokio::test]
async fn a_session_that_takes_nothing_slows_nobody_else() {
    let cluster = Cluster::new(&settings()).await;
    let _stuck = cluster.dial("stuck").await;
    let mut session = cluster.dial("orders-db").await;
    let stuck: Vec<_> = (0..50).map(|_| cluster.execute(&["stuck"])).collect();
    let executing = cluster.execute(&["orders-db"]);
    let transactions = session.prepares().await;
    session.vote(&transactions).await;
    assert!(is_commit(&soon(executing).await.unwrap()));
    assert!(stuck.iter().all(|executing| !executing.is_finished()));
}

#[tokio::test]
async fn a_session_with_too_much_waiting_is_ended() {
    let mut settings = settings();
    settings.server.session_backlog = 10;
    let cluster = Cluster::new(&settings).await;
    let mut stuck = cluster.dial("stuck").await;
    let executing: Vec<_> = (0..20).map(|_| cluster.execute(&["stuck"])).collect();
    for executed in executing {
        // Down by then, or lost before the vote.
        let answer = soon(executed).await.unwrap();
        assert!(!is_commit(&answer));
    }
    while soon(stuck.received.recv()).await.is_some() {}
}

/// What waits for a participant that never votes takes its own share of the calls, and no more.
#[tokio::test]
async fn a_stuck_participant_leaves_calls_for_the_others() {
    let mut settings = settings();
    settings.server.calls = 8;
    settings.limits.unfinished_branches_per_resource = 4;
    let cluster = Cluster::new(&settings).await;
    let mut stuck = cluster.dial("stuck").await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(cluster.execute(&["stuck"]));
        stuck.prepares().await;
    }
    for _ in 0..8 {
        let refused = soon(cluster.execute(&["stuck"])).await.unwrap().unwrap_err();
        assert_eq!(refused.reason, Reason::ResourceBacklog);
    }
    let mut sound = cluster.dial("orders-db").await;
    let executing: Vec<_> = (0..4).map(|_| cluster.execute(&["orders-db"])).collect();
    let mut prepared = 0;
    while prepared < executing.len() {
        let transactions = sound.prepares().await;
        prepared += transactions.len();
        sound.vote(&transactions).await;
    }
    for executed in executing {
        assert!(is_commit(&soon(executed).await.unwrap()));
    }
    assert!(waiting.iter().all(|call| !call.is_finished()));
}

#[tokio::test]
async fn calls_beyond_the_bound_are_answered_busy() {
    let mut settings = settings();
    settings.server.calls = 1;
    let cluster = Cluster::new(&settings).await;
    let mut session = cluster.dial("orders-db").await;
    let first = cluster.execute(&["orders-db"]);
    session.prepares().await;
    let second = soon(cluster.execute(&["orders-db"])).await.unwrap().unwrap_err();
    assert_eq!(second.reason, Reason::Busy);
    assert!(second.retry_after.is_some());
    // A caller that gives up makes room.
    first.abort();
    let third = async {
        loop {
            let executing = cluster.execute(&["orders-db"]);
            let prepared = runtime::timeout(Duration::from_millis(100), session.frame()).await;
            if prepared.is_some_and(|frame| !frame.prepares.is_empty()) {
                return;
            }
            assert_eq!(executing.await.unwrap().unwrap_err().reason, Reason::Busy);
        }
    };
    soon(third).await;
}

#[tokio::test]
async fn a_checkpoint_and_the_log_behind_it_bring_everything_back() {
    let mut settings = settings();
    settings.log.checkpoint_bytes = 8192;
    settings.log.segment_bytes = 8192 * 2;
    let cluster = Cluster::new(&settings).await;
    let mut session = cluster.dial("orders-db").await;
    let mut last = None;
    while cluster.disk.checkpoints() < 2 {
        let executing = cluster.execute(&["orders-db"]);
        let transactions = loop {
            let frame = session.frame().await;
            if !frame.prepares.is_empty() {
                break frame
                    .prepares
                    .iter()
                    .map(|prepare| id(&prepare.transaction_id))
                    .collect::<Vec<_>>();
            }
        };
        session.vote(&transactions).await;
        assert!(is_commit(&soon(executing).await.unwrap()));
        last = transactions.last().copied();
    }
    cluster.running.abort();
    let _ = cluster.running.await;
    let again = Cluster::on(cluster.disk.clone(), &settings).await;
    let state = again.state(last.unwrap()).await;
    assert_eq!(state, handfast_core::view::StateView::Committing);
}

#[tokio::test]
async fn what_does_not_fit_one_frame_follows_as_soon_as_there_is_room() {
    const OPERATIONS: usize = 12;
    let cluster = Cluster::new(&settings()).await;
    let mut session = cluster.dial("orders-db").await;
    let long = |_| OperationRequest {
        operation: vec![0; 1 << 20].into(),
        ..operation("orders-db")
    };
    let request = Request::Execute(ExecuteRequest {
        key: None,
        operations: (0..OPERATIONS).map(long).collect(),
        timeout_ms: None,
        wait: Wait::Decided,
    });
    let handle = cluster.handle.clone();
    let executing = runtime::spawn(async move { handle.call(request, 0).await });
    // One frame an operation. Nothing but room in the transport may be waited for, or each would take a tick of housekeeping.
    let begun = tokio::time::Instant::now();
    let mut prepares = 0;
    while prepares < OPERATIONS {
        prepares += session.prepares().await.len();
    }
    let limit = Duration::from_millis(super::housekeeping::HOUSEKEEPING_MS * OPERATIONS as u64 / 2);
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
    executing.abort();
}

#[tokio::test]
async fn a_coordinator_that_never_runs_for_long_writes_checkpoints_all_the_same() {
    let mut settings = settings();
    settings.log.checkpoint_bytes = 6 << 10;
    let disk = MemoryDisk::default();
    create_log(disk.clone(), &settings).await.unwrap();
    // A life ends before its first look at the log's growth, and has written no more than its epoch.
    for _ in 0..40 {
        let cluster = Cluster::on(disk.clone(), &settings).await;
        cluster.running.abort();
        let _ = cluster.running.await;
    }
    let cluster = Cluster::on(disk.clone(), &settings).await;
    let written = async {
        while cluster.disk.checkpoints() == 0 {
            runtime::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(written).await;
}

/// What a participant is told to expect is what the core keeps to.
#[tokio::test]
async fn the_window_that_is_told_is_the_bound_that_is_kept() {
    let mut settings = settings();
    settings.limits.unfinished_branches_per_resource = 3;
    let cluster = Cluster::new(&settings).await;
    let (mut session, welcome) = cluster.greet("orders-db", false).await;
    assert_eq!(welcome.limits.unwrap().window, 3);
    let executing: Vec<_> = (0..5).map(|_| cluster.execute(&["orders-db"])).collect();
    let mut under_way = 0;
    while under_way < 3 {
        under_way += session.prepares().await.len();
    }
    assert_eq!(under_way, 3);
    for refusal in executing.into_iter().skip(3) {
        assert_eq!(
            soon(refusal).await.unwrap().unwrap_err().reason,
            Reason::ResourceBacklog
        );
    }
}
