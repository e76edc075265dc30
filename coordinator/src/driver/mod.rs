//! The driver: the one event loop in which core, log, index and sessions meet.
//!
//! ```text
//!   inbox ───────► core.handle ──► append ──► journal ──► one batch, one sync
//!   log durable ─►     │                                      │
//!   timer ───────►     └──► send, reply (after lsn?) ──► gate ┴──► outbox: one frame a session; calls: one reply each
//! ```
//!
//! A turn takes whatever has gathered, runs all of it through the core, and then writes one batch, one frame to each
//! session and the replies. What must never live here: a protocol decision, a task or a lock for a transaction.

mod alarms;
mod calls;
mod checkpoints;
pub mod codec;
mod frames;
mod gate;
mod housekeeping;
mod inbox;
mod journal;
mod lane;
mod outbox;
mod pace;
mod questions;
mod recover;
mod streams;
mod waiting;

use handfast_core::{
    CloseReason, Coordinator, Effect, Event, ExecuteRequest, LogSpace, Lsn, Moment, OverdueWatch, Record,
    SessionId,
};
use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;
use handfast_wal::{Disk, WalError};
use tokio::sync::watch;

pub use calls::{Answer, Watched, Watching};
pub use inbox::{
    DriverHandle, Found, Inbox, Input, PageRequest, Question, Request, Room, ServiceStatus, inbox,
};
pub use lane::FRAMES_IN_FLIGHT;
pub use outbox::{Outgoing, SessionSender};
pub use recover::{Replay, create_log, recover};
pub use streams::{Answers, StreamId};

use calls::{Caller, Calls};
use checkpoints::{Checkpoints, Written};
use gate::Gate;
use journal::Journal;
use outbox::Outbox;
use streams::Streams;

use crate::error::Error;
use crate::failpoint::{self, Point};
use crate::index::Index;
use crate::runtime::{Alarm, Clock, CoreStep, Phase, watch_core};
use crate::server::failures;

/// Inputs that one turn takes.
const INPUTS_PER_TURN: usize = 2048;

/// The event loop and everything that it owns.
pub struct Driver<D: Disk, I: Index> {
    clock: Clock,
    alarm: Alarm,
    core: Coordinator,
    overdue: OverdueWatch,
    journal: Journal<D>,
    index: I,
    gate: Gate,
    outbox: Outbox,
    streams: Streams,
    calls: Calls,
    calls_limit: usize,
    checkpoints: Checkpoints,
    inbox: Inbox,
    gathered: Vec<Input>,
    effects: Vec<Effect>,
    space: LogSpace,
    housekeeping: Moment,
    phase: watch::Sender<Phase>,
    drain_timeout_ms: u64,
    /// Set when a shutdown was asked for: when it ends at the latest.
    drain_until: Option<Moment>,
    replied: bool,
}

enum Wake {
    Durable(Lsn),
    Inputs(usize),
    Checkpoint(Written),
    Other,
}

impl<D: Disk, I: Index> Driver<D, I> {
    /// Runs until a shutdown is complete. An error is final: nothing is performed after it, and the process must end.
    pub async fn run(mut self) -> Result<(), Error> {
        loop {
            match self.wait().await? {
                Wake::Durable(lsn) => self.durable(lsn)?,
                // Every handle is gone: nobody can ask for anything any more.
                Wake::Inputs(0) => return self.finish().await,
                Wake::Checkpoint(written) => self.checkpoint_ended(written),
                Wake::Inputs(_) | Wake::Other => {}
            }
            self.take_inputs()?;
            self.look_at_the_clock()?;
            self.send_off().await?;
            if self.is_finished() {
                return self.finish().await;
            }
        }
    }

