use handfast_participant::resources::kafka::{KafkaOperation, Payload};
use handfast_participant::{Completion, Decision, Resource, Vote, Work};
use handfast_servers::kafka::Committed;

use super::{LIMIT, PARTITIONS, Shop, branch, next, prepare, promise, refused, seen, values};

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_branch_is_invisible_until_its_commit_and_then_there_once() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let branch = branch();
    let vote = prepare(&resource, branch, &shop.order("paid")).await;
    let Vote::Prepared {
        prepared_for: Some(held),
    } = vote
    else {
        panic!("{vote:?}");
    };
    assert_eq!(held, shop.options.transaction_timeout - shop.options.margin);
    assert_eq!(shop.broker.read_uncommitted(&shop.topic).unwrap().len(), 1);
    assert_eq!(shop.committed(), [""; 0]);
    assert!(
        !shop.broker.is_stable(&shop.topic).unwrap(),
        "a prepared branch holds the last stable offset back"
    );
    for _ in 0..3 {
        assert_eq!(
            resource.finish(branch, Decision::Commit).await.unwrap(),
            Completion::Done
        );
        shop.stable().await;
        assert_eq!(shop.committed(), ["paid"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_takes_everything_back_and_keeps_late_work_out() {
    let shop = Shop::new();
    let (resource, other) = (shop.open().await, shop.open().await);
    let prepared_first = branch();
    promise(&resource, prepared_first, &shop.order("never")).await;
    for branch in [prepared_first, branch()] {
        for instance in [&other, &resource] {
            assert_eq!(
                instance.finish(branch, Decision::Abort).await.unwrap(),
                Completion::Done
            );
        }
        let late = refused(prepare(&resource, branch, &shop.order("never")).await);
        assert_eq!((late.reason.as_str(), late.retryable), ("BRANCH_ENDED", false));
    }
    shop.stable().await;
    assert_eq!(shop.committed(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_move_in_step_with_the_records() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let group = format!("group-{}", next());
    let committed = || shop.broker.committed(&group, &shop.topic, 1).unwrap();
    let work = |offset| shop.order("read").position(&group, &shop.topic, 1, offset);
    assert_eq!(committed(), Committed::Nothing);
    for (offset, decision, then) in [
        (40, Decision::Abort, Committed::Nothing),
        (42, Decision::Commit, Committed::At(42)),
        (99, Decision::Abort, Committed::At(42)),
    ] {
        let branch = branch();
        promise(&resource, branch, &work(offset)).await;
        assert_eq!(committed(), Committed::Unstable, "while the branch is prepared");
        assert_eq!(resource.finish(branch, decision).await.unwrap(), Completion::Done);
        super::until("the offset to be stable", || committed() != Committed::Unstable).await;
        assert_eq!(committed(), then);
    }
    shop.stable().await;
    assert_eq!(shop.committed(), ["read"]);
    let only_offsets = KafkaOperation::new().position(&group, &shop.topic, 1, 43);
    let branch = branch();
    promise(&resource, branch, &only_offsets).await;
    resource.finish(branch, Decision::Commit).await.unwrap();
    super::until("the offset", || committed() == Committed::At(43)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_arrive_whole_where_their_key_says() {
    let shop = Shop::new();
    let second = format!("audit-{}", next());
    shop.broker.create_topic(&second, 1).unwrap();
    let resource = shop.open().await;
    let operation = KafkaOperation::new()
        // murmur2("abc") is 479470107, which is 0 modulo 3.
        .record(&shop.topic, "abc", "by key")
        .record(&shop.topic, Payload(None), "by partition")
        .to_partition(2)
        .header("kind", "x")
        .header("nothing", Payload(None))
        .record(&shop.topic, "gone", Payload(None))
        .to_partition(1)
        .record(&second, vec![0_u8, 255], vec![255_u8, 0])
        .record(&second, Payload(None), "last");
    let branch = branch();
    promise(&resource, branch, &operation).await;
    resource.finish(branch, Decision::Commit).await.unwrap();
    shop.stable().await;
    let records = shop.broker.read_committed(&shop.topic).unwrap();
    let found: Vec<_> = records
        .iter()
        .map(|record| (record.partition, record.key.as_deref(), record.value.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (0, Some(&b"abc"[..]), Some(&b"by key"[..])),
            (1, Some(b"gone"), None),
            (2, None, Some(b"by partition")),
        ]
    );
    let headers = [
        ("kind".to_owned(), Some("x".into())),
        ("nothing".to_owned(), None),
    ];
    assert_eq!(records[2].headers, headers);
    super::until("the second topic", || shop.broker.is_stable(&second).unwrap()).await;
    let second = shop.broker.read_committed(&second).unwrap();
    assert_eq!(second[0].value.as_deref(), Some(&[255_u8, 0][..]));
    assert_eq!(values(second[1..].to_vec()), ["last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_does_nothing_votes_read_only() {
    let shop = Shop::new();
    let resource = shop.open().await;
    for nothing in [
        KafkaOperation::new(),
        KafkaOperation::decode(br#"{"handfast_kafka":1,"offsets":{"group":"g","positions":[]}}"#).unwrap(),
    ] {
        assert_eq!(prepare(&resource, branch(), &nothing).await, Vote::ReadOnly);
    }
    assert_eq!(resource.scan().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepare_that_comes_twice_works_once() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let branch = branch();
    let operation = shop.order("once");
    let (first, second) = tokio::join!(
        prepare(&resource, branch, &operation),
        prepare(&resource, branch, &operation)
    );
    assert!(matches!(first, Vote::Prepared { .. }), "{first:?}");
    assert_eq!(first, second);
    promise(&resource, branch, &operation).await;
    resource.finish(branch, Decision::Commit).await.unwrap();
    shop.stable().await;
    assert_eq!(shop.committed(), ["once"]);
    assert_eq!(
        refused(prepare(&resource, branch, &operation).await).reason,
        "BRANCH_ENDED"
    );
}

/// FAULTS 68: whichever comes first in the journal wins, at both instances.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_by_another_instance_and_a_prepare_on_its_way_never_both_win() {
    let mut shop = Shop::new();
    shop.options.pool = 2;
    let (cut_off, other) = (shop.open().await, shop.open().await);
    for round in 0..30 {
        let branch = branch();
        let operation = shop.order("never");
        let (vote, aborted) = tokio::join!(prepare(&cut_off, branch, &operation), async {
            // Now at its beginning, now in its middle, now at its end.
            tokio::time::sleep(std::time::Duration::from_millis(round % 10)).await;
            other.finish(branch, Decision::Abort).await
        });
        assert_eq!(aborted.unwrap(), Completion::Done);
        match vote {
            Vote::Prepared { .. } => {}
            Vote::Refused(refusal) => assert_eq!(refusal.reason, "BRANCH_ENDED"),
            Vote::ReadOnly => panic!("there was something to write"),
            Vote::Committed => panic!("it was asked for a promise"),
        }
        match other.finish(branch, Decision::Commit).await.unwrap() {
            Completion::Contrary(_) => {}
            done => panic!("{done:?} of a branch that was aborted"),
        }
    }
    shop.stable().await;
    assert_eq!(shop.committed(), [""; 0]);
    promise(&cut_off, branch(), &shop.order("the ids came back")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_branch_that_nobody_knows_is_a_hazard() {
    let shop = Shop::new();
    let resource = shop.open().await;
    match resource.finish(branch(), Decision::Commit).await.unwrap() {
        Completion::Hazard(evidence) => {
            assert!(evidence.contains(&shop.options.journal_topic), "{evidence}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_ended_the_other_way_is_contrary_at_every_instance() {
    let shop = Shop::new();
    let (resource, other) = (shop.open().await, shop.open().await);
    let (aborted, committed) = (branch(), branch());
    promise(&resource, aborted, &shop.order("never")).await;
    promise(&resource, committed, &shop.order("paid")).await;
    resource.finish(aborted, Decision::Abort).await.unwrap();
    resource.finish(committed, Decision::Commit).await.unwrap();
    for (branch, decision, word) in [
        (aborted, Decision::Commit, "aborted"),
        (committed, Decision::Abort, "committed"),
    ] {
        match other.finish(branch, decision).await.unwrap() {
            Completion::Contrary(evidence) => assert!(evidence.contains(word), "{evidence}"),
            other => panic!("{other:?}"),
        }
    }
    shop.stable().await;
    assert_eq!(shop.committed(), ["paid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_branches_at_once_share_batches_and_none_is_lost() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let branches = (0..100).map(|number| (number, branch()));
    let run = |(number, branch)| {
        let (resource, shop) = (&resource, &shop);
        async move {
            let operation = KafkaOperation::new()
                .record(&shop.topic, Payload(None), format!("{number:03}"))
                .to_partition(number % PARTITIONS);
            loop {
                match prepare(resource, branch, &operation).await {
                    Vote::Prepared { .. } => break,
                    // The pool has 64; nothing was done.
                    Vote::Refused(refusal) if refusal.reason == "NO_TRANSACTIONAL_ID" => {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            let decision = if number % 4 == 0 {
                Decision::Abort
            } else {
                Decision::Commit
            };
            assert_eq!(resource.finish(branch, decision).await.unwrap(), Completion::Done);
        }
    };
    tokio::time::timeout(LIMIT, futures_util::future::join_all(branches.map(run)))
        .await
        .unwrap();
    shop.stable().await;
    let mut found = shop.committed();
    found.sort();
    let wanted: Vec<String> = (0..100)
        .filter(|number| number % 4 != 0)
        .map(|number| format!("{number:03}"))
        .collect();
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn interactive_work_is_refused_in_words() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let work = Work::Interactive { operations: 1 };
    let refusal = refused(resource.prepare(branch(), work, seen(1, 1), LIMIT).await.unwrap());
    assert_eq!(refusal.reason, "NOT_INTERACTIVE");
}
