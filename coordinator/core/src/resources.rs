//! The resources that the log knows and the sessions that serve them.

use std::collections::BTreeMap;

use handfast_ids::{Generation, InstanceId, ResourceName, StoreId, TransactionId};

use crate::branch::Branch;
use crate::redelivery::Redelivery;
use crate::view::ResourceView;
use crate::{BranchRecord, CloseReason, Limits, Moment, SessionHello, SessionId};

/// A resource's place in the table of resources; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ResourceIndex(pub u32);

/// A store's place in the table of stores; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct StoreIndex(u32);

/// All resources, by name and by index, and all sessions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Resources {
    by_name: BTreeMap<ResourceName, ResourceIndex>,
    all: Vec<Resource>,
    /// A branch names its store by its place here.
    stores: Vec<StoreId>,
    by_store: BTreeMap<StoreId, StoreIndex>,
    sessions: BTreeMap<SessionId, Session>,
}

/// One resource.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Resource {
    pub name: ResourceName,
    pub store_id: StoreId,
    pub store: StoreIndex,
    pub generation: Generation,
    /// In the order of dialing in.
    sessions: Vec<SessionId>,
    /// Which session gets the next prepare.
    turn: usize,
    /// Branches that are not finished.
    pub unfinished: usize,
    /// Of the operations of the transactions that wait for its vote, once for each branch.
    pub awaited_bytes: usize,
    /// What is still to be sent to it, because it has come back. Kept while it is away again.
    pub redelivery: Option<Redelivery>,
}

/// One connection of one instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Session {
    pub resource: ResourceIndex,
    pub instance: InstanceId,
    /// It can promise and commit at once, and no older session of its store can work beside it.
    pub one_phase: bool,
    /// Counts scans, so that a complete one can tell what it no longer showed.
    pub scan: u64,
}

/// What a hello does to the table of resources.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub resource: ResourceIndex,
    /// The name is new or the generation has grown: the log must know.
    pub changed: bool,
    /// Sessions that the new one replaces.
    pub superseded: Vec<SessionId>,
}

impl Resources {
    pub fn get(&self, index: ResourceIndex) -> &Resource {
        &self.all[index.0 as usize]
    }

    pub fn get_mut(&mut self, index: ResourceIndex) -> &mut Resource {
        &mut self.all[index.0 as usize]
    }

