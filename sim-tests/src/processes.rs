//! What the nodes run: the real coordinator, the real participant SDK, and applications.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use handfast_coordinator::error::{Error, Kind};
use handfast_coordinator::index::MemoryIndex;
use handfast_coordinator::runtime::Listener;
use handfast_coordinator::{driver, service};
use handfast_ids::LogId;
use handfast_participant::journal::JournalOptions;
use handfast_participant::participant::{Builder, SessionOptions};
use handfast_participant::{Participant, ParticipantError};

use crate::chaos::resource_name;
use crate::disk::SimDisk;
use crate::own::{Register, Site};
use crate::plan::Fault;
use crate::stores::database::{Database, Voice};
use crate::stores::ledger::Ledger;
use crate::trace::{Event, Node};
use crate::world::{Service, World};

const PORT: u16 = 7420;

/// Where a node is.
pub fn address(node: Node) -> IpAddr {
    let (network, number) = match node {
        Node::Coordinator(number) => (0, number),
        Node::Participant(number) => (1, number),
        Node::Client(number) => (2, number),
    };
    IpAddr::V4(Ipv4Addr::new(10, 0, network, number + 1))
}

/// Where a coordinator listens.
pub fn listens_at(coordinator: u8) -> SocketAddr {
    SocketAddr::new(address(Node::Coordinator(coordinator)), PORT)
}

/// Where a coordinator may be found.
pub fn addresses(world: &World, coordinator: u8) -> Vec<String> {
    let candidates = world.plan.candidates(coordinator);
    candidates.map(|node| listens_at(node).to_string()).collect()
}

/// The same as a name service tells it when a client starts: the one that has the log comes first.
pub fn resolved(world: &World, coordinator: u8) -> Vec<String> {
    let mut candidates: Vec<u8> = world.plan.candidates(coordinator).collect();
    candidates.sort_by_key(|node| !world.is_active(*node));
    candidates
        .into_iter()
        .map(|node| listens_at(node).to_string())
        .collect()
}

/// A coordinator's process.
pub async fn coordinator(world: Arc<World>, number: u8) {
    let node = Node::Coordinator(number);
    world.record(&Event::Started(node));
    world.clocks.runs_here(number);
    let Some(machine) = world.machine(node) else {
        // It stands by, until it is started as the one that has the log.
        return std::future::pending().await;
    };
    let disk = machine.mount();
    let why = match Box::pin(serve(&world, number, disk)).await {
        Ok(()) => "drained".to_owned(),
        Err(error) => format!("{:?}: {}", error.kind, error.message),
    };
    world.ended(node, why);
}

/// Takes up the log and serves, as `handfast serve` does. A log is made once: afterwards an empty directory is an error.
async fn serve(world: &World, number: u8, disk: SimDisk) -> Result<(), Error> {
    let settings = &world.plan.settings;
    let owner = world.plan.log_of(number);
    if !world.has_log(owner) {
        let log = match driver::create_log(disk.clone(), settings).await {
            // What came before was complete, and its process died before it could say so.
            Err(error) if error.kind == Kind::Usage => {
                handfast_wal::verify(&disk).await?.log_id.unwrap_or_default()
            }
            made => made?.to_bytes(),
        };
        world.log_was_made(owner, LogId(u128::from_be_bytes(log)));
    }
    let unbound = |error: std::io::Error| Error::new(Kind::Address, error.to_string());
    let listener = Listener::bind(listens_at(number)).await.map_err(unbound)?;
    let history = settings.limits.history;
    let ready = || world.starts_to_serve(number);
    Box::pin(service::run(
        disk,
        |_, _| MemoryIndex::new(history),
        settings,
        listener,
        ready,
    ))
    .await
}

/// A second process on a coordinator's directory: it must be refused.
pub async fn second_coordinator(world: Arc<World>, number: u8) {
    let Some(machine) = world.machine(Node::Coordinator(number)) else {
        return;
    };
    let disk = machine.mount();
    let (settings, phase) = (
        &world.plan.settings,
        tokio::sync::watch::channel(handfast_coordinator::runtime::Phase::Serving).0,
    );
    let (_handle, inbox) = driver::inbox(&settings.server);
    let history = settings.limits.history;
    let recovered = driver::recover(disk, |_, _| MemoryIndex::new(history), inbox, settings, phase).await;
    if recovered.is_ok() && world.serves(number) {
        world.violated(format!("two processes have taken up the log of c{number}"));
    }
}

