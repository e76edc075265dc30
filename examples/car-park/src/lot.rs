//! The car park as a participant: operations that are checked now and applied later. The SDK's journal makes it durable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use handfast_participant::{BranchKey, Refusal, Reservation, ResourceError, Staged};
use serde::{Deserialize, Serialize};

use crate::board::Board;

/// Bytes of a number plate.
const PLATE_BYTES: usize = 32;

/// What can be asked of the car park, in JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// `{"book": {"space": 3, "plate": "B-AD 1843"}}`
    Book {
        /// Which space; it must be free.
        space: u32,
        /// Whose it becomes.
        plate: String,
    },
    /// `{"leave": {"space": 3}}`
    Leave {
        /// Which space; it must be taken.
        space: u32,
    },
}

impl Operation {
    /// As it travels in a transaction.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("numbers and texts can be written as JSON")
            .into()
    }

    fn decode(operation: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(operation).map_err(|error| Refusal::permanent("MALFORMED", error.to_string()))
    }

    fn space(&self) -> u32 {
        match self {
            Operation::Book { space, .. } | Operation::Leave { space } => *space,
        }
    }
}

/// All spaces.
pub struct Lot {
    spaces: u32,
    taken: BTreeMap<u32, String>,
    /// A space with an undecided operation takes no other.
    promised: BTreeSet<u32>,
    /// Applied, and not yet known to be durable: readers must not see it, for a crash could take it back.
    unsynced: Vec<(u64, u32)>,
    board: Board,
}

impl Lot {
    /// A car park with spaces 1 to `spaces`, all free.
    pub fn new(spaces: u32) -> Self {
        Lot {
            spaces,
            taken: BTreeMap::new(),
            promised: BTreeSet::new(),
            unsynced: Vec::new(),
            board: Board::default(),
        }
    }

    /// What readers may see.
    pub fn board(&self) -> Board {
        self.board.clone()
    }
}

impl Staged for Lot {
    /// Yes means: from here on nothing can make it fail.
    fn reserve(&mut self, _branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        let operation = Operation::decode(operation)?;
        let space = operation.space();
        if !(1..=self.spaces).contains(&space) {
            let message = format!("there are spaces 1 to {}, not {space}", self.spaces);
            return Err(Refusal::permanent("NO_SUCH_SPACE", message));
        }
        if self.promised.contains(&space) {
            let message = format!("space {space} waits for another transaction");
            return Err(Refusal::retryable("PROMISED", message));
        }
        match (&operation, self.taken.get(&space)) {
            (Operation::Book { .. }, Some(plate)) => {
                return Err(Refusal::permanent("TAKEN", format!("space {space} is {plate}'s")));
            }
            (Operation::Book { plate, .. }, None) if !(1..=PLATE_BYTES).contains(&plate.len()) => {
                let message = format!("a plate has 1 to {PLATE_BYTES} bytes");
                return Err(Refusal::permanent("MALFORMED", message));
            }
            (Operation::Leave { .. }, None) => {
                return Err(Refusal::permanent(
                    "FREE",
                    format!("space {space} is free already"),
                ));
            }
            (Operation::Book { .. }, None) | (Operation::Leave { .. }, Some(_)) => {}
        }
        self.promised.insert(space);
        Ok(Reservation::Reserved)
    }

    fn apply(&mut self, position: u64, _branch: BranchKey, operation: &[u8]) {
        let operation = Operation::decode(operation).expect("only what was reserved is applied");
        let space = operation.space();
        self.promised.remove(&space);
        match operation {
            Operation::Book { plate, .. } => self.taken.insert(space, plate),
            Operation::Leave { .. } => self.taken.remove(&space),
        };
        self.unsynced.push((position, space));
    }

    fn release(&mut self, _branch: BranchKey, operation: &[u8]) {
        let operation = Operation::decode(operation).expect("only what was reserved is released");
        self.promised.remove(&operation.space());
    }

