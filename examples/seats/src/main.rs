//! The tutorial's participant: a theatre whose seats are sold at most once, as one branch of a larger transaction.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use handfast_participant::{Client, Participant, Transaction};

use seats::theatre::Theatre;

/// Sell seats, and take part in transactions.
#[derive(Parser)]
struct Arguments {
    /// Where the coordinator is
    #[arg(long, default_value = "127.0.0.1:7420")]
    coordinator: String,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Be the theatre
    Serve {
        /// Where the journal is kept
        #[arg(long)]
        data_dir: PathBuf,
        /// How many seats there are
        #[arg(long, default_value_t = 100)]
        seats: u32,
    },
    /// Buy a seat, in a transaction of its own
    Buy { seat: u32, buyer: String },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { coordinator, role } = Arguments::parse();
    match role {
        Role::Serve { data_dir, seats } => {
            tracing_subscriber::fmt().init();
            let theatre = Theatre::new(seats);
            let participant = Participant::builder("seats", [coordinator])?
                .staged(theatre, data_dir)
                .await?;
            participant
                .run(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
                .await?;
        }
        Role::Buy { seat, buyer } => {
            let client = Client::connect([coordinator])?;
            let transaction = Transaction::new().operation("seats", format!("{seat} {buyer}"));
            println!("{:?}", client.execute(transaction).await?);
        }
    }
    Ok(())
}
