//! Serves all resources of a file, each by itself: what stops one is told, and that one is tried again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::{AgentFile, Entry};
use crate::kinds::Seat;
use crate::report::Reporting;

/// The first wait before a resource that has stopped is tried again; doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long the goodbyes may take. A kill is safe at any time, so nothing is lost by leaving.
const GOODBYE_LIMIT: Duration = Duration::from_secs(10);

/// Serves until `stopped` completes.
pub async fn run(file: AgentFile, stopped: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(false);
    let mut resources = JoinSet::new();
    for entry in file.entries {
        resources.spawn(tend(Arc::new(entry), file.reporting, stopping.clone()));
    }
    stopped.await;
    stop.send_replace(true);
    let all = async { while resources.join_next().await.is_some() {} };
    if timeout(GOODBYE_LIMIT, all).await.is_err() {
        tracing::warn!("not every resource said goodbye within {GOODBYE_LIMIT:?}; leaving all the same");
    }
}

/// Lets one resource take part, again and again until the agent stops.
async fn tend(entry: Arc<Entry>, reporting: Reporting, stopping: watch::Receiver<bool>) {
    let mut wait = FIRST_WAIT;
    while !*stopping.borrow() {
        let began = now();
        let seat = Seat {
            name: entry.name.clone(),
            coordinators: entry.coordinators.clone(),
            stopped: stopped(stopping.clone()),
            reporting,
        };
        let error = match entry.kind() {
            // A task of its own, so that a panic in one resource is an error of that resource.
            Ok(kind) => match tokio::spawn(kind.run(seat)).await {
                Ok(Ok(())) if *stopping.borrow() => return,
                Ok(Ok(())) => "it ended by itself".to_owned(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => format!("a bug: {panic}"),
            },
            Err(error) => format!("{error:#}"),
        };
        if began.elapsed() > LONGEST_WAIT {
            wait = FIRST_WAIT;
        }
        tracing::error!(
            resource = entry.name,
            kind = entry.kind,
            %error,
            again_s = wait.as_secs(),
            "DOWN: this resource cannot take part until somebody mends it; the others go on"
        );
        tokio::select! { biased;
            () = stopped(stopping.clone()) => return,
            () = sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Completes when the agent is asked to stop, or is gone.
fn stopped(mut stopping: watch::Receiver<bool>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the agent serves real systems in real time"
)]
fn now() -> Instant {
    Instant::now()
}