    /// Waits for something to do. What is rare comes first: nothing that is always ready may starve the rest.
    async fn wait(&mut self) -> Result<Wake, WalError> {
        let has_room = self.journal.has_room();
        // What is due already, as the next step of a long redelivery is, leaves the transport its turn first.
        let soonest = Moment(self.clock.now().0 + 1);
        let timeout = self.clock.instant(self.next_timeout().max(soonest));
        tokio::select! {
            biased;
            durable = self.journal.completed() => durable.map(Wake::Durable),
            () = self.outbox.writable() => Ok(Wake::Other),
            () = self.streams.writable() => Ok(Wake::Other),
            written = self.checkpoints.done() => written.map(Wake::Checkpoint),
            () = self.alarm.until(timeout) => Ok(Wake::Other),
            Some(input) = self.inbox.aside.recv() => {
                self.gathered.push(input);
                Ok(Wake::Other)
            }
            count = self.inbox.inputs.recv_many(&mut self.gathered, INPUTS_PER_TURN), if has_room => Ok(Wake::Inputs(count)),
        }
    }

    fn next_timeout(&self) -> Moment {
        let core = self.core.next_timeout().unwrap_or(self.housekeeping);
        core.min(self.housekeeping)
    }

    /// The core hears of it first; then what waited is performed, and then what the core made of it.
    fn durable(&mut self, lsn: Lsn) -> Result<(), Error> {
        let now = self.clock.now();
        self.feed(now, Event::LogDurable(lsn));
        while let Some(effect) = self.gate.release(lsn) {
            self.perform(effect)?;
        }
        self.checkpoints.advance(self.journal.log());
        self.look_at_the_room(now)?;
        self.perform_effects()
    }

