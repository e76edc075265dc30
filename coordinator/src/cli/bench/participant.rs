//! `handfast bench participant`: participants in a process of their own. Ends with its standard input.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use handfast_ids::BranchId;
use handfast_participant::journal::JournalOptions;
use handfast_participant::{Handle, Participant as Sdk, ParticipantError};
use handfast_wal::{Log, Options, RealDisk};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::appender::Appender;
use super::counted_disk::CountedDisk;
use super::resources::{Journaled, Standing, Worked};
use super::{children, failed, services};
use crate::cli::output::print;
use crate::error::Error;
use crate::runtime;

/// How often it is looked whether all have dialed in.
const CONNECTED_POLL: Duration = Duration::from_millis(10);
/// Calls that a participant of interactive transactions works on at once.
const CONCURRENCY: usize = 8192;

/// Take part in a measurement.
#[derive(Debug, Args)]
pub struct Participant {
    #[arg(long)]
    coordinator: String,
    /// What the names begin with; a number follows
    #[arg(long)]
    prefix: String,
    /// The first number
    #[arg(long)]
    first: usize,
    /// How many participants
    #[arg(long)]
    count: usize,
    #[arg(long)]
    directory: PathBuf,
    #[arg(long, value_enum)]
    kind: Kind,
    #[arg(long)]
    segment_bytes: u64,
}

/// What takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One-shot operations, in the SDK's journal
    Journaled,
    /// Interactive work, in a log
    Worked,
    /// Nothing: never votes
    Standing,
}

#[derive(Default)]
struct Running {
    participants: JoinSet<Result<(), ParticipantError>>,
    handles: Vec<Handle>,
    worked: Vec<(Arc<Worked>, Handle)>,
    syncs: Arc<AtomicU64>,
}

impl Participant {
    pub async fn run(self) -> Result<(), Error> {
        let termination = runtime::Termination::listen()
            .map_err(|error| failed(format!("signals cannot be received: {error}")))?;
        let mut running = Running::default();
        for number in self.first..self.first + self.count {
            self.start(number, &mut running).await?;
        }
        let address = self.serve_work(&running).await?;
        while running
            .handles
            .iter()
            .any(|handle| handle.counters().sessions.load(Ordering::Relaxed) == 0)
        {
            if let Some(ended) = running.participants.try_join_next() {
                return Err(end(ended));
            }
            runtime::sleep(CONNECTED_POLL).await;
        }
        print(&address)?;

        let mut questions = children::questions();
        let answering = async {
            // Any line asks the one question that there is.
            while questions.recv().await.is_some() {
                print(&counters(&running.handles, &running.syncs))?;
            }
            Ok(())
        };
        tokio::select! { biased;
            () = termination.asked() => Ok(()),
            ended = running.participants.join_next() => Err(ended.map_or_else(|| failed("nobody takes part"), end)),
            answered = answering => answered,
        }
    }

    async fn start(&self, number: usize, running: &mut Running) -> Result<(), Error> {
        let name = format!("{}{number}", self.prefix);
        let builder = Sdk::builder(&name, [self.coordinator.clone()])
            .map_err(|error| failed(error.to_string()))?
            .concurrency(CONCURRENCY, CONCURRENCY);
        let never = std::future::pending();
        match self.kind {
            Kind::Standing => {
                let participant = builder.resource(Standing::new());
                running.handles.push(participant.handle());
                running.participants.spawn(participant.run(never));
            }
            Kind::Journaled => {
                let disk = CountedDisk::new(self.disk(&name)?, running.syncs.clone());
                let options = JournalOptions {
                    segment_bytes: self.segment_bytes,
                    buffer_bytes: self.buffer_bytes(),
                    ..JournalOptions::default()
                };
                let participant = builder
                    .journal_options(options)
                    .staged_on(Journaled::default(), disk)
                    .await
                    .map_err(|error| failed(error.to_string()))?;
                running.handles.push(participant.handle());
                running.participants.spawn(participant.run(never));
            }
            Kind::Worked => {
                let disk = CountedDisk::new(self.disk(&name)?, running.syncs.clone());
                let options = Options {
                    segment_bytes: self.segment_bytes,
                    buffer_bytes: self.buffer_bytes(),
                };
                let id = runtime::random_u128().to_be_bytes();
                let (log, _) = Appender::of_log(Log::create(disk, id, options).await?.log);
                let worked = Arc::new(Worked::new(log));
                let participant = builder.resource(worked.clone());
                running.handles.push(participant.handle());
                running.worked.push((worked, participant.handle()));
                running.participants.spawn(participant.run(never));
            }
        }
        Ok(())
    }

    fn disk(&self, name: &str) -> Result<RealDisk, Error> {
        let path = self.directory.join(name);
        RealDisk::create(&path).map_err(|error| unusable_directory(&path, &error))
    }

    fn buffer_bytes(&self) -> usize {
        usize::try_from(self.segment_bytes / 2)
            .unwrap_or(usize::MAX)
            .min(8 << 20)
    }

    /// Where the services are called, if there are any.
    async fn serve_work(&self, running: &Running) -> Result<String, Error> {
        if self.kind != Kind::Worked {
            return Ok("ready".to_owned());
        }
        let unbound = |error| failed(format!("no address for the services: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let worked = Arc::new(running.worked.clone());
        let first = self.first;
        tokio::spawn(services::serve(listener, move |request| {
            join_and_work(worked.clone(), first, request)
        }));
        Ok(address.to_string())
    }
}

async fn join_and_work(
    worked: Arc<Vec<(Arc<Worked>, Handle)>>,
    first: usize,
    request: services::Request,
) -> Option<BranchId> {
    let index = (request.participant as usize).checked_sub(first)?;
    let (worked, handle) = worked.get(index)?;
    let enlisted = handle.enlist(request.transaction).await.ok()?;
    worked.work(enlisted.branch(), request.operation, || enlisted.is_doomed());
    Some(enlisted.branch().branch)
}

fn counters(handles: &[Handle], syncs: &AtomicU64) -> String {
    let sum = |counter: fn(&handfast_participant::Counters) -> &AtomicU64| -> u64 {
        handles
            .iter()
            .map(|handle| counter(handle.counters()).load(Ordering::Relaxed))
            .sum()
    };
    json!({
        "syncs": syncs.load(Ordering::Relaxed),
        "prepares": sum(|counters| &counters.prepares),
        "frames_received": sum(|counters| &counters.frames_received),
        "frames_sent": sum(|counters| &counters.frames_sent),
    })
    .to_string()
}

fn end(ended: Result<Result<(), ParticipantError>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => failed("a participant has ended"),
        Ok(Err(error)) => failed(format!("a participant has ended: {error}")),
        Err(error) => failed(format!("a participant has panicked: {error}")),
    }
}

fn unusable_directory(path: &Path, error: &std::io::Error) -> Error {
    super::super::directory_error(path, error)
}
