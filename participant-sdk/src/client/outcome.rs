//! How a transaction came out.

use handfast_proto::ids::{BranchId, TransactionId};
use handfast_proto::status::Reason;
use handfast_proto::v1;

use super::ClientError;
use super::call::CallError;
use super::pipeline::Told;
use crate::resource::Decision;

/// How a transaction came out, as far as can be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All of its effects happen, exactly once.
    Committed {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// None of its effects happens.
    Aborted {
        /// Which transaction, if it got as far as an id.
        transaction: Option<TransactionId>,
        /// Stable, such as `REFUSED` or `DEADLINE`.
        reason: String,
        /// The same in words.
        message: String,
        /// Who refused, and why, if the reason is `REFUSED`.
        refusal: Option<RefusedBy>,
        /// Whether the same work, sent anew (under another key), may commit.
        retryable: bool,
    },
    /// It cannot be told from here. Ask by id, or execute again with the same key; never with a new one.
    Unknown {
        /// Which transaction, if that is known.
        transaction: Option<TransactionId>,
        /// What happened.
        why: String,
    },
    /// Decided, but a participant could not prove, or contradicted, the decision. An operator must look.
    Heuristic {
        /// Which transaction.
        transaction: TransactionId,
        /// What was decided, and is so everywhere but where the evidence says; `None` if the coordinator did not tell.
        decided: Option<Decision>,
        /// What each deviating participant reported.
        evidence: Vec<Evidence>,
    },
}

/// A participant's no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedBy {
    /// Which resource.
    pub resource: String,
    /// Its own stable reason, such as `SOLD`.
    pub reason: String,
    /// The same in words.
    pub message: String,
}

/// What a participant reported that deviates from the decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// Which resource.
    pub resource: String,
    /// Which branch.
    pub branch: BranchId,
    /// `MIXED` if the contrary is proved, `HAZARD` if nothing is.
    pub kind: String,
    /// What was seen.
    pub message: String,
}

impl Outcome {
    /// The transaction, if it is known.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            Outcome::Committed { transaction } | Outcome::Heuristic { transaction, .. } => Some(*transaction),
            Outcome::Aborted { transaction, .. } | Outcome::Unknown { transaction, .. } => *transaction,
        }
    }

    pub(super) fn unknown(transaction: Option<TransactionId>, why: impl Into<String>) -> Self {
        Outcome::Unknown {
            transaction,
            why: why.into(),
        }
    }

    /// The outcome that an answer tells, or none. `asked` is the transaction, where the request names it.
    pub(super) fn from_answer(
        answer: Result<Option<v1::TransactionResult>, CallError>,
        asked: Option<TransactionId>,
    ) -> Result<Outcome, ClientError> {
        match answer {
            Ok(Some(result)) => Ok(Outcome::from_wire(result, asked)),
            Ok(None) => Ok(Outcome::unknown(
                asked,
                "the coordinator answered without a result",
            )),
            Err(CallError::Ambiguous(why)) => Ok(Outcome::unknown(asked, why)),
            // It may have committed before it was forgotten, so this is no refusal.
            Err(CallError::Refused(failure)) if failure.reason == Reason::Forgotten => {
                Ok(Outcome::unknown(asked, failure.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The outcome that the answer to Execute tells, or none.
    pub(super) fn from_told(answer: Result<Told, CallError>) -> Result<Outcome, ClientError> {
        let result = match answer {
            Ok(Told::Committed(transaction)) => return Ok(Outcome::Committed { transaction }),
            Ok(Told::Result(result)) => Ok(Some(result)),
            Ok(Told::Nothing) => Ok(None),
            Err(error) => Err(error),
        };
        Outcome::from_answer(result, None)
    }

    fn from_wire(result: v1::TransactionResult, asked: Option<TransactionId>) -> Outcome {
        let (kind, decided) = (result.outcome(), result.decided());
        let transaction = result.transaction_id.parse().ok().or(asked);
        match (kind, transaction) {
            (v1::Outcome::Committed, Some(transaction)) => Outcome::Committed { transaction },
            (v1::Outcome::Heuristic, Some(transaction)) => {
                let evidence = result.evidence.into_iter().map(Evidence::from_wire).collect();
                let decided = match decided {
                    v1::Outcome::Committed => Some(Decision::Commit),
                    v1::Outcome::Aborted => Some(Decision::Abort),
                    v1::Outcome::Unspecified | v1::Outcome::Unknown | v1::Outcome::Heuristic => None,
                };
                Outcome::Heuristic {
                    transaction,
                    decided,
                    evidence,
                }
            }
            (v1::Outcome::Aborted, transaction) => Outcome::Aborted {
                transaction,
                reason: result.reason,
                message: result.message,
                refusal: result.refusal.map(RefusedBy::from_wire),
                retryable: result.retryable,
            },
            (v1::Outcome::Unknown | v1::Outcome::Unspecified, transaction) => Outcome::unknown(
                transaction,
                format!("{} {}", result.reason, result.message).trim(),
            ),
            (v1::Outcome::Committed | v1::Outcome::Heuristic, None) => Outcome::unknown(
                None,
                format!("the answer {} names no transaction", kind.as_str_name()),
            ),
        }
    }
}

impl RefusedBy {
    fn from_wire(refusal: v1::RefusedBy) -> Self {
        RefusedBy {
            resource: refusal.resource,
            reason: refusal.reason,
            message: refusal.message,
        }
    }
}

impl Evidence {
    fn from_wire(evidence: v1::Evidence) -> Self {
        Evidence {
            resource: evidence.resource,
            branch: BranchId(evidence.branch),
            kind: evidence.kind,
            message: evidence.message,
        }
    }
}
