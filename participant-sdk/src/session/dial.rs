//! One session from dialing to its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use handfast_proto::ids::{Epoch, InstanceId, LogId, ResourceName};
use handfast_proto::status::{Advice, Failure};
use handfast_proto::v1::participants_client::ParticipantsClient;
use handfast_proto::{PROTOCOL_VERSION, convert, v1};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::engine::{Engine, EngineError, Opened};
use super::frame_loop::FrameLoop;
use super::held::HeldBranches;
use super::outbox::Outbox;
use crate::participant::{Counters, EnlistCommand, ParticipantError, SessionOptions};
use crate::resource::SeenLog;
use crate::runtime;
use crate::runtime::MAX_FRAME_BYTES;
use crate::runtime::link::{Incoming, SessionLink};

/// Frames handed to the transport and not yet taken by it. Everything else gathers in the outbox.
pub(super) const FRAMES_AHEAD: usize = 2;
/// The longest first frame: the coordinator's own limit is not known before its welcome, and is at least twice as much.
const HELLO_FRAME_BYTES: usize = 32 << 10;
/// Limits that a coordinator names are kept within these.
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 10..=60_000;
const SCAN_PERIOD_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;
const FRAME_BYTES: std::ops::RangeInclusive<u64> = 4096..=MAX_FRAME_BYTES as u64;

/// How a session ended.
pub(crate) enum End {
    /// We said goodbye.
    Shutdown,
    /// Dial again.
    Lost { why: String, was_welcome: bool },
    /// Stop.
    Fatal(ParticipantError),
}

/// Who dials, and what outlives a session.
pub(crate) struct Dialer {
    pub resource: ResourceName,
    pub addresses: Vec<String>,
    pub next_address: usize,
    pub instance: InstanceId,
    pub options: SessionOptions,
    pub counters: Arc<Counters>,
    pub held: HeldBranches,
    /// What sessions of this instance were told of each log. A store writes down what comes with a promise; a session that
    /// brings nothing to write is a witness to the next one all the same.
    pub seen: BTreeMap<LogId, SeenLog>,
    /// The number of the newest enlistment of this instance.
    pub enlistments: u64,
}

/// A session that was welcomed.
pub(super) struct Welcomed {
    pub log: LogId,
    pub epoch: Epoch,
    pub durable_lsn: u64,
    pub limits: Limits,
    pub sender: mpsc::Sender<v1::SessionRequest>,
    pub inbound: Incoming,
    pub outbox: Outbox,
    /// The rest of the first frame, which may hold more than the welcome.
    pub first: v1::SessionResponse,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub frame_bytes: usize,
    pub heartbeat: Duration,
    pub scan_period: Duration,
}

