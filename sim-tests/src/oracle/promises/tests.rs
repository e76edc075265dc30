//! Only a promise that was made for a while, and only when that while has passed, may be over.

use handfast_ids::TransactionId;

use super::*;
use crate::scenario::Scenario;

const FILE: &str = "
name = \"x\"
rows = [30]
outcome = \"y\"
[cluster]
ledgers = 1
databases = 1
second_instances = 1
[[transaction]]
parts = [{ at = \"p0\", add = -1 }, { at = \"p1\", add = 1, promise_ms = 500 }, { at = \"p1\", account = 1, add = 1 }]
[[expect]]
seen = \"commit\"
";

const TRANSACTION: Transaction = Transaction {
    coordinator: 0,
    id: TransactionId::ZERO,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// All branches are asked to prepare after a second.
fn asked() -> Promises {
    let plan = Scenario::parse(FILE).expect("it is a scenario").plan();
    let mut promises = Promises::new(&plan, &crate::workload::intents(&plan));
    for branch in 0..3 {
        let prepare = Message::Prepare {
            transaction: TRANSACTION,
            branch: BranchId(branch),
            intent: Some(0),
        };
        promises.take(
            ms(1000),
            &Event::Message(Node::Participant(branch.min(1) as u8), 1, prepare),
        );
    }
    promises
}

#[test]
fn a_promise_for_a_while_may_be_over_when_the_while_has_passed_and_not_before() {
    let promises = asked();
    let is_over = |at, node| promises.may_be_over(ms(at), Node::Participant(node), TRANSACTION, BranchId(1));
    assert!(!is_over(1499, 1));
    assert!(is_over(1500, 1));
    assert!(is_over(1500, 2), "its other instance may say so, too");
    assert!(!is_over(1500, 0), "nobody else may");
}

#[test]
fn a_promise_for_ever_is_never_over() {
    let promises = asked();
    for (node, branch) in [(0, 0), (1, 2)] {
        let node = Node::Participant(node);
        assert!(!promises.may_be_over(ms(60_000), node, TRANSACTION, BranchId(branch)));
    }
}

#[test]
fn a_branch_that_nobody_asked_for_has_no_promise() {
    let plan = Scenario::parse(FILE).expect("it is a scenario").plan();
    let mut promises = Promises::new(&plan, &crate::workload::intents(&plan));
    promises.take(ms(1000), &Event::Opened(Node::Client(0), 0, TRANSACTION));
    assert!(!promises.may_be_over(ms(60_000), Node::Participant(1), TRANSACTION, BranchId(1)));
}
