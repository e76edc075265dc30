//! A car park over HTTP, as one branch of larger transactions.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use handfast_participant::{Client, Participant, Transaction};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use car_park::http;
use car_park::lot::{Lot, Operation};

/// Book spaces, and take part in transactions.
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
    /// Be the car park
    Serve {
        /// Where the journal is kept
        #[arg(long)]
        data_dir: PathBuf,
        /// Where readers ask
        #[arg(long, default_value = "127.0.0.1:8090")]
        http: SocketAddr,
        /// How many spaces there are
        #[arg(long, default_value_t = 20)]
        spaces: u32,
    },
    /// Book a space, in a transaction of its own
    Book { space: u32, plate: String },
    /// Leave a space, in a transaction of its own
    Leave { space: u32 },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { coordinator, role } = Arguments::parse();
    match role {
        Role::Serve {
            data_dir,
            http,
            spaces,
        } => serve(coordinator, data_dir, http, spaces).await,
        Role::Book { space, plate } => transact(coordinator, Operation::Book { space, plate }).await,
        Role::Leave { space } => transact(coordinator, Operation::Leave { space }).await,
    }
}

/// The journal first: readers are served once it has told what is booked.
async fn serve(coordinator: String, data_dir: PathBuf, http: SocketAddr, spaces: u32) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    handfast_participant::failpoint::check().map_err(anyhow::Error::msg)?;
    let lot = Lot::new(spaces);
    let board = lot.board();
    let participant = Participant::builder("parking", [coordinator])?
        .staged(lot, data_dir)
        .await?;
    let listener = TcpListener::bind(http)
        .await
        .with_context(|| format!("cannot listen on {http}; give another address with --http"))?;
    let readers = tokio::spawn(async move { axum::serve(listener, http::router(board)).await });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = async move {
        tokio::select! { biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let taken_part = participant.run(stopped).await;
    readers.abort();
    Ok(taken_part?)
}

async fn transact(coordinator: String, operation: Operation) -> anyhow::Result<()> {
    let client = Client::connect([coordinator])?;
    let transaction = Transaction::new().operation("parking", operation.encode());
    println!("{:?}", client.execute(transaction).await?);
    Ok(())
}
