//! A participant, spoken by hand: a store that remembers what it has prepared, and sessions that serve it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use handfast_proto::v1::participants_client::ParticipantsClient;
use handfast_proto::{PROTOCOL_VERSION, v1};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::soon;

/// A frame goes out at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Lines of a scan in one frame.
const LINES_PER_FRAME: usize = 10_000;

/// One session, frame by frame.
pub struct Session {
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
}

/// A hello that is accepted.
pub fn hello(resource: &str, store: u8) -> v1::Hello {
    v1::Hello {
        resource: resource.to_owned(),
        store_id: Bytes::from(vec![store; 16]),
        instance_id: Bytes::from(vec![store; 16]),
        protocol_version: PROTOCOL_VERSION,
        software: "test".to_owned(),
        ..v1::Hello::default()
    }
}

impl Session {
    /// Dials in and sends the first frame.
    pub async fn open(address: &str, first: v1::SessionRequest) -> Session {
        let mut client = ParticipantsClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let (requests, outgoing) = mpsc::channel(16);
        requests.send(first).await.unwrap();
        let responses = client
            .session(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        Session { requests, responses }
    }

    /// Dials in as a resource with an empty store, and is welcomed.
    pub async fn welcomed(address: &str, resource: &str, store: u8) -> Session {
        let first = v1::SessionRequest {
            hello: Some(hello(resource, store)),
            scan_complete: true,
            ..v1::SessionRequest::default()
        };
        let mut session = Session::open(address, first).await;
        let frame = session.next().await.unwrap();
        assert!(frame.welcome.is_some(), "{frame:?}");
        session
    }

    /// Sends a frame.
    pub async fn send(&self, frame: v1::SessionRequest) {
        self.requests.send(frame).await.unwrap();
    }

    /// The next frame that says something; an error if the session ends.
    pub async fn next(&mut self) -> Result<v1::SessionResponse, Status> {
        loop {
            let frame = soon("a frame", self.responses.message()).await?;
            let frame = frame.ok_or_else(|| Status::ok("the session has ended"))?;
            let heartbeat = v1::SessionResponse {
                durable_lsn: frame.durable_lsn,
                ..v1::SessionResponse::default()
            };
            if frame != heartbeat {
                return Ok(frame);
            }
        }
    }

    /// The status with which the session ends, and its goodbye.
    pub async fn refusal(&mut self) -> (Option<v1::Goodbye>, Status) {
        let mut goodbye = None;
        loop {
            match self.next().await {
                Ok(frame) => goodbye = frame.goodbye.or(goodbye),
                Err(status) => return (goodbye, status),
            }
        }
    }
}

/// What a store knows of a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Prepared,
    Committed,
    Aborted,
}

/// How a session of a store serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Everything, and at once.
    Whole,
    /// It takes no notice of decisions: it is lost after its votes.
    VotesOnly,
    /// As a disk allows: with each sync it carries out so many decisions as [`DECISIONS_PER_SYNC`].
    Synced,
}

/// What a store with a disk carries out with one sync, and how long that takes: a fast one.
const DECISIONS_PER_SYNC: usize = 1000;
const SYNC: Duration = Duration::from_millis(10);

/// Transaction and branch.
pub type Branch = (Bytes, u32);

/// A durable store: it survives its sessions.
#[derive(Clone)]
pub struct Store {
    resource: String,
    number: u8,
    branches: Arc<Mutex<BTreeMap<Branch, State>>>,
}

impl Store {
    pub fn new(resource: &str, number: u8) -> Store {
        Store {
            resource: resource.to_owned(),
            number,
            branches: Arc::default(),
        }
    }

    /// A store that has promised these branches, and has been away since.
    pub fn promised(resource: &str, number: u8, branches: impl Iterator<Item = Branch>) -> Store {
        let store = Store::new(resource, number);
        let promised = branches.map(|branch| (branch, State::Prepared));
        store.branches.lock().unwrap().extend(promised);
        store
    }

    pub fn branches(&self) -> BTreeMap<Branch, State> {
        self.branches.lock().unwrap().clone()
    }

    /// How many branches are in this state.
    pub fn count(&self, state: State) -> usize {
        let branches = self.branches.lock().unwrap();
        branches.values().filter(|is| **is == state).count()
    }

    /// Dials in and serves until the session ends. Returns once it is welcomed.
    pub async fn serve(&self, address: &str) -> JoinHandle<()> {
        self.serve_as(address, Manner::Whole).await
    }

