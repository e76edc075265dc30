//! What must hold of a cluster before it may promise anything, each with what to do if it does not.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::cluster::{Cluster, Pause, Topic, passes, topic_name, version};
use super::failure::{ACLS, TIMEOUT};
use super::options::{ANSWER_LIMIT, KafkaOptions, MAX_JOURNAL_RECORD_BYTES};
use super::wire::KafkaError;
use crate::resources::Finding;

/// Transactions in which a request names its transaction (KIP-890).
const TRANSACTION_VERSION: i16 = 2;
/// Kinds of resource whose configuration can be asked for.
const OF_TOPIC: i8 = 2;
const OF_BROKER: i8 = 4;

/// Looks at everything, and changes nothing. What cannot be reached is a broken finding.
pub(super) async fn check(cluster: &Cluster, options: &KafkaOptions) -> Vec<Finding> {
    if let Err(error) = options.validate() {
        return vec![Finding::broken("options", "not usable", error.message)];
    }
    match look(cluster, options).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::broken(
            "cluster",
            format!("no answer from {}", options.bootstrap.join(", ")),
            format!(
                "{error}; name brokers that can be reached from here, and let them listen without TLS and SASL"
            ),
        )],
    }
}

/// As [`check`]; an error is what may pass.
pub(super) async fn look(cluster: &Cluster, options: &KafkaOptions) -> Result<Vec<Finding>, KafkaError> {
    let metadata = cluster.metadata(&[]).await?;
    let mut findings = vec![Finding::holds(
        "cluster",
        format!("{} with {} brokers", cluster.id(), metadata.brokers.len()),
    )];
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("handfast"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let versions = cluster.ask_any(&request, version::API_VERSIONS).await?;
    findings.push(requests(&versions));
    findings.push(transaction_version(&versions));
    if let Some(broker) = metadata.brokers.first() {
        match configuration(cluster, OF_BROKER, &broker.node_id.0.to_string()).await {
            Ok(settings) => findings.extend(broker_settings(&settings, options)),
            Err(error) if error.code() == Some(ResponseError::ClusterAuthorizationFailed) => {
                findings.push(Finding::advice(
                    "transaction.max.timeout.ms",
                    "cannot be seen",
                    "allow the user DescribeConfigs on the cluster, or see to it that it is no less than the transaction timeout",
                ));
            }
            Err(error) => return Err(error),
        }
    }
    match cluster.topic(&options.journal_topic).await {
        Ok(topic) => findings.extend(journal(cluster, options, &topic).await?),
        Err(error) if error.code() == Some(ResponseError::UnknownTopicOrPartition) => {
            findings.push(Finding::holds(
                format!("topic {}", options.journal_topic),
                "is made at the first start",
            ))
        }
        Err(error) if error.code() == Some(ResponseError::TopicAuthorizationFailed) => {
            findings.push(Finding::broken(
                format!("topic {}", options.journal_topic),
                error.to_string(),
                ACLS,
            ));
        }
        Err(error) => return Err(error),
    }
    Ok(findings)
}

fn requests(versions: &ApiVersionsResponse) -> Finding {
    let needed = [
        (ApiKey::Produce, version::PRODUCE),
        (ApiKey::TxnOffsetCommit, version::TXN_OFFSET_COMMIT),
        (ApiKey::EndTxn, version::END_TXN),
        (ApiKey::Fetch, version::FETCH),
    ];
    let missing: Vec<String> = needed
        .into_iter()
        .filter(|(key, version)| {
            let spoken = versions
                .api_keys
                .iter()
                .find(|spoken| spoken.api_key == *key as i16);
            spoken.is_none_or(|spoken| !(spoken.min_version..=spoken.max_version).contains(version))
        })
        .map(|(key, version)| format!("{key:?} {version}"))
        .collect();
    if missing.is_empty() {
        Finding::holds("broker version", "4.0 or later")
    } else {
        Finding::broken(
            "broker version",
            format!("does not speak {}", missing.join(", ")),
            "use Apache Kafka 4.0 or later",
        )
    }
}

fn transaction_version(versions: &ApiVersionsResponse) -> Finding {
    let level = versions
        .finalized_features
        .iter()
        .find(|feature| &*feature.name == "transaction.version")
        .map_or(0, |feature| feature.max_version_level);
    if level >= TRANSACTION_VERSION {
        Finding::holds("transaction.version", level.to_string())
    } else {
        Finding::broken(
            "transaction.version",
            level.to_string(),
            "raise it, so that a request that was held up cannot end a later transaction: kafka-features.sh --bootstrap-server \
             HOST:PORT upgrade --feature transaction.version=2",
        )
    }
}

fn broker_settings(settings: &BTreeMap<String, String>, options: &KafkaOptions) -> Vec<Finding> {
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<i64>().ok());
    let mut findings = Vec::new();
    if let Some(most) = number("transaction.max.timeout.ms") {
        let name = "transaction.max.timeout.ms";
        let wanted = i64::try_from(options.transaction_timeout.as_millis()).unwrap_or(i64::MAX);
        findings.push(if wanted <= most {
            Finding::holds(name, most.to_string())
        } else {
            Finding::broken(
                name,
                most.to_string(),
                format!("the resource's transaction timeout is {wanted} ms: {TIMEOUT}"),
            )
        });
    }
    for (name, what) in [
        (
            "transaction.state.log.replication.factor",
            "the state of transactions",
        ),
        (
            "default.replication.factor",
            "a topic that does not say otherwise",
        ),
    ] {
        if let Some(copies) = number(name) {
            findings.push(if copies > 1 {
                Finding::holds(name, copies.to_string())
            } else {
                Finding::advice(
                    name,
                    copies.to_string(),
                    format!("{what} is lost with one disk; use 3 in production"),
                )
            });
        }
    }
    findings
}

