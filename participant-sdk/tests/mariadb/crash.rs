//! Killed servers, and connections that break at the worst moment.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_participant::resources::mariadb::MariadbResource;
use handfast_participant::{BranchKey, Completion, Decision, Resource, ScanLine, ScanPhase, Vote, Work};
use handfast_servers::MariadbServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Bank, LIMIT, PREPARED, add, branch, done, furnish, open, options, prepare, refused, seen};

/// A server of its own with one bank, to be killed.
fn mortal(settings: &[&str]) -> (MariadbServer, String) {
    let server = MariadbServer::start(settings).unwrap();
    let database = server.create_database().unwrap();
    furnish(&server, &database);
    (server, database)
}

fn reborn(server: &mut MariadbServer) {
    server.kill().unwrap();
    server.restart().unwrap();
}

/// The pool recovers by itself: each call meets at most one connection of the killed server, as a transient error.
async fn until_done(resource: &MariadbResource, branch: BranchKey, decision: Decision) {
    for _ in 0..10 {
        match resource.finish(branch, decision).await {
            Ok(completion) => return assert_eq!(completion, Completion::Done),
            Err(error) => assert!(!error.permanent, "{error}"),
        }
    }
    panic!("{branch} is not finished");
}

#[tokio::test]
async fn a_promise_survives_its_connection_its_process_and_a_killed_server() {
    for settings in [&[][..], &["log-bin", "sync-binlog=1"]] {
        let (mut server, database) = mortal(settings);
        let resource = open(options(&server.url(&database))).await;
        let identity = resource.open().await.unwrap();
        let (kept, lost) = (branch(), branch());
        assert_eq!(prepare(&resource, kept, &add("alice", 1)).await, PREPARED);
        server.kill().unwrap();
        assert!(refused(prepare(&resource, lost, &add("alice", 1)).await).retryable);
        assert!(
            !resource
                .finish(kept, Decision::Commit)
                .await
                .unwrap_err()
                .permanent
        );
        assert!(
            resource.scan().await.is_err(),
            "a scan that cannot be made is no empty list"
        );
        assert!(!resource.open().await.unwrap_err().permanent);
        server.restart().unwrap();

        assert_eq!(resource.open().await.unwrap(), identity);
        let prepared = ScanLine {
            branch: kept,
            phase: ScanPhase::Prepared,
        };
        assert_eq!(resource.scan().await.unwrap(), [prepared]);
        until_done(&resource, kept, Decision::Commit).await;
        assert_eq!(resource.scan().await.unwrap(), []);
        reborn(&mut server);
        until_done(&resource, kept, Decision::Commit).await;
        until_done(&resource, lost, Decision::Abort).await;
        assert_eq!(
            server
                .sql(&database, "SELECT balance FROM accounts WHERE id = 'alice'")
                .unwrap(),
            "101"
        );
    }
}

