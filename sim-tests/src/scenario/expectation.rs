//! What must come of a scenario, checked on its trace once everything has come to rest.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::point::{Point, parse_node};
use super::script::name_all;
use crate::intent::Intent;
use crate::oracle::Done;
use crate::trace::{Event, Node, Told};

/// One thing that must be so. Exactly one of `outcome`, `told`, `seen`, `never`, `order`, `ahead` and `ends` is given, except that
/// `outcome` and `told` may stand together, and that `because` may stand alone with `transaction`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The transaction that `outcome` and `told` speak of.
    pub transaction: Option<u32>,
    /// What the stores hold of it.
    pub outcome: Option<Outcome>,
    /// What its client may be told; it must be told something of it.
    pub told: Option<Vec<Word>>,
    /// Words that some answer to its client has in it.
    pub because: Option<String>,
    /// A point that comes.
    pub seen: Option<Point>,
    /// How many times it comes, whatever its own count says.
    pub times: Option<usize>,
    /// A point that never comes.
    pub never: Option<Point>,
    /// Points that come in this order.
    pub order: Option<Vec<Point>>,
    /// At most so many milliseconds between the first and the last of them.
    pub within_ms: Option<u64>,
    /// At least so many milliseconds between the first and the last of them.
    pub not_within_ms: Option<u64>,
    /// Two points: the first never comes more than `at_most` times more often than the second.
    pub ahead: Option<[Point; 2]>,
    /// See `ahead`.
    pub at_most: Option<usize>,
    /// A process that ends by itself, `because` of this.
    #[serde(default, deserialize_with = "node")]
    pub ends: Option<Node>,
}

/// What the stores hold of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it.
    Commit,
    /// Nothing.
    Abort,
    /// All of it or nothing.
    Either,
    /// Some of it.
    Mixed,
}

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // as `Told` tells
pub enum Word {
    Committed,
    Aborted,
    Unknown,
    Heuristic,
    Rejected,
}

/// What a scenario came to.
pub struct Course<'a> {
    /// What the clients wanted.
    pub intents: &'a [Intent],
    /// What happened.
    pub lines: &'a [(Duration, Event)],
    /// What the stores hold.
    pub done: &'a [Done],
}

impl Expectation {
    /// What one may expect.
    pub const WORDS: &[&str] = &["outcome", "told", "seen", "never", "order", "ahead", "ends"];

