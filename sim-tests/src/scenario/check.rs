//! What a file can say and must not.

use super::{Action, Expectation, Point, Scenario, ScriptedFault, TransactionOf};
use crate::table;
use crate::trace::Node;

/// Parts of a transaction: an operation names its own in one byte.
const PARTS: usize = 256;

/// Coordinators, and processes of participants: each has an address of its own.
const NODES: u16 = 200;

/// What is wrong, and where.
pub(super) struct Problem {
    /// The header of the part that is wrong, or the word before its `=`.
    header: &'static str,
    /// Which one of those.
    number: usize,
    pub words: String,
}

impl Problem {
    /// The line of the header.
    pub fn line(&self, text: &str) -> usize {
        let headers = (1..).zip(text.lines()).filter(|(_, line)| {
            let words = line.split('=').next().unwrap_or_default();
            words.trim() == self.header
        });
        headers.map(|(line, _)| line).nth(self.number).unwrap_or(1)
    }
}

/// Whether everything that is named is there, and everything that is needed is said.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let last = table::LAST_ROW;
    if let Some(row) = scenario.rows.iter().find(|row| !(1..=last).contains(*row)) {
        return Err(Problem {
            header: "rows",
            number: 0,
            words: format!("there is no row {row}; `rows` names rows of the fault list, 1 to {last}"),
        });
    }
    if scenario.rows.is_empty() {
        return Err(Problem {
            header: "rows",
            number: 0,
            words: format!("`rows` is empty; it names rows of the fault list, 1 to {last}"),
        });
    }
    let cluster = &scenario.cluster;
    let nodes = [cluster.ledgers, cluster.databases, cluster.second_instances];
    let nodes: u16 = nodes.into_iter().map(u16::from).sum();
    if cluster.coordinators == 0 || nodes > NODES || u16::from(cluster.coordinators) > NODES {
        return Err(Problem {
            header: "[cluster]",
            number: 0,
            words: format!(
                "{} coordinators and {nodes} processes of participants; there may be 1 to {NODES} of the first, and {NODES} \
                 of the second",
                cluster.coordinators
            ),
        });
    }
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
        of_expectation(scenario, expectation).map_err(|words| Problem {
            header: "[[expect]]",
            number,
            words,
        })?;
    }
    if scenario.expectations.is_empty() {
        return Err(Problem {
            header: "name",
            number: 0,
            words: "nothing is expected; say what must come of it in an [[expect]]".to_owned(),
        });
    }
    Ok(())
}

/// It says one thing, says all of it, and speaks of what is there.
fn of_expectation(scenario: &Scenario, expectation: &Expectation) -> Result<(), String> {
    let wrong = |what: &str| Err(what.to_owned());
    if expectation.ahead.is_some() != expectation.at_most.is_some() {
        return wrong("`ahead` and `at_most` stand together");
    }
    let says = expectation.says();
    let is_one = match says.as_slice() {
        [_] => true,
        // What became of a transaction is told in one place.
        [_, ..] => says.iter().all(|word| ["outcome", "told"].contains(word)),
        [] => expectation.transaction.is_some() && expectation.because.is_some(),
    };
    if !is_one {
        return Err(format!(
            "it has {}; say exactly one of {}. Only `outcome` and `told` may stand together, and with `transaction` \
             `because` may stand alone",
            if says.is_empty() {
                "nothing to expect".to_owned()
            } else {
                says.join(", ")
            },
            Expectation::WORDS.join(", ")
        ));
    }
    let is_of_a_transaction = says.iter().all(|word| ["outcome", "told"].contains(word));
    if is_of_a_transaction != expectation.transaction.is_some() {
        return wrong("`transaction` stands with `outcome`, `told` and `because`, and with nothing else");
    }
    if expectation.because.is_some() && !is_of_a_transaction && expectation.ends.is_none() {
        return wrong("`because` stands with `transaction` or `ends`");
    }
    if expectation.ends.is_some() && expectation.because.is_none() {
        return wrong("`ends` needs `because`: without a reason, any end would do");
    }
    if expectation.times.is_some() && expectation.seen.is_none() {
        return wrong("`times` stands with `seen`");
    }
    if (expectation.within_ms.is_some() || expectation.not_within_ms.is_some()) && expectation.order.is_none()
    {
        return wrong("`within_ms` and `not_within_ms` stand with `order`");
    }
    if expectation.not_within_ms == Some(0) {
        return wrong("`not_within_ms = 0` says nothing; give the least that it must take");
    }
    if expectation.order.as_ref().is_some_and(|points| points.len() < 2) {
        return wrong("`order` needs two points at least; use `seen` for one");
    }
    let transactions = scenario.intents().len();
    if let Some(number) = expectation
        .transaction
        .filter(|number| *number as usize >= transactions)
    {
        return Err(no_transaction(number, transactions));
    }
    expectation
        .points()
        .try_for_each(|point| of_point(scenario, point))?;
    match expectation.ends.filter(|node| !has(scenario, *node)) {
        Some(node) => Err(no_node(scenario, node)),
        None => Ok(()),
    }
}

