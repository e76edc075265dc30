//! `handfast status`

use clap::Args;
use handfast_proto::v1;
use serde_json::json;

use super::connect::{Connect, call_failed};
use super::output::{Output, duration, print, print_json, print_table};
use crate::error::Error;

/// Show how a running coordinator is.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    connect: Connect,
}

impl Status {
    pub async fn run(self) -> Result<(), Error> {
        let mut client = self.connect.admin().await?;
        let status = client
            .status(self.connect.operator.request(v1::StatusRequest {})?)
            .await
            .map_err(call_failed)?
            .into_inner();
        match self.connect.output {
            Output::Json => print_json(&as_json(&status)),
            Output::Table => print_text(&status),
        }
    }
}

fn print_text(status: &v1::StatusResponse) -> Result<(), Error> {
    let log = status.log.unwrap_or_default();
    let table = status.table.unwrap_or_default();
    let state = if status.draining { "draining" } else { "serving" };
    print(&format!(
        "handfast {}, {state} for {}\nlog {}, epoch {}",
        status.version,
        duration(status.uptime_ms),
        status.log_id,
        status.epoch
    ))?;
    print(&format!(
        "     durable to {} of {}; {} records, {} bytes, {} syncs{}",
        log.durable_lsn,
        log.accepted_lsn,
        log.records,
        log.bytes,
        log.syncs,
        if log.space_low {
            "; THE DISK IS NEARLY FULL"
        } else {
            ""
        }
    ))?;
    print(&format!(
        "live {} of {}: {} active, {} preparing, {} committing, {} aborting, {} heuristic",
        table.live,
        table.capacity,
        table.active,
        table.preparing,
        table.committing,
        table.aborting,
        table.heuristic
    ))?;
    print(&format!(
        "keys {} of {}; since the start {} committed, {} aborted\n",
        table.keys, table.keys_capacity, table.committed_total, table.aborted_total
    ))?;
    let rows = status.resources.iter().map(|resource| {
        vec![
            resource.resource.clone(),
            resource.sessions.to_string(),
            resource.unfinished_branches.to_string(),
            overdue(resource),
            resource.store_id.clone(),
            resource.generation.to_string(),
        ]
    });
    let header = [
        "RESOURCE",
        "SESSIONS",
        "UNFINISHED",
        "OVERDUE",
        "STORE",
        "GENERATION",
    ];
    print_table(&header, rows.collect(), "No participant has dialed in yet.")
}

/// How many transactions it owes for too long, and the one that is owed for longest.
fn overdue(resource: &v1::ResourceStatus) -> String {
    match resource.overdue_transactions {
        0 => "0".to_owned(),
        count => format!(
            "{count}, {} for {}",
            resource.oldest_overdue_transaction_id,
            duration(resource.oldest_overdue_ms)
        ),
    }
}

fn as_json(status: &v1::StatusResponse) -> serde_json::Value {
    let log = status.log.unwrap_or_default();
    let table = status.table.unwrap_or_default();
    let resources = status.resources.iter().map(|resource| {
        json!({
            "resource": resource.resource,
            "store_id": resource.store_id,
            "generation": resource.generation,
            "sessions": resource.sessions,
            "unfinished_branches": resource.unfinished_branches,
            "overdue_transactions": resource.overdue_transactions,
            "oldest_overdue_transaction_id": (!resource.oldest_overdue_transaction_id.is_empty())
                .then_some(&resource.oldest_overdue_transaction_id),
            "oldest_overdue_ms": resource.oldest_overdue_ms,
        })
    });
    json!({
        "version": status.version,
        "log_id": status.log_id,
        "epoch": status.epoch,
        "uptime_ms": status.uptime_ms,
        "draining": status.draining,
        "log": {
            "durable_lsn": log.durable_lsn,
            "accepted_lsn": log.accepted_lsn,
            "syncs": log.syncs,
            "records": log.records,
            "bytes": log.bytes,
            "space_low": log.space_low,
        },
        "table": {
            "live": table.live,
            "capacity": table.capacity,
            "active": table.active,
            "preparing": table.preparing,
            "committing": table.committing,
            "aborting": table.aborting,
            "heuristic": table.heuristic,
            "keys": table.keys,
            "keys_capacity": table.keys_capacity,
            "committed_total": table.committed_total,
            "aborted_total": table.aborted_total,
        },
        "resources": resources.collect::<Vec<_>>(),
    })
}
