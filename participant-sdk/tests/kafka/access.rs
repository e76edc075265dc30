//! What the user may not do: refused, told with what to allow, and waited for where it was decided.

use std::sync::Arc;
use std::time::Duration;

use handfast_participant::resources::kafka::{KafkaOperation, KafkaResource, check};
use handfast_participant::{BranchKey, Completion, Decision, Refusal, Resource, ScanLine, ScanPhase, Vote};
use handfast_servers::kafka::NewRecord;
use tokio::time::Instant;

use super::raw::{self, About, CLUSTER, Denied};
use super::{LIMIT, Shop, branch, next, prepare, promise, start_guarded_broker, until};

/// What the words of a refusal name among other things.
const TO_ALLOW: &str = "Write and Describe on transactional ids that begin with handfast-";
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

/// Works until a rule keeps it from that. What the rule left undone is kept for later.
async fn until_refused(
    resource: &KafkaResource,
    operation: &KafkaOperation,
    undone: &mut Vec<BranchKey>,
) -> Refusal {
    let give_up_at = Instant::now() + LIMIT;
    loop {
        let branch = branch();
        match prepare(resource, branch, operation).await {
            Vote::Refused(refusal) => return refusal,
            vote => assert!(Instant::now() < give_up_at, "{vote:?}"),
        }
        if resource.finish(branch, Decision::Abort).await.is_err() {
            undone.push(branch);
        }
    }
}

/// Works until no rule keeps it from that.
async fn until_prepared(resource: &KafkaResource, operation: &KafkaOperation) -> BranchKey {
    let give_up_at = Instant::now() + LIMIT;
    loop {
        let branch = branch();
        match prepare(resource, branch, operation).await {
            Vote::Prepared { .. } => return branch,
            vote => assert!(Instant::now() < give_up_at, "{vote:?}"),
        }
    }
}