/// The server dies between any two steps of a branch; the same process goes on, its pools full of dead connections.
#[tokio::test]
async fn whatever_step_the_server_dies_after_the_branch_ends_as_decided() {
    let (mut server, database) = mortal(&[]);
    let resource = open(options(&server.url(&database))).await;
    let mut expected = 100;
    for decision in [Decision::Commit, Decision::Abort] {
        for dies_after in ["nothing", "prepare", "decision", "second decision", "forget"] {
            let branch = branch();
            if dies_after == "nothing" {
                reborn(&mut server);
            }
            let mut vote = prepare(&resource, branch, &add("alice", 1)).await;
            for _ in 0..10 {
                if vote == PREPARED {
                    break;
                }
                assert!(refused(vote).retryable, "{dies_after}");
                vote = prepare(&resource, branch, &add("alice", 1)).await;
            }
            assert_eq!(vote, PREPARED, "{dies_after}");
            if dies_after == "prepare" {
                reborn(&mut server);
            }
            until_done(&resource, branch, decision).await;
            if dies_after == "decision" {
                reborn(&mut server);
            }
            until_done(&resource, branch, decision).await;
            if dies_after == "second decision" {
                reborn(&mut server);
            }
            let mut forgotten = resource.forget(&[branch]).await;
            for _ in 0..10 {
                if forgotten.is_ok() {
                    break;
                }
                forgotten = resource.forget(&[branch]).await;
            }
            forgotten.unwrap();
            if dies_after == "forget" {
                reborn(&mut server);
            }
            expected += i64::from(decision == Decision::Commit);
            let balance = server
                .sql(&database, "SELECT balance FROM accounts WHERE id = 'alice'")
                .unwrap();
            assert_eq!(balance, expected.to_string(), "{decision:?} {dies_after}");
            assert_eq!(server.sql(&database, "XA RECOVER").unwrap(), "");
            assert_eq!(
                server
                    .sql(&database, "SELECT COUNT(*) FROM handfast_marker")
                    .unwrap(),
                "0"
            );
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_amid_the_work_leaves_nothing_of_it() {
    let (mut server, database) = mortal(&[]);
    let url = server.url(&database);
    let resource = open(options(&url)).await;
    let branch = branch();
    let voting = tokio::spawn({
        let resource = resource.clone();
        let slow = add("alice", 1).then("SELECT SLEEP(60)", super::NOTHING);
        async move { prepare(&resource, branch, &slow).await }
    });
    let sleeping = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'";
    super::until(|| server.sql(&database, sleeping).unwrap() == "1").await;
    server.kill().unwrap();
    assert!(refused(voting.await.unwrap()).retryable);
    server.restart().unwrap();
    until_done(&resource, branch, Decision::Abort).await;
    assert_eq!(
        server
            .sql(&database, "SELECT balance FROM accounts WHERE id = 'alice'")
            .unwrap(),
        "100"
    );
}

#[tokio::test]
async fn a_branch_whose_process_is_gone_is_finished_by_any_other() {
    let bank = Bank::new();
    let branches = [branch(), branch()];
    let resource = bank.open().await;
    for branch in branches {
        assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
        bank.sql("COMMIT");
        done_by_another(&bank, branch).await;
    }
    drop(resource);
    assert_eq!(bank.balance("alice"), 102);
}

async fn done_by_another(bank: &Bank, branch: BranchKey) {
    let other = bank.open().await;
    done(&other, branch, Decision::Commit).await;
}

/// What the link does, once, with the request that holds XA PREPARE.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The request is lost and the connection with it.
    LoseRequest,
    /// The server gets the request; its answer is lost and the connection with it.
    LoseAnswer,
    /// The request is lost, and the connection stays open and silent.
    Silence,
    /// The server gets the request, and the connection stays open and silent.
    SilenceAfter,
    /// The server gets the request; its answer is lost, and the connection when the server dies.
    LoseServer,
}

/// A link between participant and server that fails once, and that can be led to another server.
pub(super) struct Link {
    pub port: u16,
    faults: Arc<AtomicU32>,
    server: watch::Sender<u16>,
}

impl Link {
    async fn to(bank: &Bank, word: &'static [u8], fault: Fault) -> Self {
        Self::new(bank.server.port(), word, Some(fault)).await
    }

    /// One that breaks nothing by itself.
    pub async fn sound(server: u16) -> Self {
        Self::new(server, b"XA PREPARE", None).await
    }

    /// All connections break, and new ones lead to this server: an address that changes hands.
    pub fn lead_to(&self, server: u16) {
        self.server.send_replace(server);
    }

    async fn new(server: u16, word: &'static [u8], fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (faults, armed) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(fault)));
        let (server, mut leads_to) = watch::channel(server);
        let counted = faults.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = *leads_to.borrow_and_update();
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                let carried = carry(client, server, word, armed.clone(), counted.clone());
                let mut led_away = leads_to.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        _ = led_away.changed() => {}
                        () = carried => {}
                    }
                });
            }
        });
        Link { port, faults, server }
    }

    async fn open(&self, bank: &Bank) -> MariadbResource {
        open(options(&format!(
            "mysql://root@127.0.0.1:{}/{}",
            self.port, bank.database
        )))
        .await
    }
}

