//! `handfast tx`

use clap::{Args, Subcommand};
use handfast_proto::v1;
use handfast_proto::v1::get_request::Of;
use serde_json::json;

use super::connect::{Connect, call_failed};
use super::output::{
    Output, branch_state, duration, outcome, print, print_json, print_table, state, transaction_json,
};
use crate::error::Error;

/// Look at transactions.
#[derive(Debug, Subcommand)]
pub enum Tx {
    List(List),
    Show(Show),
    InDoubt(InDoubt),
}

/// List live and recently finished transactions, oldest first.
#[derive(Debug, Args)]
pub struct List {
    /// Leave out what has ended
    #[arg(long)]
    live: bool,
    /// At most as many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    connect: Connect,
}

/// Show one transaction, by its id or by its idempotency key.
#[derive(Debug, Args)]
pub struct Show {
    /// The transaction's id
    #[arg(required_unless_present = "key", conflicts_with = "key")]
    id: Option<String>,
    /// The idempotency key that it was executed under
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Show what is stuck, on whom, and what to do about it.
#[derive(Debug, Args)]
pub struct InDoubt {
    /// At most about as many lines
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    connect: Connect,
}

/// As many as are asked for at a time.
const PAGE: usize = 1000;

impl Tx {
    pub async fn run(self) -> Result<(), Error> {
        match self {
            Tx::List(list) => list.run().await,
            Tx::Show(show) => show.run().await,
            Tx::InDoubt(in_doubt) => in_doubt.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Error> {
        let mut client = self.connect.transactions().await?;
        let mut transactions = Vec::new();
        let mut page_token = String::new();
        while transactions.len() < self.limit {
            let request = v1::ListRequest {
                page_size: page_size(self.limit - transactions.len()),
                page_token,
                live_only: self.live,
            };
            let page = client.list(request).await.map_err(call_failed)?.into_inner();
            transactions.extend(page.transactions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if self.connect.output == Output::Json {
            return print_json(&transactions.iter().map(transaction_json).collect());
        }
        let rows = transactions.iter().map(|transaction| {
            let resources: Vec<_> = transaction
                .branches
                .iter()
                .map(|branch| branch.resource.as_str())
                .collect();
            vec![
                transaction.transaction_id.clone(),
                state(transaction),
                outcome(transaction),
                duration(transaction.age_ms),
                transaction.key.clone(),
                resources.join(" "),
            ]
        });
        let header = ["TRANSACTION", "STATE", "OUTCOME", "AGE", "KEY", "RESOURCES"];
        print_table(&header, rows.collect(), "No transactions.")
    }
}

impl Show {
    async fn run(self) -> Result<(), Error> {
        let mut client = self.connect.transactions().await?;
        let of = match self.key {
            Some(key) => Of::Key(key),
            None => Of::TransactionId(self.id.unwrap_or_default()),
        };
        let request = v1::GetRequest { of: Some(of) };
        let response = client.get(request).await.map_err(call_failed)?.into_inner();
        let transaction = response.transaction.unwrap_or_default();
        if self.connect.output == Output::Json {
            return print_json(&transaction_json(&transaction));
        }
        print_one(&transaction)
    }
}

fn print_one(transaction: &v1::Transaction) -> Result<(), Error> {
    let mut lines = vec![
        format!("transaction  {}", transaction.transaction_id),
        format!("state        {}", state(transaction)),
    ];
    let fields = [
        ("outcome", outcome(transaction)),
        ("reason", transaction.reason.clone()),
        ("message", transaction.message.clone()),
        ("key", transaction.key.clone()),
        ("age", duration(transaction.age_ms)),
    ];
    let told = fields.into_iter().filter(|(_, value)| !value.is_empty());
    lines.extend(told.map(|(name, value)| format!("{name:<12} {value}")));
    for evidence in &transaction.evidence {
        lines.push(format!(
            "evidence     branch {} at {}: {}: {}",
            evidence.branch, evidence.resource, evidence.kind, evidence.message
        ));
    }
    print(&lines.join("\n"))?;
    if transaction.branches.is_empty() {
        return Ok(());
    }
    let rows = transaction.branches.iter().map(|branch| {
        let presence = if branch.connected {
            "connected"
        } else {
            "no session"
        };
        vec![
            branch.branch.to_string(),
            branch.resource.clone(),
            branch_state(branch),
            presence.to_owned(),
        ]
    });
    print("")?;
    print_table(&["BRANCH", "RESOURCE", "STATE", "PRESENCE"], rows.collect(), "")
}

impl InDoubt {
    async fn run(self) -> Result<(), Error> {
        let mut client = self.connect.admin().await?;
        let mut lines = Vec::new();
        let mut page_token = String::new();
        while lines.len() < self.limit {
            let request = v1::ListInDoubtRequest {
                page_size: page_size(self.limit - lines.len()),
                page_token,
            };
            let page = client
                .list_in_doubt(self.connect.operator.request(request)?)
                .await
                .map_err(call_failed)?
                .into_inner();
            lines.extend(page.transactions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if self.connect.output == Output::Json {
            let lines = lines.iter().map(|line| {
                json!({
                    "transaction_id": line.transaction_id,
                    "state": line.state.to_ascii_lowercase(),
                    "resource": line.resource,
                    "branch": line.branch,
                    "age_ms": line.age_ms,
                    "message": line.message,
                })
            });
            return print_json(&lines.collect());
        }
        let rows = lines.iter().map(|line| {
            vec![
                line.transaction_id.clone(),
                line.branch.to_string(),
                line.resource.clone(),
                line.state.to_ascii_lowercase(),
                duration(line.age_ms),
                line.message.clone(),
            ]
        });
        let header = ["TRANSACTION", "BRANCH", "RESOURCE", "STATE", "AGE", "WHAT TO DO"];
        print_table(&header, rows.collect(), "Nothing is in doubt.")
    }
}

fn page_size(wanted: usize) -> u32 {
    u32::try_from(wanted.min(PAGE)).unwrap_or(1)
}
