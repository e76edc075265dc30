//! What an error of Kafka means for whoever asked.
//!
//! | code | in work | after a decision to commit |
//! |---|---|---|
//! | 47, 48, 49, 90: epoch, state, producer id, fenced | refused, retryable | *hazard*, never success |
//! | 51, and whatever else passes: concurrent, loading, not the leader | tried again until the deadline | tried again |
//! | 10, 12, 17, 18, 87: too large, no such name, not valid | refused | |
//! | 22, 25, 82, 110, 113: the consumer has lost its partitions | refused | |
//! | 29, 30, 31, 53: not authorized | refused | only a person can mend it |
//! | no answer | refused, retryable, once it is certain that nothing was promised | nothing is known: again later |

use kafka_protocol::error::ResponseError as Code;

use super::wire::{KafkaError, name};
use crate::resource::{Refusal, ResourceError};

/// Work failed and is undone.
pub(super) fn refusal(error: &KafkaError) -> Refusal {
    let message = error.to_string();
    let Some(code) = error.code() else {
        return match error {
            KafkaError::Unusable(_) => Refusal::permanent("KAFKA_UNUSABLE", message),
            _ => Refusal::retryable("KAFKA_UNREACHABLE", message),
        };
    };
    match code {
        Code::UnknownTopicOrPartition => Refusal::permanent(
            "UNKNOWN_TOPIC",
            format!("{message}; make the topic, or correct its name"),
        ),
        Code::MessageTooLarge | Code::RecordListTooLarge => Refusal::permanent(
            "RECORD_TOO_LARGE",
            format!("{message}; write less, or raise max.message.bytes of the topic"),
        ),
        Code::InvalidTopicException
        | Code::OffsetMetadataTooLarge
        | Code::InvalidRecord
        | Code::InvalidGroupId => Refusal::permanent("NOT_VALID", message),
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch => Refusal::permanent(
            "GROUP_FENCED",
            format!(
                "{message}; the consumer has lost its partitions, and another one reads what it had read"
            ),
        ),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::ClusterAuthorizationFailed => {
            Refusal::permanent("NOT_AUTHORIZED", format!("{message}; {ACLS}"))
        }
        Code::InvalidTransactionTimeout => {
            Refusal::permanent("TIMEOUT_TOO_LONG", format!("{message}; {TIMEOUT}"))
        }
        other => Refusal::retryable(format!("KAFKA_{}", name(other.code())), message),
    }
}

pub(super) const ACLS: &str = "the user needs Write and Describe on transactional ids that begin with handfast-, Read, Write, \
                               Create, Describe and DescribeConfigs on the journal topic, Write on the topics and Read on the \
                               groups of its operations";
pub(super) const TIMEOUT: &str =
    "lower the resource's transaction timeout, or raise transaction.max.timeout.ms of the brokers";

/// A call that is not work failed; `doing` says what was tried.
pub(super) fn resource_error(doing: &str, error: &KafkaError) -> ResourceError {
    let message = format!("{doing}: {error}");
    match error.code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ) => ResourceError::permanent(format!("{message}; {ACLS}")),
        Some(Code::InvalidTransactionTimeout) => ResourceError::permanent(format!("{message}; {TIMEOUT}")),
        Some(
            Code::UnsupportedVersion
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::PolicyViolation,
        ) => ResourceError::permanent(message),
        Some(_) => ResourceError::transient(message),
        None => match error {
            KafkaError::Unusable(_) => ResourceError::permanent(message),
            _ => ResourceError::transient(message),
        },
    }
}
