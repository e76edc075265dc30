//! What each command does to the world. `tests/transcripts/` shows all of them in use.

use std::sync::Arc;

use handfast_core::{
    Ack, AckKind, Decision, EnlistmentId, Event, ExecuteRequest, ExpectedBranch, InDoubtLine, InDoubtPhase,
    KeyClaim, Limits, LogSpace, Lsn, OperationRequest, OverdueWatch, RequestDigest, Seen, SessionHello, Vote,
    Wait,
};
use handfast_ids::{BranchId, Epoch, Generation, IdempotencyKey, InstanceId, LogId, ResourceName, StoreId};

use super::names::{self, Names};
use super::parser::{Command, milliseconds, number};
use super::printer;
use crate::world::{Happened, IDENTITY, WALL_MS, World};

/// The world of one transcript and the names in it.
#[derive(Debug)]
pub struct Stage {
    world: World,
    names: Names,
    limits: Limits,
    watch: OverdueWatch,
    /// Whose store is which, where a session does not say so: each name has its own.
    stores: Vec<String>,
}

impl Default for Stage {
    fn default() -> Self {
        Stage::of(Limits::default())
    }
}

impl Stage {
    fn of(limits: Limits) -> Self {
        let world = World::new(limits.clone());
        Stage {
            watch: OverdueWatch::new(world.now(), &limits),
            world,
            names: Names::default(),
            limits,
            stores: Vec::new(),
        }
    }

    pub fn violations(&mut self) -> Vec<String> {
        let violations = std::mem::take(&mut self.world.oracle.violations);
        violations
            .into_iter()
            .map(|text| self.names.shorten(text))
            .collect()
    }

    pub fn play(&mut self, command: &Command) -> Result<Vec<String>, String> {
        let happened = match command.name.as_str() {
            "limits" => return self.limits(command),
            "checkpoint" => return self.checkpoint(),
            "lose-checkpoint" => {
                self.world.lose_checkpoint();
                return Ok(Vec::new());
            }
            "view" | "status" | "in-doubt-list" | "live" => return self.look(command),
            "alarms" => return self.alarms(),
            "durable" => {
                let lsn = command
                    .words_from(0)
                    .first()
                    .map(|text| number(text))
                    .transpose()?;
                self.world.make_durable(lsn.map(Lsn))
            }
            "time" => self.world.advance(milliseconds(command.word(0)?)?),
            "crash" => self.crash(command)?,
            "restart" => {
                let clock_ms = match command.option("clock") {
                    Some(text) if text.starts_with('-') => -(milliseconds(&text[1..])? as i64),
                    Some(text) => milliseconds(text)? as i64,
                    None => 0,
                };
                self.watch = OverdueWatch::new(self.world.now(), &self.limits);
                self.world.restart(clock_ms)
            }
            _ => {
                let event = self.event(command)?;
                self.world.handle(event)
            }
        };
        let lines: Vec<String> = happened.iter().map(|one| self.names.happened(one)).collect();
        Ok(if lines.is_empty() {
            vec!["(nothing)".to_owned()]
        } else {
            lines
        })
    }

    /// Begins anew, with other limits.
    fn limits(&mut self, command: &Command) -> Result<Vec<String>, String> {
        let mut limits = Limits::default();
        for (name, value) in command.options_besides(&[]) {
            let value = number(value)?;
            match name {
                "transactions" => limits.transactions = value as usize,
                "branches" => limits.branches_per_transaction = value as usize,
                "operation-bytes" => limits.operation_bytes = value as usize,
                "unfinished" => limits.unfinished_branches_per_resource = value as usize,
                "resources" => limits.resources = value as usize,
                "waiters" => limits.waiters_per_transaction = value as usize,
                "keys" => limits.keys = value as usize,
                "history" => limits.history = value as usize,
                "overdue-after-ms" => limits.overdue_after_ms = value,
                "redelivery-step" => limits.redelivery_step = value as usize,
                "operation-bytes-of-a-resource" => limits.operation_bytes_per_resource = value as usize,
                "live-operation-bytes" => limits.live_operation_bytes = value as usize,
                _ => return Err(format!("there is no limit {name}")),
            }
        }
        *self = Stage::of(limits);
        Ok(Vec::new())
    }

    /// What an operator hears at this moment.
    fn alarms(&mut self) -> Result<Vec<String>, String> {
        let core = self.world.core().ok_or("the process is dead")?;
        let alarms = self.watch.look(self.world.now(), core);
        let lines: Vec<String> = alarms.iter().map(|alarm| self.names.alarm(alarm)).collect();
        Ok(if lines.is_empty() {
            vec!["(nothing)".to_owned()]
        } else {
            lines
        })
    }

