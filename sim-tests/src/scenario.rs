//! Named fault scenarios: a small cluster, a few transactions, and faults at protocol points, in a file that replays.
//!
//! ```text
//!   scenarios/*.toml ──► Scenario ──► the same run as a seed's, with a script in the nemesis' place
//!                                        │ trace
//!                                        └──► all properties, and what the file expects
//! ```
//!
//! Points are what the simulator sees from outside: messages that pass, calls, what goes to disks, what processes and
//! clients come to. Nothing in the product knows of them.

mod check;
mod expectation;
mod fault;
mod mishap;
mod point;
mod script;
mod sight;
mod until;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

pub use expectation::{Course, Expectation};
pub use fault::{Action, ScriptedFault};
pub use point::{Matter, Moment, Occurrence, Point, Step, parse_node};
pub use script::{CallOrder, FrameOrder, Script, perform};
pub use sight::observe_disks;

use crate::intent::{Finish, Intent, Part, Style, Work};
use crate::plan::{Fault, Plan};
use crate::run::Verdict;
use crate::trace::Node;
use crate::workload::{KEYS_EXPIRE_AT_MS, LONG_AGO_MS};

/// A scenario, as it stands in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Which rows of the fault list it shows.
    pub rows: Vec<u8>,
    /// What must come of it, in words.
    pub outcome: String,
    /// Of everything that is left to chance, such as latencies.
    #[serde(default = "one")]
    pub seed: u64,
    /// Whether participants are made to deviate, so that hazards are expected.
    #[serde(default)]
    pub deviates: bool,
    /// Who is there.
    #[serde(default)]
    pub cluster: ClusterOf,
    /// The coordinators' settings, as far as they differ from those of all scenarios.
    #[serde(default)]
    pub settings: SettingsOf,
    /// What clients want, in order.
    #[serde(rename = "transaction", default)]
    pub transactions: Vec<TransactionOf>,
    /// What is done to them.
    #[serde(rename = "fault", default)]
    pub faults: Vec<ScriptedFault>,
    /// What must come of it.
    #[serde(rename = "expect", default)]
    pub expectations: Vec<Expectation>,
}

/// Who is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterOf {
    /// Coordinators, `c0` and so on.
    pub coordinators: u8,
    /// Whether `c1` stands by for `c0`, the only coordinator.
    pub standby: bool,
    /// Participants whose promises are in the SDK's journal: the first of `p0` and so on.
    pub ledgers: u8,
    /// Participants that keep promises by themselves: those after the ledgers.
    pub databases: u8,
    /// Databases, from the first on, that a second process speaks for: the nodes after the databases, in the same order.
    pub second_instances: u8,
    /// Whether work goes on in a database after the session that asked for it is lost.
    pub work_survives: bool,
}

impl Default for ClusterOf {
    fn default() -> Self {
        ClusterOf {
            coordinators: 1,
            standby: false,
            ledgers: 2,
            databases: 0,
            second_instances: 0,
            work_survives: false,
        }
    }
}

/// Settings that a scenario may change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsOf {
    /// See the coordinator's setting of this name; and so for all others.
    pub heartbeat_ms: Option<u64>,
    #[allow(missing_docs)]
    pub scan_period_ms: Option<u64>,
    #[allow(missing_docs)]
    pub promise_margin_ms: Option<u64>,
    #[allow(missing_docs)]
    pub redelivery_min_ms: Option<u64>,
    #[allow(missing_docs)]
    pub redelivery_step: Option<usize>,
    #[allow(missing_docs)]
    pub checkpoint_bytes: Option<u64>,
    #[allow(missing_docs)]
    pub buffer_bytes: Option<usize>,
    #[allow(missing_docs)]
    pub segment_bytes: Option<u64>,
    #[allow(missing_docs)]
    pub operation_bytes: Option<usize>,
    #[allow(missing_docs)]
    pub branches_per_transaction: Option<usize>,
    #[allow(missing_docs)]
    pub transactions: Option<usize>,
    #[allow(missing_docs)]
    pub history: Option<usize>,
}

