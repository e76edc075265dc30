//! A world under the checker, and what comes of it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

use super::drain::drain;
use super::state::State;
use super::step::{Action, actions, apply};
use super::transcript::transcript;
use super::world::World;

const RULES: &str = "no rule is broken";
const COMES_TO_REST: &str = "once faults stop, everything comes to rest";
/// Of the states in which something is on its way, one in so many is run to its rest; of the quiet ones, each.
const REST_SAMPLE: u64 = 16;

/// What a run over one world has found.
#[derive(Debug)]
pub struct Finding {
    pub world: &'static str,
    pub unique_states: usize,
    pub states: usize,
    pub depth: usize,
    pub took: Duration,
    /// The property that does not hold, and a short path to where it does not.
    pub violation: Option<(&'static str, String)>,
}

impl Model for &'static World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self)]
    }

    fn actions(&self, state: &State, possible: &mut Vec<Action>) {
        if state.memory.breach.is_none() {
            actions(self, state, possible);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(apply(self, state, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RULES, |_, state: &State| state.memory.breach.is_none()),
            Property::always(COMES_TO_REST, |world: &&World, state: &State| {
                state.memory.breach.is_some() || !is_sampled(state) || drain(world, state).is_ok()
            }),
        ]
    }
}

fn is_sampled(state: &State) -> bool {
    let quiet = state.network.iter().next().is_none() && state.journal.durable() == state.journal.accepted();
    quiet || {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish().is_multiple_of(REST_SAMPLE)
    }
}

/// Explores a world to its end, or to the first violation. One is looked for again on a single thread, breadth first:
/// that path is short, and the same each time.
pub fn check(world: &'static World, threads: usize) -> Finding {
    let finding = explore(world, threads);
    match finding.violation {
        Some(_) if threads > 1 => explore(world, 1),
        _ => finding,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the time that a run takes is reported and decides nothing"
)]
fn explore(world: &'static World, threads: usize) -> Finding {
    let started = std::time::Instant::now();
    let checker = world
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::Any)
        .spawn_bfs()
        .join();
    let violation = checker
        .discoveries()
        .into_iter()
        .min_by_key(|(_, path)| path.clone().into_actions().len())
        .map(|(property, path)| (property, told(world, property, path)));
    Finding {
        world: world.name,
        unique_states: checker.unique_state_count(),
        states: checker.state_count(),
        depth: checker.max_depth(),
        took: started.elapsed(),
        violation,
    }
}

fn told(world: &World, property: &str, path: Path<State, Action>) -> String {
    let last = path.last_state().clone();
    let mut actions = path.into_actions();
    let mut text = String::new();
    if property == COMES_TO_REST
        && let Err((more, why)) = drain(world, &last)
    {
        text = format!("from step {} on without faults: {why}\n", actions.len() + 1);
        actions.extend(more);
    }
    transcript(world, &actions) + &text
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.violation.is_none() {
            "holds"
        } else {
            "VIOLATED"
        };
        write!(
            f,
            "{:<17} {:>9} states, {:>10} steps, depth {:>3}, {:>6.1} s: {verdict}",
            self.world,
            self.unique_states,
            self.states,
            self.depth,
            self.took.as_secs_f64(),
        )?;
        match &self.violation {
            None => Ok(()),
            Some((property, path)) => write!(f, "\n\nnot true: {property}\n{path}"),
        }
    }
}
