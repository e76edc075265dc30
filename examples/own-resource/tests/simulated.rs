//! What is right comes out clean, and what is wrong is caught. Only in the simulator's build: see `.ci/test`.
#![cfg(madsim)]

use own_resource::simulation::{theatre, vouchers};
use own_resource::vouchers::Mistake;

const SCENARIO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../sim-tests/scenarios/participant-dies-after-yes.toml"
);

#[test]
fn right_vouchers_are_clean_under_all_faults() {
    let report = vouchers(None).run_seeds(0..150);
    assert!(report.is_clean(), "{report}");
    assert!(report.committed > 1000, "{report}");
    assert!(report.faults > 1000, "{report}");
}

#[test]
fn the_tutorials_theatre_is_clean_under_all_faults() {
    let report = theatre(false).run_seeds(0..150);
    assert!(report.is_clean(), "{report}");
    assert!(report.committed > 1000, "{report}");
}

#[test]
fn a_commit_that_is_applied_twice_is_caught_and_its_seed_replays() {
    let suite = vouchers(Some(Mistake::AppliesTwice));
    let report = suite.run_seeds(0..20);
    let failure = report.failures.first().expect("it is caught within 20 seeds");
    assert!(failure.property.starts_with("effects happen once"), "{report}");
    assert!(
        report
            .to_string()
            .contains(&format!("replay --seed {}", failure.seed))
    );
    let replay = suite.replay_seed(failure.seed);
    assert_eq!(replay.failures(), std::slice::from_ref(&failure.property));
    assert!(replay.timeline().contains("✗ effects happen once"));
    assert!(replay.html().contains("effects happen once"));
}

#[test]
fn a_vote_before_the_promise_is_durable_is_caught() {
    let report = vouchers(Some(Mistake::ForgetsToJournal)).run_seeds(0..20);
    let is_loss = |failure: &handfast_sim::suite::Failure| failure.property.contains("has lost");
    assert!(report.failures.iter().any(is_loss), "{report}");
}

#[test]
fn a_theatre_without_its_sales_in_the_snapshot_is_caught() {
    // It takes a checkpoint and a restart after it, which one seed in a hundred or two has.
    let suite = theatre(true);
    let reports = (0..20).map(|block| suite.run_seeds(block * 50..(block + 1) * 50));
    let caught = reports.into_iter().find(|report| !report.is_clean());
    let report = caught.expect("it is caught within 1000 seeds");
    let property = &report.failures[0].property;
    assert!(
        ["all or nothing", "what was told is true"]
            .iter()
            .any(|name| property.starts_with(name)),
        "{report}"
    );
}

#[test]
fn a_seed_is_the_same_run_twice() {
    let suite = vouchers(None);
    assert_eq!(suite.replay_seed(7).hash(), suite.replay_seed(7).hash());
}

#[test]
fn a_scenario_replays_with_both() {
    for suite in [vouchers(None), theatre(false)] {
        let replay = suite.replay_scenario(SCENARIO).expect("the scenario is there");
        assert_eq!(replay.failures(), [""; 0], "{}", replay.timeline());
    }
}

#[test]
fn a_scenario_that_does_not_concern_a_ledger_says_so() {
    let file = SCENARIO.replace("participant-dies-after-yes", "promise-expires-undecided");
    let error = vouchers(None).replay_scenario(file);
    let error = error.expect_err("it is about a database").to_string();
    assert!(
        error.contains("no transaction of it works at a ledger"),
        "{error}"
    );
}