    /// Which of those it says.
    pub fn says(&self) -> Vec<&'static str> {
        let says = [
            self.outcome.is_some(),
            self.told.is_some(),
            self.seen.is_some(),
            self.never.is_some(),
            self.order.is_some(),
            self.ahead.is_some(),
            self.ends.is_some(),
        ];
        let words = Self::WORDS.iter().zip(says);
        words.filter(|(_, says)| *says).map(|(word, _)| *word).collect()
    }

    /// All points that it names.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        let single = self.seen.iter().chain(&self.never);
        single
            .chain(self.order.iter().flatten())
            .chain(self.ahead.iter().flatten())
    }

    /// Whether it expects this process to end for this reason.
    pub fn is_of_end(&self, node: Node, why: &str) -> bool {
        self.ends == Some(node) && self.because.as_ref().is_none_or(|because| why.contains(because))
    }

    /// An error says what is not as expected.
    pub fn check(&self, course: &Course<'_>) -> Result<(), String> {
        if let Some(transaction) = self.transaction {
            self.check_outcome(course, transaction)?;
            self.check_told(course, transaction)?;
        }
        if let Some(point) = &self.seen {
            let times = all(course, point).len();
            let is_enough = match (self.times, point.nth) {
                (Some(expected), _) => times == expected,
                (None, nth) => times >= nth.unwrap_or(1) as usize,
            };
            if !is_enough {
                let expected = self
                    .times
                    .map_or_else(String::new, |times| format!(" {times} times"));
                return Err(format!(
                    "`{point}` was expected{expected}, and came {times} times"
                ));
            }
        }
        if let Some(point) = &self.never
            && let Some(at) = all(course, point).first()
        {
            return Err(format!(
                "`{point}` must never come, and came at {} ms",
                at.as_millis()
            ));
        }
        if let Some(points) = &self.order {
            self.check_order(course, points)?;
        }
        if let Some([first, second]) = &self.ahead {
            let most = furthest_ahead(course, first, second);
            let limit = self.at_most.ok_or("`ahead` needs `at_most`")?;
            if most > limit {
                return Err(format!(
                    "`{first}` was {most} times ahead of `{second}`; {limit} are allowed"
                ));
            }
        }
        if let Some(node) = self.ends {
            let ends = |event: &Event| matches!(event, Event::Ended(who, why) if *who == node && self.is_of_end(node, why));
            if !course.lines.iter().any(|(_, event)| ends(event)) {
                let because = self.because.as_deref().unwrap_or("whatever reason");
                return Err(format!("{node} must end because of `{because}`, and did not"));
            }
        }
        Ok(())
    }

    fn check_outcome(&self, course: &Course<'_>, transaction: u32) -> Result<(), String> {
        let Some(outcome) = self.outcome else {
            return Ok(());
        };
        let Some(intent) = course.intents.get(transaction as usize) else {
            return Err(format!("there is no transaction {transaction}"));
        };
        let wanted: BTreeSet<u8> = intent.effects().map(|(part, _)| part).collect();
        let found: BTreeSet<u8> = course
            .done
            .iter()
            .filter(|done| done.intent == transaction)
            .map(|done| done.part)
            .collect();
        let (is_all, is_nothing) = (found == wanted, found.is_empty());
        let is_so = match outcome {
            Outcome::Commit => is_all,
            Outcome::Abort => is_nothing,
            Outcome::Either => is_all || is_nothing,
            Outcome::Mixed => !is_all && !is_nothing,
        };
        is_so.then_some(()).ok_or_else(|| {
            format!(
                "of transaction {transaction} ({outcome:?} expected) happened: parts {found:?} of {wanted:?}"
            )
        })
    }

    fn check_told(&self, course: &Course<'_>, transaction: u32) -> Result<(), String> {
        let told: Vec<&Told> = course
            .lines
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Told(_, intent, told) if *intent == transaction => Some(told),
                _ => None,
            })
            .collect();
        let words = || -> String {
            let words: Vec<String> = told.iter().map(ToString::to_string).collect();
            words.join("; ")
        };
        if let Some(expected) = &self.told {
            let is_expected = |told: &&Told| expected.contains(&word(told));
            if told.is_empty() && !expected.is_empty() || !told.iter().all(is_expected) {
                return Err(format!(
                    "the client of transaction {transaction} was told [{}], expected {expected:?}",
                    words()
                ));
            }
        }
        match &self.because {
            Some(because) if !told.iter().any(|told| told.to_string().contains(because)) => Err(format!(
                "nothing that the client of transaction {transaction} was told has `{because}` in it: [{}]",
                words()
            )),
            _ => Ok(()),
        }
    }

    fn check_order(&self, course: &Course<'_>, points: &[Point]) -> Result<(), String> {
        let mut first = None;
        let mut last = (0, Duration::ZERO);
        for point in points {
            let nth = point.nth.unwrap_or(1) as usize;
            let found = indexed(course, point).into_iter().nth(nth - 1);
            let Some(found) = found else {
                return Err(format!("`{point}` was expected, and did not come"));
            };
            if first.is_some() && found.0 < last.0 {
                return Err(format!(
                    "`{point}` came too early, at {} ms: expected was the order {}",
                    found.1.as_millis(),
                    points
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ));
            }
            first.get_or_insert(found.1);
            last = found;
        }
        let took = u64::try_from((last.1 - first.unwrap_or_default()).as_millis()).unwrap_or(u64::MAX);
        let is_slow = self.within_ms.is_some_and(|limit| took > limit);
        let is_quick = self.not_within_ms.is_some_and(|limit| took < limit);
        match is_slow || is_quick {
            true => Err(format!(
                "it took {took} ms from `{}` to `{}`",
                points[0],
                points[points.len() - 1]
            )),
            false => Ok(()),
        }
    }
}

fn furthest_ahead(course: &Course<'_>, first: &Point, second: &Point) -> usize {
    let firsts = indexed(course, first).into_iter().map(|(at, _)| (at, true));
    let seconds = indexed(course, second).into_iter().map(|(at, _)| (at, false));
    let mut both: Vec<(usize, bool)> = firsts.chain(seconds).collect();
    both.sort_unstable();
    let mut ahead = 0_usize;
    let step = |(_, is_first)| {
        ahead = if is_first {
            ahead + 1
        } else {
            ahead.saturating_sub(1)
        };
        ahead
    };
    both.into_iter().map(step).max().unwrap_or(0)
}

fn all(course: &Course<'_>, point: &Point) -> Vec<Duration> {
    indexed(course, point).into_iter().map(|(_, at)| at).collect()
}

fn indexed(course: &Course<'_>, point: &Point) -> Vec<(usize, Duration)> {
    name_all(course.lines)
        .into_iter()
        .filter(|(_, occurrence)| point.is(occurrence))
        .map(|(index, _)| (index, course.lines[index].0))
        .collect()
}

fn word(told: &Told) -> Word {
    match told {
        Told::Committed(_) => Word::Committed,
        Told::Aborted(..) => Word::Aborted,
        Told::Unknown(_) => Word::Unknown,
        Told::Heuristic(_) => Word::Heuristic,
        Told::Rejected(_) => Word::Rejected,
    }
}

fn node<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Node>, D::Error> {
    let word = String::deserialize(deserializer)?;
    parse_node(&word).map(Some).map_err(serde::de::Error::custom)
}
