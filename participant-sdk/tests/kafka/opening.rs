use std::sync::Arc;
use std::time::Duration;

use handfast_participant::resources::kafka::{KafkaOptions, KafkaResource, check};
use handfast_participant::resources::{Finding, Verdict};
use handfast_participant::{Completion, Decision, Resource, ResourceError};
use handfast_servers::KafkaBroker;

use super::{Shop, branch, open, promise, start_broker};

async fn fails(options: KafkaOptions) -> ResourceError {
    KafkaResource::new(options).open().await.unwrap_err()
}

/// What a check says is broken.
async fn broken(options: &KafkaOptions) -> String {
    let findings = check(options).await;
    let broken: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_broken())
        .map(Finding::to_string)
        .collect();
    broken.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_together_agree_on_their_store() {
    let shop = Shop::new();
    let (one, other) = (
        KafkaResource::new(shop.options.clone()),
        KafkaResource::new(shop.options.clone()),
    );
    let (first, second) = tokio::join!(one.open(), other.open());
    let identity = first.unwrap();
    assert_eq!(identity, second.unwrap());
    assert!(
        !identity.attached,
        "any instance can finish what another one promised"
    );
    assert_eq!(
        one.open().await.unwrap(),
        identity,
        "also when it is opened again"
    );
    let third = KafkaResource::new(shop.options.clone()).open().await.unwrap();
    assert_eq!(third, identity);
    let elsewhere = Shop::new();
    let elsewhere = KafkaResource::new(elsewhere.options).open().await.unwrap();
    assert_ne!(elsewhere.store, identity.store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_sound_cluster_finds_nothing_broken_and_changes_nothing() {
    let shop = Shop::new();
    for is_made in [false, true] {
        assert_eq!(broken(&shop.options).await, "");
        let findings = check(&shop.options).await;
        let text: Vec<String> = findings.iter().map(Finding::to_string).collect();
        let text = text.join("\n");
        assert!(text.contains("transaction.version: 2"), "{text}");
        assert_eq!(text.contains("is made at the first start"), !is_made, "{text}");
        assert!(text.contains("use 3"), "one broker deserves advice: {text}");
        shop.open().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_reached_is_no_reason_to_give_up() {
    let port = handfast_servers::free_port().unwrap();
    let options = KafkaOptions::new([format!("127.0.0.1:{port}")], "nowhere");
    let error = fails(options.clone()).await;
    assert!(!error.permanent, "{error}");
    assert!(error.message.contains(&port.to_string()), "{error}");
    let broken = broken(&options).await;
    assert!(broken.contains("no answer from 127.0.0.1"), "{broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_person_can_mend_is_told_with_what_to_do() {
    let shop = Shop::new();
    let with = |change: fn(&mut KafkaOptions)| {
        let mut options = shop.options.clone();
        change(&mut options);
        options
    };
    shop.broker.create_topic("not-compacted", 1).unwrap();
    let compacted = [("cleanup.policy", "compact"), ("max.message.bytes", "2097152")];
    shop.broker
        .create_topic_with("two-partitions", 2, &compacted)
        .unwrap();
    for (options, words) in [
        (
            with(|options| options.transaction_timeout = Duration::from_secs(3_600)),
            "transaction.max.timeout.ms",
        ),
        (
            with(|options| options.journal_topic = "not-compacted".to_owned()),
            "cleanup.policy",
        ),
        (
            with(|options| options.journal_topic = "not-compacted".to_owned()),
            "max.message.bytes",
        ),
        (
            with(|options| options.journal_topic = "two-partitions".to_owned()),
            "2 partitions",
        ),
        (with(|options| options.pool = 0), "pool"),
        (with(|options| options.bootstrap.clear()), "host:port"),
        (
            with(|options| options.bootstrap = vec!["kafka".to_owned()]),
            "host:port",
        ),
        (
            with(|options| options.margin = options.transaction_timeout),
            "nothing to promise",
        ),
    ] {
        let error = fails(options.clone()).await;
        assert!(error.permanent, "{error}");
        assert!(error.message.contains(words), "{error}");
        let broken = broken(&options).await;
        assert!(broken.contains(words), "{broken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_transaction_version_is_refused_with_the_command_that_raises_it() {
    let broker = KafkaBroker::start_with_features(&[], &["transaction.version=1"]).unwrap();
    let options = KafkaOptions::new([broker.bootstrap()], "old");
    let error = fails(options.clone()).await;
    assert!(
        error.permanent && error.message.contains("kafka-features.sh"),
        "{error}"
    );
    assert!(broken(&options).await.contains("kafka-features.sh"));
}

/// FAULTS 32: another cluster answers at the same address.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_behind_the_same_address_is_told_apart() {
    let mut shop = Shop::on(Arc::new(start_broker()));
    let resource = shop.open().await;
    let identity = resource.open().await.unwrap();
    let promised = branch();
    promise(&resource, promised, &shop.order("x")).await;
    let broker = Arc::get_mut(&mut shop.broker).unwrap();
    broker.kill().unwrap();
    broker.restart_as_another_cluster().unwrap();

    let error = resource.finish(promised, Decision::Commit).await.unwrap_err();
    assert!(!error.permanent, "the right one may come back: {error}");
    assert!(error.message.contains("belongs to cluster"), "{error}");
    assert!(resource.scan().await.is_err());
    let error = resource.open().await.unwrap_err();
    assert!(error.message.contains("belongs to cluster"), "{error}");

    let fresh = open(shop.options.clone()).await;
    assert_ne!(
        fresh.open().await.unwrap().store,
        identity.store,
        "the coordinator refuses another store under the name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_copied_from_another_cluster_is_refused() {
    let shop = Shop::new();
    shop.open().await;
    let copy = format!("copy-{}", super::next());
    let settings = [
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "2097152"),
        ("unclean.leader.election.enable", "true"),
    ];
    shop.broker.create_topic_with(&copy, 1, &settings).unwrap();
    let original = shop.broker.read_uncommitted(&shop.options.journal_topic).unwrap();
    let store = original.first().unwrap();
    // As a mirror of another cluster would have it.
    let mut value = store.value.clone().unwrap().to_vec();
    value.extend(b"-elsewhere");
    super::raw::write(&shop.broker, &copy, store.key.clone(), Some(value.into()));
    let mut options = shop.options.clone();
    options.journal_topic = copy;
    let looked = check(&options).await;
    let found = |what: &str| looked.iter().find(|finding| finding.what == what).unwrap();
    let store = found("store");
    assert!(
        store.is_broken() && store.to_string().contains("is a copy"),
        "{store}"
    );
    let unclean = found(&format!(
        "unclean.leader.election.enable of {}",
        options.journal_topic
    ));
    assert!(matches!(unclean.verdict, Verdict::Advice(_)), "{unclean}");
    let error = fails(options).await;
    assert!(error.permanent && error.message.contains("is a copy"), "{error}");

    let looked = check(&shop.options).await;
    let found = |what: &str| looked.iter().find(|finding| finding.what == what).unwrap();
    assert!(!found("store").is_broken(), "{looked:?}");
    assert_eq!(found("prepared branches").found, "0");
}

/// FAULTS 24: what a cluster loses of the journal is a hazard, and a store of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_deleted_and_made_again_is_another_store() {
    let shop = Shop::new();
    let resource = shop.open().await;
    let identity = resource.open().await.unwrap();
    let promised = branch();
    promise(&resource, promised, &shop.order("lost")).await;
    let journal = &shop.options.journal_topic;
    super::raw::delete_topic(&shop.broker, journal);
    let settings = [("cleanup.policy", "compact"), ("max.message.bytes", "2097152")];
    super::until("the topic to be gone", || {
        shop.broker.create_topic_with(journal, 1, &settings).is_ok()
    })
    .await;
    let give_up_at = tokio::time::Instant::now() + super::LIMIT;
    loop {
        match resource.scan().await {
            Err(error) if error.message.contains("made again") => break,
            other => assert!(tokio::time::Instant::now() < give_up_at, "{other:?}"),
        }
    }
    assert!(resource.finish(promised, Decision::Commit).await.is_err());
    assert_ne!(resource.open().await.unwrap().store, identity.store);
    match resource.finish(promised, Decision::Commit).await.unwrap() {
        Completion::Hazard(evidence) => assert!(evidence.contains(journal), "{evidence}"),
        other => panic!("{other:?}"),
    }
}

/// FAULTS 24: the cluster loses the end of the journal after this process has read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_has_lost_its_end_is_read_anew_and_what_was_lost_is_a_hazard() {
    let mut shop = Shop::on(Arc::new(start_broker()));
    let resource = shop.open().await;
    let identity = resource.open().await.unwrap();
    let (kept, lost) = (branch(), branch());
    promise(&resource, kept, &shop.order("kept")).await;
    let folder = format!("{}-0", shop.options.journal_topic);
    let segment = shop.broker.data().join(folder).join("00000000000000000000.log");
    let length = std::fs::metadata(&segment).unwrap().len();
    promise(&resource, lost, &shop.order("lost")).await;
    let broker = Arc::get_mut(&mut shop.broker).unwrap();
    broker.kill().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    assert!(file.metadata().unwrap().len() > length);
    file.set_len(length).unwrap();
    broker.restart().unwrap();

    let give_up_at = tokio::time::Instant::now() + super::LIMIT;
    let error = loop {
        match resource.scan().await {
            Err(error) if error.reopen => break error,
            other => assert!(tokio::time::Instant::now() < give_up_at, "{other:?}"),
        }
    };
    assert!(
        !error.permanent && error.message.contains("is shorter than what was read of it"),
        "{error}"
    );
    // Nothing more is said of what was read before.
    assert!(resource.seen().await.unwrap_err().reopen);
    assert!(resource.forget(&[kept]).await.unwrap_err().reopen);
    for branch in [kept, lost] {
        for decision in [Decision::Commit, Decision::Abort] {
            assert!(resource.finish(branch, decision).await.unwrap_err().reopen);
        }
    }
    let refusal = super::refused(super::prepare(&resource, branch(), &shop.order("never")).await);
    assert!(refusal.retryable, "{refusal:?}");

    assert_eq!(
        resource.open().await.unwrap(),
        identity,
        "it is the same store, and has lost something"
    );
    let lines = resource.scan().await.unwrap();
    let listed: Vec<_> = lines.iter().map(|line| line.branch).collect();
    assert_eq!(listed, [kept]);
    match resource.finish(lost, Decision::Commit).await.unwrap() {
        Completion::Hazard(evidence) => {
            assert!(evidence.contains("the topic has lost records"), "{evidence}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        resource.finish(kept, Decision::Commit).await.unwrap(),
        Completion::Done
    );
    super::until("the commit to be seen", || shop.committed() == ["kept"]).await;
    let next = branch();
    promise(&resource, next, &shop.order("next")).await;
    assert_eq!(
        resource.finish(next, Decision::Abort).await.unwrap(),
        Completion::Done
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_wrote_into_the_journal_is_never_guessed_at() {
    let shop = Shop::new();
    let resource = shop.open().await;
    super::raw::write(
        &shop.broker,
        &shop.options.journal_topic,
        Some("somebody".into()),
        Some("else".into()),
    );
    let error = resource.scan().await.unwrap_err();
    assert!(error.message.contains("none that this build can read"), "{error}");
    let error = fails(shop.options.clone()).await;
    assert!(
        error.permanent && error.message.contains("keep others out"),
        "{error}"
    );
}

/// Brokers compress what they are sent plain if they are told to, also the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_stays_readable_whatever_the_brokers_compress() {
    let broker = Arc::new(KafkaBroker::start(&["compression.type=zstd"]).unwrap());
    let with_codec = |codec: &'static str| {
        let mut shop = Shop::on(broker.clone());
        shop.options.journal_topic = format!("journal-{codec}");
        let settings = [
            ("cleanup.policy", "compact"),
            ("max.message.bytes", "2097152"),
            ("compression.type", codec),
        ];
        let topic = &shop.options.journal_topic;
        broker.create_topic_with(topic, 1, &settings).unwrap();
        shop
    };
    for shop in [Shop::on(broker.clone()), with_codec("gzip"), with_codec("snappy")] {
        let promised = branch();
        promise(&shop.open().await, promised, &shop.order(&"x".repeat(100_000))).await;
        let other = shop.open().await;
        let completion = other.finish(promised, Decision::Commit).await.unwrap();
        assert_eq!(completion, Completion::Done);
    }
    for codec in ["lz4", "zstd"] {
        let shop = with_codec(codec);
        super::until("the topic to be known", || {
            broker.read_uncommitted(&shop.options.journal_topic).is_ok()
        })
        .await;
        let error = fails(shop.options.clone()).await;
        assert!(error.permanent, "{error}");
        for told in [error.message, broken(&shop.options).await] {
            assert!(told.contains("--add-config compression.type=producer"), "{told}");
        }
    }
}