/// A transaction that a client wants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionOf {
    /// Who wants it.
    #[serde(default)]
    pub client: u8,
    /// Which coordinator is asked.
    #[serde(default)]
    pub coordinator: u8,
    /// Under which key.
    pub key: Option<String>,
    /// Whether the key has expired long ago.
    #[serde(default)]
    pub is_key_expired: bool,
    /// How many send it at once.
    #[serde(default = "one")]
    pub at_once: u8,
    /// How it is finished, if it is interactive.
    pub finish: Option<FinishOf>,
    /// Milliseconds that it may take.
    #[serde(default = "three_seconds")]
    pub timeout_ms: u64,
    /// Whether the answer waits for all participants.
    #[serde(default)]
    pub waits_for_all: bool,
    /// Milliseconds until the client begins with it, once the one before is done.
    #[serde(default = "when_all_are_there")]
    pub pause_ms: u64,
    /// How many more like it follow at once.
    #[serde(default)]
    pub repeated: u32,
    /// Whether the client goes on to the next without waiting for the answer to this one.
    #[serde(default)]
    pub does_not_wait: bool,
    /// Whether the client looks meanwhile, at its transaction and at all that are live.
    #[serde(default)]
    pub is_watched: bool,
    /// How many clients want it: `client` and those after it, each at the next account.
    #[serde(default = "one")]
    pub clients: u8,
    /// How many milliseconds later than the one before it each of them begins.
    #[serde(default)]
    pub step_ms: u64,
    /// What is to be done where.
    pub parts: Vec<PartOf>,
}

/// How an interactive transaction is finished.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // as `Finish` tells
pub enum FinishOf {
    Commit,
    Abort,
    CommitAndAbort,
    Miscount,
    Leave,
    CommitWhatJoined,
}

/// What is to be done at one participant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartOf {
    /// Where: `p0` and so on.
    #[serde(deserialize_with = "participant")]
    pub at: u8,
    /// The account.
    #[serde(default)]
    pub account: u8,
    /// What is added to it. Without it, the part reads.
    pub add: Option<i32>,
    /// Whether it asks to be refused.
    #[serde(default)]
    pub refuse: bool,
    /// Milliseconds that preparing takes.
    #[serde(default)]
    pub slow_ms: u16,
    /// Milliseconds for which the promise holds; 0 for ever.
    #[serde(default)]
    pub promise_ms: u16,
}

impl Scenario {
    /// Reads a file. An error names the line and what is accepted there.
    pub fn read(path: &Path) -> anyhow::Result<Scenario> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Scenario::parse(&text)
            .map_err(|(line, problem)| anyhow::anyhow!("{}:{line}: {problem}", path.display()))
    }

    /// Reads its text. An error is the line, and what is wrong there.
    pub(crate) fn parse(text: &str) -> Result<Scenario, (usize, String)> {
        let mut scenario: Scenario = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (
                1 + text[..at.min(text.len())].matches('\n').count(),
                error.to_string(),
            )
        })?;
        check::check(&scenario).map_err(|problem| (problem.line(text), problem.words))?;
        scenario.faults = scenario.faults.iter().flat_map(ScriptedFault::all).collect();
        Ok(scenario)
    }

    /// All scenarios of a folder, in order of their files.
    pub fn read_all(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Scenario)>> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        paths.sort();
        let read = |path: PathBuf| Scenario::read(&path).map(|scenario| (path, scenario));
        paths.into_iter().map(read).collect()
    }

    fn clients(&self) -> u8 {
        self.transactions
            .iter()
            .map(|transaction| transaction.client.saturating_add(transaction.clients))
            .max()
            .unwrap_or(1)
    }

    /// The plan of its run. Nothing happens by chance but latencies.
    pub fn plan(self) -> Plan {
        let mut plan = Plan::of(self.seed, 0);
        plan.faults.clear();
        plan.link_per_mille = 0;
        plan.coordinators = self.cluster.coordinators;
        plan.has_standby = self.cluster.standby;
        plan.ledgers = self.cluster.ledgers;
        plan.databases = self.cluster.databases;
        plan.second_instances = self.cluster.second_instances;
        plan.clients = self.clients();
        plan.accounts = u8::MAX;
        if self.cluster.work_survives {
            plan.faults.insert(Fault::LateWork);
        }
        self.settings.apply(&mut plan);
        plan.intents = u32::try_from(self.intents().len()).unwrap_or(u32::MAX);
        plan.scenario = Some(std::sync::Arc::new(self));
        plan
    }

    /// What the clients want.
    pub fn intents(&self) -> Vec<Intent> {
        let mut intents: Vec<Intent> = Vec::new();
        for transaction in &self.transactions {
            for client in 0..transaction.clients {
                for _ in 0..=transaction.repeated {
                    let number = u32::try_from(intents.len()).unwrap_or(u32::MAX);
                    intents.push(transaction.intent(number, client));
                }
            }
        }
        intents
    }

    /// Whether a machine gets an old copy of its disk, so that what it once told is not there.
    pub fn restores(&self) -> bool {
        self.faults.iter().any(|fault| fault.action == Action::Restore)
    }

    /// Whether it expects a process to end for this reason.
    pub fn expects_end(&self, node: Node, why: &str) -> bool {
        self.expectations
            .iter()
            .any(|expectation| expectation.is_of_end(node, why))
    }
}

