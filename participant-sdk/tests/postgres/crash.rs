//! Killed servers, and connections that break at the worst moment.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_participant::resources::postgres::PostgresResource;
use handfast_participant::{BranchKey, Completion, Decision, Resource, ScanLine, ScanPhase, Vote, Work};
use handfast_servers::PostgresServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Bank, LIMIT, PREPARED, add, branch, options, prepare, refused, seen};

#[tokio::test]
async fn a_promise_survives_a_killed_server() {
    let mut server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let accounts = "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint); INSERT INTO accounts VALUES ('alice', 100)";
    server.psql("postgres", accounts).unwrap();
    let resource = PostgresResource::new(options(&server.url("postgres")));
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
    server.restart().unwrap();

    until_done(&resource, kept, Decision::Commit).await;
    assert_eq!(resource.open().await.unwrap(), identity);
    assert_eq!(resource.scan().await.unwrap(), []);
    server.kill().unwrap();
    server.restart().unwrap();
    until_done(&resource, kept, Decision::Commit).await;
    until_done(&resource, lost, Decision::Abort).await;
    let balance = server.psql("postgres", "SELECT balance FROM accounts").unwrap();
    assert_eq!(balance, "101");
}

/// The pool recovers by itself: each call meets at most one connection of the killed server, as a transient error.
async fn until_done(resource: &PostgresResource, branch: BranchKey, decision: Decision) {
    for _ in 0..10 {
        match resource.finish(branch, decision).await {
            Ok(completion) => return assert_eq!(completion, Completion::Done),
            Err(error) => assert!(!error.permanent, "{error}"),
        }
    }
    panic!("{branch} is not finished");
}

/// What the link does, once, with the request that holds PREPARE TRANSACTION.
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
    async fn to(bank: &Bank, fault: Fault) -> Self {
        Self::new(bank.server.port(), Some(fault)).await
    }

    /// One that breaks nothing by itself.
    pub async fn sound(server: u16) -> Self {
        Self::new(server, None).await
    }

    /// All connections break, and new ones lead to this server: an address that changes hands.
    pub fn lead_to(&self, server: u16) {
        self.server.send_replace(server);
    }

    async fn new(server: u16, fault: Option<Fault>) -> Self {
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
                let carried = carry(client, server, armed.clone(), counted.clone());
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

    async fn open(&self, bank: &Bank) -> PostgresResource {
        super::open(options(&format!(
            "postgres://postgres@127.0.0.1:{}/{}",
            self.port, bank.database
        )))
        .await
    }
}

/// Carries bytes both ways until either side closes.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
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
                let fatal = request.windows(19).any(|window| window == b"PREPARE TRANSACTION");
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
    let link = Link::to(&bank, Fault::LoseAnswer).await;
    let resource = link.open(&bank).await;
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    assert_eq!(link.faults.load(Relaxed), 1);
    assert_eq!(
        resource.scan().await.unwrap(),
        [ScanLine {
            branch,
            phase: ScanPhase::Prepared
        }]
    );
    assert_eq!(
        resource.finish(branch, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(bank.balance("alice"), 101);
}

#[tokio::test]
async fn a_prepare_whose_request_is_lost_is_refused_and_leaves_nothing() {
    let bank = Bank::new();
    let link = Link::to(&bank, Fault::LoseRequest).await;
    let resource = link.open(&bank).await;
    let branch = branch();
    let refusal = refused(prepare(&resource, branch, &add("alice", 1)).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("DATABASE_UNREACHABLE", true)
    );
    assert_eq!(link.faults.load(Relaxed), 1);
    assert_eq!(resource.scan().await.unwrap(), []);
    assert_eq!(
        resource.finish(branch, Decision::Abort).await.unwrap(),
        Completion::Done
    );
    assert_eq!(bank.balance("alice"), 100);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_refused_at_the_deadline_and_rolled_back() {
    for fault in [Fault::Silence, Fault::SilenceAfter] {
        let bank = Bank::new();
        let link = Link::to(&bank, fault).await;
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
        assert_eq!(
            resource.finish(branch, Decision::Abort).await.unwrap(),
            Completion::Done
        );
        assert_eq!(bank.balance("alice"), 100);
    }
}

/// Nobody can say how the prepare ended: so nobody says no. Who refuses is never sent an abort, and this branch needs one.
#[tokio::test]
async fn a_prepare_that_the_server_dies_after_gets_no_vote_and_is_ended_by_the_abort() {
    let mut server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    let accounts = "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint); INSERT INTO accounts VALUES ('alice', 100)";
    server.psql("postgres", accounts).unwrap();
    let link = Link::new(server.port(), Some(Fault::LoseServer)).await;
    let resource = super::open(options(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        link.port
    )))
    .await;
    let branch = branch();
    let voting = tokio::spawn({
        let (resource, work) = (resource.clone(), Work::Operation(add("alice", 1).encode()));
        async move { resource.prepare(branch, work, seen(3, 1), LIMIT).await }
    });
    let prepared = |server: &PostgresServer| {
        server
            .psql("postgres", "SELECT gid FROM pg_prepared_xacts")
            .unwrap()
    };
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
        server.psql("postgres", "SELECT balance FROM accounts").unwrap(),
        "100"
    );
}
