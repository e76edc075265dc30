//! One case being tried: the coordinator, the participant's process, and what was said and done.
//!
//! ```text
//!  begin: kill -9, read the effects
//!  the case: sessions, messages, kill -9 wherever it wants
//!  end:   kill -9, start, everything left is finished as was decided ─► nothing may stay prepared
//!         kill -9, read the effects ─► exactly one for each branch whose commit was acknowledged
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use handfast_ids::LogId;
use handfast_proto::{PROTOCOL_VERSION, v1};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::branch::{Branch, Facts, Mint, random_log};
use crate::coordinator::FakeCoordinator;
use crate::effects::{Seen, judge};
use crate::fault::{Checked, Fault, must, wrong};
use crate::operations::Template;
use crate::options::Options;
use crate::process::{Process, Recipe};
use crate::session::{Scan, Session, Standing};

/// How often a process is looked after while a session is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// The heartbeat that most cases ask for: longer than any of them is quiet.
const HEARTBEAT_MS: u64 = 5_000;
/// How often the store is scanned in most cases.
pub(crate) const SCAN_PERIOD: Duration = Duration::from_millis(100);
/// How many prepares may be under way on a session, and the most that a case has prepared at once.
pub(crate) const WINDOW: u32 = 24;

/// The limits that most cases welcome with.
pub(crate) const LIMITS: v1::Limits = v1::Limits {
    frame_bytes: 1 << 20,
    heartbeat_ms: HEARTBEAT_MS,
    scan_period_ms: SCAN_PERIOD.as_millis() as u64,
    window: WINDOW,
};

/// What a case works with.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub options: &'a Options,
    pub coordinator: FakeCoordinator,
    /// What this coordinator says of itself.
    pub standing: Standing,
    recipe: Recipe,
    process: Option<Process>,
    facts: Arc<Mutex<Facts>>,
    mint: Mint,
    /// Every log that a session was welcomed with.
    logs: BTreeSet<LogId>,
    next_number: u64,
    effects: Option<Seen>,
}

impl<'a> Trial<'a> {
    /// Listens; nothing is started.
    pub async fn open(options: &'a Options) -> Checked<Self> {
        let cannot = |error| Fault::Kit(format!("no loopback port can be listened on: {error}"));
        let coordinator = FakeCoordinator::listen().await.map_err(cannot)?;
        let recipe = Recipe {
            exec: options.exec.clone(),
            coordinator: coordinator.address().to_string(),
            resource: options.resource.clone(),
        };
        let standing = Standing {
            log: random_log(),
            epoch: 3,
            lsn: 1_000,
        };
        Ok(Trial {
            options,
            coordinator,
            standing,
            recipe,
            process: None,
            facts: Arc::default(),
            mint: Mint::new(),
            logs: BTreeSet::new(),
            next_number: options.first_number,
            effects: None,
        })
    }

    /// Before a case: no process, no facts, and the effects as they are.
    pub async fn begin(&mut self) -> Checked {
        self.kill().await?;
        self.facts = Arc::default();
        self.be_reachable().await?;
        if let Some(effects) = &self.options.effects {
            self.effects = Some(effects.read().await?);
        }
        Ok(())
    }