/// A participant's process. Several may speak for one database.
pub async fn participant(world: Arc<World>, number: u8) {
    let node = Node::Participant(number);
    world.record(&Event::Started(node));
    world.runs_here(Node::Participant(number));
    let database = world.database(world.plan.participant_of(number)).cloned();
    let ended = match (database, world.register().cloned()) {
        (Some(database), _) => Box::pin(speak(&world, number, &database)).await,
        (None, Some(register)) => Box::pin(keep_own(&world, number, register)).await,
        (None, None) => Box::pin(keep(&world, number)).await,
    };
    let why = match ended {
        Ok(()) => "shut down".to_owned(),
        Err(error) => error.to_string(),
    };
    world.ended(node, why);
}

/// A ledger takes part at one coordinator; its journal is on the node's disk.
async fn keep(world: &World, number: u8) -> Result<(), ParticipantError> {
    let disk = world
        .machine(Node::Participant(number))
        .expect("a participant has a disk")
        .mount();
    let ledger = Ledger::default();
    let participant = journaled(world, number)?.staged_on(ledger.clone(), disk).await?;
    world.ledger_starts(number, ledger);
    Box::pin(participant.run(std::future::pending())).await
}

/// Somebody's own service in a ledger's place.
async fn keep_own(world: &Arc<World>, number: u8, register: Arc<Register>) -> Result<(), ParticipantError> {
    let site = Site {
        node: number,
        life: register.begins(number),
        disk: world
            .machine(Node::Participant(number))
            .expect("a participant has a disk")
            .mount(),
    };
    let own = world
        .plan
        .own
        .clone()
        .expect("whoever has operations has a service");
    let stage = world.clone();
    let starts = Box::new(move |running| stage.own_starts(number, running));
    own.kind()
        .run(site, journaled(world, number)?, register, starts)
        .await
}

/// A participant at its one coordinator.
fn journaled(world: &World, number: u8) -> Result<Builder, ParticipantError> {
    let log = &world.plan.settings.log;
    let journal = JournalOptions {
        segment_bytes: log.segment_bytes,
        buffer_bytes: log.buffer_bytes,
        checkpoint_bytes: log.checkpoint_bytes,
        branches: 1000,
    };
    Ok(builder(world, number, number % world.plan.coordinators)?.journal_options(journal))
}

/// A process speaks for a database at every coordinator. It is one instance of it; there may be another one.
async fn speak(world: &Arc<World>, number: u8, database: &Database) -> Result<(), ParticipantError> {
    let work_survives = world.plan.has(Fault::LateWork);
    let mut all = Vec::new();
    for coordinator in 0..world.plan.coordinators {
        let speaker = database.speaker(
            Voice {
                node: number,
                coordinator,
            },
            work_survives,
        );
        let participant = builder(world, number, coordinator)?.resource(speaker.clone());
        let joining = participant.handle();
        world.serve(number, coordinator, Service { joining, speaker });
        all.push(Box::pin(participant.run(std::future::pending())));
    }
    futures_util::future::try_join_all(all).await.map(drop)
}

fn builder(world: &World, number: u8, coordinator: u8) -> Result<Builder, ParticipantError> {
    let options = SessionOptions {
        handshake_timeout: Duration::from_secs(2),
        backoff_first: Duration::from_millis(50),
        backoff_longest: Duration::from_millis(800),
        goodbye_timeout: Duration::from_millis(500),
    };
    let resource = resource_name(world.plan.participant_of(number));
    let builder = Participant::builder(&resource, addresses(world, coordinator))?;
    Ok(builder.session_options(options))
}

/// An application.
pub async fn client(world: Arc<World>, number: u8) {
    world.runs_here(Node::Client(number));
    world.record(&Event::Started(Node::Client(number)));
    crate::workload::run(&world, number).await;
}
