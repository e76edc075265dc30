//! The only branch of a transaction, which commits at once: one record, one sync, and a marker that proves it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::resource::ScanPhase;
use v1::{AckKind, DecisionKind, VoteKind};

impl Bench {
    async fn delegate(&mut self, branch: BranchKey, operation: &'static [u8]) -> VoteKind {
        self.ask(branch, operation, true);
        let frame = self.said_so_far().await;
        assert_eq!(frame.votes.len(), 1, "{frame:?}");
        frame.votes[0].kind()
    }

    /// What is found: the decision that is acknowledged as done.
    async fn resolve(&mut self, branch: BranchKey) -> DecisionKind {
        self.journal.resolve(branch, seen(6), &mut self.outbox);
        self.journal.start();
        let frame = self.said_so_far().await;
        assert_eq!(frame.acks.len(), 1, "{frame:?}");
        assert_eq!(frame.acks[0].kind(), AckKind::Done);
        frame.acks[0].decision()
    }

    /// What a scan shows, as it is now.
    async fn scan(&mut self) -> Vec<ScanLine> {
        self.journal.scan();
        match self.journal.progress(&mut self.outbox).await.unwrap() {
            Progress::Scanned(lines) => lines,
            Progress::Moved | Progress::ScanFailed(_) => panic!("a scan that is wanted comes first"),
        }
    }

    fn applied(&self, branch: BranchKey) -> usize {
        let applied = &self.journal.staged().applied;
        applied.iter().filter(|(applied, _)| *applied == branch).count()
    }
}

#[tokio::test]
async fn effect_and_marker_are_one_record_and_one_sync() {
    let mut bench = Bench::new().await;
    bench.disk.hold_syncs();
    bench.ask(branch(1), b"work", true);
    assert!(
        bench.said_so_far().await.votes.is_empty(),
        "nothing is said before the sync"
    );
    let crashed = bench.after_crash().await;
    assert_eq!((crashed.applied(branch(1)), crashed.lines().len()), (0, 0));

    let before = bench.journal.log.counters();
    bench.disk.let_syncs_go();
    assert_eq!(bench.said_so_far().await.votes[0].kind(), VoteKind::Committed);
    let after = bench.journal.log.counters();
    assert!(after.batches - before.batches <= 1, "{before:?} {after:?}");
    let crashed = bench.after_crash().await;
    assert_eq!(crashed.applied(branch(1)), 1);
    assert_eq!(crashed.lines()[0].phase, ScanPhase::Committed);
}

#[tokio::test]
async fn a_scan_shows_a_commit_at_once_only_when_it_is_durable() {
    let mut bench = Bench::new().await;
    bench.disk.hold_syncs();
    bench.ask(branch(1), b"work", true);
    assert_eq!(bench.scan().await, [], "it would be told as a fact");
    bench.disk.let_syncs_go();
    bench.said_so_far().await;
    assert_eq!(bench.scan().await[0].phase, ScanPhase::Committed);
}

#[tokio::test]
async fn who_reads_the_effect_of_a_commit_at_once_waits_for_its_sync() {
    let mut bench = Bench::new().await;
    assert_eq!(
        bench.vote(branch(7), b"nothing").await,
        VoteKind::ReadOnly,
        "nothing is under way"
    );
    bench.disk.hold_syncs();
    bench.ask(branch(1), b"work", true);
    for number in [2, 2, 7] {
        bench.prepare(branch(number), b"nothing");
    }
    assert_eq!(bench.said_so_far().await.votes, []);
    bench.disk.let_syncs_go();
    assert_eq!(bench.said_so_far().await.votes.len(), 4);
}

#[tokio::test]
async fn many_of_them_cost_one_batch() {
    let mut bench = Bench::new().await;
    let before = bench.journal.log.counters().batches;
    for number in 0..20 {
        bench.ask(branch(number), b"work", true);
    }
    assert_eq!(bench.said_so_far().await.votes.len(), 20);
    // The first leaves by itself with the start of the turn that took it in.
    assert!(bench.journal.log.counters().batches - before <= 2);
}

#[tokio::test]
async fn a_repeat_gets_the_same_vote_and_works_once_also_after_a_crash() {
    let mut bench = Bench::new().await;
    for _ in 0..2 {
        assert_eq!(bench.delegate(branch(1), b"work").await, VoteKind::Committed);
        assert_eq!(bench.delegate(branch(2), b"nothing").await, VoteKind::ReadOnly);
        assert_eq!(bench.delegate(branch(3), b"no").await, VoteKind::Refused);
    }
    let mut bench = bench.after_crash().await;
    assert_eq!(bench.delegate(branch(1), b"work").await, VoteKind::Committed);
    assert_eq!(bench.applied(branch(1)), 1);
    assert_eq!(
        bench.vote(branch(1), b"work").await,
        VoteKind::Refused,
        "as late work of two phases"
    );
}

#[tokio::test]
async fn a_marker_answers_commit_and_absence_becomes_a_fence() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.delegate(branch(1), b"work").await, VoteKind::Committed);
    let mut bench = bench.after_crash().await;
    assert_eq!(bench.resolve(branch(1)).await, DecisionKind::Commit);
    assert_eq!(bench.resolve(branch(2)).await, DecisionKind::Abort);
    assert_eq!(
        bench.delegate(branch(2), b"work").await,
        VoteKind::Refused,
        "it comes too late"
    );
    let mut bench = bench.after_crash().await;
    assert_eq!(
        bench.delegate(branch(2), b"work").await,
        VoteKind::Refused,
        "also after a crash"
    );
    assert_eq!(bench.resolve(branch(2)).await, DecisionKind::Abort);
    assert_eq!((bench.applied(branch(1)), bench.applied(branch(2))), (1, 0));
}

