//! The run in a few lines: which faults struck, what became of each transaction, and who says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use super::html::{class_of, escape};
use crate::trace::{AckKind, Decision, Event, Message, Node, Told, Transaction, VoteKind};

/// Transactions that get a line each; of more, only counts are told.
const TRANSACTIONS_TOLD: usize = 12;

/// Faults that get a line each.
const FAULTS_TOLD: usize = 12;

/// What became of a transaction.
#[derive(Default)]
struct Course {
    asked: Option<Duration>,
    told: Vec<(Duration, Node, Told)>,
    /// What each participant has last said of it.
    ends: BTreeMap<Node, &'static str>,
}

/// The summary, as a part of the page.
pub(super) fn summary(lines: &[(Duration, Event)]) -> String {
    let mut html = String::new();
    let of_nodes = lines
        .iter()
        .filter_map(|(at, event)| Some((at, fault(event)?)))
        .map(|(at, words)| format!("<li><b>{}</b> {}</li>", clock(*at), escape(&words)));
    let faults: Vec<String> = of_messages(lines).into_iter().chain(of_nodes).collect();
    let _ = write!(html, "<section id=summary><div><h2>What was done to it</h2><ul>");
    match faults.len() {
        0 => html.push_str("<li>nothing</li>"),
        count if count > FAULTS_TOLD => {
            html.push_str(&faults[..FAULTS_TOLD].concat());
            let _ = write!(html, "<li>… and {} faults more</li>", count - FAULTS_TOLD);
        }
        _ => html.push_str(&faults.concat()),
    }
    html.push_str("</ul></div><div><h2>What came of it</h2>");
    let courses = courses(lines);
    if courses.len() > TRANSACTIONS_TOLD {
        html.push_str(&counts(&courses));
    } else {
        let rows: String = courses
            .iter()
            .map(|(intent, course)| row(*intent, course))
            .collect();
        let _ = write!(
            html,
            "<table><tr><th>transaction<th>asked for<th>its application was told<th>participants</tr>{rows}</table>"
        );
    }
    html.push_str("</div></section>");
    html
}

fn courses(lines: &[(Duration, Event)]) -> BTreeMap<u32, Course> {
    let mut courses: BTreeMap<u32, Course> = BTreeMap::new();
    let mut names: BTreeMap<Transaction, u32> = BTreeMap::new();
    for (at, event) in lines {
        if let Some((transaction, intent)) = event.names() {
            names.insert(transaction, intent);
        }
        match event {
            Event::Begun(_, intent) => _ = courses.entry(*intent).or_default().asked.get_or_insert(*at),
            Event::Told(node, intent, told) => {
                let course = courses.entry(*intent).or_default();
                course.told.push((*at, *node, told.clone()));
            }
            Event::Message(
                node,
                _,
                Message::Vote {
                    transaction, vote, ..
                },
            ) => {
                if let Some(course) = names.get(transaction).and_then(|intent| courses.get_mut(intent)) {
                    let end = match vote {
                        VoteKind::Prepared => "prepared",
                        VoteKind::Committed => "committed",
                        VoteKind::ReadOnly => "changed nothing",
                        VoteKind::Refused => "refused",
                    };
                    course.ends.insert(*node, end);
                }
            }
            Event::Message(
                node,
                _,
                Message::Ack {
                    transaction,
                    decision,
                    ack,
                    ..
                },
            ) => {
                if let Some(course) = names.get(transaction).and_then(|intent| courses.get_mut(intent)) {
                    let end = match (ack, decision) {
                        (AckKind::Done, Decision::Commit) => "committed",
                        (AckKind::Done, Decision::Abort) => "aborted",
                        (AckKind::Hazard, _) => "cannot tell (hazard)",
                        (AckKind::Contrary, _) => "ended the other way",
                    };
                    course.ends.insert(*node, end);
                }
            }
            _ => {}
        }
    }
    courses
}

fn row(intent: u32, course: &Course) -> String {
    let asked = course.asked.map(clock).unwrap_or_default();
    let mut told: Vec<String> = course
        .told
        .iter()
        .map(|(at, _, told)| {
            let (class, words) = class_of(told);
            format!("<span class={class}>{}</span> at {}", escape(&words), clock(*at))
        })
        .collect();
    if told.is_empty() {
        told.push("nothing".to_owned());
    }
    let ends: Vec<String> = course
        .ends
        .iter()
        .map(|(node, end)| format!("{node} {end}"))
        .collect();
    let ends = if ends.is_empty() {
        "none has anything to finish".to_owned()
    } else {
        ends.join(", ")
    };
    format!(
        "<tr><td>t{intent}<td>{asked}<td>{}<td>{ends}</tr>",
        told.join("<br>")
    )
}

fn counts(courses: &BTreeMap<u32, Course>) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for course in courses.values() {
        let told: BTreeSet<&str> = course
            .told
            .iter()
            .map(|(_, _, told)| match told {
                Told::Committed(_) => "committed",
                Told::Aborted(..) => "aborted",
                Told::Unknown(_) => "unknown",
                Told::Heuristic(_) => "heuristic",
                Told::Rejected(_) => "rejected",
            })
            .collect();
        match told.into_iter().next() {
            Some(word) => *counts.entry(word).or_default() += 1,
            None => *counts.entry("nothing").or_default() += 1,
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    format!(
        "<p>{} transactions. Their applications were told: {}.</p><p>Choose one above to follow it.</p>",
        courses.len(),
        counts.join(", ")
    )
}

fn fault(event: &Event) -> Option<String> {
    match event {
        Event::Injected(fault, Some(node)) => Some(format!("{node}: {}", fault.name())),
        Event::Scripted(Some(node), what) => Some(format!("{node}: {what}")),
        Event::Scripted(None, what) => Some(format!("a message: {what}")),
        Event::Flipped(node, _) => Some(format!("{node}: a bit of its disk flips")),
        Event::Ended(node, why) => Some(format!("{node} ends by itself: {why}")),
        _ => None,
    }
}

/// What happens to messages by chance happens often: it is only counted.
fn of_messages(lines: &[(Duration, Event)]) -> Option<String> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, event) in lines {
        if let Event::Injected(fault, None) = event {
            *counts.entry(fault.name()).or_default() += 1;
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count} times"))
        .collect();
    (!counts.is_empty()).then(|| format!("<li>to messages: {}</li>", counts.join(", ")))
}

fn clock(at: Duration) -> String {
    format!("{} ms", at.as_millis())
}