async fn journal(
    cluster: &Cluster,
    options: &KafkaOptions,
    topic: &Topic,
) -> Result<Vec<Finding>, KafkaError> {
    let name = &options.journal_topic;
    let mut findings = Vec::new();
    if topic.leaders.len() != 1 {
        findings.push(Finding::broken(
            format!("topic {name}"),
            format!("{} partitions", topic.leaders.len()),
            "it must have one, because the order of its records decides; name another topic, or delete this one if it is none of \
             Handfast's",
        ));
    }
    let settings = match configuration(cluster, OF_TOPIC, name).await {
        Ok(settings) => settings,
        Err(error) if error.code() == Some(ResponseError::TopicAuthorizationFailed) => {
            findings.push(Finding::broken(
                format!("topic {name}"),
                "its configuration cannot be seen",
                "allow the user DescribeConfigs on it: a topic that is not compacted forgets votes",
            ));
            return Ok(findings);
        }
        Err(error) => return Err(error),
    };
    let setting = |key: &str| settings.get(key).cloned().unwrap_or_default();
    let policy = setting("cleanup.policy");
    findings.push(if policy == "compact" {
        Finding::holds(format!("cleanup.policy of {name}"), policy)
    } else {
        Finding::broken(
            format!("cleanup.policy of {name}"),
            policy,
            "set it to compact: what is deleted by age or size takes votes and markers with it",
        )
    });
    findings.push(compression(name, &setting("compression.type")));
    let most = setting("max.message.bytes");
    let is_enough = most
        .parse::<usize>()
        .is_ok_and(|most| most >= MAX_JOURNAL_RECORD_BYTES);
    findings.push(if is_enough {
        Finding::holds(format!("max.message.bytes of {name}"), most)
    } else {
        Finding::broken(
            format!("max.message.bytes of {name}"),
            most,
            format!("set it to {MAX_JOURNAL_RECORD_BYTES}, so that every operation fits"),
        )
    });
    let unclean = setting("unclean.leader.election.enable");
    let what = format!("unclean.leader.election.enable of {name}");
    findings.push(match unclean.as_str() {
        "true" => Finding::advice(
            what,
            unclean,
            "a replica that has fallen behind may become the leader, and votes that were given are gone without a word; set it to \
             false",
        ),
        _ => Finding::holds(what, unclean),
    });
    let fewest = setting("min.insync.replicas");
    let what = format!("min.insync.replicas of {name}");
    let in_sync = topic.fewest_in_sync;
    findings.push(match fewest.parse::<usize>() {
        Ok(fewest) if in_sync < fewest => Finding::broken(
            what,
            format!("{fewest}, and {in_sync} in sync"),
            "nothing can be promised until more replicas are in sync",
        ),
        Ok(fewest) if fewest < 2 => Finding::advice(
            what,
            fewest.to_string(),
            "a vote may be on one disk only; use 3 replicas with 2 in sync in production",
        ),
        _ => Finding::holds(what, fewest),
    });
    Ok(findings)
}

