//! A trace as one page that needs nothing else: nodes are columns, virtual time runs downward, messages are arrows.
//!
//! The page is a table of rows that its script draws anew when a transaction is chosen; all that is known of a row is in
//! its data, so the page can be searched as text, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use crate::scenario::Moment;
use crate::trace::{AckKind, Decision, Event, Message, Node, Told, Transaction, VoteKind};

const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// What the page is about.
pub struct Title {
    /// The name of what was run.
    pub name: String,
    /// What was to come of it.
    pub words: String,
}

/// The page. `failure` is what did not hold.
pub fn page(title: &Title, lines: &[(Duration, Event)], failure: Option<&str>) -> String {
    let nodes: BTreeSet<Node> = lines.iter().flat_map(|(_, event)| event_nodes(event)).collect();
    let columns = columns(&nodes);
    let mut names = Names::default();
    let mut rows = String::new();
    for (at, event) in lines {
        names.learn(event);
        if let Some(row) = row(event, &names, &columns) {
            let _ = writeln!(rows, "[{:.3},{row}],", at.as_secs_f64() * 1000.0);
        }
    }
    let heads: BTreeMap<usize, String> = columns
        .iter()
        .map(|(node, column)| (*column, role(*node, &nodes)))
        .collect();
    let heads: Vec<String> = heads.values().map(|head| quote(head)).collect();
    let verdict = match failure {
        None => "<p class=ok>✓ Everything came out as it must.</p>".to_owned(),
        Some(failure) => format!("<p class=bad>✗ {}</p>", escape(failure)),
    };
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>{name}</title>\n<style>\n{STYLE}</style>\n\
         <header><h1>{words}</h1><p class=name>{name}: one run of the simulated cluster. Virtual time runs downward, each column is \
         a process, arrows are messages.</p>{verdict}{summary}<div id=controls></div></header>\n<main id=diagram></main>\n\
         <script>\nconst heads = [{heads}];\nconst rows = [\n{rows}];\n{SCRIPT}</script></html>\n",
        name = escape(&title.name),
        words = escape(&title.words),
        summary = super::summary::summary(lines),
        heads = heads.join(","),
    )
}

/// What a transaction is called: by its place in the file if it is known.
#[derive(Default)]
struct Names(BTreeMap<Transaction, u32>);

impl Names {
    fn learn(&mut self, event: &Event) {
        if let Some((transaction, intent)) = event.names() {
            self.0.insert(transaction, intent);
        }
    }

    fn of(&self, transaction: &Transaction) -> String {
        match self.0.get(transaction) {
            Some(intent) => format!("t{intent}"),
            None => transaction.to_string(),
        }
    }
}

/// More applications than this share a column.
const APPLICATIONS: usize = 3;

/// Clients, then coordinators, then participants: a request goes to the right.
fn columns(nodes: &BTreeSet<Node>) -> BTreeMap<Node, usize> {
    let is_client = |node: &&Node| matches!(node, Node::Client(_));
    let clients = nodes.iter().filter(is_client).count();
    let is_shared = clients > APPLICATIONS;
    let taken = if is_shared { 1 } else { clients };
    let others = nodes.iter().filter(|node| !is_client(node));
    let clients = (0..).zip(nodes.iter().filter(is_client));
    clients
        .map(|(number, node)| (*node, if is_shared { 0 } else { number }))
        .chain((taken..).zip(others).map(|(column, node)| (*node, column)))
        .collect()
}

/// What goes to a disk, in words. A record has kinds of its own in a coordinator's log only.
fn log_words(moment: Moment, matters: &[&str], position: &str) -> String {
    let kinds: Vec<&str> = matters.iter().copied().filter(|word| *word != "record").collect();
    let what = match kinds.is_empty() {
        true => matters.join(", "),
        false => kinds.join(" + "),
    };
    match moment {
        Moment::Wrote => format!("{what} in the cache{position}"),
        Moment::Synced => format!("{what} durable{position}"),
        Moment::Writes | Moment::Renamed | Moment::Removed => {
            format!("{} {what}{position}", moment.word())
        }
    }
}

