//! "Effects happen exactly once iff committed" has no room for effects that nobody asked for; and a service of somebody's
//! own says itself what else must be so.

use super::Invariant;
use crate::oracle::{Ending, Knowledge};

pub(super) struct OwnIsSound;

impl Invariant for OwnIsSound {
    fn name(&self) -> &'static str {
        "the service is sound"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, _knowledge: &Knowledge) -> Result<(), String> {
        match ending.complaints.first() {
            None => Ok(()),
            Some(complaint) => Err(complaint.clone()),
        }
    }
}
