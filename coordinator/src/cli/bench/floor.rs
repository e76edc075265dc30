//! `handfast bench floor`: what the disk and the transport of this machine can do without any of our code.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use handfast_proto::v1;
use handfast_proto::v1::transactions_client::TransactionsClient;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::children::Child;
use super::deployment::Directory;
use super::{failed, flags, machine, unusable};
use crate::cli::output::{Output, print, print_json, print_table};
use crate::error::Error;

/// What one sync makes durable.
const BLOCK_BYTES: usize = 4096;
/// Blocks of the file that is written over and over; it is made of zeros before.
const BLOCKS: u64 = 1024;
/// How long the disk is measured beside other measurements.
pub const DISK_SECONDS: f64 = 0.5;
/// Bytes of the operations in a bare call: two branches of 128 bytes.
const PAYLOAD: [u8; 128] = [0x5A; 128];
/// Messages under way on a stream.
const MESSAGES: usize = 4;

/// Measure what the disk and the transport of this machine can do by themselves.
///
/// Writes of 4 KiB each followed by fdatasync, one after the other on a preallocated file; calls of a bare tonic server in
/// a process of its own; and the same calls over one stream with it, many in a message.
#[derive(Debug, Args)]
pub struct Floor {
    /// Callers that each make one call at a time, and calls under way on the stream
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// Connections that the callers share
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Seconds for each of the three
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    duration: f64,
    /// Where the disk is measured; must be empty or not exist [default: a temporary directory below the current one]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Floor {
    pub async fn run(self) -> Result<(), Error> {
        flags::seconds("--duration", self.duration, 0.1)?;
        if !(1..=100_000).contains(&self.callers) || !(1..=1000).contains(&self.connections) {
            return Err(unusable("give 1 to 100000 --callers and 1 to 1000 --connections"));
        }
        let directory = Directory::make(self.data_dir.as_deref())?;
        let duration = Duration::from_secs_f64(self.duration);
        let machine = machine::describe();
        let disk = disk(directory.path(), duration).await?;
        let transport = transport(directory.path(), self.callers, self.connections, duration).await?;
        if self.output == Output::Json {
            return print_json(&json!({
                "benchmark": "floor",
                "machine": machine,
                "disk": disk,
                "transport": transport,
            }));
        }
        print_table(
            &["WHAT", "A SECOND", "P50", "P99"],
            rows(Some(&disk), Some(&transport)),
            "Nothing was measured.",
        )?;
        print(&format!(
            "\n{} callers over {} connections",
            self.callers, self.connections
        ))
    }
}

/// The lines of a table, for these and other commands.
pub fn rows(disk: Option<&Value>, transport: Option<&Value>) -> Vec<Vec<String>> {
    let whole = |value: &Value| format!("{:.0}", value.as_f64().unwrap_or_default());
    let micros = |value: &Value| format!("{} µs", value.as_f64().unwrap_or_default());
    let mut rows = Vec::new();
    if let Some(disk) = disk {
        rows.push(vec![
            "write of 4 KiB and fdatasync".to_owned(),
            whole(&disk["syncs_per_second"]),
            micros(&disk["sync_us"]["p50"]),
            micros(&disk["sync_us"]["p99"]),
        ]);
    }
    if let Some(transport) = transport {
        let unary = &transport["unary"];
        rows.push(vec![
            "bare unary call".to_owned(),
            whole(&unary["calls_per_second"]),
            micros(&unary["call_us"]["p50"]),
            micros(&unary["call_us"]["p99"]),
        ]);
        let stream = &transport["stream"];
        rows.push(vec![
            "call over one batched stream".to_owned(),
            whole(&stream["calls_per_second"]),
            String::new(),
            String::new(),
        ]);
    }
    rows
}

/// Writes of 4 KiB, each followed by fdatasync, on a file whose blocks are there already.
pub async fn disk(directory: &Path, duration: Duration) -> Result<Value, Error> {
    let path = directory.join("floor");
    let measured = tokio::task::spawn_blocking(move || measure_disk(&path, duration)).await;
    measured
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(format!("the disk cannot be measured: {error}")))
}