fn role(node: Node, nodes: &BTreeSet<Node>) -> String {
    let clients = nodes
        .iter()
        .filter(|node| matches!(node, Node::Client(_)))
        .count();
    match node {
        Node::Client(_) if clients > APPLICATIONS => format!("{clients} applications"),
        Node::Coordinator(_) => format!("{node} coordinator"),
        Node::Participant(_) => format!("{node} participant"),
        Node::Client(_) => format!("{node} application"),
    }
}

fn event_nodes(event: &Event) -> Vec<Node> {
    match event {
        Event::Started(node)
        | Event::Serves(node)
        | Event::Ended(node, _)
        | Event::Logged(node, ..)
        | Event::Message(node, ..)
        | Event::Begun(node, _)
        | Event::Told(node, ..) => vec![*node],
        _ => Vec::new(),
    }
}

/// A row without its time: class, transaction, from, to, text. Messages have two ends, everything else one.
fn row(event: &Event, names: &Names, columns: &BTreeMap<Node, usize>) -> Option<String> {
    let column = |node: &Node| columns.get(node).copied().unwrap_or(0);
    let first_coordinator = columns.keys().find(|node| matches!(node, Node::Coordinator(_)));
    let coordinator = |transaction: Option<Transaction>| {
        let named = transaction.map(|transaction| Node::Coordinator(transaction.coordinator));
        let known = named.filter(|node| columns.contains_key(node));
        known
            .or(first_coordinator.copied())
            .map_or(0, |node| column(&node))
    };
    let alone = |class: &str, name: &str, node: &Node, text: &str| {
        let at = column(node);
        Some(format!(
            "{},{},{at},{at},{}",
            quote(class),
            quote(name),
            quote(text)
        ))
    };
    match event {
        Event::Started(node) => alone("life", "", node, "starts"),
        Event::Serves(node) => alone("life", "", node, "recovered, serves"),
        Event::Ended(node, why) => alone("death", "", node, &format!("ends: {why}")),
        Event::Injected(fault, Some(node)) => alone("fault", "", node, fault.name()),
        Event::Injected(fault, None) => Some(format!("\"fault\",\"\",-1,-1,{}", quote(fault.name()))),
        Event::Scripted(Some(node), what) => alone("fault", "", node, what),
        Event::Scripted(None, what) => Some(format!("\"fault\",\"\",-1,-1,{}", quote(what))),
        Event::Flipped(node, _) => alone("fault", "", node, "a bit flips"),
        Event::Logged(node, moment, matters, lsn) => {
            let matters: Vec<&str> = matters.iter().map(|matter| matter.word()).collect();
            let position = if *lsn > 0 {
                format!(", LSN {lsn}")
            } else {
                String::new()
            };
            let text = log_words(*moment, &matters, &position);
            alone(
                if moment.word() == "synced" {
                    "durable"
                } else {
                    "log"
                },
                "",
                node,
                &text,
            )
        }
        Event::PutRight(node) => alone("life", "", node, "the right store is back"),
        Event::Healed => Some("\"life\",\"\",-1,-1,\"no more faults\"".to_owned()),
        Event::Violation(what) => Some(format!("\"bad\",\"\",-1,-1,{}", quote(what))),
        Event::Read(node, _, decision) => alone("client", "", node, &format!("reads {decision:?}")),
        Event::Begun(node, intent) => {
            let name = format!("t{intent}");
            let text = format!("asks for {name}");
            let (from, to) = (column(node), coordinator(None));
            Some(format!(
                "\"client\",{},{from},{to},{}",
                quote(&name),
                quote(&text)
            ))
        }
        Event::Opened(node, intent, _) => alone(
            "client",
            &format!("t{intent}"),
            node,
            &format!("t{intent} is open"),
        ),
        Event::Told(node, intent, told) => {
            let (class, text) = class_of(told);
            let name = format!("t{intent}");
            let (from, to) = (coordinator(None), column(node));
            Some(format!(
                "{},{},{from},{to},{}",
                quote(class),
                quote(&name),
                quote(&format!("{name}: {text}"))
            ))
        }
        Event::SessionOver(node, _) => alone("life", "", node, "session over"),
        Event::Message(node, _, message) => {
            let (class, transaction, is_out, text) = words(message)?;
            let name = transaction
                .map(|transaction| names.of(&transaction))
                .unwrap_or_default();
            let (mut from, mut to) = (column(node), coordinator(transaction));
            if !is_out {
                (from, to) = (to, from);
            }
            let text = if name.is_empty() {
                text
            } else {
                format!("{text} {name}")
            };
            Some(format!(
                "{},{},{from},{to},{}",
                quote(class),
                quote(&name),
                quote(&text)
            ))
        }
    }
}