/// Brokers store the journal as `compression.type` says, whatever it was sent as.
fn compression(topic: &str, codec: &str) -> Finding {
    let what = format!("compression.type of {topic}");
    match codec {
        "producer" | "uncompressed" => Finding::holds(what, codec),
        "gzip" | "snappy" => Finding::advice(
            what,
            codec,
            "set it to producer: compressing small batches one by one costs the brokers time and saves next to nothing",
        ),
        _ => Finding::broken(
            what,
            codec,
            format!(
                "set it to producer, before anything is promised, because this build reads no journal that brokers compress so: \
                 kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics --entity-name {topic} --add-config \
                 compression.type=producer"
            ),
        ),
    }
}

async fn configuration(
    cluster: &Cluster,
    kind: i8,
    name: &str,
) -> Result<BTreeMap<String, String>, KafkaError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    // A broker tells its own settings only.
    let response = match (kind, name.parse::<i32>()) {
        (OF_BROKER, Ok(broker)) => {
            cluster
                .ask(broker.into(), &request, version::DESCRIBE_CONFIGS, ANSWER_LIMIT)
                .await?
        }
        _ => cluster.ask_any(&request, version::DESCRIBE_CONFIGS).await?,
    };
    let mut settings = BTreeMap::new();
    for result in response.results {
        if result.error_code != 0 {
            let said = result.error_message.as_deref().unwrap_or_default();
            return Err(KafkaError::said("DescribeConfigs", result.error_code, said));
        }
        for config in result.configs {
            let value = config.value.as_deref().unwrap_or_default().to_owned();
            settings.insert(config.name.to_string(), value);
        }
    }
    Ok(settings)
}

/// Makes the journal topic if it is not there, and waits until the cluster knows it.
pub(super) async fn make_journal(
    cluster: &Cluster,
    options: &KafkaOptions,
    deadline: Instant,
) -> Result<Topic, KafkaError> {
    let mut pause = Pause::new();
    let mut is_made = false;
    loop {
        match cluster.topic(&options.journal_topic).await {
            Ok(topic) => return Ok(topic),
            Err(error) if error.code() == Some(ResponseError::UnknownTopicOrPartition) && !is_made => {
                create(cluster, options).await?;
                is_made = true;
            }
            Err(error) if passes(&error) && pause.before(deadline).await => {}
            Err(error) => return Err(error),
        }
    }
}

async fn create(cluster: &Cluster, options: &KafkaOptions) -> Result<(), KafkaError> {
    let setting = |name: &'static str, value: String| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(topic_name(&options.journal_topic))
        .with_num_partitions(1)
        .with_replication_factor(options.journal_replication.unwrap_or(-1))
        .with_configs(vec![
            setting("cleanup.policy", "compact".to_owned()),
            setting("compression.type", "producer".to_owned()),
            setting("max.message.bytes", MAX_JOURNAL_RECORD_BYTES.to_string()),
            setting("message.timestamp.type", "LogAppendTime".to_owned()),
            setting("unclean.leader.election.enable", "false".to_owned()),
        ]);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(i32::try_from(ANSWER_LIMIT.as_millis()).unwrap_or(i32::MAX));
    let response = cluster.ask_any(&request, version::CREATE_TOPICS).await?;
    match response.topics.first() {
        Some(made) if made.error_code == 0 => {
            tracing::info!(topic = options.journal_topic, "the journal topic is made");
            Ok(())
        }
        // Another instance was faster.
        Some(made) if made.error_code == ResponseError::TopicAlreadyExists.code() => Ok(()),
        Some(refused) => {
            let said = refused.error_message.as_deref().unwrap_or_default();
            Err(KafkaError::said(
                "CreateTopics",
                refused.error_code,
                format!("topic {} {said}", options.journal_topic),
            ))
        }
        None => Err(KafkaError::Unusable(
            "CreateTopics is answered without what was asked for".to_owned(),
        )),
    }
}
