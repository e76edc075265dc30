use std::time::Duration;

use handfast_participant::resources::kafka::KafkaOperation;
use handfast_participant::{BranchKey, Completion, Decision, Resource, Vote, Work};
use handfast_servers::kafka::Committed;

use super::{LIMIT, PARTITIONS, Shop, branch, next, prepare, promise, refused, seen};

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
