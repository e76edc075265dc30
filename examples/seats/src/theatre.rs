//! The theatre: which seat belongs to whom, and which are promised.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use handfast_participant::{BranchKey, Refusal, Reservation, ResourceError, Staged};

/// All seats.
pub struct Theatre {
    seats: u32,
    sold: BTreeMap<u32, String>,
    promised: BTreeSet<u32>,
}

impl Theatre {
    /// A theatre with seats 1 to `seats`, all free.
    pub fn new(seats: u32) -> Self {
        Theatre {
            seats,
            sold: BTreeMap::new(),
            promised: BTreeSet::new(),
        }
    }

    /// Which seat is whose.
    pub fn sold(&self) -> &BTreeMap<u32, String> {
        &self.sold
    }

    /// How many seats are promised.
    pub fn promised(&self) -> usize {
        self.promised.len()
    }
}

/// An operation is `SEAT BUYER`.
fn parse(operation: &[u8]) -> Result<(u32, String), Refusal> {
    let malformed = || Refusal::permanent("MALFORMED", "an operation is SEAT BUYER, such as \"12 ada\"");
    let text = str::from_utf8(operation).map_err(|_| malformed())?;
    let (seat, buyer) = text.split_once(' ').ok_or_else(malformed)?;
    Ok((seat.parse().map_err(|_| malformed())?, buyer.to_owned()))
}

fn promised(operation: &[u8]) -> (u32, String) {
    parse(operation).expect("only what was reserved is applied or released")
}

impl Staged for Theatre {
    /// Yes means: from here on nothing can make the sale fail. So the seat must be free, and is kept for this branch.
    fn reserve(&mut self, _branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        let (seat, _) = parse(operation)?;
        if !(1..=self.seats).contains(&seat) {
            Err(Refusal::permanent(
                "NO_SUCH_SEAT",
                format!("there are seats 1 to {}, not {seat}", self.seats),
            ))
        } else if let Some(buyer) = self.sold.get(&seat) {
            Err(Refusal::permanent("SOLD", format!("seat {seat} is {buyer}'s")))
        } else if !self.promised.insert(seat) {
            Err(Refusal::retryable(
                "PROMISED",
                format!("seat {seat} is promised; it may become free again"),
            ))
        } else {
            Ok(Reservation::Reserved)
        }
    }

    /// All said yes.
    fn apply(&mut self, _position: u64, _branch: BranchKey, operation: &[u8]) {
        let (seat, buyer) = promised(operation);
        self.promised.remove(&seat);
        self.sold.insert(seat, buyer);
    }

    /// Somebody said no.
    fn release(&mut self, _branch: BranchKey, operation: &[u8]) {
        self.promised.remove(&promised(operation).0);
    }

    /// Without promises: the journal gives those back by reserving again.
    fn snapshot(&self) -> Vec<Bytes> {
        self.sold
            .iter()
            .map(|(seat, buyer)| format!("{seat} {buyer}").into())
            .collect()
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        let (seat, buyer) = parse(record).map_err(|refusal| ResourceError::permanent(refusal.message))?;
        self.sold.insert(seat, buyer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use handfast_participant::ids::{BranchId, LogId, TransactionId};
    use handfast_participant::{BranchKey, Reservation, Staged};

    use super::Theatre;

    const BRANCH: BranchKey = BranchKey {
        log: LogId(1),
        transaction: TransactionId::ZERO,
        branch: BranchId(0),
    };

    #[test]
    fn a_promised_seat_is_promised_once_and_a_sold_one_is_gone() {
        let mut theatre = Theatre::new(2);
        assert_eq!(theatre.reserve(BRANCH, b"1 ada"), Ok(Reservation::Reserved));
        assert!(
            theatre
                .reserve(BRANCH, b"1 bob")
                .is_err_and(|refusal| refusal.retryable)
        );
        theatre.release(BRANCH, b"1 ada");
        assert_eq!(theatre.reserve(BRANCH, b"1 bob"), Ok(Reservation::Reserved));
        theatre.apply(1, BRANCH, b"1 bob");
        assert!(
            theatre
                .reserve(BRANCH, b"1 ada")
                .is_err_and(|refusal| !refusal.retryable)
        );
        assert!(theatre.reserve(BRANCH, b"3 ada").is_err());
        assert!(theatre.reserve(BRANCH, b"nonsense").is_err());
    }

    #[test]
    fn a_snapshot_brings_the_sales_back() {
        let mut theatre = Theatre::new(2);
        theatre.reserve(BRANCH, b"2 ada").expect("it is free");
        theatre.apply(1, BRANCH, b"2 ada");
        let mut restored = Theatre::new(2);
        for record in theatre.snapshot() {
            restored.restore(&record).expect("it was written by a theatre");
        }
        assert!(restored.reserve(BRANCH, b"2 bob").is_err());
    }
}