/// Carries a decision out as the session does: again, while it is answered that it could not be.
async fn until_done(resource: &KafkaResource, branch: BranchKey, decision: Decision) {
    let give_up_at = Instant::now() + LIMIT;
    loop {
        match resource.finish(branch, decision).await {
            Ok(completion) => return assert_eq!(completion, Completion::Done),
            Err(error) => assert!(Instant::now() < give_up_at, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_not_authorized_is_refused_with_what_to_allow_and_leaves_nothing() {
    let broker = Arc::new(start_guarded_broker());
    for about in ["topic", "group", "transactional id", "journal"] {
        let shop = Shop::on(broker.clone());
        let resource = shop.open().await;
        let group = format!("group-of-{}", shop.topic);
        let operation = shop.order("x").position(group.clone(), &shop.topic, 0, 1);
        let (about, name, denied) = match about {
            "topic" => (About::Topic, shop.topic.clone(), Denied::Write),
            "group" => (About::Group, group, Denied::Read),
            "journal" => (About::Topic, shop.options.journal_topic.clone(), Denied::Write),
            _ => (About::TransactionalId, "handfast-*".to_owned(), Denied::Write),
        };
        raw::deny(&broker, about, &name, denied);
        let mut undone = Vec::new();
        let refusal = until_refused(&resource, &operation, &mut undone).await;
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("NOT_AUTHORIZED", false),
            "{name}: {}",
            refusal.message
        );
        assert!(refusal.message.contains(TO_ALLOW), "{name}: {}", refusal.message);

        raw::allow_again(&broker, about, &name);
        let branch = until_prepared(&resource, &operation).await;
        until_done(&resource, branch, Decision::Commit).await;
        for branch in undone {
            until_done(&resource, branch, Decision::Abort).await;
        }
        until("nothing to be open", || shop.open_transactions().is_empty()).await;
        shop.stable().await;
        assert_eq!(shop.committed(), ["x"], "{name}");
        assert!(
            resource.scan().await.unwrap().iter().all(is_marker_or_fence),
            "{name}"
        );
    }
}

fn is_marker_or_fence(line: &ScanLine) -> bool {
    line.phase == ScanPhase::Marker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_not_authorized_waits_until_it_is() {
    let shop = Shop::on(Arc::new(start_guarded_broker()));
    let resource = shop.open().await;
    let promised = branch();
    promise(&resource, promised, &shop.order("x")).await;
    let transaction = shop.open_transaction();
    let (process, _) = transaction.id.rsplit_once('-').unwrap();
    let (all, another) = (format!("{process}-*"), format!("{process}-another"));
    raw::deny(&shop.broker, About::TransactionalId, &all, Denied::Write);
    until("the rule to hold", || {
        raw::initialise(&shop.broker, &another, None) == TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    })
    .await;
    let other = shop.open().await;
    for instance in [&resource, &other] {
        let error = instance.finish(promised, Decision::Commit).await.unwrap_err();
        assert!(
            error.permanent && error.message.contains(TO_ALLOW),
            "only a person can mend it: {error}"
        );
        assert_eq!(
            instance.scan().await.unwrap(),
            [ScanLine {
                branch: promised,
                phase: ScanPhase::Prepared
            }]
        );
    }
    assert_eq!(shop.committed(), [""; 0]);

    raw::allow_again(&shop.broker, About::TransactionalId, &all);
    until_done(&resource, promised, Decision::Commit).await;
    until_done(&other, promised, Decision::Commit).await;
    shop.stable().await;
    assert_eq!(shop.committed(), ["x"]);
}

/// Opens it, once no rule keeps it from that.
async fn until_open(shop: &Shop) {
    let give_up_at = Instant::now() + LIMIT;
    while let Err(error) = KafkaResource::new(shop.options.clone()).open().await {
        assert!(error.permanent && Instant::now() < give_up_at, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_may_not_be_seen_is_told_by_a_check_and_when_it_is_opened() {
    let broker = Arc::new(start_guarded_broker());
    for denied in [Denied::Describe, Denied::DescribeConfigs] {
        let shop = Shop::on(broker.clone());
        let journal = &shop.options.journal_topic;
        shop.open().await;
        raw::deny(&broker, About::Topic, journal, denied);
        let give_up_at = Instant::now() + LIMIT;
        let broken = loop {
            let findings = check(&shop.options).await;
            match findings.into_iter().find(|finding| finding.is_broken()) {
                Some(broken) => break broken.to_string(),
                None => assert!(Instant::now() < give_up_at, "{denied:?} is not found"),
            }
        };
        assert!(
            broken.contains(journal) && broken.contains("DescribeConfigs on"),
            "{broken}"
        );
        let error = KafkaResource::new(shop.options.clone()).open().await.unwrap_err();
        assert!(
            error.permanent && error.message.contains("DescribeConfigs on"),
            "{denied:?}: {error}"
        );
        raw::allow_again(&broker, About::Topic, journal);
        until_open(&shop).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_may_not_be_made_or_written_is_told_when_it_is_opened() {
    let broker = Arc::new(start_guarded_broker());
    for denied in [Denied::Create, Denied::Write] {
        let shop = Shop::on(broker.clone());
        let (all, probe) = (
            format!("{}*", shop.options.journal_topic),
            format!("{}-probe", shop.options.journal_topic),
        );
        if denied == Denied::Create {
            raw::deny(&broker, About::Cluster, CLUSTER, denied);
        } else {
            broker.create_topic(&probe, 1).unwrap();
        }
        raw::deny(&broker, About::Topic, &all, denied);
        let record = NewRecord {
            key: None,
            value: "probe".into(),
        };
        until("the rule to hold", || match denied {
            Denied::Create => broker.create_topic(&format!("{probe}-{}", next()), 1).is_err(),
            _ => broker.write(&probe, 0, std::slice::from_ref(&record)).is_err(),
        })
        .await;
        let error = KafkaResource::new(shop.options.clone()).open().await.unwrap_err();
        assert!(
            error.permanent && error.message.contains("Create, Describe and DescribeConfigs on"),
            "{denied:?}: {error}"
        );
        raw::allow_again(&broker, About::Topic, &all);
        if denied == Denied::Create {
            raw::allow_again(&broker, About::Cluster, CLUSTER);
        }
        until_open(&shop).await;
    }
}
