//! The car park as a process, killed at every named point of a branch; judged by what it answers over HTTP.
#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use car_park::lot::Operation;
use handfast_coordinator::config::Settings;
use handfast_coordinator::index::SledIndex;
use handfast_coordinator::runtime::Listener;
use handfast_coordinator::{driver, service};
use handfast_participant::{Client, Outcome, Transaction, failpoint};
use handfast_wal::RealDisk;

const PATIENCE: Duration = Duration::from_secs(60);
const SPACE: u32 = 3;
const NEXT_SPACE: u32 = 4;
/// The points that a transaction of one branch passes, which is left to the car park.
const ONE_PHASE: [&str; 3] = ["after_prepare_received", "after_reserve", "after_commit_append"];

/// A running car park; killed when dropped.
struct Parking {
    child: Child,
    http: SocketAddr,
}

impl Parking {
    fn start(data: &Path, coordinator: &str, http: SocketAddr, point: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_car-park"));
        command
            .args(["--coordinator", coordinator, "serve", "--data-dir"])
            .arg(data)
            .args(["--http", &http.to_string()])
            .env_remove(failpoint::VARIABLE)
            .stderr(Stdio::null());
        if let Some(point) = point {
            command.env(failpoint::VARIABLE, point);
        }
        let child = command.spawn().unwrap();
        Parking { child, http }
    }

    /// What it answers; `None` while it does not.
    fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: parking\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

/// A real coordinator in this process.
async fn coordinator(data: &Path) -> String {
    let mut settings = Settings::default();
    settings.server.scan_period_ms = 200;
    let disk = RealDisk::create(data.join("log")).unwrap();
    driver::create_log(disk.clone(), &settings).await.unwrap();
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let index = data.join("index");
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let open_index = move |log, last| SledIndex::open(&index, log, last, 1000);
        let ready = || ready.send(()).unwrap();
        service::run(disk, open_index, &settings, listener, ready)
            .await
            .unwrap();
    });
    is_ready.await.unwrap();
    address
}

/// Runs a transaction anew until something comes of it, once the car park is there.
async fn outcome(address: String, operations: Vec<Operation>) -> Outcome {
    let client = Client::connect([address]).unwrap();
    let transaction = operations
        .iter()
        .fold(Transaction::new(), |transaction, operation| {
            transaction.operation("parking", operation.encode())
        })
        .timeout(PATIENCE);
    let tried = async {
        loop {
            match client.execute(transaction.clone()).await {
                Ok(outcome) => return outcome,
                // Nothing was executed: it has not dialed in yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, tried).await.expect("an outcome")
}

#[tokio::test]
async fn killed_at_any_step_a_space_is_booked_if_and_only_if_it_was_committed() {
    let data = tempfile::tempdir().unwrap();
    let address = coordinator(data.path()).await;
    let http = SocketAddr::from(([127, 0, 0, 1], handfast_servers::free_port().unwrap()));
    let lot = data.path().join("parking");
    let path = format!("/spaces/{SPACE}");
    let free = format!("{{\"plate\":null,\"space\":{SPACE}}}");
    let two_phases = failpoint::NAMES
        .into_iter()
        .filter(|point| !point.contains("abort"))
        .map(|point| (point, vec![SPACE, NEXT_SPACE]));
    let one_phase = ONE_PHASE.into_iter().map(|point| (point, vec![SPACE]));
    for (point, spaces) in two_phases.chain(one_phase) {
        let booked = format!("{{\"plate\":\"{point}\",\"space\":{SPACE}}}");
        let book = spaces.iter().map(|space| Operation::Book {
            space: *space,
            plate: point.to_owned(),
        });
        let mut parking = Parking::start(&lot, &address, http, Some(point));
        let told = tokio::spawn(outcome(address.clone(), book.collect()));
        until(&format!("its death at {point}"), || parking.has_ended()).await;
        drop(parking);

        // What was left to the car park is known once it is back.
        let parking = Parking::start(&lot, &address, http, None);
        let told = told.await.unwrap();
        let expected = match &told {
            Outcome::Committed { .. } => &booked,
            Outcome::Aborted { .. } => &free,
            other => panic!("{point}: {other:?}"),
        };
        until(&format!("{expected} after {point}"), || {
            parking.ask(&path).as_ref() == Some(expected)
        })
        .await;
        if matches!(told, Outcome::Committed { .. }) {
            let leave = spaces.iter().map(|space| Operation::Leave { space: *space });
            let left = outcome(address.clone(), leave.collect()).await;
            assert!(matches!(left, Outcome::Committed { .. }), "{point}: {left:?}");
            until("an empty car park", || {
                parking.ask("/spaces").as_deref() == Some("{}")
            })
            .await;
        }
    }
}
