//! What a file can say and must not.

use super::{Action, Scenario, ScriptedFault, TransactionOf};
use crate::trace::Node;

/// What is wrong, and where.
pub(super) struct Problem {
    /// The header of the part that is wrong.
    header: &'static str,
    /// Which one of those.
    number: usize,
    pub words: String,
}

impl Problem {
    /// The line of the header.
    pub fn line(&self, text: &str) -> usize {
        let headers = (1..)
            .zip(text.lines())
            .filter(|(_, line)| line.trim() == self.header);
        headers.map(|(line, _)| line).nth(self.number).unwrap_or(1)
    }
}

/// Whether everything that is named is there, and everything that is needed is said.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    if scenario.cluster.standby && scenario.cluster.coordinators != 1 {
        return Err(Problem {
            header: "[cluster]",
            number: 0,
            words: "a standby is for one coordinator only: `coordinators = 1`".to_owned(),
        });
    }
    if scenario.cluster.second_instances > scenario.cluster.databases {
        return Err(Problem {
            header: "[cluster]",
            number: 0,
            words: format!(
                "`second_instances = {}`, and there are {} databases that can have one",
                scenario.cluster.second_instances, scenario.cluster.databases
            ),
        });
    }
    for (number, fault) in scenario.faults.iter().enumerate() {
        of_fault(scenario, fault).map_err(|what| Problem {
            header: "[[fault]]",
            number,
            words: format!("the fault `{}` {what}", fault.action),
        })?;
    }
    for (number, transaction) in scenario.transactions.iter().enumerate() {
        of_transaction(scenario, transaction).map_err(|words| Problem {
            header: "[[transaction]]",
            number,
            words,
        })?;
    }
    for (number, expectation) in scenario.expectations.iter().enumerate() {
        if expectation.ahead.is_some() != expectation.at_most.is_some() {
            return Err(Problem {
                header: "[[expect]]",
                number,
                words: "`ahead` and `at_most` stand together".to_owned(),
            });
        }
    }
    Ok(())
}

fn of_fault(scenario: &Scenario, fault: &ScriptedFault) -> Result<(), String> {
    let wrong = |what: &str| Err(what.to_owned());
    match (&fault.at, fault.at_ms) {
        (None, None) => return wrong("has neither `at` nor `at_ms`"),
        (Some(_), Some(_)) => return wrong("has both `at` and `at_ms`; one is enough"),
        _ => {}
    }
    let is_at_hand = fault.action.is_of_a_frame() || fault.action.is_of_a_call();
    if is_at_hand && fault.at.is_none() {
        return wrong("is done to what passes at a protocol point, so it needs `at`");
    }
    if !is_at_hand && fault.node.is_none() {
        return wrong("needs a `node`: c0, p1, a0 …");
    }
    let is_of_the_standbys = scenario.cluster.standby && fault.node == Some(Node::Coordinator(0));
    if fault.action == Action::TakeOver && !is_of_the_standbys {
        return wrong("is done to c0, and needs `standby = true` in [cluster]");
    }
    if !fault.until.is_empty() && !fault.action.may_wait() {
        return wrong("has `until`, which is for kill, power-loss, pause and take-over");
    }
    if (fault.action == Action::ClockJumps) != fault.by_ms.is_some() {
        return wrong("needs `by_ms` if it is `clock-jumps`, and only then");
    }
    match fault
        .all()
        .find_map(|one| one.node.filter(|node| !has(scenario, *node)))
    {
        Some(node) => Err(format!(
            "names {node}, which is not in [cluster] and sends no transaction"
        )),
        None => Ok(()),
    }
}

fn of_transaction(scenario: &Scenario, transaction: &TransactionOf) -> Result<(), String> {
    let TransactionOf { client, clients, .. } = transaction;
    if *clients == 0 || client.checked_add(*clients).is_none() {
        return Err(format!(
            "it has {clients} clients from a{client} on; there are a0 to a254, and one at least"
        ));
    }
    let parts = &transaction.parts;
    match parts
        .iter()
        .find(|part| part.at >= scenario.cluster.ledgers + scenario.cluster.databases)
    {
        Some(part) => Err(format!(
            "it works at p{}, and [cluster] has {} ledgers and {} databases",
            part.at, scenario.cluster.ledgers, scenario.cluster.databases
        )),
        None => Ok(()),
    }
}

fn has(scenario: &Scenario, node: Node) -> bool {
    let cluster = &scenario.cluster;
    match node {
        Node::Coordinator(number) => number < cluster.coordinators + u8::from(cluster.standby),
        Node::Participant(number) => number < cluster.ledgers + cluster.databases + cluster.second_instances,
        Node::Client(number) => number < scenario.clients(),
    }
}
