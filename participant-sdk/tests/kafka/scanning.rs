use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use handfast_participant::ids::LogId;
use handfast_participant::{BranchKey, Completion, Decision, Resource, ScanLine, ScanPhase, Vote, Work};

use super::raw::{self, About, Denied};
use super::{LIMIT, Shop, branch, next, open, prepare, promise, refused, seen, start_guarded_broker};

fn line(branch: BranchKey, phase: ScanPhase) -> ScanLine {
    ScanLine { branch, phase }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_by_any_instance_lists_what_is_prepared_and_what_is_left_of_the_rest() {
    let mut shop = Shop::new();
    shop.options.marker_age = Duration::ZERO;
    shop.options.fence_age = Duration::ZERO;
    let (prepared, committed, aborted, fenced) = (branch(), branch(), branch(), branch());
    let resource = shop.open().await;
    for branch in [prepared, committed, aborted] {
        promise(&resource, branch, &shop.order("x")).await;
    }
    resource.finish(committed, Decision::Commit).await.unwrap();
    resource.finish(aborted, Decision::Abort).await.unwrap();
    resource.finish(fenced, Decision::Abort).await.unwrap();
    let all = [
        line(prepared, ScanPhase::Prepared),
        line(committed, ScanPhase::Marker),
        line(aborted, ScanPhase::Marker),
        line(fenced, ScanPhase::Marker),
    ];
    let other = shop.open().await;
    for instance in [&resource, &other] {
        assert_eq!(instance.scan().await.unwrap(), all);
        assert!(instance.oldest_prepared() > Duration::ZERO);
    }
    other
        .forget(&[prepared, committed, aborted, fenced, branch()])
        .await
        .unwrap();
    for instance in [&resource, &other, &shop.open().await] {
        assert_eq!(
            instance.scan().await.unwrap(),
            [line(prepared, ScanPhase::Prepared)],
            "what is prepared is never forgotten"
        );
    }
    other.finish(prepared, Decision::Abort).await.unwrap();
    other.scan().await.unwrap();
    assert_eq!(other.oldest_prepared(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_stays_while_late_work_may_still_come() {
    let mut shop = Shop::new();
    shop.options.marker_age = Duration::ZERO;
    let resource = shop.open().await;
    let fenced = branch();
    resource.finish(fenced, Decision::Abort).await.unwrap();
    resource.forget(&[fenced]).await.unwrap();
    assert_eq!(resource.scan().await.unwrap(), [line(fenced, ScanPhase::Marker)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_of_a_log_outlives_the_branches() {
    let shop = Shop::new();
    let resource = shop.open().await;
    assert_eq!(resource.seen().await.unwrap(), []);
    for (epoch, lsn) in [(3, 70), (4, 9), (3, 99)] {
        let branch = branch();
        let work = Work::Operation(shop.order("x").encode());
        resource
            .prepare(branch, work, seen(epoch, lsn), LIMIT)
            .await
            .unwrap();
        resource.finish(branch, Decision::Commit).await.unwrap();
        resource.seen().await.unwrap();
        resource.forget(&[branch]).await.unwrap();
    }
    for instance in [&resource, &shop.open().await] {
        assert_eq!(instance.seen().await.unwrap(), [seen(4, 9)]);
    }
}

/// Compaction keeps the last record of each key and the order of the offsets.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_says_the_same_when_it_was_compacted() {
    let mut shop = Shop::new();
    shop.options.marker_age = Duration::ZERO;
    shop.options.fence_age = Duration::ZERO;
    let resource = shop.open().await;
    let (prepared, committed, fenced, forgotten) = (branch(), branch(), branch(), branch());
    for (branch, lsn) in [(prepared, 1), (committed, 2), (forgotten, 99)] {
        let work = Work::Operation(shop.order("x").encode());
        resource.prepare(branch, work, seen(5, lsn), LIMIT).await.unwrap();
    }
    for branch in [committed, forgotten] {
        resource.finish(branch, Decision::Commit).await.unwrap();
    }
    resource.finish(fenced, Decision::Abort).await.unwrap();
    resource.seen().await.unwrap();
    resource.forget(&[forgotten]).await.unwrap();

    let compacted = format!("compacted-{}", next());
    let settings = [("cleanup.policy", "compact"), ("max.message.bytes", "2097152")];
    shop.broker.create_topic_with(&compacted, 1, &settings).unwrap();
    let records = shop.broker.read_uncommitted(&shop.options.journal_topic).unwrap();
    for (place, record) in records.iter().enumerate() {
        let is_last = records[place + 1..].iter().all(|later| later.key != record.key);
        if is_last && record.value.is_some() {
            raw::write(&shop.broker, &compacted, record.key.clone(), record.value.clone());
        }
    }
    shop.options.journal_topic = compacted;
    let again = open(shop.options.clone()).await;
    assert_eq!(again.scan().await.unwrap(), resource.scan().await.unwrap());
    assert_eq!(
        again.scan().await.unwrap(),
        [
            line(prepared, ScanPhase::Prepared),
            line(committed, ScanPhase::Marker),
            line(fenced, ScanPhase::Marker),
        ]
    );
    assert_eq!(again.seen().await.unwrap(), [seen(5, 99)]);
    assert_eq!(
        again.finish(committed, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    assert_eq!(
        refused(prepare(&again, fenced, &shop.order("late")).await).reason,
        "BRANCH_ENDED"
    );
    assert_eq!(
        again.finish(prepared, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    shop.stable().await;
    assert_eq!(shop.committed(), ["x"; 3]);
}

/// FAULTS 75: what is not promised when a session is opened never will be.
#[tokio::test(flavor = "multi_thread")]
async fn opening_again_leaves_no_work_that_can_still_become_prepared() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let mut rolled_back = 0;
    for round in 0..30 {
        let branch = branch();
        let operation = shop.order("x");
        let mut work = Box::pin(prepare(&resource, branch, &operation));
        assert_eq!((&mut work).now_or_never(), None, "it has begun");
        tokio::time::sleep(Duration::from_millis(round % 10)).await;
        resource.open().await.unwrap();
        let listed = resource.scan().await.unwrap();
        let vote = work.await;
        assert_eq!(
            resource.scan().await.unwrap(),
            listed,
            "nothing becomes prepared after the list of the new session"
        );
        match listed[..] {
            [] => {
                rolled_back += u32::from(matches!(vote, Vote::Refused(_)));
                assert!(matches!(vote, Vote::Refused(_)), "{vote:?} and not listed");
            }
            [line] => {
                assert_eq!((line.branch, line.phase), (branch, ScanPhase::Prepared));
                resource.finish(branch, Decision::Abort).await.unwrap();
            }
            _ => panic!("{listed:?}"),
        }
    }
    assert!(rolled_back > 0, "no round had work to roll back");
}

/// What coordinators say of transactions serves people only. Without it every branch is recovered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_does_not_answer_for_a_branch_keeps_no_branch_from_being_listed() {
    let shop = Shop::on(Arc::new(start_guarded_broker()));
    let resource = shop.open().await;
    let hidden = branch();
    promise(&resource, hidden, &shop.order("hidden")).await;
    let transaction = shop.open_transaction();
    let open = branch();
    promise(&resource, open, &shop.order("open")).await;
    assert!(resource.scan().await.is_ok());
    let age = resource.oldest_prepared();
    assert!(age > Duration::ZERO);

    raw::deny(
        &shop.broker,
        About::TransactionalId,
        &transaction.id,
        Denied::Describe,
    );
    super::until("the rule to hold", || {
        raw::describe(&shop.broker, &transaction.id).state.is_empty()
    })
    .await;
    let other = shop.open().await;
    for instance in [&resource, &other] {
        let listed = instance.scan().await.unwrap();
        assert_eq!(
            listed,
            [hidden, open].map(|branch| line(branch, ScanPhase::Prepared))
        );
    }
    assert_eq!(
        resource.oldest_prepared(),
        age,
        "what is not known is not shown as none"
    );
    let completion = other.finish(open, Decision::Commit).await.unwrap();
    assert_eq!(completion, Completion::Done);
}

/// Nobody forgets the markers of a coordinator that is gone for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_markers_of_a_retired_coordinator_hide_no_other() {
    const LISTED_AT_ONCE: usize = 1_000;
    const AT_ONCE: usize = 32;
    const RETIRED: LogId = LogId(1);
    let mut shop = Shop::new();
    shop.options.marker_age = Duration::ZERO;
    shop.options.fence_age = Duration::ZERO;
    let resource = shop.open().await;
    let retired: Vec<BranchKey> = std::iter::repeat_with(|| BranchKey {
        log: RETIRED,
        ..branch()
    })
    .take(LISTED_AT_ONCE)
    .collect();
    let fence = |branch: &BranchKey| {
        let (resource, branch) = (&resource, *branch);
        async move {
            let completion = resource.finish(branch, Decision::Abort).await;
            assert_eq!(completion.unwrap(), Completion::Done);
        }
    };
    stream::iter(&retired).for_each_concurrent(AT_ONCE, fence).await;
    let lost = branch();
    promise(&resource, lost, &shop.order("x")).await;
    resource.finish(lost, Decision::Commit).await.unwrap();
    for _ in 0..2 {
        let first = resource.scan().await.unwrap();
        let markers = retired.iter().map(|branch| line(*branch, ScanPhase::Marker));
        assert_eq!(first, markers.collect::<Vec<_>>());
        assert_eq!(
            resource.scan().await.unwrap(),
            [line(lost, ScanPhase::Marker)],
            "the list goes on, and then begins anew"
        );
    }
    resource.forget(&[lost]).await.unwrap();
    assert_eq!(resource.scan().await.unwrap().len(), LISTED_AT_ONCE);
    assert_eq!(resource.scan().await.unwrap(), []);
}
