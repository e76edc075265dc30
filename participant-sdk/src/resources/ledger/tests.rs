use std::collections::BTreeMap;

use handfast_proto::ids::{BranchId, Epoch, LogId, Partition, TransactionId};
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
const FIRST_BALANCE: i64 = 100;

fn branch(number: usize) -> BranchKey {
    let transaction = TransactionId::new(1, Partition(0), Epoch(1), number as u32);
    BranchKey {
        log: LogId(1),
        transaction,
        branch: BranchId(0),
    }
}

/// A ledger with the first three accounts, as a new store has it.
fn ledger() -> Ledger {
    let account = |name: &&str| {
        (
            (*name).to_owned(),
            Account {
                balance: FIRST_BALANCE,
                overdraft: *name == "carol",
            },
        )
    };
    let accounts = NAMES.iter().take(3).map(account).collect();
    let mut ledger = Ledger::new(LedgerOptions {
        accounts,
        history: None,
    });
    for record in ledger.initial() {
        ledger.restore(&record).unwrap();
    }
    ledger
}

fn restarted(ledger: &Ledger) -> Ledger {
    let mut again = Ledger::new(LedgerOptions::default());
    for record in ledger.snapshot() {
        again.restore(&record).unwrap();
    }
    again
}

fn balances(ledger: &Ledger) -> BTreeMap<String, i64> {
    ledger
        .accounts
        .iter()
        .map(|(name, account)| (name.to_owned(), account.balance))
        .collect()
}

fn refusal(ledger: &mut Ledger, operation: &LedgerOperation) -> String {
    ledger.reserve(branch(0), &operation.encode()).unwrap_err().reason
}

#[test]
fn a_debit_is_reserved_and_a_credit_can_be_spent_once_it_is_committed() {
    let mut ledger = ledger();
    let all = LedgerOperation::transfer("1", "alice", "bob", FIRST_BALANCE);
    assert_eq!(
        ledger.reserve(branch(1), &all.encode()),
        Ok(Reservation::Reserved)
    );
    assert_eq!(
        refusal(&mut ledger, &LedgerOperation::post("2", "alice", -1)),
        "INSUFFICIENT_FUNDS"
    );
    assert_eq!(
        refusal(
            &mut ledger,
            &LedgerOperation::post("2", "bob", -FIRST_BALANCE - 1)
        ),
        "INSUFFICIENT_FUNDS"
    );
    ledger.apply(1, branch(1), &all.encode());
    let spend = LedgerOperation::post("2", "bob", -2 * FIRST_BALANCE);
    assert_eq!(
        ledger.reserve(branch(2), &spend.encode()),
        Ok(Reservation::Reserved)
    );
    ledger.release(branch(2), &spend.encode());
    assert_eq!(
        ledger.reserve(branch(3), &spend.encode()),
        Ok(Reservation::Reserved)
    );
}

#[test]
fn what_cannot_be_is_refused_and_reserves_nothing() {
    let mut ledger = ledger();
    let entries = |list: &[(&str, i64)]| LedgerOperation::Post {
        reference: "r".into(),
        entries: list
            .iter()
            .map(|(account, delta)| Entry {
                account: (*account).into(),
                delta: *delta,
            })
            .collect(),
    };
    assert_eq!(
        refusal(&mut ledger, &entries(&[("alice", -1), ("nobody", 1)])),
        "UNKNOWN_ACCOUNT"
    );
    assert_eq!(
        refusal(&mut ledger, &entries(&[("alice", -1), ("bob", i64::MAX)])),
        "AMOUNT_TOO_LARGE"
    );
    assert_eq!(
        refusal(&mut ledger, &entries(&[("carol", i64::MIN), ("carol", i64::MIN)])),
        "AMOUNT_TOO_LARGE"
    );
    assert_eq!(refusal(&mut ledger, &entries(&[])), "BAD_OPERATION");
    assert_eq!(
        ledger.reserve(branch(0), b"{}").unwrap_err().reason,
        "BAD_OPERATION"
    );
    let open = |account: &str| LedgerOperation::Open {
        account: account.into(),
        balance: 0,
        overdraft: false,
    };
    assert_eq!(refusal(&mut ledger, &open("alice")), "ACCOUNT_EXISTS");
    assert_eq!(
        ledger.reserve(branch(1), &open("dave").encode()),
        Ok(Reservation::Reserved)
    );
    assert_eq!(refusal(&mut ledger, &open("dave")), "ACCOUNT_EXISTS");
    let read = |at_least| {
        LedgerOperation::Read {
            account: "alice".into(),
            at_least,
        }
        .encode()
    };
    assert_eq!(
        ledger.reserve(branch(2), &read(Some(FIRST_BALANCE))),
        Ok(Reservation::Nothing)
    );
    assert!(ledger.reserve(branch(2), &read(Some(FIRST_BALANCE + 1))).is_err());
}

