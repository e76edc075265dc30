//! How the vouchers and the tutorial's theatre are put into the simulated cluster.

use bytes::Bytes;
use handfast_participant::{BranchKey, Refusal, Reservation, ResourceError, Staged};
use handfast_sim::disk::SimDisk;
use handfast_sim::{Site, Subject, Suite, Tag};
use seats::theatre::Theatre;

use crate::vouchers::{Draw, Mistake, Vouchers};

/// Seats of the theatre, and vouchers. More than there are operations, and yet some are wanted twice.
const ITEMS: u64 = 1000;

/// The vouchers, right or wrong, in the cluster.
pub fn vouchers(mistake: Option<Mistake>) -> Suite {
    Suite::new().resource("vouchers", VouchersUnderTest(mistake))
}

/// The theatre, right or without its snapshot, in the cluster.
pub fn theatre(forgets_snapshot: bool) -> Suite {
    Suite::new().staged("theatre", TheatreUnderTest { forgets_snapshot })
}

struct VouchersUnderTest(Option<Mistake>);

impl Subject for VouchersUnderTest {
    type Service = Vouchers<SimDisk>;

    fn start(&self, site: &Site) -> Vouchers<SimDisk> {
        Vouchers::new(site.disk.clone(), self.0)
    }

    fn change(&self, tag: Tag, item: u64) -> Bytes {
        let draw = Draw {
            voucher: item % ITEMS,
            amount: 60,
            reference: tag.to_string(),
        };
        draw.to_string().into()
    }

    fn refused(&self, tag: Tag) -> Option<Bytes> {
        Some(format!("0 1000000 {tag}").into())
    }

    fn effects(&self, service: &Vouchers<SimDisk>) -> Vec<Tag> {
        let state = service.state();
        let tag = |draw: &Draw| draw.reference.parse().expect("only tags are drawn for");
        state.drawn.iter().map(tag).collect()
    }

    fn check(&self, service: &Vouchers<SimDisk>) -> Result<(), String> {
        let state = service.state();
        for draw in &state.drawn {
            let of_it = state.drawn.iter().filter(|other| other.voucher == draw.voucher);
            let total: u64 = of_it.map(|draw| draw.amount).sum();
            if total > 100 {
                return Err(format!("{total} was drawn from voucher {}", draw.voucher));
            }
        }
        Ok(())
    }
}

struct TheatreUnderTest {
    forgets_snapshot: bool,
}

impl Subject for TheatreUnderTest {
    type Service = House;

    fn start(&self, _site: &Site) -> House {
        House {
            theatre: Theatre::new(u32::try_from(ITEMS).expect("it is small")),
            forgets_snapshot: self.forgets_snapshot,
        }
    }

    fn change(&self, tag: Tag, item: u64) -> Bytes {
        format!("{} {tag}", 1 + item % ITEMS).into()
    }

    fn refused(&self, tag: Tag) -> Option<Bytes> {
        Some(format!("0 {tag}").into())
    }

    fn effects(&self, house: &House) -> Vec<Tag> {
        let buyers = house.theatre.sold().values();
        buyers
            .map(|buyer| buyer.parse().expect("only tags buy seats"))
            .collect()
    }
}

/// The theatre; and, if it is to be wrong, without what it must write down for a checkpoint of the journal.
pub struct House {
    theatre: Theatre,
    forgets_snapshot: bool,
}

impl Staged for House {
    fn reserve(&mut self, branch: BranchKey, operation: &[u8]) -> Result<Reservation, Refusal> {
        self.theatre.reserve(branch, operation)
    }

    fn apply(&mut self, position: u64, branch: BranchKey, operation: &[u8]) {
        self.theatre.apply(position, branch, operation);
    }

    fn release(&mut self, branch: BranchKey, operation: &[u8]) {
        self.theatre.release(branch, operation);
    }

    fn snapshot(&self) -> Vec<Bytes> {
        match self.forgets_snapshot {
            true => Vec::new(),
            false => self.theatre.snapshot(),
        }
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), ResourceError> {
        self.theatre.restore(record)
    }
}