impl Dialer {
    /// Dials, recovers and serves until the session ends, whichever way.
    pub(crate) async fn session<E: Engine>(
        &mut self,
        engine: &mut E,
        commands: &mut mpsc::Receiver<EnlistCommand>,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> End {
        engine.session_lost();
        let welcomed = tokio::select! { biased;
            () = shutdown.as_mut() => None,
            welcomed = self.dial(engine) => Some(welcomed),
        };
        let welcomed = match welcomed {
            Some(Ok(welcomed)) => welcomed,
            Some(Err(end)) => return end,
            None => return close(engine).await,
        };
        Counters::add(&self.counters.sessions, 1);
        tracing::info!(resource = %self.resource, log = %welcomed.log, epoch = welcomed.epoch.0, "session is up");
        let counters = self.counters.clone();
        counters.connected.store(true, Ordering::Relaxed);
        let mut frame_loop = FrameLoop::new(engine, self, welcomed);
        let end = frame_loop.run(commands, shutdown).await;
        frame_loop.end();
        counters.connected.store(false, Ordering::Relaxed);
        end
    }

    async fn dial<E: Engine>(&mut self, engine: &mut E) -> Result<Welcomed, End> {
        engine.reach().await?;
        let address = &self.addresses[self.next_address % self.addresses.len()];
        self.next_address = self.next_address.wrapping_add(1);
        let limit = self.options.handshake_timeout;
        let channel = runtime::connect(address, limit)
            .await
            .map_err(|error| lost(error.to_string()))?;

        let opened = engine.open().await?;
        self.counters.scanned(&opened.lines);
        let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
        let mut outbox = Outbox::default();
        outbox.scan(&opened.lines);
        let mut first = outbox.take_frame(HELLO_FRAME_BYTES);
        first.hello = Some(self.hello(&opened));
        sender
            .try_send(first)
            .map_err(|_| lost("the transport took no frame".to_owned()))?;

        let handshake = async {
            let mut client = ParticipantsClient::new(channel).max_decoding_message_size(MAX_FRAME_BYTES);
            let mut link = SessionLink::new(&self.resource);
            let outbound = link.outgoing(ReceiverStream::new(receiver));
            let mut inbound = link.incoming(client.session(outbound).await?.into_inner());
            let first = inbound.next().await.transpose()?;
            Ok::<_, Status>((inbound, first))
        };
        let (inbound, first) = match runtime::timeout(limit, handshake).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => return Err(end_of(&status, false)),
            Err(_) => return Err(lost(format!("no welcome within {} ms", limit.as_millis()))),
        };
        let Some(mut first) = first else {
            return Err(lost(
                "the coordinator ended the session without a welcome".to_owned(),
            ));
        };
        let Some(welcome) = first.welcome.take() else {
            return Err(match first.goodbye {
                Some(goodbye) => end_of_goodbye(goodbye, false),
                None => lost("the first frame of the coordinator was no welcome".to_owned()),
            });
        };
        let log = convert::log_id(&welcome.log_id).map_err(|failure| lost(failure.to_string()))?;
        let limits = Limits::within_reason(welcome.limits.unwrap_or_default());
        let (epoch, durable_lsn) = (Epoch(welcome.epoch), welcome.durable_lsn);
        Ok(Welcomed {
            log,
            epoch,
            durable_lsn,
            limits,
            sender,
            inbound,
            outbox,
            first,
        })
    }

    /// A session was told this of its coordinator's log.
    pub(super) fn witness(&mut self, told: SeenLog) {
        let seen = self.seen.entry(told.log).or_insert(told);
        if position(seen) < position(&told) {
            *seen = told;
        }
    }

    /// What the store has written down, and what this instance has seen beside it: of each epoch the highest position, because an
    /// epoch that is over is measured by its own end.
    fn all_seen(&self, written: &[SeenLog]) -> Vec<SeenLog> {
        merged(written.iter().chain(self.seen.values()))
    }

    fn hello(&self, opened: &Opened) -> v1::Hello {
        let seen = |seen: &SeenLog| v1::Seen {
            log_id: seen.log.to_bytes().to_vec().into(),
            epoch: seen.epoch.0,
            lsn: seen.lsn,
        };
        v1::Hello {
            resource: self.resource.as_str().to_owned(),
            store_id: opened.identity.store.to_bytes().to_vec().into(),
            generation: opened.identity.generation.0,
            instance_id: self.instance.to_bytes().to_vec().into(),
            attached: opened.identity.attached,
            seen: self.all_seen(&opened.seen).iter().map(seen).collect(),
            protocol_version: PROTOCOL_VERSION,
            software: concat!("handfast-participant/", env!("CARGO_PKG_VERSION")).to_owned(),
            one_phase: opened.one_phase,
        }
    }
}

/// The most positions that a coordinator takes in a Hello.
const MOST_SEEN: usize = 1024;

/// In the order of logs and epochs. If it is too much, each log keeps its newest epoch, and the oldest epochs go first.
fn merged<'a>(seen: impl Iterator<Item = &'a SeenLog>) -> Vec<SeenLog> {
    let mut positions = BTreeMap::<(LogId, Epoch), u64>::new();
    for one in seen {
        let lsn = positions.entry((one.log, one.epoch)).or_default();
        *lsn = one.lsn.max(*lsn);
    }
    if positions.len() > MOST_SEEN {
        let newest: BTreeMap<LogId, Epoch> = positions.keys().copied().collect();
        let mut others: Vec<(Epoch, LogId)> = positions
            .keys()
            .filter(|(log, epoch)| newest.get(log) != Some(epoch))
            .map(|&(log, epoch)| (epoch, log))
            .collect();
        others.sort_unstable();
        for (epoch, log) in others.into_iter().take(positions.len() - MOST_SEEN) {
            positions.remove(&(log, epoch));
        }
    }
    positions
        .into_iter()
        .take(MOST_SEEN)
        .map(|((log, epoch), lsn)| SeenLog { log, epoch, lsn })
        .collect()
}

