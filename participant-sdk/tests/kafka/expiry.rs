use std::time::Duration;

use handfast_participant::{Completion, Decision, Resource};

use super::{Shop, branch, open, prepare, promise, raw, refused, until, values};

/// A shop whose promises hold for a second.
fn short() -> Shop {
    let mut shop = Shop::new();
    shop.options.transaction_timeout = Duration::from_millis(1_500);
    shop.options.margin = Duration::from_millis(500);
    shop
}

fn hazard(completion: Completion) -> String {
    match completion {
        Completion::Hazard(evidence) => evidence,
        other => panic!("{other:?} instead of a hazard"),
    }
}

/// FAULTS 30, first half.
#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_expires_undecided_aborts() {
    let shop = short();
    let resource = shop.open().await;
    let branch = branch();
    promise(&resource, branch, &shop.order("never")).await;
    until("the broker to abort it", || shop.open_transactions().is_empty()).await;
    for instance in [&resource, &shop.open().await] {
        assert_eq!(
            instance.finish(branch, Decision::Abort).await.unwrap(),
            Completion::Done
        );
    }
    shop.stable().await;
    assert_eq!(shop.committed(), [""; 0]);
}

/// FAULTS 30, second half, and 76.
#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_expires_decided_is_a_hazard_with_its_payload() {
    let mut shop = short();
    shop.options.pool = 1;
    let resource = shop.open().await;
    let branch = branch();
    promise(&resource, branch, &shop.order("precious")).await;
    until("the broker to abort it", || shop.open_transactions().is_empty()).await;
    let mut evidence = Vec::new();
    for instance in [&resource, &resource, &shop.open().await] {
        evidence.push(hazard(instance.finish(branch, Decision::Commit).await.unwrap()));
    }
    assert_eq!(evidence[0], evidence[1]);
    assert_eq!(evidence[0], evidence[2]);
    let offset = evidence[0].rsplit("offset ").next().unwrap();
    let kept = shop.broker.read_uncommitted(&shop.options.journal_topic).unwrap();
    let kept = kept
        .iter()
        .find(|record| record.offset.to_string() == offset)
        .unwrap();
    let text = String::from_utf8_lossy(kept.value.as_ref().unwrap()).into_owned();
    assert!(
        text.contains("precious") && text.contains("handfast_kafka"),
        "{text}"
    );
    assert_eq!(shop.committed(), [""; 0]);
    // Its id is free again: nothing waits in it any more.
    until_prepared(&resource, &shop).await;
}

async fn until_prepared(resource: &handfast_participant::resources::kafka::KafkaResource, shop: &Shop) {
    let give_up_at = tokio::time::Instant::now() + super::LIMIT;
    loop {
        match prepare(resource, branch(), &shop.order("next")).await {
            handfast_participant::Vote::Prepared { .. } => return,
            other => assert!(tokio::time::Instant::now() < give_up_at, "{other:?}"),
        }
    }
}