fn of_point(scenario: &Scenario, point: &Point) -> Result<(), String> {
    let transactions = scenario.intents().len();
    if let Some(node) = point.node.filter(|node| !has(scenario, *node)) {
        return Err(format!("`{point}`: {}", no_node(scenario, node)));
    }
    if let Some(node) = point.node.filter(|node| !point.step.is_at(*node)) {
        return Err(format!(
            "`{point}` never comes: it is not seen at {node}, but at {}",
            point.step.whose()
        ));
    }
    if point.transaction.is_some() && !point.step.has_transaction() {
        return Err(format!(
            "`{point}` never comes: nobody can tell of which transaction it is"
        ));
    }
    match point
        .transaction
        .filter(|number| *number as usize >= transactions)
    {
        Some(number) => Err(format!("`{point}`: {}", no_transaction(number, transactions))),
        None => Ok(()),
    }
}

fn no_transaction(number: u32, transactions: usize) -> String {
    match transactions {
        0 => format!("there is no transaction {number}, and none at all"),
        transactions => format!(
            "there is no transaction {number}; there are 0 to {}",
            transactions - 1
        ),
    }
}

fn no_node(scenario: &Scenario, node: Node) -> String {
    let cluster = &scenario.cluster;
    let all = [
        ('c', u16::from(cluster.coordinators) + u16::from(cluster.standby)),
        (
            'p',
            u16::from(cluster.ledgers) + u16::from(cluster.databases) + u16::from(cluster.second_instances),
        ),
        ('a', u16::from(scenario.clients())),
    ];
    let all: Vec<String> = all
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| match count {
            1 => format!("{kind}0"),
            count => format!("{kind}0 to {kind}{}", count - 1),
        })
        .collect();
    format!(
        "there is no {node}; [cluster] and the transactions make {}",
        all.join(", ")
    )
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
        Some(node) => return Err(format!("names {node}: {}", no_node(scenario, node))),
        None => {}
    }
    if let Some(problem) = fault
        .all()
        .flat_map(|one| one.at.into_iter().chain(one.until.clone()))
        .find_map(|point| of_point(scenario, &point).err())
    {
        return Err(format!("waits for {problem}"));
    }
    match fault
        .node
        .filter(|node| !fault.action.concerns(&scenario.cluster, *node))
    {
        Some(node) => Err(format!("is done to {}, and {node} is none", fault.action.whom())),
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
    if transaction.coordinator >= scenario.cluster.coordinators {
        return Err(format!(
            "it asks coordinator {}; [cluster] has {}, counted from 0",
            transaction.coordinator, scenario.cluster.coordinators
        ));
    }
    let parts = &transaction.parts;
    if parts.len() > PARTS {
        return Err(format!("it has {} parts; there may be {PARTS}", parts.len()));
    }
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
