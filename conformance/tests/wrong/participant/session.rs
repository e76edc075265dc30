//! One session: hello, then one frame after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_proto::v1::participants_client::ParticipantsClient;
use handfast_proto::v1::{self, AckKind, DecisionKind, InDoubtPhase, VoteKind};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::Defect;
use crate::store::{Branch, State, Store, Vote, hex, unhex};

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Votes and acknowledgements in one frame: 30 of them fit into the shortest limit there is.
const ANSWERS_PER_FRAME: usize = 30;
/// How much later than its answer a participant with that defect writes it down.
const LATENESS: Duration = Duration::from_millis(1_000);

pub struct Lost(pub String);

impl<E: std::error::Error> From<E> for Lost {
    fn from(error: E) -> Self {
        Lost(error.to_string())
    }
}

struct Session<'a> {
    store: &'a mut Store,
    defect: Defect,
    outbound: mpsc::Sender<v1::SessionRequest>,
    log: String,
    seen: (u32, u64),
    recent: BTreeMap<Branch, v1::Vote>,
}

/// Serves one session to its end.
pub async fn run(
    store: &mut Store,
    defect: Defect,
    address: &str,
    resource: &str,
    instance: [u8; 16],
) -> Lost {
    match try_run(store, defect, address, resource, instance).await {
        Ok(()) => Lost("the stream ended".to_owned()),
        Err(lost) => lost,
    }
}

async fn try_run(
    store: &mut Store,
    defect: Defect,
    address: &str,
    resource: &str,
    instance: [u8; 16],
) -> Result<(), Lost> {
    let mut client = ParticipantsClient::connect(format!("http://{address}")).await?;
    let (outbound, frames) = mpsc::channel(64);
    let seen = store
        .seen
        .iter()
        .filter(|_| defect != Defect::RemembersNothingSeen);
    let seen = seen.map(|(log, (epoch, lsn))| v1::Seen {
        log_id: unhex(log).into(),
        epoch: *epoch,
        lsn: *lsn,
    });
    let hello = v1::Hello {
        resource: resource.to_owned(),
        store_id: store.id.to_vec().into(),
        generation: 1,
        instance_id: instance.to_vec().into(),
        attached: true,
        seen: seen.collect(),
        protocol_version: 1,
        software: "wrong-participant".to_owned(),
        one_phase: true,
    };
    let mut session = Session {
        store,
        defect,
        outbound,
        log: String::new(),
        seen: (0, 0),
        recent: BTreeMap::new(),
    };
    let mut first = session.scan();
    first.hello = Some(hello);
    session.outbound.try_send(first)?;
    let handshake = async {
        let mut inbound = client.session(ReceiverStream::new(frames)).await?.into_inner();
        let first = inbound.message().await?;
        Ok::<_, tonic::Status>((inbound, first))
    };
    let (inbound, first) = tokio::time::timeout(HANDSHAKE, handshake).await??;
    let first = first.ok_or_else(|| Lost("no welcome".to_owned()))?;
    session.frames(inbound, first).await
}