    fn take_inputs(&mut self) -> Result<(), Error> {
        while self.journal.has_room() && self.gathered.len() < INPUTS_PER_TURN {
            let Ok(input) = self.inbox.inputs.try_recv() else {
                break;
            };
            self.gathered.push(input);
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        let now = self.clock.now();
        for input in gathered.drain(..) {
            self.take(now, input)?;
        }
        self.gathered = gathered;
        Ok(())
    }

    fn take(&mut self, now: Moment, input: Input) -> Result<(), Error> {
        match input {
            Input::Call {
                request,
                answer,
                room: _,
            } => match self.is_full() {
                true => {
                    let _ = answer.send(Err(inbox::busy()));
                    Ok(())
                }
                false => {
                    let call = self.calls.insert(Caller::Once(answer));
                    self.handle(now, request.into_event(call))
                }
            },
            Input::StreamUp { stream, answers } => {
                self.streams.open(stream, answers);
                Ok(())
            }
            Input::Executes {
                stream,
                requests,
                room: _,
            } => {
                for (number, request) in requests {
                    self.take_streamed(now, stream, number, request)?;
                }
                Ok(())
            }
            Input::StreamDown { stream, lost: false } => {
                self.streams.close(stream);
                Ok(())
            }
            Input::StreamDown { stream, lost: true } => {
                self.streams.remove(stream);
                for call in self.calls.take_stream(stream) {
                    self.handle(now, Event::CallGone { call })?;
                }
                Ok(())
            }
            Input::Watch { transaction, views } => match self.is_full() {
                true => {
                    let _ = views.send(Some(Err(inbox::busy())));
                    Ok(())
                }
                false => {
                    let call = self.calls.insert(Caller::Watcher(views));
                    self.handle(now, Event::Watch { call, transaction })
                }
            },
            Input::Question(question) => {
                self.answer(now, question);
                Ok(())
            }
            Input::SessionUp {
                session,
                hello,
                sender,
            } => {
                tracing::info!(session = session.0, resource = %hello.resource, instance = %hello.instance, "session up");
                self.outbox.open(session, sender, now);
                let (resource, before) = (hello.resource.clone(), self.core.generation(&hello.resource));
                self.handle(now, Event::SessionUp { session, hello })?;
                alarms::tell_generation(&resource, before, self.core.generation(&resource));
                Ok(())
            }
            Input::Frame { events, room: _ } => {
                for event in events {
                    self.handle(now, event)?;
                }
                Ok(())
            }
            Input::SessionDown { session, farewell } => {
                tracing::info!(session = session.0, ?farewell, "session down");
                match farewell {
                    None => self.outbox.remove(session),
                    Some(failure) => self.outbox.close(session, goodbye(&failure), Some(failure)),
                }
                self.handle(now, Event::SessionDown { session })
            }
            Input::Drain => self.drain(now),
        }
    }

    /// As many calls wait as may.
    fn is_full(&self) -> bool {
        self.calls.len() >= self.calls_limit
    }

    fn take_streamed(
        &mut self,
        now: Moment,
        stream: StreamId,
        number: u64,
        request: Result<ExecuteRequest, Failure>,
    ) -> Result<(), Error> {
        self.streams.asked(stream);
        let request = match request {
            Ok(_) if self.is_full() => Err(inbox::busy()),
            taken => taken,
        };
        match request {
            Ok(request) => {
                let call = self.calls.insert(Caller::Streamed(stream, number));
                self.handle(now, Event::Execute { call, request })
            }
            Err(failure) => {
                self.streams.answer(stream, number, Err(failure));
                Ok(())
            }
        }
    }

    fn handle(&mut self, now: Moment, event: Event) -> Result<(), Error> {
        tracing::trace!(?event);
        self.feed(now, event);
        self.perform_effects()
    }

    fn feed(&mut self, now: Moment, event: Event) {
        watch_core(&self.core, now, CoreStep::Takes(&event));
        self.core.handle(now, event, &mut self.effects);
        watch_core(&self.core, now, CoreStep::Done);
    }

    fn perform_effects(&mut self) -> Result<(), Error> {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match after(&effect) {
                Some(lsn) if lsn > self.journal.durable() => self.gate.hold(lsn, effect),
                _ => self.perform(effect)?,
            }
        }
        // What performing has caused, such as the end of a session that is too slow, comes behind.
        std::mem::swap(&mut effects, &mut self.effects);
        if effects.is_empty() {
            return Ok(());
        }
        self.effects.append(&mut effects);
        self.perform_effects()
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Error> {
        match effect {
            Effect::Append { lsn, record, force } => {
                log_record(lsn, &record);
                self.journal.append(lsn, &record, force)?;
            }
            Effect::Send { session, message, .. } => {
                if matches!(message, handfast_core::Message::Prepare { .. }) {
                    failpoint::hit(Point::BeforePrepareSend);
                }
                if !self.outbox.push(session, message) {
                    self.end_slow_session(session);
                }
            }
            Effect::Reply { call, reply, .. } => {
                self.calls.reply(call, reply, &mut self.streams, inbox::answer);
                self.replied = true;
            }
            Effect::CloseSession { session, reason } => self.close_session(session, &reason),
            Effect::Finished { transaction, .. } => self.index.insert(*transaction),
            Effect::KeysExpired { keys, .. } => self.index.forget_keys(&keys),
            Effect::Held { .. } => alarms::tell_held(&effect),
            Effect::Stop { reason } => {
                tracing::error!(?reason, "the coordinator must stop");
                return Err(reason.into());
            }
        }
        Ok(())
    }

    fn close_session(&mut self, session: SessionId, reason: &CloseReason) {
        let failure = failures::of_close(reason);
        tracing::error!(session = session.0, reason = %failure.reason, message = failure.message, "session refused");
        self.outbox.close(session, goodbye(&failure), Some(failure));
    }

    /// Its messages are dropped; when it comes back, the core sends again what still matters.
    fn end_slow_session(&mut self, session: SessionId) {
        tracing::error!(
            session = session.0,
            "session ended: it takes messages slower than they come"
        );
        self.outbox.remove(session);
        self.feed(self.clock.now(), Event::SessionDown { session });
    }

    fn look_at_the_clock(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        if self.core.next_timeout().is_some_and(|timeout| timeout <= now) {
            self.handle(now, Event::Tick)?;
        }
        if now < self.housekeeping {
            return Ok(());
        }
        self.look_after_the_house(now)
    }

    async fn send_off(&mut self) -> Result<(), Error> {
        self.journal.start()?;
        if let Some(point) = self.outbox.flush(self.clock.now(), self.journal.durable()) {
            failpoint::linger_and_die(point).await;
        }
        self.streams.flush();
        if std::mem::take(&mut self.replied) && failpoint::passes(Point::AfterReply) {
            failpoint::linger_and_die(Point::AfterReply).await;
        }
        Ok(())
    }

    fn drain(&mut self, now: Moment) -> Result<(), Error> {
        if self.drain_until.is_some() {
            return Ok(());
        }
        tracing::info!("draining: new transactions are refused, decided ones are delivered");
        self.drain_until = Some(Moment(now.0.saturating_add(self.drain_timeout_ms)));
        self.phase.send_replace(Phase::Draining);
        self.handle(now, Event::Drain)
    }

    fn is_finished(&self) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        if self.core.is_drained() && self.gate.is_empty() {
            return true;
        }
        let is_over = self.clock.now() >= until;
        if is_over {
            tracing::warn!(
                "not everything decided could be delivered in time; the next start goes on with it"
            );
        }
        is_over
    }