    fn crash(&mut self, command: &Command) -> Result<Vec<Happened>, String> {
        let keep = match command.word(0)? {
            "lose-unsynced" => self.world.durable(),
            "keep-unsynced" => self.world.accepted(),
            "keep" => Lsn(number(command.word(1)?)?),
            other => return Err(format!("there is no crash {other}")),
        };
        Ok(self.world.crash(keep))
    }

    fn checkpoint(&mut self) -> Result<Vec<String>, String> {
        let snapshot = self
            .world
            .checkpoint()
            .ok_or("a checkpoint waits until the log is durable to its end")?;
        let mut lines = vec![format!("checkpoint through {}", snapshot.through.0)];
        lines.extend(snapshot.records.iter().map(|record| self.names.record(record)));
        Ok(lines)
    }

    fn look(&mut self, command: &Command) -> Result<Vec<String>, String> {
        let now = self.world.now();
        let core = self.world.core().ok_or("the process is dead")?;
        Ok(match command.name.as_str() {
            "status" => {
                let mut lines = printer::status(&core.status());
                if core.is_drained() {
                    lines.push("drained".to_owned());
                }
                lines
            }
            "view" if let Some(key) = command.option("key") => {
                let key = IdempotencyKey::new(key).map_err(|error| error.to_string())?;
                let view = core.view_by_key(now, &key);
                vec![view.map_or("nobody holds it".to_owned(), |view| self.names.view(&view))]
            }
            "view" => {
                let transaction = self.names.transaction(command.word(0)?, self.world.wall_ms())?;
                vec![self.names.view(&core.view(now, transaction))]
            }
            "live" => {
                let views = core.live(now, None, 100);
                views.iter().map(|view| self.names.view(view)).collect()
            }
            _ => {
                let views = core.in_doubt(now, None, 100);
                let lines: Vec<String> = views.iter().map(|view| self.names.in_doubt(view)).collect();
                if lines.is_empty() {
                    vec!["(nothing)".to_owned()]
                } else {
                    lines
                }
            }
        })
    }

    fn event(&mut self, command: &Command) -> Result<Event, String> {
        let wall_ms = self.world.wall_ms();
        let names = &mut self.names;
        let wait = match command.option("wait") {
            Some("applied") => Wait::Applied,
            _ => Wait::Decided,
        };
        Ok(match command.name.as_str() {
            "execute" => Event::Execute {
                call: names::call(command.word(0)?)?,
                request: execute(command, wait)?,
            },
            "begin" => Event::Begin {
                call: names::call(command.word(0)?)?,
                timeout_ms: command.milliseconds("timeout")?,
            },
            "commit" => Event::Commit {
                call: names::call(command.word(0)?)?,
                transaction: names.transaction(command.word(1)?, wall_ms)?,
                expected: expected(command.words_from(2))?,
                wait,
            },
            "abort" => Event::Abort {
                call: names::call(command.word(0)?)?,
                transaction: names.transaction(command.word(1)?, wall_ms)?,
            },
            "watch" => Event::Watch {
                call: names::call(command.word(0)?)?,
                transaction: names.transaction(command.word(1)?, wall_ms)?,
            },
            "gone" => Event::CallGone {
                call: names::call(command.word(0)?)?,
            },
            "session" => Event::SessionUp {
                session: names::session(command.word(0)?)?,
                hello: hello(command, &mut self.stores)?,
            },
            "session-down" => Event::SessionDown {
                session: names::session(command.word(0)?)?,
            },
            "enlist" => Event::Enlist {
                session: names::session(command.word(0)?)?,
                transaction: names.transaction(command.word(1)?, wall_ms)?,
                enlistment: EnlistmentId(number(command.word(2)?)?),
            },
            "vote" => {
                let (transaction, branch) = names.branch(command.word(1)?, wall_ms)?;
                Event::Vote {
                    session: names::session(command.word(0)?)?,
                    transaction,
                    branch,
                    vote: vote(command)?,
                }
            }
            "ack" => {
                let (transaction, branch) = names.branch(command.word(1)?, wall_ms)?;
                Event::Ack {
                    session: names::session(command.word(0)?)?,
                    transaction,
                    branch,
                    ack: ack(command)?,
                }
            }
            "in-doubt" => Event::InDoubt {
                session: names::session(command.word(0)?)?,
                lines: lines(names, command, wall_ms)?,
                complete: command.has("complete"),
            },
            "space" => Event::LogSpace(match command.word(0)? {
                "low" => LogSpace::Low,
                _ => LogSpace::Ample,
            }),
            "drain" => Event::Drain,
            other => return Err(format!("there is no command {other}")),
        })
    }
}