fn measure_disk(path: &Path, duration: Duration) -> std::io::Result<Value> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; BLOCK_BYTES * BLOCKS as usize], 0)?;
    file.sync_all()?;
    let mut latencies = Histogram::<u64>::new(3).map_err(std::io::Error::other)?;
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < duration {
        let sync_begun = Instant::now();
        file.write_all_at(&[number as u8; BLOCK_BYTES], number % BLOCKS * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        // It resizes itself.
        let _ = latencies.record(
            u64::try_from(sync_begun.elapsed().as_micros())
                .unwrap_or(u64::MAX)
                .max(1),
        );
        number += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(json!({
        "syncs_per_second": number as f64 / seconds,
        "sync_us": super::report::percentiles(&latencies),
    }))
}

/// Bare calls and a bare stream, at a server of its own.
pub async fn transport(
    directory: &Path,
    callers: usize,
    connections: usize,
    duration: Duration,
) -> Result<Value, Error> {
    let arguments = ["bench", "echo"].map(str::to_owned);
    let mut child = Child::start("echo", &arguments, directory)?;
    let address = child.ready(directory).await?;
    let mut channels = Vec::new();
    for _ in 0..connections.min(callers) {
        channels.push(connect(&address).await?);
    }
    let unary = unary(&channels, callers, duration).await?;
    let stream = stream(channels[0].clone(), callers, duration).await?;
    child.stop().await;
    Ok(json!({ "callers": callers, "connections": channels.len(), "unary": unary, "stream": stream }))
}

async fn connect(address: &str) -> Result<Channel, Error> {
    let unreachable =
        |error: tonic::transport::Error| failed(format!("no bare server at {address}: {error}"));
    Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(unreachable)
}

async fn unary(channels: &[Channel], callers: usize, duration: Duration) -> Result<Value, Error> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let mut client = TransactionsClient::new(channels[caller % channels.len()].clone());
        let request = request();
        running.spawn(async move {
            let mut latencies = Vec::new();
            while begun.elapsed() < duration {
                let call_begun = Instant::now();
                client.execute(request.clone()).await?;
                latencies.push(u32::try_from(call_begun.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, tonic::Status>(latencies)
        });
    }
    let mut latencies = Histogram::<u64>::new(3).map_err(|error| failed(error.to_string()))?;
    while let Some(ended) = running.join_next().await {
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        for micros in ended.map_err(|status| failed(format!("a bare call failed: {status}")))? {
            // It resizes itself.
            let _ = latencies.record(u64::from(micros).max(1));
        }
    }
    Ok(json!({
        "calls_per_second": latencies.len() as f64 / begun.elapsed().as_secs_f64(),
        "call_us": super::report::percentiles(&latencies),
    }))
}

/// Every call that is answered is made again, with whatever else was in its message. Nobody waits for a single one.
async fn stream(channel: Channel, callers: usize, duration: Duration) -> Result<Value, Error> {
    let broken = |status: tonic::Status| failed(format!("the bare stream failed: {status}"));
    let (sender, messages) = mpsc::channel(MESSAGES + 1);
    for message in 0..MESSAGES {
        let numbers = callers * message / MESSAGES..callers * (message + 1) / MESSAGES;
        if !numbers.is_empty() {
            // There is room for all of them.
            let _ = sender.try_send(message_of(numbers.map(|number| number as u64)));
        }
    }
    let mut client = TransactionsClient::new(channel);
    let mut answers = client
        .execute_stream(ReceiverStream::new(messages))
        .await
        .map_err(broken)?
        .into_inner();
    let begun = Instant::now();
    let (mut answered, mut messages) = (0, 0);
    while begun.elapsed() < duration {
        let Some(message) = answers.message().await.map_err(broken)? else {
            return Err(failed("the bare stream has ended"));
        };
        answered += message.answers.len();
        messages += 1;
        let numbers = message.answers.iter().map(|answer| answer.number);
        if sender.send(message_of(numbers)).await.is_err() {
            return Err(failed("the bare stream has ended"));
        }
    }
    Ok(json!({
        "calls_per_second": answered as f64 / begun.elapsed().as_secs_f64(),
        "calls_per_message": answered as f64 / f64::from(messages),
    }))
}

fn message_of(numbers: impl Iterator<Item = u64>) -> v1::ExecuteStreamRequest {
    let numbered = |number| v1::NumberedRequest {
        number,
        request: Some(request()),
    };
    v1::ExecuteStreamRequest {
        requests: numbers.map(numbered).collect(),
    }
}

/// Of a transaction of two branches.
fn request() -> v1::ExecuteRequest {
    let operation = |resource: &str| v1::Operation {
        resource: resource.to_owned(),
        operation: Bytes::from_static(&PAYLOAD),
    };
    v1::ExecuteRequest {
        operations: vec![operation("bench-0"), operation("bench-1")],
        ..v1::ExecuteRequest::default()
    }
}
