//! The loop over whole frames.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use handfast_proto::ids::BranchId;
use handfast_proto::status::Failure;
use handfast_proto::{convert, v1};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::dial::{Dialer, End, Limits, Welcomed, end_of, end_of_goodbye};
use super::engine::{Engine, PrepareRequest, Progress};
use crate::failpoint;
use crate::participant::{
    Counters, EnlistCommand, EnlistError, EnlistedBranch, QUEUED_ENLISTMENTS, SessionLife,
};
use crate::resource::{BranchKey, Decision, ResourceError, ScanLine, SeenLog, Work};
use crate::runtime::{self, Alarm, Instant};

/// A peer that was silent for this many heartbeats is gone.
const SILENT_HEARTBEATS: u32 = 3;

type EnlistReply = tokio::sync::oneshot::Sender<Result<EnlistedBranch, EnlistError>>;

/// A session that is up.
pub(super) struct FrameLoop<'a, E> {
    engine: &'a mut E,
    dialer: &'a mut Dialer,
    session: Welcomed,
    seen: SeenLog,
    life: SessionLife,
    enlisting: BTreeMap<u64, EnlistReply>,
    heard_at: Instant,
    sent_at: Instant,
    scan_at: Instant,
    was_reading: bool,
    alarm: Alarm,
}

/// What the loop woke up for.
enum Turn {
    Shutdown,
    Send(v1::SessionRequest),
    Progress(Progress),
    Received(Option<Result<v1::SessionResponse, tonic::Status>>),
    Enlist(EnlistCommand),
    Timer,
    Ended(End),
}

impl<'a, E: Engine> FrameLoop<'a, E> {
    pub(super) fn new(engine: &'a mut E, dialer: &'a mut Dialer, session: Welcomed) -> Self {
        let now = Instant::now();
        FrameLoop {
            seen: SeenLog {
                log: session.log,
                epoch: session.epoch,
                lsn: session.durable_lsn,
            },
            life: SessionLife::new(),
            enlisting: BTreeMap::new(),
            heard_at: now,
            sent_at: now,
            scan_at: now + session.limits.scan_period,
            was_reading: true,
            alarm: Alarm::new(),
            engine,
            dialer,
            session,
        }
    }