    pub fn find(&self, name: &ResourceName) -> Option<ResourceIndex> {
        self.by_name.get(name).copied()
    }

    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    pub fn session_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&session)
    }

    pub fn indexes(&self) -> impl Iterator<Item = ResourceIndex> + use<> {
        (0..self.all.len() as u32).map(ResourceIndex)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.all.iter()
    }

    /// Whether every session that serves a resource can promise and commit at once.
    pub fn takes_one_phase(&self, index: ResourceIndex) -> bool {
        let mut sessions = self.get(index).sessions.iter();
        sessions.all(|session| {
            self.sessions
                .get(session)
                .is_some_and(|session| session.one_phase)
        })
    }

    /// Takes a resource from the log.
    pub fn learn(&mut self, name: ResourceName, store: StoreId, generation: Generation) -> ResourceIndex {
        if let Some(index) = self.find(&name) {
            let place = self.store_index(index, store);
            let known = self.get_mut(index);
            (known.store_id, known.store) = (store, place);
            known.generation = known.generation.max(generation);
            return index;
        }
        let index = ResourceIndex(self.all.len() as u32);
        self.by_name.insert(name.clone(), index);
        let place = self.place_of(store);
        self.all.push(Resource {
            name,
            store_id: store,
            store: place,
            generation,
            sessions: Vec::new(),
            turn: 0,
            unfinished: 0,
            awaited_bytes: 0,
            redelivery: None,
        });
        index
    }

    /// The place of a store that a branch of this resource names.
    pub fn store_index(&mut self, index: ResourceIndex, store: StoreId) -> StoreIndex {
        let resource = self.get(index);
        if resource.store_id == store {
            return resource.store;
        }
        self.place_of(store)
    }

    fn place_of(&mut self, store: StoreId) -> StoreIndex {
        let next = StoreIndex(u32::try_from(self.stores.len()).expect("a log has far fewer stores"));
        let place = *self.by_store.entry(store).or_insert(next);
        if place == next {
            self.stores.push(store);
        }
        place
    }

    /// A branch, as the log keeps it.
    pub fn record(&self, branch: &Branch) -> BranchRecord {
        BranchRecord {
            branch: branch.id,
            resource: self.get(branch.resource).name.clone(),
            store: self.stores[branch.store.0 as usize],
        }
    }

    /// Lets a participant in, or says why not.
    ///
    /// Two stores behind one name could acknowledge each other's commits; so the first store that dials in under a name
    /// owns it. A store behind two names would show each the branches of the other; so it has one name.
    pub fn admit(
        &mut self,
        session: SessionId,
        hello: &SessionHello,
        limits: &Limits,
    ) -> Result<Admitted, CloseReason> {
        let known = self.find(&hello.resource);
        let changed = match known.map(|index| self.get(index)) {
            None if self.all.len() >= limits.resources => {
                return Err(CloseReason::TooManyResources {
                    limit: limits.resources,
                });
            }
            None => match self.all.iter().find(|resource| resource.store_id == hello.store) {
                Some(resource) => {
                    return Err(CloseReason::StoreHasAnotherName {
                        store: hello.store,
                        name: resource.name.clone(),
                    });
                }
                None => true,
            },
            Some(resource) if resource.store_id != hello.store => {
                return Err(CloseReason::StoreMismatch {
                    expected: resource.store_id,
                    found: hello.store,
                });
            }
            Some(resource) if resource.generation > hello.generation => {
                return Err(CloseReason::GenerationLower {
                    expected: resource.generation,
                    found: hello.generation,
                });
            }
            Some(resource) => resource.generation < hello.generation,
        };
        // A session of an older generation serves a store that has failed over: its word counts no more.
        let replaces_all = hello.attached || known.is_some() && changed;
        let resource = self.learn(hello.resource.clone(), hello.store, hello.generation);
        let superseded = self.get(resource).sessions.iter().copied().filter(|old| {
            replaces_all
                || self
                    .sessions
                    .get(old)
                    .is_some_and(|old| old.instance == hello.instance)
        });
        let superseded = superseded.collect();
        self.sessions.insert(
            session,
            Session {
                resource,
                instance: hello.instance,
                one_phase: hello.one_phase && hello.attached,
                scan: 0,
            },
        );
        self.get_mut(resource).sessions.push(session);
        Ok(Admitted {
            resource,
            changed,
            superseded,
        })
    }

    /// Takes a session out. `None` if it was out already.
    pub fn remove(&mut self, session: SessionId) -> Option<ResourceIndex> {
        let resource = self.sessions.remove(&session)?.resource;
        let entry = self.get_mut(resource);
        entry.sessions.retain(|&other| other != session);
        Some(resource)
    }
}

impl Resource {
    /// A session for the next message; they take turns.
    pub fn next_session(&mut self) -> Option<SessionId> {
        if self.sessions.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % self.sessions.len();
        self.sessions.get(self.turn).copied()
    }

    /// A branch of it is finished.
    pub fn finish_one(&mut self, transaction: TransactionId, now: Moment) {
        self.unfinished -= 1;
        if let Some(redelivery) = &mut self.redelivery {
            redelivery.answered(transaction, now);
        }
    }

    /// A session for what waits for an answer and whose time has come again. What a returned resource will be sent in its turn it
    /// is not sent before.
    pub fn session_again(&mut self, transaction: TransactionId) -> Option<SessionId> {
        match self.will_hear_of(transaction) {
            true => None,
            false => self.next_session(),
        }
    }

    /// When it can be sent more of what was open when it came, if there is more.
    pub fn next_redelivery(&self, limits: &Limits) -> Option<Moment> {
        let redelivery = self.redelivery.as_ref().filter(|_| self.is_connected());
        redelivery.map(|redelivery| redelivery.next_step(limits))
    }

    /// Whether its sessions will be sent the open decisions of a transaction, because it has come back.
    pub fn will_hear_of(&self, transaction: TransactionId) -> bool {
        let redelivery = self.redelivery.as_ref();
        redelivery.is_some_and(|redelivery| redelivery.comes_to(transaction))
    }

    /// Its sessions, in the order of dialing in.
    pub fn sessions(&self) -> &[SessionId] {
        &self.sessions
    }

    pub fn is_connected(&self) -> bool {
        !self.sessions.is_empty()
    }

    pub fn view(&self) -> ResourceView {
        ResourceView {
            name: self.name.clone(),
            store: self.store_id,
            generation: self.generation,
            sessions: self.sessions.len(),
            unfinished_branches: self.unfinished,
        }
    }
}
