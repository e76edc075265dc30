//! Tries one case after the other.

use std::time::Duration;

use tokio::time::Instant;

use crate::cases::{Case, GROUPS, Group};
use crate::fault::{Checked, Fault};
use crate::options::Options;
use crate::report::{CaseReport, Report, Verdict};
use crate::trial::Trial;

/// What cannot be tried at all. The message says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The options make no sense.
    #[error("{0}")]
    Usage(String),
    /// The kit or the machine failed, which says nothing about the participant.
    #[error("{0}")]
    Failed(String),
}

/// Tries every case that the options select, and tells each as soon as it is known.
///
/// # Errors
/// Nothing, or not everything, could be tried. A participant that is wrong is no error; the report says it.
pub async fn run(options: &Options, mut tell: impl FnMut(&CaseReport)) -> Result<Report, ConformanceError> {
    let selected = select(&options.only)?;
    if let Err(error) = handfast_ids::ResourceName::new(&options.resource) {
        return Err(ConformanceError::Usage(error.to_string()));
    }
    let mut report = Report {
        resource: options.resource.clone(),
        exec: options.exec.clone(),
        cases: Vec::new(),
    };
    let mut trial = Trial::open(options).await.map_err(failed)?;
    let mut never_came = false;
    for (group, case) in selected {
        let started = Instant::now();
        let (verdict, words) = if never_came {
            (
                Verdict::NotChecked,
                "the participant has never dialed in".to_owned(),
            )
        } else {
            verdict(try_case(&mut trial, case).await)?
        };
        // Without a first session nothing else can be tried, and each try would wait for it in vain.
        never_came |= report.cases.is_empty() && verdict == Verdict::Wrong && !trial.has_met();
        let told = CaseReport::new(
            group.name,
            case,
            verdict,
            words,
            started.elapsed().max(Duration::ZERO),
        );
        tell(&told);
        report.cases.push(told);
    }
    Ok(report)
}

async fn try_case(trial: &mut Trial<'_>, case: &Case) -> Checked {
    trial.begin().await?;
    let came_to = (case.run)(trial).await;
    trial.end(came_to).await
}

fn verdict(came_to: Checked) -> Result<(Verdict, String), ConformanceError> {
    match came_to {
        Ok(()) => Ok((Verdict::Right, String::new())),
        Err(Fault::Wrong(words)) => Ok((Verdict::Wrong, words)),
        Err(Fault::NotChecked(words)) => Ok((Verdict::NotChecked, words)),
        Err(Fault::PartlyChecked(words)) => Ok((Verdict::Partly, words)),
        Err(Fault::Kit(words)) => Err(ConformanceError::Failed(words)),
    }
}

fn failed(fault: Fault) -> ConformanceError {
    let (Fault::Wrong(words) | Fault::NotChecked(words) | Fault::PartlyChecked(words) | Fault::Kit(words)) =
        fault;
    ConformanceError::Failed(words)
}

/// The cases of these names, or of the groups of these names; all if there are none.
fn select(only: &[String]) -> Result<Vec<(&'static Group, &'static Case)>, ConformanceError> {
    let all = || {
        GROUPS
            .iter()
            .flat_map(|group| group.cases.iter().map(move |case| (group, case)))
    };
    let is_named = |name: &str, group: &Group, case: &Case| name == group.name || name == case.name;
    for name in only {
        if !all().any(|(group, case)| is_named(name, group, case)) {
            let groups: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            return Err(ConformanceError::Usage(format!(
                "there is no case and no group {name:?}; groups are {}",
                groups.join(", ")
            )));
        }
    }
    let is_selected = |group: &Group, case: &Case| only.iter().any(|name| is_named(name, group, case));
    Ok(all()
        .filter(|(group, case)| only.is_empty() || is_selected(group, case))
        .collect())
}