    /// Serves until the session ends.
    pub(super) async fn run(
        &mut self,
        commands: &mut mpsc::Receiver<EnlistCommand>,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> End {
        let first = std::mem::take(&mut self.session.first);
        if let Err(end) = self.received(first) {
            return end;
        }
        loop {
            let end = match self.turn(commands, shutdown.as_mut()).await {
                Turn::Shutdown => return self.leave().await,
                Turn::Ended(end) => Err(end),
                Turn::Send(frame) => {
                    self.sent(frame);
                    Ok(())
                }
                Turn::Progress(Progress::Moved) => Ok(()),
                Turn::Progress(Progress::Scanned(lines)) => {
                    self.scanned(&lines);
                    Ok(())
                }
                Turn::Progress(Progress::ScanFailed(error)) => {
                    self.scan_failed(&error);
                    Ok(())
                }
                Turn::Received(Some(Ok(frame))) => self.received(frame),
                Turn::Received(Some(Err(status))) => Err(end_of(&status, true)),
                Turn::Received(None) => Err(self.lost("the stream ended without a goodbye")),
                Turn::Enlist(command) => {
                    self.enlist(command);
                    Ok(())
                }
                Turn::Timer => self.timer(),
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    /// The branches that this session enlisted can no longer commit, and nobody waits for it any more.
    pub(super) fn end(&mut self) {
        self.life.end();
        self.enlisting.clear();
    }

    async fn turn(
        &mut self,
        commands: &mut mpsc::Receiver<EnlistCommand>,
        shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Turn {
        self.engine.start();
        let is_reading = self.engine.has_room() && self.session.outbox.has_room();
        if is_reading && !self.was_reading {
            // While nothing was read, nothing could be heard.
            self.heard_at = Instant::now();
        }
        self.was_reading = is_reading;
        let timer_at = self.next_timer();
        let frame_bytes = self.session.limits.frame_bytes;
        let has_answers = !self.session.outbox.is_empty();
        let session = &mut self.session;
        let sent = tokio::select! { biased;
            () = shutdown => return Turn::Shutdown,
            // Before what may always be ready, so that load never keeps heartbeats and scans from their time.
            () = self.alarm.until(timer_at) => return Turn::Timer,
            permit = session.sender.reserve(), if has_answers => permit.map(drop).is_ok(),
            progress = self.engine.progress(&mut session.outbox) => {
                return progress.map_or_else(|error| Turn::Ended(error.into()), Turn::Progress);
            }
            Some(command) = commands.recv(), if self.enlisting.len() < QUEUED_ENLISTMENTS => {
                return Turn::Enlist(command);
            }
            frame = session.inbound.next(), if is_reading => return Turn::Received(frame),
        };
        match sent {
            true => Turn::Send(session.outbox.take_frame(frame_bytes)),
            false => Turn::Ended(self.lost("the stream was closed by the transport")),
        }
    }

    /// Hands a frame to the transport, which has room for it.
    fn sent(&mut self, frame: v1::SessionRequest) {
        let (votes, acks) = (!frame.votes.is_empty(), !frame.acks.is_empty());
        if self.session.sender.try_send(frame).is_ok() {
            self.sent_at = Instant::now();
            Counters::add(&self.dialer.counters.frames_sent, 1);
        }
        if votes {
            failpoint::pass("after_vote_sent");
        }
        if acks {
            failpoint::pass("after_ack_sent");
        }
    }

    /// Takes the fields of a frame in the order of their numbers.
    fn received(&mut self, frame: v1::SessionResponse) -> Result<(), End> {
        self.heard_at = Instant::now();
        Counters::add(&self.dialer.counters.frames_received, 1);
        Counters::add(&self.dialer.counters.prepares, frame.prepares.len());
        Counters::add(&self.dialer.counters.decisions, frame.decisions.len());
        self.seen.lsn = self.seen.lsn.max(frame.durable_lsn);
        self.dialer.witness(self.seen);
        self.take(frame).unwrap_or_else(|failure| {
            Err(self.lost(&format!("the coordinator sent a malformed frame: {failure}")))
        })
    }

    fn take(&mut self, frame: v1::SessionResponse) -> Result<Result<(), End>, Failure> {
        for result in frame.enlistments {
            self.enlisted(result)?;
        }
        for prepare in frame.prepares {
            let branch = self.branch(&prepare.transaction_id, prepare.branch)?;
            let work = match prepare.operation {
                Some(operation) => Work::Operation(operation),
                None => Work::Interactive {
                    operations: prepare.operations,
                },
            };
            let deadline = runtime::later(self.heard_at, Duration::from_millis(prepare.timeout_ms));
            let request = PrepareRequest {
                branch,
                work,
                seen: self.seen,
                deadline,
                delegated: prepare.delegated,
            };
            self.engine.prepare(request, &mut self.session.outbox);
        }
        for decision in frame.decisions {
            let branch = self.branch(&decision.transaction_id, decision.branch)?;
            let decision = match decision.kind() {
                v1::DecisionKind::Commit => Decision::Commit,
                v1::DecisionKind::Abort => Decision::Abort,
                v1::DecisionKind::Resolve => {
                    self.engine.resolve(branch, self.seen, &mut self.session.outbox);
                    continue;
                }
                // A decision that this build does not know is not carried out, and so not acknowledged.
                v1::DecisionKind::Unspecified => continue,
            };
            self.engine
                .decide(branch, decision, self.seen, &mut self.session.outbox);
        }
        for answer in frame.answers {
            let branch = self.branch(&answer.transaction_id, answer.branch)?;
            self.answered(branch, answer.kind());
        }
        for forget in frame.forgets {
            let branch = self.branch(&forget.transaction_id, forget.branch)?;
            self.engine.forget(branch);
        }
        Ok(match frame.goodbye {
            Some(goodbye) => Err(end_of_goodbye(goodbye, true)),
            None => Ok(()),
        })
    }

    fn answered(&mut self, branch: BranchKey, answer: v1::AnswerKind) {
        match answer {
            v1::AnswerKind::Finished | v1::AnswerKind::Forgotten => {
                if self.dialer.held.suspect(branch) {
                    self.scan_at = Instant::now();
                }
            }
            // Kept as it is: not decided yet, another coordinator's, or an answer that this build does not know.
            v1::AnswerKind::Wait | v1::AnswerKind::NotMine | v1::AnswerKind::Unspecified => {}
        }
    }

    fn scanned(&mut self, lines: &[ScanLine]) {
        Counters::add(&self.dialer.counters.scans, 1);
        self.dialer.counters.scanned(lines);
        for branch in self.dialer.held.scanned(lines) {
            tracing::error!(
                resource = %self.dialer.resource,
                %branch,
                "HELD: the branch is prepared here, and the coordinator says that it ended or is forgotten. Compare \
                 with the other participants, then commit or roll it back by hand; it is never finished by itself"
            );
        }
        self.dialer
            .counters
            .held
            .store(self.dialer.held.len() as u64, Ordering::Relaxed);
        if !self.session.outbox.is_sending_scan() {
            self.session.outbox.scan(lines);
        }
    }

    /// A list that is not whole says nothing of any branch, so nothing is sent; but somebody should know that the store is away.
    fn scan_failed(&mut self, error: &ResourceError) {
        Counters::add(&self.dialer.counters.failed_scans, 1);
        tracing::warn!(resource = %self.dialer.resource, %error, "a scan failed and has no consequence");
    }

    fn enlist(&mut self, command: EnlistCommand) {
        self.dialer.enlistments += 1;
        let enlistment = self.dialer.enlistments;
        let transaction_id = convert::transaction_id_bytes(command.transaction);
        self.session.outbox.enlist(v1::Enlist {
            transaction_id,
            enlistment,
        });
        self.enlisting.insert(enlistment, command.reply);
    }

    fn enlisted(&mut self, result: v1::EnlistResult) -> Result<(), Failure> {
        let branch = self.branch(&result.transaction_id, result.branch)?;
        let Some(reply) = self.enlisting.remove(&result.enlistment) else {
            return Ok(());
        };
        let answer = match result.refusal.is_empty() {
            true => Ok(self.life.enlisted(branch)),
            false => Err(EnlistError::Refused(result.refusal)),
        };
        // A service that no longer waits does no work, and its branch makes the transaction abort.
        let _ = reply.send(answer);
        Ok(())
    }

    fn timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let Limits {
            heartbeat,
            scan_period,
            ..
        } = self.session.limits;
        if self.was_reading && now >= self.heard_at + heartbeat * SILENT_HEARTBEATS {
            return Err(self.lost("the coordinator is silent"));
        }
        if now >= self.sent_at + heartbeat / 2 {
            self.sent_at = now;
            // If the transport has no room, a frame is on its way already.
            let _ = self.session.sender.try_send(v1::SessionRequest::default());
        }
        if now >= self.scan_at {
            self.scan_at = now + scan_period;
            self.engine.scan();
        }
        Ok(())
    }

    fn next_timer(&self) -> Instant {
        let heartbeat = self.session.limits.heartbeat;
        let beat_at = self.sent_at + heartbeat / 2;
        let silent_at = self.heard_at + heartbeat * SILENT_HEARTBEATS;
        let timer_at = beat_at.min(self.scan_at);
        if self.was_reading {
            timer_at.min(silent_at)
        } else {
            timer_at
        }
    }

    /// Says goodbye: first what is durable already is answered, then the stream is closed.
    async fn leave(&mut self) -> End {
        let limit = self.dialer.options.goodbye_timeout;
        if let Err(error) = self.engine.close(&mut self.session.outbox).await {
            return match End::from(error) {
                End::Lost { .. } => End::Shutdown,
                end => end,
            };
        }
        if runtime::timeout(limit, self.say_goodbye()).await.is_err() {
            tracing::warn!("the coordinator did not take the goodbye in time");
        }
        End::Shutdown
    }

    async fn say_goodbye(&mut self) {
        let session = &mut self.session;
        loop {
            let mut frame = session.outbox.take_frame(session.limits.frame_bytes);
            let is_last = session.outbox.is_empty();
            if is_last {
                let message = "the participant is shutting down".to_owned();
                frame.goodbye = Some(v1::Goodbye {
                    reason: "SHUTDOWN".to_owned(),
                    message,
                });
            }
            if session.sender.send(frame).await.is_err() {
                return;
            }
            if is_last {
                break;
            }
        }
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut session.sender, closed));
        // The coordinator ends its side once it has read the goodbye.
        while let Some(Ok(_)) = session.inbound.next().await {}
    }

    fn branch(&self, transaction: &[u8], branch: u32) -> Result<BranchKey, Failure> {
        let transaction = convert::transaction_id(transaction)?;
        Ok(BranchKey {
            log: self.session.log,
            transaction,
            branch: BranchId(branch),
        })
    }

    fn lost(&self, why: &str) -> End {
        End::Lost {
            why: why.to_owned(),
            was_welcome: true,
        }
    }
}