    /// After a case: everything is finished, nothing is left, and the effects are right. `case` is what the case came to.
    pub async fn end(&mut self, case: Checked) -> Checked {
        let case = self.with_last_words(case).await;
        let was_asked = !self.facts().fates.is_empty();
        let tidied = if was_asked { self.tidy().await } else { Ok(()) };
        self.kill().await?;
        case.and(tidied)?;
        let violations: Vec<String> = self.facts().violations.iter().cloned().collect();
        must(violations.is_empty(), || violations.join("; "))?;
        let committed = self.facts().committed();
        match (&self.options.effects, &self.effects) {
            (Some(effects), Some(before)) => judge(committed, before, &effects.read().await?),
            _ if was_asked => Err(Fault::PartlyChecked(
                "whether operations took effect if and only if they were committed, and once: give --effects or --effects-file"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// A process that has ended by itself is the cause of whatever did not come.
    async fn with_last_words(&mut self, case: Checked) -> Checked {
        match (case, &mut self.process) {
            (Err(Fault::Wrong(words)), Some(process)) => match process.ended() {
                Some(status) => {
                    let last = process.last_words().await;
                    wrong(format!(
                        "{words}; the process has ended by itself ({status}), {last}"
                    ))
                }
                None => wrong(words),
            },
            (case, _) => case,
        }
    }

    /// Finishes what the case has left, each branch under its own log, and looks whether anything stays.
    async fn tidy(&mut self) -> Checked {
        self.be_reachable().await?;
        let before = self.standing;
        let logs: Vec<LogId> = self.logs.iter().copied().collect();
        for log in logs {
            let spoken_of: Vec<Branch> = self
                .facts()
                .fates
                .keys()
                .filter(|branch| branch.log == log)
                .copied()
                .collect();
            if spoken_of.is_empty() {
                continue;
            }
            let unfinished = self.facts().unfinished();
            let unfinished: Vec<_> = unfinished
                .into_iter()
                .filter(|(branch, _)| branch.log == log)
                .collect();
            self.standing = Standing { log, ..before };
            let finished = self.finish_under(&unfinished, &spoken_of).await;
            self.standing = before;
            finished?;
        }
        Ok(())
    }

    async fn finish_under(
        &mut self,
        unfinished: &[(Branch, v1::DecisionKind)],
        spoken_of: &[Branch],
    ) -> Checked {
        self.kill().await?;
        let (mut session, mut scan) = self.session().await?;
        for (branch, kind) in unfinished {
            session.decide(*kind, *branch).await?;
            session.ack(*kind, *branch).await?;
        }
        if !unfinished.is_empty() {
            scan = session.fresh_scan().await?;
        }
        for branch in spoken_of {
            must(scan.is_over(*branch), || {
                format!(
                    "branch {branch} was finished, and a scan still shows it as {}",
                    scan.says(*branch)
                )
            })?;
            let is_committed = self.facts().fate(*branch).committed;
            must(
                is_committed || scan.phase(*branch) != Some(v1::InDoubtPhase::Committed),
                || format!("nobody committed branch {branch}, and a scan shows the marker of its commit"),
            )?;
        }
        session.forget(spoken_of).await?;
        // The participant has taken the forget once it answers something that was said later.
        session.fresh_scan().await.map(|_| ())
    }

    /// Whatever a case has done to it: the coordinator can be dialed.
    pub async fn be_reachable(&mut self) -> Checked {
        self.coordinator.link.thaw();
        self.coordinator.open_door();
        let opened = self.coordinator.link.open().await;
        opened.map_err(|error| {
            Fault::Kit(format!(
                "the coordinator's port cannot be listened on again: {error}"
            ))
        })
    }

    /// Stops the process as a debugger does, or lets it go on.
    pub fn freeze_process(&self, is_frozen: bool) {
        if let Some(process) = &self.process {
            process.signal(if is_frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Starts the process, if none runs.
    pub fn start(&mut self) -> Checked {
        if self.process.is_none() {
            self.coordinator.forget_dialed();
            self.process = Some(self.recipe.start()?);
        }
        Ok(())
    }

    /// Ends the process as `kill -9` does.
    pub async fn kill(&mut self) -> Checked {
        if let Some(process) = self.process.take() {
            process.kill().await?;
        }
        self.coordinator.forget_dialed();
        Ok(())
    }

    /// Asks the process to end; whether it did in time.
    pub async fn stop(&mut self, limit: Duration) -> Checked<bool> {
        match self.process.take() {
            Some(process) => Ok(process.stop(limit).await?.is_some()),
            None => Ok(true),
        }
    }

    /// Waits for a session with its hello, from a process that is started if none runs.
    pub async fn arrive(&mut self) -> Checked<Session> {
        self.start()?;
        let until = Instant::now() + self.options.patience;
        loop {
            let dialed = tokio::time::timeout(LOOK, self.coordinator.dialed()).await;
            if let Ok(Some(dialed)) = dialed {
                let greeted = Session::greet(dialed, self.facts.clone(), self.options.patience).await?;
                if let Some(session) = greeted {
                    self.check(&session.hello)?;
                    return Ok(session);
                }
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.ended()
            {
                let words = process.last_words().await;
                self.process = None;
                return wrong(format!("the participant ended by itself ({status}); {words}"));
            }
            must(Instant::now() < until, || {
                let words = self.process.as_ref().map(Process::words).unwrap_or_default();
                format!(
                    "no session was opened within {} s; {words}",
                    self.options.patience.as_secs_f32()
                )
            })?;
        }
    }

    /// The same, welcomed, with the scan of its handshake.
    pub async fn session(&mut self) -> Checked<(Session, Scan)> {
        self.session_with(LIMITS).await
    }

    /// The same with other limits.
    pub async fn session_with(&mut self, limits: v1::Limits) -> Checked<(Session, Scan)> {
        let mut session = self.arrive().await?;
        self.welcome(&mut session, limits).await?;
        let scan = session.scan().await?;
        Ok((session, scan))
    }

    /// Welcomes a session.
    pub async fn welcome(&mut self, session: &mut Session, limits: v1::Limits) -> Checked {
        self.welcome_with(session, limits, v1::SessionResponse::default())
            .await
    }

    /// The same, with more in the first frame.
    pub async fn welcome_with(
        &mut self,
        session: &mut Session,
        limits: v1::Limits,
        frame: v1::SessionResponse,
    ) -> Checked {
        self.logs.insert(self.standing.log);
        session.welcome_with(self.standing, limits, frame).await
    }

    /// Kills, starts, and waits for the session.
    pub async fn restarted(&mut self) -> Checked<(Session, Scan)> {
        self.kill().await?;
        self.session().await
    }

    /// A branch that never was.
    pub fn branch(&mut self) -> Branch {
        self.mint.branch(self.standing.log, self.standing.epoch)
    }

    /// A new operation that succeeds.
    pub fn operation(&mut self) -> Checked<Bytes> {
        let from = self.options.operations.succeed.as_slice();
        take_turn(from, &mut self.next_number, "--operation")
    }

    /// A new operation that is refused.
    pub fn refused(&mut self) -> Checked<Bytes> {
        let from = self.options.operations.refused.as_slice();
        take_turn(from, &mut self.next_number, "--refused")
    }

    /// A new operation that changes nothing.
    pub fn read_only(&mut self) -> Checked<Bytes> {
        let from = self.options.operations.read_only.as_slice();
        take_turn(from, &mut self.next_number, "--read-only")
    }

    /// A new branch that has voted yes.
    pub async fn prepared(&mut self, session: &mut Session) -> Checked<Branch> {
        let (branch, operation) = (self.branch(), self.operation()?);
        session.prepare(branch, &operation).await?;
        session.prepared(branch).await?;
        Ok(branch)
    }

    /// Whether a session was ever welcomed.
    pub fn has_met(&self) -> bool {
        !self.logs.is_empty()
    }

    fn check(&self, hello: &v1::Hello) -> Checked {
        let v1::Hello {
            resource,
            store_id,
            instance_id,
            protocol_version,
            ..
        } = hello;
        must(*resource == self.options.resource, || {
            format!(
                "hello.resource is {resource:?} instead of {:?}",
                self.options.resource
            )
        })?;
        must(*protocol_version == PROTOCOL_VERSION, || {
            format!("hello.protocol_version is {protocol_version} instead of {PROTOCOL_VERSION}")
        })?;
        must(store_id.len() == 16, || {
            format!("hello.store_id has {} bytes instead of 16", store_id.len())
        })?;
        must(instance_id.len() == 16, || {
            format!("hello.instance_id has {} bytes instead of 16", instance_id.len())
        })
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_turn(templates: &[Template], number: &mut u64, flag: &str) -> Checked<Bytes> {
    if templates.is_empty() {
        return Err(Fault::NotChecked(format!("it needs {flag}")));
    }
    let turn = usize::try_from(*number).unwrap_or_default() % templates.len();
    let operation = templates[turn].with(*number);
    *number += 1;
    Ok(operation)
}