fn execute(command: &Command, wait: Wait) -> Result<ExecuteRequest, String> {
    let key = match command.option("key") {
        Some(key) => Some(KeyClaim {
            key: IdempotencyKey::new(key).map_err(|error| error.to_string())?,
            expires_at_ms: WALL_MS + command.milliseconds("expires")?.unwrap_or(3600 * 1000),
            digest: RequestDigest([command.number("digest", 0)? as u8; 32]),
        }),
        None => None,
    };
    let mut operations = Vec::new();
    for (name, work) in command.options_besides(&["key", "expires", "digest", "timeout", "wait", "times"]) {
        for _ in 0..command.number("times", 1)? {
            operations.push(OperationRequest {
                resource: resource(name)?,
                operation: Arc::from(work.as_bytes()),
            });
        }
    }
    Ok(ExecuteRequest {
        key,
        operations,
        timeout_ms: command.milliseconds("timeout")?,
        wait,
    })
}

/// `0:3` is branch 0 with 3 operations.
fn expected(words: &[String]) -> Result<Vec<ExpectedBranch>, String> {
    let counted = words.iter().map(|word| {
        let (branch, operations) = word.split_once(':').unwrap_or((word, "1"));
        Ok(ExpectedBranch {
            branch: BranchId(number(branch)? as u32),
            operations: number(operations)?,
        })
    });
    counted.collect()
}

fn hello(command: &Command, stores: &mut Vec<String>) -> Result<SessionHello, String> {
    let name = command.word(1)?;
    let place = stores.iter().position(|known| known == name).unwrap_or_else(|| {
        stores.push(name.to_owned());
        stores.len() - 1
    });
    let session = names::session(command.word(0)?)?;
    let seen = match command.option("seen") {
        Some(text) => {
            let (epoch, lsn) = text.split_once(':').ok_or("seen is epoch:lsn")?;
            vec![Seen {
                log: IDENTITY.log,
                epoch: Epoch(number(epoch)? as u32),
                lsn: Lsn(number(lsn)?),
            }]
        }
        None => Vec::new(),
    };
    Ok(SessionHello {
        resource: resource(name)?,
        store: StoreId(u128::from(command.number("store", place as u64 + 1)?)),
        generation: Generation(command.number("generation", 1)?),
        instance: InstanceId(u128::from(command.number("instance", session.0)?)),
        attached: command.has("attached"),
        one_phase: command.has("one-phase"),
        seen,
    })
}

fn vote(command: &Command) -> Result<Vote, String> {
    Ok(match command.word(2)? {
        "prepared" => Vote::Prepared {
            prepared_for_ms: command.milliseconds("for")?,
        },
        "committed" => Vote::Committed,
        "read-only" => Vote::ReadOnly,
        "refused" => Vote::Refused {
            reason: command.word(3)?.to_owned(),
            message: String::new(),
            retryable: command.has("retryable"),
        },
        other => return Err(format!("there is no vote {other}")),
    })
}

fn ack(command: &Command) -> Result<Ack, String> {
    let decision = match command.word(2)? {
        "commit" => Decision::Commit,
        "abort" => Decision::Abort,
        other => return Err(format!("there is no decision {other}")),
    };
    let kind = match command.words_from(3) {
        [] => AckKind::Done,
        [kind, evidence] if kind == "hazard" => AckKind::Hazard {
            evidence: evidence.clone(),
        },
        [kind, evidence] if kind == "contrary" => AckKind::Contrary {
            evidence: evidence.clone(),
        },
        _ => return Err("an ack is nothing more, hazard \"…\" or contrary \"…\"".to_owned()),
    };
    Ok(Ack { decision, kind })
}

fn lines(names: &mut Names, command: &Command, wall_ms: u64) -> Result<Vec<InDoubtLine>, String> {
    let log = LogId(u128::from(command.number("log", IDENTITY.log.0 as u64)?));
    let mut lines = Vec::new();
    for (name, phase) in command.options_besides(&["log"]) {
        let (transaction, branch) = names.branch(name, wall_ms)?;
        let phase = match phase {
            "prepared" => InDoubtPhase::Prepared,
            "preparing" => InDoubtPhase::Preparing,
            "marker" => InDoubtPhase::Marker,
            "committed" => InDoubtPhase::Committed,
            other => return Err(format!("a scan finds no {other}")),
        };
        lines.push(InDoubtLine {
            transaction,
            branch,
            log,
            phase,
        });
    }
    Ok(lines)
}

fn resource(name: &str) -> Result<ResourceName, String> {
    ResourceName::new(name).map_err(|error| error.to_string())
}
