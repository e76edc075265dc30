//! Everything that a measurement of transactions runs: the coordinator, the participants, and where their files are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use handfast_proto::v1;
use handfast_proto::v1::admin_client::AdminClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::children::Child;
use super::flags::{Flags, PROCESSES};
use super::{failed, machine, unusable};
use crate::cli::connect::{self, Operator, call_failed};
use crate::error::Error;
use crate::runtime;

/// Bytes of a journal's segment, when every participant has a process and when many share few.
const SEGMENT_BYTES: u64 = 16 << 20;
const SMALL_SEGMENT_BYTES: u64 = 1 << 20;
/// How long a coordinator that was started may go on delivering at the end.
const DRAIN_MS: &str = "2000";

/// A directory for a measurement: the user's, which stays, or a temporary one.
pub enum Directory {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Directory {
    /// Makes it. One that is given must hold nothing.
    pub fn make(given: Option<&Path>) -> Result<Directory, Error> {
        let Some(path) = given else {
            // The system's temporary directory is often in memory.
            let made = tempfile::Builder::new().prefix("handfast-bench-").tempdir_in(".");
            return made.map(Directory::Temporary).map_err(|error| {
                unusable(format!(
                    "no directory can be made in the current one: {error}; give one with --data-dir"
                ))
            });
        };
        let unusable_path = |error: std::io::Error| crate::cli::directory_error(path, &error);
        std::fs::create_dir_all(path).map_err(unusable_path)?;
        if std::fs::read_dir(path).map_err(unusable_path)?.next().is_some() {
            return Err(unusable(format!(
                "the directory {} is not empty; give an empty one, or one that does not exist",
                path.display()
            )));
        }
        Ok(Directory::Given(path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        match self {
            Directory::Given(path) => path,
            Directory::Temporary(directory) => directory.path(),
        }
    }
}

/// What runs. Dropped, it stops everything and removes a temporary directory, in this order.
pub struct Deployment {
    participants: Vec<Child>,
    /// Those that do nothing, and those that never vote.
    bystanders: Vec<Child>,
    coordinator: Option<Child>,
    admin: AdminClient<Channel>,
    operator: Operator,
    pub address: String,
    /// The participants' names.
    pub names: Vec<String>,
    /// Where the services of the participants are called: an address and the first participant there.
    pub services: Vec<(String, usize)>,
    /// The names of those that never vote.
    pub stuck: Vec<String>,
    directory: Directory,
}

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub log: v1::LogStatus,
    pub coordinator: Option<machine::Usage>,
    pub participants: Vec<machine::Usage>,
    pub participant_syncs: u64,
    pub clients: Option<machine::Usage>,
}

impl Deployment {
    /// Starts it, and returns once every participant has dialed in.
    pub async fn start(flags: &Flags) -> Result<Deployment, Error> {
        let directory = Directory::make(flags.data_dir.as_deref())?;
        let (coordinator, address) = match &flags.attach {
            Some(address) => (None, address.clone()),
            None => {
                let (child, address) = serve(directory.path(), flags.sync_delay_ms).await?;
                (Some(child), address)
            }
        };
        // A coordinator keeps names and their stores for ever, so those of another measurement must differ.
        let prefix = format!("bench-{:08x}-", runtime::random_u128() as u32);
        let name = |number: usize| format!("{prefix}{number}");
        let mut deployment = Deployment {
            participants: Vec::new(),
            bystanders: Vec::new(),
            coordinator,
            admin: connect::admin(&address).await?,
            operator: flags.operator.clone(),
            address,
            names: (0..flags.participants).map(name).collect(),
            services: Vec::new(),
            stuck: Vec::new(),
            directory,
        };
        let kind = if flags.interactive { "worked" } else { "journaled" };
        let segment_bytes = if flags.participants <= PROCESSES {
            SEGMENT_BYTES
        } else {
            SMALL_SEGMENT_BYTES
        };
        let processes = flags.processes();
        for process in 0..processes {
            let first = flags.participants * process / processes;
            let count = flags.participants * (process + 1) / processes - first;
            let child = deployment.participant(&prefix, first, count, kind, segment_bytes)?;
            deployment.participants.push(child);
        }
        for index in 0..processes {
            let path = deployment.directory.path();
            let services = deployment.participants[index].ready(path).await?;
            let first = flags.participants * index / processes;
            deployment.services.push((services, first));
        }
        for (word, count) in [("idle-", flags.connect_idle), ("stuck-", flags.stuck)] {
            if count > 0 {
                let prefix = format!("{prefix}{word}");
                let mut child = deployment.participant(&prefix, 0, count, "standing", SMALL_SEGMENT_BYTES)?;
                child.ready(deployment.directory.path()).await?;
                deployment.bystanders.push(child);
                if word == "stuck-" {
                    deployment.stuck = (0..count).map(|number| format!("{prefix}{number}")).collect();
                }
            }
        }
        Ok(deployment)
    }

