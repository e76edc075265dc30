//! What the driver does with effects, as far as the model needs it: the log, the gate, the network, the clients.
//!
//! Each effect passes the rules at the moment at which it becomes visible to anybody.

use handfast_core::{
    AnswerKind, Call, CloseReason, Effect, Lsn, Message, Outcome, Rejection, Reply, SessionId,
};

use super::network::{Body, Down, Packet, Up, commits};
use super::rules::Rule;
use super::state::{State, Told};
use super::world::{ClientRole, World};

impl State {
    /// Performs effects in their order, and holds back those that wait for the log.
    pub fn perform_all(&mut self, world: &World, effects: Vec<Effect>) {
        for effect in effects {
            match waits_for(&effect) {
                Some(lsn) if lsn > self.journal.durable() => self.journal.hold(lsn, effect),
                _ => self.perform(world, effect),
            }
        }
    }

    /// Performs one effect.
    pub fn perform(&mut self, world: &World, effect: Effect) {
        match effect {
            Effect::Append { lsn, record, .. } => {
                self.check_append(world, &record);
                if !self.journal.append(lsn, record) {
                    self.breach(Rule::Sound, format!("record {} is appended out of turn", lsn.0));
                }
            }
            Effect::Send { session, message, .. } => self.send_down(session, message),
            Effect::Reply { call, reply, .. } => self.replied(world, call, &reply),
            Effect::CloseSession { session, reason } => {
                if reason != CloseReason::Superseded {
                    self.breach(Rule::Sound, format!("a participant is turned away: {reason:?}"));
                }
                self.sessions.remove(&session);
                self.network.ended_by_coordinator(session);
            }
            Effect::Finished { transaction, .. } => {
                self.check_outcome_is_durable(transaction.transaction, &transaction.outcome, "the index");
            }
            Effect::KeysExpired { keys, .. } => {
                self.breach(Rule::Sound, format!("keys expire before their time: {keys:?}"));
            }
            Effect::Held {
                transaction,
                branch,
                state,
                ..
            } => {
                if !self.memory.restored {
                    self.breach(Rule::Sound, format!("{transaction}/{branch} is held: {state:?}"));
                }
            }
            Effect::Stop { reason } => {
                self.breach(Rule::Sound, format!("the coordinator stops: {reason:?}"));
            }
        }
    }

    /// A message to a participant. What changes nothing there is not sent.
    fn send_down(&mut self, session: SessionId, message: Message) {
        let down = match message {
            Message::Welcome { epoch, durable, .. } => return self.welcomed(session, epoch, durable),
            Message::Enlisted {
                transaction, result, ..
            } => match result {
                Ok(branch) => {
                    self.check_pinned((transaction, branch), session);
                    Down::Enlisted((transaction, branch))
                }
                Err(_) => return,
            },
            Message::Prepare {
                transaction,
                branch,
                operation,
                delegated,
                ..
            } => {
                if delegated {
                    self.check_delegated(transaction);
                }
                self.memory.transactions.insert(transaction);
                self.check_pinned((transaction, branch), session);
                Down::Prepare {
                    part: (transaction, branch),
                    with_operation: operation.is_some(),
                    delegated,
                }
            }
            Message::Decision {
                transaction,
                branch,
                decision,
            } => {
                let (part, commits) = ((transaction, branch), commits(decision));
                self.check_decision(part, commits);
                Down::Decision { part, commits }
            }
            Message::Resolve { transaction, branch } => Down::Resolve((transaction, branch)),
            Message::Answer {
                transaction,
                branch,
                answer,
            } => match answer {
                AnswerKind::Wait => return,
                AnswerKind::Finished | AnswerKind::Forgotten => Down::Hold((transaction, branch)),
                AnswerKind::NotMine => {
                    return self.breach(Rule::Sound, "the owner of an id says that it is not".to_owned());
                }
            },
            Message::Forget { transaction, branch } => {
                self.check_forget((transaction, branch));
                Down::Forget((transaction, branch))
            }
        };
        let believed = |index: &usize| self.participants[*index].session == Some(session);
        if let Some(participant) = self.sessions.get(&session).copied().filter(believed) {
            let body = Body::Down(down);
            self.network.send(Packet {
                session,
                participant,
                body,
            });
        }
    }

    /// A message of a participant, by the session that it believes in.
    pub fn send_up(&mut self, participant: usize, up: Up) {
        let Some(session) = self.participants[participant].session else {
            return;
        };
        if self.sessions.contains_key(&session) {
            let body = Body::Up(up);
            self.network.send(Packet {
                session,
                participant,
                body,
            });
        }
    }

    fn replied(&mut self, world: &World, call: Call, reply: &Reply) {
        let client = self.calls.get(&call).copied();
        let role = client.and_then(|client| world.clients.get(client));
        let keyed = matches!(role, Some(ClientRole::Executes { keyed: true, .. }));
        let (transaction, told) = match reply {
            Reply::Begun { transaction, .. } => {
                self.memory.transactions.insert(*transaction);
                self.calls.remove(&call);
                return;
            }
            Reply::View { view, .. } => return self.check_view(view),
            // Unknown, and told so.
            Reply::Undecided { .. } => {
                self.calls.remove(&call);
                return;
            }
            Reply::Outcome { transaction, outcome } => {
                self.check_outcome_is_durable(*transaction, outcome, "a client");
                if let Some(role) = role {
                    self.check_applied(role, *transaction, outcome);
                }
                let told = match outcome {
                    Outcome::Committed => Told::Committed,
                    Outcome::Aborted { .. } => Told::Aborted,
                    Outcome::Heuristic { .. } => Told::Heuristic,
                };
                (*transaction, told)
            }
            Reply::Rejected(Rejection::UnknownTransaction { transaction }) => (*transaction, Told::NoEffects),
            Reply::Rejected(Rejection::ResourceDown { .. } | Rejection::Forgotten { .. }) => {
                self.calls.remove(&call);
                return;
            }
            Reply::Rejected(rejection) => {
                return self.breach(Rule::Sound, format!("a good request is rejected: {rejection:?}"));
            }
        };
        self.calls.remove(&call);
        self.memory.told.insert((transaction, told));
        if keyed {
            self.memory.answers.insert((transaction, told));
        }
    }
}

fn waits_for(effect: &Effect) -> Option<Lsn> {
    match effect {
        Effect::Append { .. } | Effect::CloseSession { .. } | Effect::Held { .. } | Effect::Stop { .. } => {
            None
        }
        Effect::Send { after, .. }
        | Effect::Reply { after, .. }
        | Effect::Finished { after, .. }
        | Effect::KeysExpired { after, .. } => *after,
    }
}
