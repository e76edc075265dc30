//! A store whose promises are in the SDK's journal.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use handfast_ids::{BranchId, LogId, TransactionId};
use handfast_participant::{BranchKey, Refusal, Reservation, ResourceError, Staged};

use super::{Accounts, Effect};
use crate::intent::Operation;

/// The state of one process, shared with the oracle, which only looks.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Accounts>>);

impl Ledger {
    /// What it holds.
    pub fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// Bytes of a branch's name and its times in a snapshot.
const HEAD_BYTES: usize = 16 + 16 + 4 + 4;

impl Staged for Ledger {
    fn reserve(&mut self, _branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        let Some(operation) = Operation::decode(operation) else {
            return Err(Refusal::permanent("MALFORMED", "this is no operation"));
        };
        if operation.refuses() {
            return Err(Refusal::permanent("ASKED_TO", "the operation asks to be refused"));
        }
        if !operation.adds() {
            return Ok(Reservation::Nothing);
        }
        match self.accounts().reserve(&operation) {
            true => Ok(Reservation::Reserved),
            false => Err(Refusal::retryable("INSUFFICIENT_FUNDS", "the account holds less")),
        }
    }

    fn apply(&mut self, _position: u64, branch: BranchKey, operation: &[u8]) {
        let operation = Operation::decode(operation).expect("it was reserved");
        self.accounts().apply(branch, operation);
    }

    fn release(&mut self, _branch: BranchKey, operation: &[u8]) {
        let operation = Operation::decode(operation).expect("it was reserved");
        self.accounts().release(&operation);
    }

    fn snapshot(&self) -> Vec<Bytes> {
        let record = |(branch, effect): (&BranchKey, &Effect)| {
            let mut bytes = Vec::with_capacity(64);
            bytes.extend(branch.log.to_bytes());
            bytes.extend(branch.transaction.to_bytes());
            bytes.extend(branch.branch.0.to_le_bytes());
            bytes.extend(effect.times.to_le_bytes());
            bytes.extend(effect.operation.encode());
            Bytes::from(bytes)
        };
        self.accounts().effects().iter().map(record).collect()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        let (branch, times, operation) =
            decode(record).ok_or_else(|| ResourceError::permanent("this is no record of a snapshot"))?;
        let mut accounts = self.accounts();
        // Balances are the sum of the effects, so nothing else is kept.
        for _ in 0..times {
            accounts.enter(branch, operation);
        }
        Ok(())
    }
}

fn decode(record: &[u8]) -> Option<(BranchKey, u32, Operation)> {
    let (head, operation) = record.split_at_checked(HEAD_BYTES)?;
    let branch = BranchKey {
        log: LogId::from_slice(&head[..16])?,
        transaction: TransactionId::from_slice(&head[16..32]).ok()?,
        branch: BranchId(u32::from_le_bytes(head[32..36].try_into().ok()?)),
    };
    let times = u32::from_le_bytes(head[36..40].try_into().ok()?);
    Some((branch, times, Operation::decode(operation)?))
}