/// Carries bytes both ways until either side closes.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    word: &'static [u8],
    armed: Arc<Mutex<Option<Fault>>>,
    faults: Arc<AtomicU32>,
) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut up) => {
                let Ok(bytes @ 1..) = read else { return };
                let request = &up[..bytes];
                let fatal = request.windows(word.len()).any(|window| window == word);
                let fault = if fatal { armed.lock().unwrap().take() } else { None };
                faults.fetch_add(u32::from(fault.is_some()), Relaxed);
                if !matches!(fault, Some(Fault::LoseRequest | Fault::Silence)) {
                    server.write_all(request).await.unwrap();
                }
                match fault {
                    None => {}
                    Some(Fault::LoseRequest) => return,
                    Some(Fault::LoseAnswer) => { let _ = server.read(&mut down).await; return }
                    Some(Fault::LoseServer) => { while let Ok(1..) = server.read(&mut down).await {} return }
                    Some(Fault::Silence | Fault::SilenceAfter) => { let _open = (&client, &server); std::future::pending::<()>().await }
                }
            }
            read = server.read(&mut down) => {
                let Ok(bytes @ 1..) = read else { return };
                if client.write_all(&down[..bytes]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test]
async fn a_prepare_whose_answer_is_lost_is_looked_up_and_voted() {
    let bank = Bank::new();
    let link = Link::to(&bank, b"XA PREPARE", Fault::LoseAnswer).await;
    let resource = link.open(&bank).await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    assert_eq!(link.faults.load(Relaxed), 1);
    assert_eq!(bank.prepared(), 1);
    done(&resource, branch, Decision::Commit).await;
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn a_prepare_whose_request_is_lost_is_refused_and_leaves_nothing() {
    let bank = Bank::new();
    let link = Link::to(&bank, b"XA PREPARE", Fault::LoseRequest).await;
    let resource = link.open(&bank).await;
    let branch = branch();
    let refusal = refused(prepare(&resource, branch, &add("alice", 1)).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("DATABASE_UNREACHABLE", true)
    );
    assert_eq!(link.faults.load(Relaxed), 1);
    assert_eq!(resource.scan().await.unwrap(), []);
    done(&resource, branch, Decision::Abort).await;
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_refused_at_the_deadline_and_rolled_back() {
    for fault in [Fault::Silence, Fault::SilenceAfter] {
        let bank = Bank::new();
        let link = Link::to(&bank, b"XA PREPARE", fault).await;
        let resource = link.open(&bank).await;
        let branch = branch();
        let work = Work::Operation(add("alice", 1).encode());
        let vote = tokio::time::timeout(
            LIMIT,
            resource.prepare(branch, work, seen(1, 1), Duration::from_secs(1)),
        )
        .await;
        assert!(matches!(vote, Ok(Ok(Vote::Refused(_)))), "{vote:?}");
        assert_eq!(link.faults.load(Relaxed), 1);
        assert_eq!(
            resource.scan().await.unwrap(),
            [],
            "what came too late is rolled back"
        );
        done(&resource, branch, Decision::Abort).await;
        assert_eq!(bank.balance("alice"), 100);
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let bank = Bank::new();
        let link = Link::to(&bank, b"XA COMMIT", fault).await;
        let resource = link.open(&bank).await;
        let branch = branch();
        assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
        done(&resource, branch, Decision::Commit).await;
        assert_eq!(link.faults.load(Relaxed), 1);
        assert_eq!((bank.balance("alice"), bank.prepared()), (101, 0));
    }
}

/// Nobody can say how the prepare ended: so nobody says no. Who refuses is never sent an abort, and this branch needs one.
#[tokio::test]
async fn a_prepare_that_the_server_dies_after_gets_no_vote_and_is_ended_by_the_abort() {
    let (mut server, database) = mortal(&[]);
    let link = Link::new(server.port(), b"XA PREPARE", Some(Fault::LoseServer)).await;
    let resource = open(options(&format!(
        "mysql://root@127.0.0.1:{}/{database}",
        link.port
    )))
    .await;
    let branch = branch();
    let voting = tokio::spawn({
        let (resource, work) = (resource.clone(), Work::Operation(add("alice", 1).encode()));
        async move { resource.prepare(branch, work, seen(3, 1), LIMIT).await }
    });
    let prepared = |server: &MariadbServer| server.sql(&database, "XA RECOVER").unwrap();
    super::until(|| !prepared(&server).is_empty()).await;
    server.kill().unwrap();
    let unknown = voting.await.unwrap().unwrap_err();
    assert!(!unknown.permanent && !unknown.reopen, "{unknown}");
    assert_eq!(link.faults.load(Relaxed), 1);

    server.restart().unwrap();
    assert!(
        !prepared(&server).is_empty(),
        "the promise holds, and its locks with it"
    );
    until_done(&resource, branch, Decision::Abort).await;
    assert_eq!(prepared(&server), "");
    assert_eq!(
        server
            .sql(&database, "SELECT balance FROM accounts WHERE id = 'alice'")
            .unwrap(),
        "100"
    );
}
