//! A disk that is full: new work is refused, and whatever can be given back is.

use handfast_core::view::StateView;
use handfast_proto::status::Reason;

use super::*;

/// What a checkpoint of these small tables needs, and less than a segment.
const ROOM_FOR_CHECKPOINTS: usize = 8 << 10;

fn short() -> Settings {
    let mut settings = settings();
    settings.limits.history = 10;
    settings
}

impl Cluster {
    /// One transaction; whether it was taken in, and committed then.
    async fn commits(&self, session: &mut Session) -> bool {
        let executing = self.execute(&["orders-db"]);
        let mut executing = std::pin::pin!(executing);
        loop {
            tokio::select! {
                biased;
                answer = &mut executing => match answer.unwrap() {
                    Err(failure) => {
                        assert_eq!(failure.reason, Reason::LogSpaceLow, "{failure}");
                        return false;
                    }
                    answer => {
                        assert!(is_commit(&answer));
                        return true;
                    }
                },
                frame = session.frame() => {
                    let prepared: Vec<_> = frame.prepares.iter().map(|prepare| id(&prepare.transaction_id)).collect();
                    session.vote(&prepared).await;
                    for decision in frame.decisions {
                        session.acknowledge(id(&decision.transaction_id)).await;
                    }
                }
            }
        }
    }

    async fn commit_until_low(&self, session: &mut Session) {
        while self.commits(session).await {}
    }

    async fn commit_again(&self, session: &mut Session) {
        while !self.commits(session).await {
            runtime::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Session {
    async fn acknowledge(&self, transaction: TransactionId) {
        let ack = Event::Ack {
            session: self.session,
            transaction,
            branch: BranchId(0),
            ack: handfast_core::Ack {
                decision: handfast_core::Decision::Commit,
                kind: handfast_core::AckKind::Done,
            },
        };
        let room = self.handle.room(0).await.unwrap();
        let events = vec![ack];
        self.handle.put(Input::Frame { events, room }).await.unwrap();
    }
}

/// The log has not grown by enough for a checkpoint, and never will: it refuses what would make it grow.
#[tokio::test]
async fn a_full_disk_makes_the_checkpoints_that_free_segments() {
    let cluster = Cluster::new(&short()).await;
    let mut session = cluster.dial("orders-db").await;
    cluster.disk.leave_room(Some(ROOM_FOR_CHECKPOINTS));
    for _ in 0..2 {
        soon(cluster.commit_until_low(&mut session)).await;
        soon(cluster.commit_again(&mut session)).await;
    }
}

/// After a start too, and without a participant.
#[tokio::test]
async fn a_full_disk_at_the_start_makes_the_checkpoints_that_free_segments() {
    let cluster = Cluster::new(&short()).await;
    let mut session = cluster.dial("orders-db").await;
    cluster.disk.leave_room(Some(0));
    soon(cluster.commit_until_low(&mut session)).await;
    cluster.running.abort();
    let _ = cluster.running.await;
    cluster.disk.leave_room(Some(ROOM_FOR_CHECKPOINTS));
    let cluster = Cluster::on(cluster.disk.clone(), &short()).await;
    let mut session = cluster.dial("orders-db").await;
    soon(cluster.commit_again(&mut session)).await;
}

#[tokio::test]
async fn a_checkpoint_that_found_no_room_is_tried_again_before_the_log_has_grown_once_more() {
    let mut settings = short();
    settings.log.checkpoint_bytes = 2 << 10;
    let cluster = Cluster::new(&settings).await;
    let mut session = cluster.dial("orders-db").await;
    cluster.disk.leave_room(Some(0));
    for _ in 0..20 {
        assert!(cluster.commits(&mut session).await);
    }
    let tried = async {
        while cluster.disk.found_full("checkpoint") == 0 {
            runtime::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(tried).await;
    assert_eq!(cluster.disk.checkpoints(), 0);
    cluster.disk.leave_room(None);
    let written = async {
        while cluster.disk.checkpoints() == 0 {
            runtime::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(written).await;
}

/// Each try fills the disk for a moment, and others write there too.
#[tokio::test]
async fn a_reserve_that_finds_no_room_is_tried_more_and_more_rarely() {
    let cluster = Cluster::new(&short()).await;
    let mut session = cluster.dial("orders-db").await;
    cluster.disk.leave_room(Some(0));
    soon(cluster.commit_until_low(&mut session)).await;
    let before = cluster.disk.found_full("spare");
    let turns = 8;
    runtime::sleep(Duration::from_millis(
        turns * super::super::housekeeping::HOUSEKEEPING_MS,
    ))
    .await;
    let tries = cluster.disk.found_full("spare") - before;
    // After half a second and after one and a half, and what was under way.
    assert!((1..=3).contains(&tries), "{tries} in {turns} turns");
}

/// A sync that stalls under load fills the buffer of the log. Nothing more is taken in that would make records; but questions
/// are answered, and the process can be asked to end.
#[tokio::test]
async fn a_log_without_room_keeps_nobody_from_asking_or_from_ending_the_process() {
    let mut settings = settings();
    settings.log.buffer_bytes = 512;
    let cluster = Cluster::new(&settings).await;
    let mut session = cluster.dial("orders-db").await;
    let executing: Vec<_> = (0..100).map(|_| cluster.execute(&["orders-db"])).collect();
    let mut transactions = Vec::new();
    while transactions.len() < executing.len() {
        transactions.extend(session.prepares().await);
    }
    cluster.disk.stall();
    session.vote(&transactions).await;
    soon(cluster.disk.stalled()).await;
    let later = cluster.execute(&["orders-db"]);
    assert_eq!(cluster.state(transactions[99]).await, StateView::Preparing);
    soon(cluster.handle.drain()).await.unwrap();
    let status = soon(cluster.handle.ask(Question::Status)).await.unwrap();
    assert!(status.core.draining, "the request to end was heard");
    assert!(!later.is_finished(), "what makes records waits");
    cluster.disk.resume();
    for executed in executing {
        assert!(is_commit(&soon(executed).await.unwrap()));
        while session.received.try_recv().is_ok() {}
    }
    let refused = soon(later).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::Draining);
}

/// Asking costs nothing, and room that is there again is seen at once.
#[tokio::test]
async fn a_disk_that_tells_its_room_is_asked_with_every_turn_and_never_filled() {
    let cluster = Cluster::new(&short()).await;
    let mut session = cluster.dial("orders-db").await;
    cluster.disk.tell_room();
    cluster.disk.leave_room(Some(0));
    soon(cluster.commit_until_low(&mut session)).await;
    let before = cluster.disk.asked();
    let asked = async {
        while cluster.disk.asked() < before + 8 {
            runtime::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(asked).await;
    assert_eq!(cluster.disk.found_full("spare"), 0);
    cluster.disk.leave_room(None);
    soon(cluster.commit_again(&mut session)).await;
}
