//! A real coordinator in this process.

use std::net::SocketAddr;
use std::time::Duration;

use handfast_coordinator::config::Settings;
use handfast_coordinator::index::SledIndex;
use handfast_coordinator::runtime::Listener;
use handfast_coordinator::{driver, service};
use handfast_participant::proto::status::Reason;
use handfast_participant::{Client, Outcome, Transaction, Wait};
use handfast_wal::RealDisk;
use tokio::task::JoinHandle;

use super::PATIENCE;
use super::patient_disk::PatientDisk;

/// A coordinator; gone when dropped, as if it had been killed.
pub struct Coordinator {
    pub address: String,
    serving: JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl Coordinator {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.server.scan_period_ms = 200;
        let disk = PatientDisk(RealDisk::create(data.path().join("log")).unwrap());
        driver::create_log(disk.clone(), &settings).await.unwrap();
        let index = data.path().join("index");
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let open_index = move |log, last| SledIndex::open(&index, log, last, 1000);
            service::run(disk, open_index, &settings, listener, || {})
                .await
                .expect("the coordinator serves");
        });
        Coordinator {
            address,
            serving,
            _data: data,
        }
    }

    /// Runs a transaction once. The reason says why nothing was executed at all, such as a resource that is not there; it is
    /// waited for that as long as the transaction's time allows.
    pub async fn execute(&self, transaction: Transaction) -> Result<Outcome, Reason> {
        let client = Client::connect([self.address.clone()]).unwrap();
        client
            .execute(transaction)
            .await
            .map_err(|error| error.reason().expect("the coordinator is there"))
    }

    /// The same for one that is expected to come to nothing.
    pub async fn in_vain(&self, transaction: Transaction) -> Result<Outcome, Reason> {
        self.execute(transaction.timeout(Duration::from_secs(1))).await
    }

    /// Runs it anew until something comes of it, once its resources are there.
    pub async fn outcome(&self, transaction: Transaction) -> Outcome {
        let (mut outcome, transaction) = (None, transaction.timeout(PATIENCE));
        super::until("an outcome", async || {
            outcome = self.execute(transaction.clone()).await.ok();
            outcome.is_some()
        })
        .await;
        outcome.unwrap()
    }

    /// Runs it anew until it commits and is applied.
    pub async fn commit(&self, transaction: Transaction) {
        let transaction = transaction.wait(Wait::Applied);
        super::until("a commit", async || {
            matches!(self.outcome(transaction.clone()).await, Outcome::Committed { .. })
        })
        .await;
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
