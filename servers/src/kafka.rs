//! A single-node Apache Kafka broker (KRaft: broker and controller in one process), from the jars that `servers/fetch-kafka`
//! brings.

mod reading;
mod view;
mod writing;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{ApiVersionsRequest, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustix::process::Signal;

pub use reading::{Committed, ReadRecord};
pub use view::KafkaView;
pub use writing::NewRecord;

use crate::{ServerProcess, free_port, wait_until};

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often another pair of ports is tried, because somebody else took one meanwhile.
const MAX_STARTS: u32 = 5;

const LOGGING: &str = "rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\nappender.out.type=Console\n\
                       appender.out.name=out\nappender.out.layout.type=PatternLayout\n\
                       appender.out.layout.pattern=%d %p %c{1} %m%n\n";

/// A running broker, or one that was killed and can be started again.
pub struct KafkaBroker {
    jars: PathBuf,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    features: Vec<String>,
    view: KafkaView,
    process: Option<ServerProcess>,
}

/// A broker can do whatever can be done to it from outside.
impl Deref for KafkaBroker {
    type Target = KafkaView;

    fn deref(&self) -> &KafkaView {
        &self.view
    }
}

impl KafkaBroker {
    /// Starts a broker on new data. `settings` are lines of `server.properties` beside those of a single node, and go before
    /// them.
    ///
    /// # Errors
    /// The jars or Java are missing, and what to do; or the broker does not start, with its log.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        Self::start_with_features(settings, &[])
    }

    /// As [`KafkaBroker::start`], with levels of features such as `transaction.version=1` instead of the newest ones.
    pub fn start_with_features(settings: &[&str], features: &[&str]) -> anyhow::Result<Self> {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let mut broker = KafkaBroker {
            jars: find_jars()?,
            folder: tempfile::tempdir()?,
            settings: owned(settings),
            features: owned(features),
            view: KafkaView::at(0),
            process: None,
        };
        std::fs::write(broker.path("log4j2.properties"), LOGGING)?;
        for _ in 0..MAX_STARTS {
            broker.view = KafkaView::at(free_port()?);
            broker.format()?;
            if broker.try_start()? {
                return Ok(broker);
            }
        }
        bail!("Kafka does not start:\n{}", broker.log())
    }

    /// Starts a killed or stopped broker again, upon the same data and port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the broker runs already");
        ensure!(self.try_start()?, "Kafka does not start again:\n{}", self.log());
        Ok(())
    }

    /// Starts another cluster, which holds nothing, where a killed or stopped broker was.
    pub fn restart_as_another_cluster(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the broker runs still");
        self.format()?;
        self.restart()
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the broker does not run")?.kill()
    }

    /// Fails if it has ended by itself: it must not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().map_or(Ok(()), ServerProcess::check)
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// What can be done to it from outside, also while somebody else kills it.
    pub fn view(&self) -> KafkaView {
        self.view
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(ServerProcess::id)
    }

    /// What it said since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Where it keeps its data, a folder for each partition. For whoever damages them while it does not run.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Makes a topic. One that exists is an error.
    pub fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        self.create_topic_with(name, partitions, &[])
    }

    /// Makes a topic with settings of its own.
    pub fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let settings = settings.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(settings.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(20_000);
        let answer = self.ask(5, &request)?;
        for topic in answer.topics {
            ensure!(
                topic.error_code == 0,
                "topic {name} is not made: error {} {}",
                topic.error_code,
                topic.error_message.as_deref().unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Makes a new cluster's data and settings at our port.
    fn format(&self) -> anyhow::Result<()> {
        let (port, controller) = (self.port(), free_port()?);
        let data = self.data();
        let mut lines = self.settings.clone();
        lines.push(format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=BROKER://127.0.0.1:{port}\n\
             listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=BROKER\ncontroller.listener.names=CONTROLLER\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=2\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=2\ngroup.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n",
            data.display()
        ));
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        std::fs::write(self.path("server.properties"), lines.join("\n"))?;
        let made = self
            .java("kafka.tools.StorageTool")
            .arg("random-uuid")
            .output()
            .context(NO_JAVA)?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let cluster = String::from_utf8(made.stdout)?;
        let formatted = self
            .java("kafka.tools.StorageTool")
            .args(["format", "-t", cluster.trim(), "-c"])
            .arg(self.path("server.properties"))
            .args(
                self.features
                    .iter()
                    .flat_map(|feature| ["--feature", feature.as_str()]),
            )
            .output()?;
        ensure!(
            formatted.status.success(),
            "{}",
            String::from_utf8_lossy(&formatted.stderr)
        );
        Ok(())
    }

    /// Starts it and waits until it answers; `false` if it ended by itself.
    fn try_start(&mut self) -> anyhow::Result<bool> {
        let log = std::fs::File::create(self.path("log"))?;
        let mut command = self.java("kafka.Kafka");
        command
            .arg(self.path("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut process = ServerProcess::spawn(&mut command, Signal::TERM).context(NO_JAVA)?;
        let mut has_ended = false;
        let waited = wait_until("Kafka to answer", START_LIMIT, || {
            has_ended = process.has_ended()?;
            Ok(has_ended || self.ask(0, &ApiVersionsRequest::default()).is_ok())
        });
        waited.with_context(|| self.log())?;
        if !has_ended {
            self.process = Some(process);
        }
        Ok(!has_ended)
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                self.path("log4j2.properties").display()
            ))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class)
            .current_dir(self.folder.path());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const NO_JAVA: &str =
    "a Kafka broker needs Java 17 or later; on Debian: apt-get install default-jre-headless";

/// The newest broker that was fetched.
fn find_jars() -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os("HANDFAST_KAFKA") {
        Some(folder) => PathBuf::from(folder),
        None => {
            Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache/handfast-kafka")
        }
    };
    let fetched = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let is_broker = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        path.is_dir() && name.starts_with(|first: char| first.is_ascii_digit())
    };
    fetched
        .map(|entry| entry.path())
        .filter(is_broker)
        .max()
        .with_context(|| {
            format!(
                "no Kafka broker in {}; run servers/fetch-kafka once, which brings its jars from Maven Central",
                folder.display()
            )
        })
}