    fn participant(
        &self,
        prefix: &str,
        first: usize,
        count: usize,
        kind: &str,
        segment_bytes: u64,
    ) -> Result<Child, Error> {
        let directory = self.directory.path();
        let arguments = [
            "bench",
            "participant",
            "--coordinator",
            &self.address,
            "--prefix",
            prefix,
            "--first",
            &first.to_string(),
            "--count",
            &count.to_string(),
            "--directory",
            &directory.join("participants").display().to_string(),
            "--kind",
            kind,
            "--segment-bytes",
            &segment_bytes.to_string(),
        ];
        let name = format!("participants-{prefix}{first}");
        Child::start(&name, &arguments.map(str::to_owned), directory)
    }

    /// What everybody has used so far.
    pub async fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let status = self
            .admin
            .status(self.operator.request(v1::StatusRequest {})?)
            .await
            .map_err(call_failed)?;
        let mut snapshot = Snapshot {
            log: status.into_inner().log.unwrap_or_default(),
            coordinator: self.coordinator.as_ref().and_then(Child::usage),
            clients: machine::own_usage(),
            ..Snapshot::default()
        };
        for participant in &mut self.participants {
            snapshot.participants.extend(participant.usage());
            let counters = participant.ask("counters", self.directory.path()).await?;
            snapshot.participant_syncs += counters["syncs"].as_u64().unwrap_or_default();
        }
        Ok(snapshot)
    }

    /// Where files may be put.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Stops all, the coordinator first, so that it can deliver what is decided.
    pub async fn stop(self) {
        if let Some(coordinator) = self.coordinator {
            coordinator.stop().await;
        }
        for participant in self.participants.into_iter().chain(self.bystanders) {
            participant.stop().await;
        }
    }
}

/// Starts a coordinator on a directory that may hold its log already; its address, once it serves.
pub async fn serve(directory: &Path, sync_delay_ms: u64) -> Result<(Child, String), Error> {
    let data = directory.join("coordinator");
    let config = directory.join("coordinator.toml");
    std::fs::write(&config, format!("[server]\ndrain_timeout_ms = {DRAIN_MS}\n"))
        .map_err(|error| crate::cli::directory_error(directory, &error))?;
    let mut arguments = vec![
        "serve".to_owned(),
        "--data-dir".to_owned(),
        data.display().to_string(),
        "--listen".to_owned(),
        "127.0.0.1:0".to_owned(),
        "--config".to_owned(),
        config.display().to_string(),
    ];
    if sync_delay_ms > 0 {
        arguments.extend(["--sync-delay-ms".to_owned(), sync_delay_ms.to_string()]);
    }
    let mut child = Child::start("coordinator", &arguments, directory)?;
    let line = child.ready(directory).await?;
    match line.strip_prefix("handfast is ready at ") {
        Some(address) => Ok((child, address.to_owned())),
        None => Err(failed(format!(
            "the coordinator said {line:?} instead of its address"
        ))),
    }
}

/// How long services and sessions settle after something was changed on purpose.
pub const SETTLE: Duration = Duration::from_millis(500);
