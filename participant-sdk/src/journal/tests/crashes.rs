//! Any sequence of prepares, decisions, forgets and crashes, against a model of what was said.

use proptest::prelude::*;

use super::*;
use v1::{AckKind, VoteKind};

#[derive(Clone, Copy, Debug)]
enum Step {
    Prepare(u32),
    Commit(u32),
    Abort(u32),
    Forget(u32),
    HoldSyncs,
    LetSyncsGo,
    /// Takes the memory and everything that no completed sync covers.
    Crash,
    LoseSession,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0u32..8;
    let step = prop_oneof![
        4 => number.clone().prop_map(Step::Prepare),
        3 => number.clone().prop_map(Step::Commit),
        2 => number.clone().prop_map(Step::Abort),
        1 => number.prop_map(Step::Forget),
        1 => Just(Step::HoldSyncs),
        2 => Just(Step::LetSyncsGo),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseSession),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the coordinator believes, because it was told.
#[derive(Default)]
struct Told {
    /// Voted yes, and not decided.
    promised: BTreeMap<BranchKey, ()>,
    /// A decision was sent; it stays, as a coordinator's does.
    decided: BTreeMap<BranchKey, Decision>,
    /// The decision was acknowledged.
    done: BTreeMap<BranchKey, Decision>,
}

impl Told {
    fn hear(&mut self, frame: &v1::SessionRequest) {
        for vote in &frame.votes {
            let branch = named(&vote.transaction_id);
            if vote.kind() == VoteKind::Prepared && !self.decided.contains_key(&branch) {
                self.promised.insert(branch, ());
            }
        }
        for ack in &frame.acks {
            let branch = named(&ack.transaction_id);
            assert_eq!(
                ack.kind(),
                AckKind::Done,
                "a consistent coordinator hears of no hazard: {ack:?}"
            );
            self.done.insert(branch, self.decided[&branch]);
        }
    }

    /// What must be true of the store after any crash.
    fn check(&self, tally: &Tally) {
        for branch in self
            .promised
            .keys()
            .filter(|branch| !self.decided.contains_key(branch))
        {
            assert!(
                tally.reserved.contains_key(branch),
                "{branch} was promised and is gone"
            );
        }
        for (branch, decision) in &self.done {
            let applied = tally
                .applied
                .iter()
                .filter(|(applied, _)| applied == branch)
                .count();
            assert_eq!(
                applied,
                usize::from(*decision == Decision::Commit),
                "{branch} was {decision:?}"
            );
            assert!(
                !tally.reserved.contains_key(branch),
                "{branch} was {decision:?} and is still reserved"
            );
        }
        for (branch, _) in &tally.applied {
            assert_eq!(
                self.decided.get(branch),
                Some(&Decision::Commit),
                "{branch} was never committed"
            );
        }
    }
}

fn named(transaction: &[u8]) -> BranchKey {
    branch(TransactionId::from_slice(transaction).unwrap().sequence())
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    let mut told = Told::default();
    let mut forgotten = std::collections::BTreeSet::new();
    for step in steps {
        match step {
            // An id is prepared by one session only, and not once it is decided.
            Step::Prepare(number) if !told.decided.contains_key(&branch(number)) => {
                bench.prepare(branch(number), b"work");
            }
            // Only what every branch has promised is committed, and a decision never changes.
            Step::Commit(number)
                if told.promised.contains_key(&branch(number))
                    && !forgotten.contains(&number)
                    && *told.decided.get(&branch(number)).unwrap_or(&Decision::Commit)
                        == Decision::Commit =>
            {
                told.decided.insert(branch(number), Decision::Commit);
                bench.decide(branch(number), Decision::Commit);
            }
            Step::Abort(number)
                if !forgotten.contains(&number)
                    && *told.decided.get(&branch(number)).unwrap_or(&Decision::Abort) == Decision::Abort =>
            {
                told.decided.insert(branch(number), Decision::Abort);
                bench.decide(branch(number), Decision::Abort);
            }
            Step::Forget(number) if told.done.contains_key(&branch(number)) => {
                forgotten.insert(number);
                bench.journal.forget(branch(number));
            }
            Step::Prepare(_) | Step::Commit(_) | Step::Abort(_) | Step::Forget(_) => {}
            Step::HoldSyncs => bench.disk.hold_syncs(),
            Step::LetSyncsGo => bench.disk.let_syncs_go(),
            Step::Crash => bench = bench.after_crash().await,
            Step::LoseSession => {
                bench.disk.let_syncs_go();
                bench.journal.session_lost();
                bench.outbox = Outbox::default();
                bench.journal.open().await.unwrap();
            }
        }
        told.hear(&bench.said_so_far().await);
        told.check(bench.after_crash().await.journal.staged());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_said_holds_after_any_crash(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