    /// What is durable may be seen.
    fn synced(&mut self, position: u64) {
        let durable = self.unsynced.partition_point(|(at, _)| *at <= position);
        // A space that has changed again since then shows its latest state only when that is durable too.
        let later: BTreeSet<u32> = self.unsynced[durable..].iter().map(|(_, space)| *space).collect();
        let spaces: Vec<u32> = self.unsynced.drain(..durable).map(|(_, space)| space).collect();
        let shown = spaces.into_iter().filter(|space| !later.contains(space));
        self.board
            .show(shown.map(|space| (space, self.taken.get(&space).cloned())));
    }

    fn snapshot(&self) -> Vec<Bytes> {
        let record = |(space, plate): (&u32, &String)| {
            Operation::Book {
                space: *space,
                plate: plate.clone(),
            }
            .encode()
        };
        self.taken.iter().map(record).collect()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        match Operation::decode(record) {
            Ok(Operation::Book { space, plate }) => {
                self.taken.insert(space, plate);
                // Out of a checkpoint, so durable: seen with the first `synced`.
                self.unsynced.push((0, space));
                Ok(())
            }
            Ok(Operation::Leave { .. }) => {
                Err(ResourceError::permanent("a snapshot holds taken spaces only"))
            }
            Err(refusal) => Err(ResourceError::permanent(refusal.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use handfast_participant::ids::{BranchId, LogId, TransactionId};
    use handfast_participant::{BranchKey, Staged};

    use super::{Lot, Operation};

    const BRANCH: BranchKey = BranchKey {
        log: LogId(1),
        transaction: TransactionId::ZERO,
        branch: BranchId(0),
    };

    fn book(space: u32, plate: &str) -> bytes::Bytes {
        let plate = plate.to_owned();
        Operation::Book { space, plate }.encode()
    }

    #[test]
    fn readers_see_what_is_durable_and_nothing_else() {
        let mut lot = Lot::new(3);
        let board = lot.board();
        assert!(lot.reserve(BRANCH, &book(1, "ada")).is_ok());
        lot.apply(5, BRANCH, &book(1, "ada"));
        assert_eq!(board.plate(1), None, "applied, not durable");
        lot.synced(4);
        assert_eq!(board.plate(1), None);
        // The space changes again before the first change is durable.
        let leave = Operation::Leave { space: 1 }.encode();
        assert!(lot.reserve(BRANCH, &leave).is_ok());
        lot.apply(7, BRANCH, &leave);
        lot.synced(5);
        assert_eq!(board.plate(1), None, "what is next is not known to be durable");
        lot.synced(7);
        assert_eq!(board.plate(1), None);
        assert!(lot.reserve(BRANCH, &book(1, "bob")).is_ok());
        lot.apply(9, BRANCH, &book(1, "bob"));
        lot.synced(9);
        assert_eq!(board.plate(1).as_deref(), Some("bob"));
    }

    #[test]
    fn a_space_is_promised_once_and_a_snapshot_brings_it_back() {
        let mut lot = Lot::new(3);
        assert!(lot.reserve(BRANCH, &book(2, "ada")).is_ok());
        assert!(
            lot.reserve(BRANCH, &book(2, "bob"))
                .is_err_and(|refusal| refusal.retryable)
        );
        lot.apply(1, BRANCH, &book(2, "ada"));
        assert!(
            lot.reserve(BRANCH, &book(2, "bob"))
                .is_err_and(|refusal| !refusal.retryable)
        );
        for refused in [
            book(9, "bob"),
            book(1, ""),
            Operation::Leave { space: 1 }.encode(),
            "{}".into(),
        ] {
            assert!(
                lot.reserve(BRANCH, &refused)
                    .is_err_and(|refusal| !refusal.retryable)
            );
        }
        let mut restored = Lot::new(3);
        for record in lot.snapshot() {
            restored.restore(&record).expect("it was written by a car park");
        }
        restored.synced(1);
        assert_eq!(restored.board().all(), [(2, "ada".to_owned())].into());
    }
}
