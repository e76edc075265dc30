//! One session, as the coordinator sees it: what to say, and waiting for what must come.
//!
//! Every frame is checked as it comes: its length, its ids, and that nothing is voted or acknowledged that was not asked.

mod check;
mod words;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handfast_ids::LogId;
use handfast_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::branch::{Branch, Facts};
use crate::coordinator::{Dialed, Heard, What};
use crate::fault::{Checked, Fault, wrong};

pub(crate) use check::{Line, Scan};
pub(crate) use words::{answered, in_words, plain, said, word};

/// What this coordinator says of itself when it welcomes a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub log: LogId,
    pub epoch: u32,
    pub lsn: u64,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the participant said first.
    pub hello: v1::Hello,
    /// Whose branches it speaks of, once it was welcomed.
    pub log: LogId,
    /// When each frame came, the first included.
    pub heard_at: Vec<Instant>,
    /// What it said last, if it did.
    pub goodbye: Option<v1::Goodbye>,
    /// Votes and acknowledgements that nobody has taken.
    pub votes: Vec<v1::Vote>,
    pub acks: Vec<v1::Ack>,
    frames: mpsc::Receiver<Heard>,
    outbound: mpsc::Sender<Result<v1::SessionResponse, Status>>,
    is_silent: Arc<AtomicBool>,
    facts: Arc<Mutex<Facts>>,
    patience: Duration,
    lsn: u64,
    checks: check::Checks,
    ended: Option<String>,
}

impl Session {
    /// Takes a session with its first frame, which must say hello. `Ok(None)`: it was lost before it said anything.
    pub async fn greet(
        dialed: Dialed,
        facts: Arc<Mutex<Facts>>,
        patience: Duration,
    ) -> Checked<Option<Session>> {
        let Dialed { mut frames, outbound } = dialed;
        let first = tokio::time::timeout(patience, frames.recv()).await;
        let (at, mut frame) = match first {
            Ok(Some(Heard {
                at,
                what: What::Frame(frame),
            })) => (at, frame),
            Ok(_) => return Ok(None),
            Err(_) => {
                return wrong("a session was opened and no frame came on it; the first frame carries hello");
            }
        };
        let Some(hello) = frame.hello.take() else {
            return wrong("the first frame of the session has no hello");
        };
        let mut session = Session {
            hello,
            log: LogId(0),
            heard_at: Vec::new(),
            goodbye: None,
            votes: Vec::new(),
            acks: Vec::new(),
            frames,
            outbound,
            is_silent: Arc::default(),
            facts,
            patience,
            lsn: 0,
            checks: check::Checks::default(),
            ended: None,
        };
        session.take(at, *frame);
        Ok(Some(session))
    }

