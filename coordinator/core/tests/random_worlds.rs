//! Random small worlds: honest participants, careless clients, a bad network, a disk that keeps any prefix of what it
//! was not asked to sync. Whatever happens, the guarantees of the design hold after every step; and once the faults
//! stop, everything is decided and nothing stays prepared.
//!
//! The cases are the same in each run. For others, or to see a failure again:
//!
//! ```text
//! HANDFAST_SEED=7 cargo test -p handfast-core --test random_worlds
//! ```

mod random;
#[allow(dead_code, reason = "each test target uses its part of the world")]
mod world;

use std::cell::Cell;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use random::{Action, Play};

const CASES: u32 = 2000;
const LONGEST: usize = 90;

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let number = any::<u8>;
    let action = prop_oneof![
        6 => (vec(number(), 1..4), option::weighted(0.4, number()), any::<bool>()).prop_map(
            |(resources, key, applied)| Action::Execute { resources, key, applied }
        ),
        2 => Just(Action::Begin),
        5 => (number(), number()).prop_map(|(session, transaction)| Action::Enlist(session, transaction)),
        3 => (number(), proptest::bool::weighted(0.9))
            .prop_map(|(transaction, honest)| Action::Commit { transaction, honest }),
        1 => number().prop_map(Action::Abort),
        1 => number().prop_map(Action::Watch),
        2 => (number(), proptest::bool::weighted(0.2))
            .prop_map(|(resource, attached)| Action::SessionUp { resource, attached }),
        1 => number().prop_map(Action::SessionDown),
        12 => number().prop_map(Action::Deliver),
        12 => (1..9_u8).prop_map(Action::DeliverInOrder),
        3 => number().prop_map(Action::Duplicate),
        1 => number().prop_map(Action::Lose),
        2 => number().prop_map(Action::Scan),
        8 => prop_oneof![number(), Just(255)].prop_map(Action::Durable),
        4 => prop_oneof![5 => 0..50_u16, 1 => 0..20_000_u16].prop_map(Action::Time),
        2 => number().prop_map(|keep| Action::Crash { keep }),
        1 => Just(Action::Checkpoint),
        8 => (number(), number(), number(), number()).prop_map(
            |(session, transaction, branch, lie)| Action::Lie { session, transaction, branch, lie }
        ),
    ];
    vec(action, 1..LONGEST)
}

/// Runs the cases of the seed. A failure is shrunk and shown with the seed.
///
/// A world in which nothing commits proves little: a branch in every third must.
fn check(play: impl Fn(&[Action]) -> (Vec<String>, usize)) {
    let seed: u64 = std::env::var("HANDFAST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let effects = Cell::new(0);
    let tested = TestRunner::new_with_rng(config, rng).run(&actions(), |actions| {
        let (wrong, committed) = play(&actions);
        effects.set(effects.get() + committed);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(TestCaseError::fail(wrong.join("\n")))
        }
    });
    if let Err(error) = tested {
        panic!("HANDFAST_SEED={seed}: {error}");
    }
    assert!(
        effects.get() > CASES as usize / 3,
        "only {} branches committed",
        effects.get()
    );
}

/// Steps a world of honest participants until something is wrong.
fn step(play: &mut Play, actions: &[Action]) -> Vec<String> {
    for action in actions
        .iter()
        .filter(|action| !matches!(action, Action::Lie { .. }))
    {
        play.act(action);
        let wrong = play.violations();
        if !wrong.is_empty() {
            return wrong;
        }
    }
    Vec::new()
}

#[test]
fn promises_hold_and_everything_is_settled_once_the_faults_stop() {
    check(|actions| {
        let mut play = Play::new(1000);
        let mut wrong = step(&mut play, actions);
        if wrong.is_empty() {
            wrong = play.folds();
        }
        if wrong.is_empty() {
            play.settle();
            wrong = play.violations();
            wrong.extend(play.left());
        }
        (wrong, play.effects())
    });
}

#[test]
fn promises_hold_even_if_almost_everything_is_forgotten() {
    check(|actions| {
        let mut play = Play::new(1);
        (step(&mut play, actions), play.effects())
    });
}

/// Who lies can break its own transactions, and must not be able to break the coordinator: it neither panics nor
/// miscounts, and its log folds.
#[test]
fn no_message_breaks_the_coordinator() {
    check(|actions| {
        let mut play = Play::new(2);
        for action in actions {
            play.act(action);
            let wrong = play.audit();
            if !wrong.is_empty() {
                return (wrong, 0);
            }
        }
        (Vec::new(), play.effects())
    });
}
