//! A Kafka broker: records of a topic, as a consumer with `read_committed` sees them.
//!
//! A process that is killed amid a prepare leaves a transaction open that nobody promised, and which holds readers back until
//! another instance takes it away. Effects are read while no process runs, so that other instance is here.

use std::time::Duration;

use handfast_conformance::{Effects, Operations, Options, Template};
use handfast_participant::Resource;
use handfast_participant::resources::kafka::{KafkaOptions, KafkaResource};
use handfast_servers::{KafkaBroker, KafkaView};

use crate::agent_file::AgentFile;
use crate::{Subject, TWO_PHASES};

const TOPIC: &str = "orders";
const JOURNAL: &str = "handfast-events";
/// How long it may take until nothing holds readers back. Kafka also acknowledges the end of a transaction before each
/// partition has noted it.
const READABLE_WITHIN: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub fn subject() -> Subject {
    let broker = KafkaBroker::start(&[]).unwrap();
    broker.create_topic(TOPIC, 1).unwrap();
    let view = broker.view();
    let file = AgentFile::new();
    let settings = format!("brokers = [{:?}]\njournal_topic = {JOURNAL:?}", view.bootstrap());
    let mut options = Options::new(file.exec("kafka", "events", &settings), "events");
    options.operations = Operations {
        succeed: vec![records(&format!(r#"{{"topic":"{TOPIC}","value":"{{n}}"}}"#))],
        refused: vec![records(r#"{"topic":"nobody-made-this","value":"{n}"}"#)],
        read_only: vec![records("")],
    };
    options.effects = Some(Effects::function(move || async move {
        let read = tokio::time::timeout(READABLE_WITHIN, committed(view)).await;
        let late = |_| format!("readers are held back for longer than {READABLE_WITHIN:?}");
        read.map_err(late)?
    }));
    Subject {
        options,
        _keep: Box::new((broker, file)),
        not_checked: TWO_PHASES.to_vec(),
    }
}

fn records(records: &str) -> Template {
    Template::from_bytes(format!(r#"{{"handfast_kafka":1,"records":[{records}]}}"#))
}

async fn committed(view: KafkaView) -> Result<Vec<String>, String> {
    let in_words = |error: anyhow::Error| format!("{error:#}");
    let mut other = None;
    while !view.is_stable(TOPIC).map_err(in_words)? {
        let other = other.get_or_insert_with(|| other_instance(view));
        other.open().await.map_err(|error| error.message)?;
        other.scan().await.map_err(|error| error.message)?;
        tokio::time::sleep(LOOK).await;
    }
    let records = view.read_committed(TOPIC).map_err(in_words)?;
    let values = records.into_iter().map(|record| record.value.unwrap_or_default());
    Ok(values
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .collect())
}

/// Another instance of the resource, which asks for no age: whoever began a transaction is dead.
fn other_instance(view: KafkaView) -> KafkaResource {
    let mut options = KafkaOptions::new([view.bootstrap()], JOURNAL);
    options.journal_topic = JOURNAL.to_owned();
    options.orphan_age = Duration::ZERO;
    KafkaResource::new(options)
}