/// The class of what a client was told, and words.
pub(super) fn class_of(told: &Told) -> (&'static str, String) {
    match told {
        Told::Committed(_) => ("commit", "committed".to_owned()),
        Told::Aborted(_, why) => ("abort", format!("aborted, {why}")),
        Told::Unknown(_) => ("hazard", "outcome unknown".to_owned()),
        Told::Heuristic(_) => ("hazard", "heuristic: a participant deviates".to_owned()),
        Told::Rejected(why) => ("abort", format!("rejected, {why}")),
    }
}

/// Class, transaction, whether it goes to the coordinator, and words; `None` for heartbeats.
fn words(message: &Message) -> Option<(&'static str, Option<Transaction>, bool, String)> {
    Some(match *message {
        Message::Hello {
            seen_epoch, seen_lsn, ..
        } => (
            "session",
            None,
            true,
            format!("hello, has seen {seen_epoch}:{seen_lsn}"),
        ),
        Message::Welcome { epoch, durable, .. } => (
            "session",
            None,
            false,
            format!("welcome, epoch {epoch}, durable to {durable}"),
        ),
        Message::Durable { .. } | Message::ScanComplete => return None,
        Message::Enlist { transaction } => ("work", Some(transaction), true, "enlist in".to_owned()),
        Message::Enlisted {
            transaction,
            is_refused,
            ..
        } => {
            let text = if is_refused { "may not join" } else { "enlisted in" };
            ("work", Some(transaction), false, text.to_owned())
        }
        Message::Prepare { transaction, .. } => ("prepare", Some(transaction), false, "prepare".to_owned()),
        Message::Vote {
            transaction, vote, ..
        } => {
            let (class, text) = match vote {
                VoteKind::Prepared => ("prepare", "yes, prepared:"),
                VoteKind::ReadOnly => ("prepare", "nothing changed in"),
                VoteKind::Committed => ("commit", "committed at once:"),
                VoteKind::Refused => ("abort", "no, refused:"),
            };
            (class, Some(transaction), true, text.to_owned())
        }
        Message::Decision {
            transaction,
            decision,
            ..
        } => match decision {
            Decision::Commit => ("commit", Some(transaction), false, "commit".to_owned()),
            Decision::Abort => ("abort", Some(transaction), false, "abort".to_owned()),
        },
        Message::Resolve { transaction, .. } => (
            "hazard",
            Some(transaction),
            false,
            "how did it come out:".to_owned(),
        ),
        Message::Ack {
            transaction,
            decision,
            ack,
            ..
        } => {
            let class = match (ack, decision) {
                (AckKind::Done, Decision::Commit) => "commit",
                (AckKind::Done, Decision::Abort) => "abort",
                _ => "hazard",
            };
            let text = match ack {
                AckKind::Done => "done:",
                AckKind::Hazard => "HAZARD, cannot tell about",
                AckKind::Contrary => "CONTRARY, ended the other way:",
            };
            (class, Some(transaction), true, text.to_owned())
        }
        Message::InDoubt {
            transaction, phase, ..
        } => {
            let text = match phase {
                1 => "scan shows prepared:",
                2 => "scan shows work under way:",
                4 => "scan shows the commit of",
                _ => "scan shows marker of",
            };
            ("scan", Some(transaction), true, text.to_owned())
        }
        Message::Answer {
            transaction, answer, ..
        } => {
            let text = match answer {
                1 => "wait, undecided:",
                2 => "finished long ago:",
                3 => "forgotten:",
                _ => "not mine:",
            };
            ("scan", Some(transaction), false, text.to_owned())
        }
        Message::Forget { transaction, .. } => ("scan", Some(transaction), false, "may forget".to_owned()),
        Message::Goodbye => ("session", None, false, "goodbye".to_owned()),
    })
}

/// As text within a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('\n', "<br>")
}

/// As a string of JavaScript within a page.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            '\n' => quoted.push(' '),
            '<' => quoted.push_str("\\u003c"),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