impl Session<'_> {
    async fn frames(
        &mut self,
        mut inbound: Streaming<v1::SessionResponse>,
        mut first: v1::SessionResponse,
    ) -> Result<(), Lost> {
        let welcome = first
            .welcome
            .take()
            .ok_or_else(|| Lost("no welcome".to_owned()))?;
        let limits = welcome.limits.unwrap_or_default();
        let heartbeat = Duration::from_millis(limits.heartbeat_ms);
        let scan_period = Duration::from_millis(limits.scan_period_ms);
        self.log = hex(&welcome.log_id);
        self.seen = (welcome.epoch, welcome.durable_lsn);
        self.take(first).await?;
        let (mut beat_at, mut scan_at) = (Instant::now(), Instant::now() + scan_period);
        let (mut heard_at, mut write_at) = (Instant::now(), None);
        loop {
            let silent_at = heard_at + heartbeat * 3;
            let mut wake_at = beat_at.min(scan_at).min(write_at.unwrap_or(scan_at));
            if self.defect != Defect::WaitsForEver {
                wake_at = wake_at.min(silent_at);
            }
            tokio::select! { biased;
                frame = inbound.message() => match frame? {
                    Some(frame) => {
                        heard_at = Instant::now();
                        if !frame.prepares.is_empty() || !frame.decisions.is_empty() {
                            write_at = write_at.or(Some(heard_at + LATENESS));
                        }
                        self.take(frame).await?;
                    }
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(wake_at) => {}
            }
            let now = Instant::now();
            if self.defect != Defect::WaitsForEver && now >= silent_at {
                return Err(Lost("the coordinator is silent".to_owned()));
            }
            if now >= beat_at {
                beat_at = now + heartbeat / 2;
                self.send(v1::SessionRequest::default())?;
            }
            if now >= scan_at {
                scan_at = now + scan_period;
                let scan = self.scan();
                self.send(scan)?;
            }
            if write_at.is_some_and(|at| now >= at) {
                write_at = None;
                self.store.write_late_lines();
            }
        }
    }

    async fn take(&mut self, frame: v1::SessionResponse) -> Result<(), Lost> {
        self.seen.1 = self.seen.1.max(frame.durable_lsn);
        let votes: Vec<v1::Vote> = frame
            .prepares
            .into_iter()
            .map(|prepare| self.prepare(prepare))
            .collect();
        for votes in votes.chunks(ANSWERS_PER_FRAME) {
            let frame = v1::SessionRequest {
                votes: votes.to_vec(),
                ..Default::default()
            };
            self.outbound.send(frame).await?;
        }
        let acks: Vec<v1::Ack> = frame
            .decisions
            .iter()
            .filter_map(|decision| self.decide(decision))
            .collect();
        for acks in acks.chunks(ANSWERS_PER_FRAME) {
            let frame = v1::SessionRequest {
                acks: acks.to_vec(),
                ..Default::default()
            };
            self.outbound.send(frame).await?;
        }
        for answer in &frame.answers {
            if self.defect == Defect::DropsWhatIsFinished && answer.kind() == v1::AnswerKind::Finished {
                let branch = self.branch(&answer.transaction_id, answer.branch);
                self.store.drop_branch(&branch);
            }
        }
        for forget in &frame.forgets {
            let branch = self.branch(&forget.transaction_id, forget.branch);
            self.store.forget(&branch);
        }
        match frame.goodbye {
            Some(goodbye) => Err(Lost(goodbye.reason)),
            None => Ok(()),
        }
    }

    fn prepare(&mut self, prepare: v1::Prepare) -> v1::Vote {
        let branch = self.branch(&prepare.transaction_id, prepare.branch);
        if let Some(vote) = self.recent.get(&branch) {
            return vote.clone();
        }
        let mut vote = v1::Vote {
            transaction_id: prepare.transaction_id,
            branch: prepare.branch,
            ..Default::default()
        };
        let voted = match prepare.operation {
            Some(operation) if prepare.delegated => {
                self.store
                    .prepare_and_commit(branch.clone(), &operation, self.seen)
            }
            Some(operation) => self.store.prepare(branch.clone(), &operation, self.seen),
            None => Err("NOT_INTERACTIVE"),
        };
        match voted {
            Ok(Vote::Prepared) => vote.set_kind(VoteKind::Prepared),
            Ok(Vote::Committed) => vote.set_kind(VoteKind::Committed),
            Ok(Vote::ReadOnly) => vote.set_kind(VoteKind::ReadOnly),
            Err(reason) => {
                vote.set_kind(VoteKind::Refused);
                vote.reason = reason.to_owned();
            }
        }
        if !matches!(vote.kind(), VoteKind::Prepared | VoteKind::Committed) {
            self.recent.insert(branch, vote.clone());
        }
        vote
    }

    fn decide(&mut self, decision: &v1::Decision) -> Option<v1::Ack> {
        let branch = self.branch(&decision.transaction_id, decision.branch);
        let decided = match decision.kind() {
            DecisionKind::Resolve => self.store.found(&branch),
            decided => decided,
        };
        let is_unknown = !self.store.branches.contains_key(&branch);
        let kind = match decided {
            DecisionKind::Commit => self.store.commit(branch),
            _ if decision.kind() == DecisionKind::Resolve
                && (self.defect == Defect::AlwaysSaysAbort
                    || (is_unknown && self.defect == Defect::AbsenceIsAborted)) =>
            {
                AckKind::Done
            }
            DecisionKind::Abort => self.store.abort(branch),
            DecisionKind::Resolve | DecisionKind::Unspecified => return None,
        };
        Some(v1::Ack {
            transaction_id: decision.transaction_id.clone(),
            branch: decision.branch,
            decision: decided.into(),
            kind: kind.into(),
            evidence: "what the file says".to_owned(),
        })
    }

    fn scan(&self) -> v1::SessionRequest {
        let line = |((log, transaction, number), state): (&Branch, &State)| v1::InDoubt {
            transaction_id: unhex(transaction).into(),
            branch: *number,
            log_id: match self.defect {
                Defect::ForgetsWhoseBranch if !self.log.is_empty() => unhex(&self.log).into(),
                _ => unhex(log).into(),
            },
            phase: match state {
                State::Prepared(_) => InDoubtPhase::Prepared.into(),
                State::Committed(_) => InDoubtPhase::Committed.into(),
                State::Aborted => InDoubtPhase::Marker.into(),
            },
        };
        v1::SessionRequest {
            in_doubt: self.store.branches.iter().map(line).collect(),
            scan_complete: true,
            ..Default::default()
        }
    }

    fn branch(&self, transaction: &[u8], number: u32) -> Branch {
        let (transaction, any_log) = (hex(transaction), |branch: &&Branch| {
            branch.1 == hex(transaction) && branch.2 == number
        });
        let own = (self.log.clone(), transaction.clone(), number);
        match self.defect {
            Defect::ForgetsWhoseBranch => self.store.branches.keys().find(any_log).cloned().unwrap_or(own),
            _ => own,
        }
    }

    fn send(&mut self, frame: v1::SessionRequest) -> Result<(), Lost> {
        match self.outbound.try_send(frame) {
            // The peer reads slowly; the next beat comes.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Lost("the stream is closed".to_owned())),
        }
    }
}