    /// Says welcome, perhaps with more in the same frame, and from then on sends a frame in every half heartbeat.
    pub async fn welcome_with(
        &mut self,
        own: Standing,
        limits: v1::Limits,
        mut frame: v1::SessionResponse,
    ) -> Checked {
        (self.log, self.lsn) = (own.log, own.lsn);
        frame.welcome = Some(v1::Welcome {
            log_id: own.log.to_bytes().to_vec().into(),
            epoch: own.epoch,
            durable_lsn: own.lsn,
            limits: Some(limits),
        });
        self.checks.frame_bytes = Some(limits.frame_bytes);
        self.send(frame).await?;
        let (beats, is_silent) = (self.outbound.downgrade(), self.is_silent.clone());
        let half = Duration::from_millis((limits.heartbeat_ms / 2).max(1));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(half).await;
                let Some(outbound) = beats.upgrade() else { return };
                if !is_silent.load(Ordering::Relaxed)
                    && outbound.send(Ok(v1::SessionResponse::default())).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Sends no more heartbeats.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Sends a frame.
    pub async fn send(&mut self, mut frame: v1::SessionResponse) -> Checked {
        frame.durable_lsn = self.lsn;
        let said = self.checks.saying(&frame, self.log);
        for (branch, said) in said {
            let mut facts = self.facts();
            let fate = facts.fate(branch);
            match said {
                check::Said::Prepare { delegated } => {
                    fate.may_be_prepared = true;
                    fate.delegated |= delegated;
                }
                check::Said::Decision(v1::DecisionKind::Commit) => fate.commit_sent = true,
                check::Said::Decision(_) => {}
            }
        }
        match tokio::time::timeout(self.patience, self.outbound.send(Ok(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => wrong(format!(
                "the participant ended the session: {}",
                self.how_it_ended().await
            )),
            Err(_) => wrong("the participant reads nothing more from its session"),
        }
    }

    /// Asks a branch to do something and promise.
    pub async fn prepare(&mut self, branch: Branch, operation: &bytes::Bytes) -> Checked {
        self.send(v1::SessionResponse {
            prepares: vec![prepare(branch, operation)],
            ..Default::default()
        })
        .await
    }

    /// Asks a branch to do something, and leaves the decision to the participant.
    pub async fn delegate(&mut self, branch: Branch, operation: &bytes::Bytes) -> Checked {
        let prepare = v1::Prepare {
            delegated: true,
            ..prepare(branch, operation)
        };
        self.send(v1::SessionResponse {
            prepares: vec![prepare],
            ..Default::default()
        })
        .await
    }

    /// Tells a branch how it ends.
    pub async fn decide(&mut self, kind: v1::DecisionKind, branch: Branch) -> Checked {
        self.send(v1::SessionResponse {
            decisions: vec![decision(kind, branch)],
            ..Default::default()
        })
        .await
    }

    /// Answers a line of a scan.
    pub async fn answer(&mut self, kind: i32, branch: Branch) -> Checked {
        let answer = v1::Answer {
            transaction_id: branch.id(),
            branch: branch.number,
            kind,
        };
        self.send(v1::SessionResponse {
            answers: vec![answer],
            ..Default::default()
        })
        .await
    }

    /// Lets markers and fences go.
    pub async fn forget(&mut self, branches: &[Branch]) -> Checked {
        let forget = |branch: &Branch| v1::Forget {
            transaction_id: branch.id(),
            branch: branch.number,
        };
        self.send(v1::SessionResponse {
            forgets: branches.iter().map(forget).collect(),
            ..Default::default()
        })
        .await
    }

    /// Waits for the vote of a branch.
    pub async fn vote(&mut self, branch: Branch) -> Checked<v1::Vote> {
        let is_it = |vote: &v1::Vote| vote.transaction_id == branch.id() && vote.branch == branch.number;
        let until = Instant::now() + self.patience;
        loop {
            if let Some(place) = self.votes.iter().position(is_it) {
                return Ok(self.votes.remove(place));
            }
            self.hear(until, || format!("a vote of branch {branch}")).await?;
        }
    }

    /// Waits for the vote of a branch, which must be yes.
    pub async fn prepared(&mut self, branch: Branch) -> Checked {
        let vote = self.vote(branch).await?;
        match vote.kind() {
            v1::VoteKind::Prepared => Ok(()),
            _ => wrong(format!(
                "{} (give an --operation that succeeds each time; {{n}} in it becomes a new number)",
                said(&vote)
            )),
        }
    }

    /// Waits for the acknowledgement of a decision; that of the question how a branch came out says which was found.
    pub async fn ack(&mut self, kind: v1::DecisionKind, branch: Branch) -> Checked<v1::Ack> {
        let is_it = |ack: &v1::Ack| {
            let is_of_kind = kind == v1::DecisionKind::Resolve || ack.decision() == kind;
            ack.transaction_id == branch.id() && ack.branch == branch.number && is_of_kind
        };
        let until = Instant::now() + self.patience;
        loop {
            if let Some(place) = self.acks.iter().position(is_it) {
                return Ok(self.acks.remove(place));
            }
            let what = || format!("an acknowledgement of {} of branch {branch}", word(kind));
            self.hear(until, what).await?;
        }
    }

    /// Decides and waits until that is acknowledged as done.
    pub async fn finish(&mut self, kind: v1::DecisionKind, branch: Branch) -> Checked {
        self.decide(kind, branch).await?;
        self.done(kind, branch).await
    }

    /// Waits for an acknowledgement, which must say done.
    pub async fn done(&mut self, kind: v1::DecisionKind, branch: Branch) -> Checked {
        let ack = self.ack(kind, branch).await?;
        match ack.kind() {
            v1::AckKind::Done => Ok(()),
            other => wrong(format!(
                "{} of branch {branch} was answered {} instead of done: {}",
                word(kind),
                plain(other.as_str_name(), "ACK_KIND_"),
                ack.evidence
            )),
        }
    }

    /// Waits for a complete scan; one that has come and was not taken counts.
    pub async fn scan(&mut self) -> Checked<Scan> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(scan) = self.checks.take_scan() {
                return Ok(scan);
            }
            self.hear(until, || "a complete scan".to_owned()).await?;
        }
    }

    /// Waits for a scan that was begun after now: the second that is completed from here on.
    pub async fn fresh_scan(&mut self) -> Checked<Scan> {
        self.listen_for(Duration::ZERO).await?;
        while self.checks.take_scan().is_some() {}
        self.scan().await?;
        self.scan().await
    }

    /// Hears whatever comes within this time.
    pub async fn listen_for(&mut self, time: Duration) -> Checked {
        let until = Instant::now() + time;
        while self.ended.is_none() {
            match tokio::time::timeout_at(until, self.frames.recv()).await {
                Ok(heard) => self.heard(heard),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until the participant has ended the session; how it did.
    pub async fn end(&mut self, limit: Duration) -> Option<String> {
        self.listen_for(limit).await.ok()?;
        self.ended.clone()
    }

    /// Ends the session from the coordinator's side, with a last frame.
    pub async fn say_goodbye(mut self, reason: &str) -> Checked {
        let goodbye = v1::Goodbye {
            reason: reason.to_owned(),
            message: "the coordinator is going away for a while".to_owned(),
        };
        self.send(v1::SessionResponse {
            goodbye: Some(goodbye),
            ..Default::default()
        })
        .await
    }

    /// Hears one thing more, or says what did not come.
    async fn hear(&mut self, until: Instant, what: impl Fn() -> String) -> Checked {
        if let Some(end) = &self.ended {
            return wrong(format!("{} did not come: {end}", what()));
        }
        match tokio::time::timeout_at(until, self.frames.recv()).await {
            Ok(heard) => {
                self.heard(heard);
                Ok(())
            }
            Err(_) => wrong(format!(
                "{} did not come within {} s",
                what(),
                self.patience.as_secs_f32()
            )),
        }
    }

    fn heard(&mut self, heard: Option<Heard>) {
        match heard {
            Some(Heard {
                at,
                what: What::Frame(frame),
            }) => self.take(at, *frame),
            Some(Heard {
                what: What::End(how), ..
            }) => self.ended = Some(how),
            None => self.ended = Some("its stream ended".to_owned()),
        }
    }

    fn take(&mut self, at: Instant, mut frame: v1::SessionRequest) {
        self.heard_at.push(at);
        let facts = self.facts.clone();
        let mut facts = facts.lock().unwrap_or_else(PoisonError::into_inner);
        self.checks.take(&mut frame, self.log, &mut facts);
        self.votes.append(&mut frame.votes);
        self.acks.append(&mut frame.acks);
        self.goodbye = self.goodbye.take().or(frame.goodbye);
    }

    async fn how_it_ended(&mut self) -> String {
        let limit = self.patience;
        self.end(limit)
            .await
            .unwrap_or_else(|| "its stream is closed".to_owned())
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A prepare with time enough.
pub(crate) fn prepare(branch: Branch, operation: &bytes::Bytes) -> v1::Prepare {
    v1::Prepare {
        transaction_id: branch.id(),
        branch: branch.number,
        operation: Some(operation.clone()),
        operations: 0,
        timeout_ms: 60_000,
        delegated: false,
    }
}

/// A decision.
pub(crate) fn decision(kind: v1::DecisionKind, branch: Branch) -> v1::Decision {
    v1::Decision {
        transaction_id: branch.id(),
        branch: branch.number,
        kind: kind.into(),
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Fault::Kit(status.to_string())
    }
}