#[tokio::test]
async fn the_answer_to_the_question_waits_until_its_proof_is_durable() {
    let mut bench = Bench::new().await;
    bench.disk.hold_syncs();
    bench.ask(branch(1), b"work", true);
    for number in [1, 2] {
        bench.journal.resolve(branch(number), seen(6), &mut bench.outbox);
    }
    bench.journal.start();
    let frame = bench.said_so_far().await;
    assert!(frame.acks.is_empty() && frame.votes.is_empty(), "{frame:?}");
    bench.disk.let_syncs_go();
    let found: Vec<_> = bench
        .said_so_far()
        .await
        .acks
        .iter()
        .map(v1::Ack::decision)
        .collect();
    assert_eq!(found, [DecisionKind::Commit, DecisionKind::Abort]);
}

#[tokio::test]
async fn a_promise_that_was_asked_for_before_is_kept_as_one_and_resolved_by_rollback() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.vote(branch(1), b"work").await, VoteKind::Prepared);
    assert_eq!(bench.delegate(branch(1), b"work").await, VoteKind::Prepared);
    assert_eq!(bench.resolve(branch(1)).await, DecisionKind::Abort);
    assert!(bench.journal.staged().reserved.is_empty());
}

#[tokio::test]
async fn a_checkpoint_keeps_the_marker_and_the_effect() {
    let mut bench = Bench::new().await;
    for number in 0..60 {
        assert_eq!(bench.delegate(branch(number), b"work").await, VoteKind::Committed);
    }
    let mut bench = bench.after_crash().await;
    for number in 0..60 {
        assert_eq!(bench.resolve(branch(number)).await, DecisionKind::Commit);
        assert_eq!(bench.applied(branch(number)), 1);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Delegate(u32),
    Resolve(u32),
    Forget(u32),
    Scan,
    HoldSyncs,
    LetSyncsGo,
    Crash,
    LoseSession,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0u32..6;
    let step = prop_oneof![
        4 => number.clone().prop_map(Step::Delegate),
        2 => number.clone().prop_map(Step::Resolve),
        1 => number.prop_map(Step::Forget),
        1 => Just(Step::Scan),
        1 => Just(Step::HoldSyncs),
        2 => Just(Step::LetSyncsGo),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseSession),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the coordinator was told, which must stay true whatever crashes.
#[derive(Default)]
struct Told {
    out: BTreeMap<u32, DecisionKind>,
    /// By which session each was asked for; no other one ever is.
    asked: BTreeMap<u32, u32>,
    forgotten: BTreeSet<u32>,
}

impl Told {
    fn hear(&mut self, frame: &v1::SessionRequest) {
        let number = |id: &[u8]| TransactionId::from_slice(id).unwrap().sequence();
        for vote in &frame.votes {
            match vote.kind() {
                VoteKind::Committed => self.learn(number(&vote.transaction_id), DecisionKind::Commit),
                VoteKind::Refused => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
        for ack in &frame.acks {
            assert_eq!(ack.kind(), AckKind::Done);
            let number = number(&ack.transaction_id);
            // Once it may be forgotten, nobody asks any more.
            if !self.forgotten.contains(&number) {
                self.learn(number, ack.decision());
            }
        }
    }

    /// A line that shows a commit is as good as its vote.
    fn see(&mut self, lines: &[ScanLine]) {
        for line in lines.iter().filter(|line| line.phase == ScanPhase::Committed) {
            self.learn(line.branch.transaction.sequence(), DecisionKind::Commit);
        }
    }

    fn learn(&mut self, number: u32, found: DecisionKind) {
        let before = *self.out.entry(number).or_insert(found);
        assert_eq!(before, found, "{number} came out otherwise before");
    }

    fn check(&self, crashed: &Bench) {
        for number in 0..6 {
            let applied = crashed.applied(branch(number));
            match self.out.get(&number) {
                Some(DecisionKind::Commit) => assert_eq!(applied, 1, "{number} was told as committed"),
                Some(_) => assert_eq!(applied, 0, "{number} was told as aborted"),
                None => assert!(applied <= 1),
            }
        }
    }
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    let mut told = Told::default();
    let mut session = 0;
    for step in steps {
        match step {
            // Also again and late, but only by the session that it was sent to.
            Step::Delegate(number) if *told.asked.entry(number).or_insert(session) == session => {
                bench.ask(branch(number), b"work", true);
            }
            // Also before its prepare, which it may overtake on the way.
            Step::Resolve(number) if !told.forgotten.contains(&number) => {
                told.asked.entry(number).or_insert(session);
                bench.journal.resolve(branch(number), seen(6), &mut bench.outbox);
                bench.journal.start();
            }
            Step::Forget(number) if told.out.contains_key(&number) => {
                told.forgotten.insert(number);
                bench.journal.forget(branch(number));
            }
            Step::Delegate(_) | Step::Resolve(_) | Step::Forget(_) => {}
            Step::Scan => told.see(&bench.scan().await),
            Step::HoldSyncs => bench.disk.hold_syncs(),
            Step::LetSyncsGo => bench.disk.let_syncs_go(),
            Step::Crash => {
                bench = bench.after_crash().await;
                session += 1;
            }
            Step::LoseSession => {
                bench.disk.let_syncs_go();
                bench.journal.session_lost();
                bench.outbox = Outbox::default();
                bench.journal.open().await.unwrap();
                session += 1;
            }
        }
        told.hear(&bench.said_so_far().await);
        told.check(&bench.after_crash().await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_told_holds_after_any_crash(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