fn position(seen: &SeenLog) -> (Epoch, u64) {
    (seen.epoch, seen.lsn)
}

impl Limits {
    fn within_reason(limits: v1::Limits) -> Self {
        let within = |value: u64, default: u64, range: std::ops::RangeInclusive<u64>| match value {
            0 => default,
            value => value.clamp(*range.start(), *range.end()),
        };
        Limits {
            frame_bytes: within(limits.frame_bytes, HELLO_FRAME_BYTES as u64, FRAME_BYTES) as usize,
            heartbeat: Duration::from_millis(within(limits.heartbeat_ms, 5_000, HEARTBEAT_MS)),
            scan_period: Duration::from_millis(within(limits.scan_period_ms, 30_000, SCAN_PERIOD_MS)),
        }
    }
}

impl From<EngineError> for End {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Transient(why) => lost(why),
            EngineError::Fatal(error) => End::Fatal(error),
        }
    }
}

fn lost(why: String) -> End {
    End::Lost {
        why,
        was_welcome: false,
    }
}

/// What only a person can mend ends the participant; everything else is dialed again.
pub(super) fn end_of(status: &Status, was_welcome: bool) -> End {
    match Failure::from_status(status) {
        Some(failure) if is_permanent(&failure) => End::Fatal(ParticipantError::Refused(failure)),
        Some(failure) => End::Lost {
            why: failure.to_string(),
            was_welcome,
        },
        None => End::Lost {
            why: format!("{:?}: {}", status.code(), status.message()),
            was_welcome,
        },
    }
}

/// The same for a goodbye, which names its reason.
pub(super) fn end_of_goodbye(goodbye: v1::Goodbye, was_welcome: bool) -> End {
    let v1::Goodbye { reason, message } = goodbye;
    match handfast_proto::status::Reason::from_name(&reason)
        .map(|reason| Failure::new(reason, message.clone()))
    {
        Some(failure) if is_permanent(&failure) => End::Fatal(ParticipantError::Refused(failure)),
        _ => End::Lost {
            why: format!("the coordinator said goodbye: {reason} {message}"),
            was_welcome,
        },
    }
}

fn is_permanent(failure: &Failure) -> bool {
    matches!(failure.reason.advice(), Advice::Operator | Advice::FixRequest)
}

async fn close<E: Engine>(engine: &mut E) -> End {
    match engine.close(&mut Outbox::default()).await {
        Ok(()) => End::Shutdown,
        Err(error) => match End::from(error) {
            End::Lost { why, .. } => {
                tracing::warn!(%why, "the store could not be closed cleanly");
                End::Shutdown
            }
            end => end,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(log: u128, epoch: u32, lsn: u64) -> SeenLog {
        SeenLog {
            log: LogId(log),
            epoch: Epoch(epoch),
            lsn,
        }
    }

    fn told(positions: &[SeenLog]) -> Vec<(u128, u32, u64)> {
        let told = merged(positions.iter());
        told.iter()
            .map(|seen| (seen.log.0, seen.epoch.0, seen.lsn))
            .collect()
    }

    #[test]
    fn every_epoch_is_told_with_its_highest_position() {
        let positions = [
            seen(1, 1, 40),
            seen(1, 3, 0),
            seen(2, 1, 5),
            seen(1, 1, 30),
            seen(1, 3, 7),
        ];
        assert_eq!(told(&positions), [(1, 1, 40), (1, 3, 7), (2, 1, 5)]);
    }

    #[test]
    fn of_too_many_the_oldest_epochs_go_and_each_log_keeps_its_newest() {
        let mut positions: Vec<SeenLog> = (1..=MOST_SEEN as u32).map(|epoch| seen(1, epoch, 9)).collect();
        positions.push(seen(2, 1, 8));
        let told = told(&positions);
        assert_eq!(told.len(), MOST_SEEN);
        assert_eq!((told[0], told.last()), ((1, 2, 9), Some(&(2, 1, 8))));
    }
}