/// FAULTS 25 and 26.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_aborted_by_hand_is_a_hazard() {
    let shop = Shop::new();
    let resource = shop.open().await;
    for by_end in [true, false] {
        let branch = branch();
        promise(&resource, branch, &shop.order("never")).await;
        let transaction = shop.open_transaction();
        if by_end {
            assert_eq!(raw::end(&shop.broker, &transaction, false), 0);
        } else {
            until("the id to be taken", || {
                raw::initialise(&shop.broker, &transaction.id, None) == 0
            })
            .await;
        }
        for _ in 0..2 {
            let evidence = hazard(resource.finish(branch, Decision::Commit).await.unwrap());
            assert!(evidence.contains(&transaction.id), "{evidence}");
        }
    }
    shop.stable().await;
    assert_eq!(shop.committed(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_committed_by_hand_is_seen_for_what_it_is() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let (to_commit, to_abort) = (branch(), branch());
    for branch in [to_commit, to_abort] {
        promise(&resource, branch, &shop.order("by hand")).await;
        assert_eq!(raw::end(&shop.broker, &shop.open_transaction(), true), 0);
    }
    assert_eq!(
        resource.finish(to_commit, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    match resource.finish(to_abort, Decision::Abort).await.unwrap() {
        Completion::Contrary(evidence) => assert!(evidence.contains("by hand"), "{evidence}"),
        other => panic!("{other:?}"),
    }
    shop.stable().await;
    assert_eq!(shop.committed().len(), 2);
}

/// A request that was held up on its way comes when its id holds another branch.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_of_an_earlier_transaction_does_not_end_a_later_one() {
    let mut shop = Shop::new();
    shop.options.pool = 1;
    let resource = shop.open().await;
    let mut late = Vec::new();
    for (value, decision) in [("first", Decision::Commit), ("second", Decision::Abort)] {
        let branch = branch();
        promise_on_the_only_id(&resource, branch, &shop, value).await;
        late.push(shop.open_transaction());
        resource.finish(branch, decision).await.unwrap();
    }
    let third = branch();
    promise_on_the_only_id(&resource, third, &shop, "third").await;
    let open = shop.open_transaction();
    for earlier in &late {
        assert_eq!((&earlier.id, earlier.producer), (&open.id, open.producer));
        assert!(earlier.epoch < open.epoch, "{earlier:?} {open:?}");
        for committed in [true, false] {
            let code = raw::end(&shop.broker, earlier, committed);
            assert!([47, 48, 90].contains(&code), "error {code}");
        }
    }
    assert_eq!(shop.open_transaction(), open, "it is as it was");
    resource.finish(third, Decision::Abort).await.unwrap();
    shop.stable().await;
    assert_eq!(shop.committed(), ["first"]);
}

async fn promise_on_the_only_id(
    resource: &handfast_participant::resources::kafka::KafkaResource,
    branch: handfast_participant::BranchKey,
    shop: &Shop,
    value: &str,
) {
    let give_up_at = tokio::time::Instant::now() + super::LIMIT;
    loop {
        match prepare(resource, branch, &shop.order(value)).await {
            handfast_participant::Vote::Prepared { .. } => return,
            // It comes back when the journal was read.
            other => assert!(tokio::time::Instant::now() < give_up_at, "{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_holds_a_branch_is_never_initialised() {
    let mut shop = Shop::new();
    shop.options.pool = 1;
    let first = branch();
    let resource = shop.open().await;
    promise(&resource, first, &shop.order("first")).await;
    let held = shop.open_transaction();
    for _ in 0..3 {
        let refusal = refused(prepare(&resource, branch(), &shop.order("never")).await);
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("NO_TRANSACTIONAL_ID", true)
        );
    }
    drop(resource);
    // Started again, three times, each with work of its own.
    for _ in 0..3 {
        let again = open(shop.options.clone()).await;
        let branch = branch();
        promise(&again, branch, &shop.order("other")).await;
        assert_eq!(
            again.finish(branch, Decision::Commit).await.unwrap(),
            Completion::Done
        );
        assert_eq!(raw::describe(&shop.broker, &held.id), held, "it is as it was");
    }
    let last = shop.open().await;
    assert_eq!(
        last.finish(first, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    shop.stable().await;
    let mut found = values(shop.broker.read_committed(&shop.topic).unwrap());
    found.sort();
    assert_eq!(found, ["first", "other", "other", "other"]);
}

/// Why no process touches the ids of another one: what the protocol offers against that does not cover an open transaction.
#[tokio::test(flavor = "multi_thread")]
async fn initialising_an_id_with_an_older_epoch_aborts_what_it_holds() {
    let mut shop = Shop::new();
    shop.options.pool = 1;
    let resource = shop.open().await;
    let (earlier, held) = (branch(), branch());
    promise_on_the_only_id(&resource, earlier, &shop, "first").await;
    let stale = shop.open_transaction();
    resource.finish(earlier, Decision::Commit).await.unwrap();
    promise_on_the_only_id(&resource, held, &shop, "second").await;
    assert_ne!(
        raw::initialise(&shop.broker, &stale.id, Some((stale.producer, stale.epoch))),
        0
    );
    until("the transaction to be aborted", || {
        shop.open_transactions().is_empty()
    })
    .await;
    hazard(resource.finish(held, Decision::Commit).await.unwrap());
}

/// What the resource builds upon, asked of the broker itself: an end that comes again is answered as the first one was, one that
/// contradicts it is refused, and so is one for a producer that the id does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_tells_an_end_that_comes_again_from_one_that_contradicts_it() {
    const DONE: i16 = 0;
    const PASSES: i16 = 51;
    const NOT_IN_THIS_STATE: i16 = 48;
    const OTHER_PRODUCER: i16 = 49;
    let shop = Shop::new();
    let resource = shop.open().await;
    for (first, again, expected) in [
        (true, true, DONE),
        (false, false, DONE),
        (false, true, NOT_IN_THIS_STATE),
        (true, false, NOT_IN_THIS_STATE),
    ] {
        promise(&resource, branch(), &shop.order("by hand")).await;
        let transaction = shop.open_transaction();
        let stranger = raw::Transaction {
            producer: transaction.producer + 1_000_000,
            ..transaction.clone()
        };
        assert_eq!(raw::end(&shop.broker, &stranger, first), OTHER_PRODUCER);
        assert_eq!(raw::end(&shop.broker, &transaction, first), DONE);
        let mut answer = PASSES;
        until("the markers to be written", || {
            answer = raw::end(&shop.broker, &transaction, again);
            answer != PASSES
        })
        .await;
        assert_eq!(answer, expected, "{again} after {first}");
    }
}