    /// The same, in another manner.
    pub async fn serve_as(&self, address: &str, manner: Manner) -> JoinHandle<()> {
        let first = v1::SessionRequest {
            hello: Some(hello(&self.resource, self.number)),
            ..v1::SessionRequest::default()
        };
        let mut session = Session::open(address, first).await;
        let frame = session.next().await.unwrap();
        let welcome = frame.welcome.clone().expect("a welcome");
        let lines = self.in_doubt(&welcome.log_id);
        for lines in lines.chunks(LINES_PER_FRAME) {
            let scan = v1::SessionRequest {
                in_doubt: lines.to_vec(),
                ..v1::SessionRequest::default()
            };
            session.send(scan).await;
        }
        let scanned = v1::SessionRequest {
            scan_complete: true,
            ..v1::SessionRequest::default()
        };
        session.send(scanned).await;
        // Open decisions may come along with the welcome.
        session.send(self.answer(frame, manner)).await;
        let store = self.clone();
        tokio::spawn(async move { while store.step(&mut session, manner).await {} })
    }

    fn in_doubt(&self, log_id: &Bytes) -> Vec<v1::InDoubt> {
        let prepared = self
            .branches()
            .into_iter()
            .filter(|(_, state)| *state == State::Prepared);
        let line = |((transaction_id, branch), _)| v1::InDoubt {
            transaction_id,
            branch,
            log_id: log_id.clone(),
            phase: v1::InDoubtPhase::Prepared.into(),
        };
        prepared.map(line).collect()
    }

    async fn step(&self, session: &mut Session, manner: Manner) -> bool {
        let answer = tokio::select! {
            biased;
            frame = session.next() => match frame {
                Ok(frame) if manner == Manner::Synced => return self.sync(session, frame).await,
                Ok(frame) => self.answer(frame, manner),
                Err(_) => return false,
            },
            () = tokio::time::sleep(HEARTBEAT) => v1::SessionRequest::default(),
        };
        session.requests.send(answer).await.is_ok()
    }

    /// Votes, and then carries out what is decided, sync by sync.
    async fn sync(&self, session: &Session, mut frame: v1::SessionResponse) -> bool {
        let decisions = std::mem::take(&mut frame.decisions);
        let mut open = session
            .requests
            .send(self.answer(frame, Manner::Whole))
            .await
            .is_ok();
        for decisions in decisions.chunks(DECISIONS_PER_SYNC) {
            tokio::time::sleep(SYNC).await;
            let frame = v1::SessionResponse {
                decisions: decisions.to_vec(),
                ..v1::SessionResponse::default()
            };
            open &= session
                .requests
                .send(self.answer(frame, Manner::Whole))
                .await
                .is_ok();
        }
        open
    }

    /// Votes for everything that is to be prepared, and does what is decided.
    fn answer(&self, mut frame: v1::SessionResponse, manner: Manner) -> v1::SessionRequest {
        let mut answer = v1::SessionRequest::default();
        if manner == Manner::VotesOnly {
            frame.decisions.clear();
        }
        for prepare in frame.prepares {
            self.enter(&prepare.transaction_id, prepare.branch, State::Prepared);
            answer.votes.push(v1::Vote {
                transaction_id: prepare.transaction_id,
                branch: prepare.branch,
                kind: v1::VoteKind::Prepared.into(),
                ..v1::Vote::default()
            });
        }
        for decision in frame.decisions {
            let state = match decision.kind() {
                v1::DecisionKind::Commit => State::Committed,
                _ => State::Aborted,
            };
            self.enter(&decision.transaction_id, decision.branch, state);
            answer.acks.push(v1::Ack {
                decision: decision.kind,
                transaction_id: decision.transaction_id,
                branch: decision.branch,
                kind: v1::AckKind::Done.into(),
                evidence: String::new(),
            });
        }
        answer
    }

    /// A branch that has ended stays as it ended; anything else would be a defect of the coordinator.
    fn enter(&self, transaction: &Bytes, branch: u32, state: State) {
        let mut branches = self.branches.lock().unwrap();
        let before = branches.insert((transaction.clone(), branch), state);
        let allowed = match before {
            None => state != State::Committed,
            Some(State::Prepared) => true,
            Some(ended) => ended == state,
        };
        assert!(allowed, "branch {branch} went from {before:?} to {state:?}");
    }
}
