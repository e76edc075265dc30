use handfast_core::view::{InDoubtState, InDoubtView};
use handfast_core::{AbortReason, Decision, Deviation, DeviationKind, Outcome, Refusal, Reply};
use handfast_ids::{BranchId, Epoch, Partition, ResourceName, TransactionId};
use handfast_proto::v1;

use super::{in_doubt, result};

fn transaction() -> TransactionId {
    TransactionId::new(1, Partition(0), Epoch(1), 0)
}

fn orders() -> ResourceName {
    ResourceName::new("orders").unwrap()
}

fn answered(outcome: Outcome) -> v1::TransactionResult {
    let transaction = transaction();
    result(Reply::Outcome { transaction, outcome }).unwrap()
}

#[test]
fn a_deviation_says_what_was_decided() {
    let cases = [
        (Decision::Commit, v1::Outcome::Committed, "decided to commit"),
        (Decision::Abort, v1::Outcome::Aborted, "decided to abort"),
    ];
    for (decision, decided, words) in cases {
        let evidence = vec![Deviation {
            branch: BranchId(0),
            resource: orders(),
            kind: DeviationKind::Mixed,
            evidence: "finished by hand".to_owned(),
        }];
        let told = answered(Outcome::Heuristic { decision, evidence });
        assert_eq!(
            (told.outcome(), told.decided()),
            (v1::Outcome::Heuristic, decided)
        );
        assert!(told.message.starts_with(words), "{}", told.message);

        let line = in_doubt(InDoubtView {
            transaction: transaction(),
            branch: BranchId(0),
            resource: orders(),
            connected: true,
            state: InDoubtState::Deviated {
                decision,
                kind: DeviationKind::Hazard,
                evidence: "no marker".to_owned(),
            },
            age_ms: 1,
        });
        assert!(line.message.contains(words), "{}", line.message);
        assert!(line.message.contains("no marker"), "{}", line.message);
    }
}

#[test]
fn a_refusal_keeps_the_resources_own_words() {
    let refusal = Refusal {
        resource: orders(),
        reason: "SOLD".to_owned(),
        message: "seat 12 is taken".to_owned(),
        retryable: false,
    };
    let told = answered(Outcome::Aborted {
        reason: AbortReason::Refused(Box::new(refusal)),
    });
    assert_eq!(told.reason, "REFUSED");
    let expected = v1::RefusedBy {
        resource: "orders".to_owned(),
        reason: "SOLD".to_owned(),
        message: "seat 12 is taken".to_owned(),
    };
    assert_eq!(told.refusal, Some(expected));
    let requested = answered(Outcome::Aborted {
        reason: AbortReason::Requested,
    });
    assert_eq!((requested.refusal, requested.decided), (None, 0));
}