#[test]
fn entries_of_one_account_count_together() {
    let mut ledger = ledger();
    let entries = vec![
        Entry {
            account: "alice".into(),
            delta: -2 * FIRST_BALANCE,
        },
        Entry {
            account: "alice".into(),
            delta: 2 * FIRST_BALANCE,
        },
    ];
    let operation = LedgerOperation::Post {
        reference: "r".into(),
        entries,
    };
    assert_eq!(
        ledger.reserve(branch(1), &operation.encode()),
        Ok(Reservation::Reserved)
    );
}

#[test]
fn the_mirror_shows_what_is_durable_and_is_built_anew_when_it_does_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let transfer = LedgerOperation::transfer("1", "alice", "bob", 30).encode();
    let alice = |readers: &Readers| readers.account("alice").map(|account| account.balance);

    let mut first = ledger().mirrored_in(directory.path());
    let readers = first.readers().unwrap();
    assert_eq!(alice(&readers), None, "the journal is not open yet");
    first.synced(0);
    first.reserve(branch(1), &transfer).unwrap();
    first.apply(5, branch(1), &transfer);
    first.synced(4);
    assert_eq!(
        alice(&readers),
        Some(FIRST_BALANCE),
        "what is not durable is not shown"
    );
    first.synced(5);
    assert_eq!(alice(&readers), Some(FIRST_BALANCE - 30));
    drop((first, readers));

    // The mirror is ahead of a journal that knows nothing of the transfer, and then it is damaged.
    let mut behind = ledger().mirrored_in(directory.path());
    behind.synced(3);
    assert_eq!(alice(&behind.readers().unwrap()), Some(FIRST_BALANCE));
    drop(behind);
    for entry in std::fs::read_dir(directory.path().join("mirror")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, b"not what sled wrote").unwrap();
        }
    }
    let mut damaged = ledger().mirrored_in(directory.path());
    damaged.synced(3);
    assert_eq!(alice(&damaged.readers().unwrap()), Some(FIRST_BALANCE));
}

#[test]
fn history_is_kept_as_long_as_was_asked_for() {
    let mut ledger = ledger();
    ledger.options.history = Some(2);
    for number in 1..=3 {
        let operation = LedgerOperation::post(format!("{number}"), "alice", 1).encode();
        ledger.reserve(branch(number), &operation).unwrap();
        ledger.apply(number as u64, branch(number), &operation);
    }
    let kept: Vec<&str> = ledger
        .applied
        .iter()
        .map(|applied| applied.reference.as_str())
        .collect();
    assert_eq!(kept, ["2", "3"]);
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(LedgerOperation),
    /// Ends the reservation of this rank.
    Apply(usize),
    Release(usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || proptest::sample::select(&NAMES[..]);
    let transfer = (name(), name(), 0..2 * FIRST_BALANCE)
        .prop_map(|(from, to, amount)| Step::Reserve(LedgerOperation::transfer("t", from, to, amount)));
    let open = Just(Step::Reserve(LedgerOperation::Open {
        account: "dave".into(),
        balance: 0,
        overdraft: false,
    }));
    let step = prop_oneof![
        6 => transfer,
        1 => open,
        3 => (0usize..8).prop_map(Step::Apply),
        2 => (0usize..8).prop_map(Step::Release),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Money is neither made nor lost, nothing is spent twice, every promise can be kept, also across restarts.
    #[test]
    fn any_order_of_work_keeps_the_books(steps in steps()) {
        let mut ledger = ledger();
        let mut model = balances(&ledger);
        let mut held: Vec<(BranchKey, LedgerOperation)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Reserve(operation) => {
                    if ledger.reserve(branch(number), &operation.encode()).is_ok() {
                        held.push((branch(number), operation));
                    }
                }
                Step::Apply(rank) if rank < held.len() => {
                    let (branch, operation) = held.remove(rank);
                    ledger.apply(number as u64 + 1, branch, &operation.encode());
                    match operation {
                        LedgerOperation::Post { entries, .. } => {
                            for entry in entries {
                                *model.get_mut(&entry.account).unwrap() += entry.delta;
                            }
                        }
                        LedgerOperation::Open { account, balance, .. } => {
                            model.insert(account, balance);
                        }
                        LedgerOperation::Read { .. } => {}
                    }
                }
                Step::Release(rank) if rank < held.len() => {
                    let (branch, operation) = held.remove(rank);
                    ledger.release(branch, &operation.encode());
                }
                Step::Apply(_) | Step::Release(_) => {}
                Step::Restart => {
                    ledger = restarted(&ledger);
                    for (branch, operation) in &held {
                        prop_assert_eq!(ledger.reserve(*branch, &operation.encode()), Ok(Reservation::Reserved));
                    }
                }
            }
            prop_assert_eq!(&balances(&ledger), &model);
            prop_assert_eq!(model.values().sum::<i64>(), 3 * FIRST_BALANCE);
            for (name, balance) in &model {
                prop_assert!(*balance >= 0 || name == "carol", "{} is overdrawn: {}", name, balance);
            }
        }
    }

    #[test]
    fn an_operation_comes_back_as_it_was(from in "[a-z]{1,9}", to in "[a-z]{1,9}", amount in 0..i64::MAX) {
        let operation = LedgerOperation::transfer("reference", from, to, amount);
        prop_assert_eq!(LedgerOperation::decode(&operation.encode()), Ok(operation));
    }
}