impl SettingsOf {
    fn apply(&self, plan: &mut Plan) {
        let settings = &mut plan.settings;
        settings.server.heartbeat_ms = self.heartbeat_ms.unwrap_or(500);
        settings.server.scan_period_ms = self.scan_period_ms.unwrap_or(1500);
        settings.log.checkpoint_bytes = self.checkpoint_bytes.unwrap_or(1 << 20);
        settings.log.buffer_bytes = self.buffer_bytes.unwrap_or(settings.log.buffer_bytes);
        settings.log.segment_bytes = self.segment_bytes.unwrap_or(1 << 16);
        let limits = &mut settings.limits;
        limits.redelivery_min_ms = self.redelivery_min_ms.unwrap_or(200);
        limits.redelivery_step = self.redelivery_step.unwrap_or(limits.redelivery_step);
        limits.promise_margin_ms = self.promise_margin_ms.unwrap_or(300);
        limits.operation_bytes = self.operation_bytes.unwrap_or(limits.operation_bytes);
        limits.branches_per_transaction = self
            .branches_per_transaction
            .unwrap_or(limits.branches_per_transaction);
        limits.transactions = self.transactions.unwrap_or(limits.transactions);
        limits.history = self.history.unwrap_or(100_000);
    }
}

impl TransactionOf {
    fn intent(&self, number: u32, client: u8) -> Intent {
        let style = match (&self.key, self.finish) {
            (_, Some(finish)) => Style::Interactive(finish.finish()),
            (Some(key), None) => Style::Keyed {
                key: key.clone(),
                at_once: self.at_once,
                expires_at_ms: if self.is_key_expired {
                    LONG_AGO_MS
                } else {
                    KEYS_EXPIRE_AT_MS
                },
            },
            (None, None) => Style::OneShot,
        };
        Intent {
            number,
            client: self.client + client,
            coordinator: self.coordinator,
            style,
            parts: self.parts.iter().map(|part| part.part(client)).collect(),
            timeout_ms: self.timeout_ms,
            waits_for_all: self.waits_for_all,
            pause_ms: self.pause_ms + self.step_ms * u64::from(client),
            is_watched: self.is_watched,
            does_not_wait: self.does_not_wait,
            is_scripted: true,
        }
    }
}

impl FinishOf {
    fn finish(self) -> Finish {
        match self {
            FinishOf::Commit => Finish::Commit,
            FinishOf::Abort => Finish::Abort,
            FinishOf::CommitAndAbort => Finish::CommitAndAbort,
            FinishOf::Miscount => Finish::Miscount,
            FinishOf::Leave => Finish::Leave,
            FinishOf::CommitWhatJoined => Finish::CommitWhatJoined,
        }
    }
}

impl PartOf {
    fn part(&self, client: u8) -> Part {
        let account = self.account.wrapping_add(client);
        let work = match self.add {
            _ if self.refuse => Work::Refuse,
            Some(amount) => Work::Add { account, amount },
            None => Work::Read,
        };
        Part {
            participant: self.at,
            work,
            slow_ms: self.slow_ms,
            promise_ms: self.promise_ms,
        }
    }
}

/// Runs a scenario under its plan: what happened, and what does not hold or is not as expected.
pub fn played(scenario: &Scenario, plan: Plan) -> (Verdict, Vec<String>) {
    let verdict = crate::run::run(plan, true);
    let intents = scenario.intents();
    let course = Course {
        intents: &intents,
        lines: &verdict.lines,
        done: &verdict.done,
    };
    let unmet = scenario
        .expectations
        .iter()
        .filter_map(|expectation| expectation.check(&course).err());
    let failures = verdict.failure.iter().cloned().chain(unmet).collect();
    (verdict, failures)
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

fn three_seconds() -> u64 {
    3000
}

/// Everybody has dialed in after this time.
fn when_all_are_there() -> u64 {
    400
}

fn participant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let word = String::deserialize(deserializer)?;
    match parse_node(&word) {
        Ok(Node::Participant(number)) => Ok(number),
        Ok(_) | Err(_) => Err(serde::de::Error::custom(format!(
            "`{word}` is no participant; they are p0, p1 …"
        ))),
    }
}

#[cfg(test)]
mod tests;