    /// Makes the tail durable, lets go of what waited for it, and takes leave of the sessions.
    async fn finish(mut self) -> Result<(), Error> {
        let durable = self.journal.flush().await?;
        self.durable(durable)?;
        let durable = self.journal.flush().await?;
        let leave = Failure::new(
            Reason::Draining,
            "the coordinator shuts down; dial in again in a while",
        );
        self.outbox.close_all(&goodbye(&leave));
        loop {
            self.outbox.flush(self.clock.now(), durable);
            self.streams.flush();
            if self.outbox.is_empty() && self.streams.is_flushed() {
                break;
            }
            let slow = async {
                tokio::select! {
                    biased;
                    () = self.outbox.writable() => {}
                    () = self.streams.writable() => {}
                }
            };
            if crate::runtime::timeout(FAREWELL, slow).await.is_none() {
                break;
            }
        }
        self.index.flush(durable);
        self.phase.send_replace(Phase::Stopped);
        tracing::info!(durable = durable.0, "stopped");
        Ok(())
    }
}

/// How long a peer that does not take its last frame is waited for.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(1);

fn goodbye(failure: &Failure) -> v1::Goodbye {
    v1::Goodbye {
        reason: failure.reason.to_string(),
        message: failure.message.clone(),
    }
}

/// What must be durable before the effect is performed.
fn after(effect: &Effect) -> Option<Lsn> {
    match effect {
        Effect::Send { after, .. }
        | Effect::Reply { after, .. }
        | Effect::Finished { after, .. }
        | Effect::KeysExpired { after, .. } => *after,
        Effect::Append { .. } | Effect::CloseSession { .. } | Effect::Held { .. } | Effect::Stop { .. } => {
            None
        }
    }
}

fn log_record(lsn: Lsn, record: &Record) {
    match record {
        Record::Decided {
            transaction,
            decision,
            ..
        } => tracing::debug!(%transaction, lsn = lsn.0, ?decision, "decided"),
        Record::Ended { transaction } => tracing::debug!(%transaction, lsn = lsn.0, "ended"),
        Record::Deviated {
            transaction,
            deviation,
        } => tracing::error!(
            %transaction,
            branch = deviation.branch.0,
            resource = %deviation.resource,
            kind = ?deviation.kind,
            evidence = deviation.evidence,
            "a participant deviated from a decision; an operator must look"
        ),
        _ => tracing::debug!(lsn = lsn.0, ?record, "append"),
    }
}

#[cfg(test)]
mod tests;
