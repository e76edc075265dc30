//! "Any crash image recovers a prefix that holds every acknowledged force": nothing is written to a file that has another name on
//! the medium, or may get it there. Should the power go then, that name comes back with what does not belong there.
//!
//! The loss of power need not come: which names are on the medium at the moment of a write says enough.

use super::Invariant;
use crate::oracle::{Ending, Knowledge};

pub(super) struct FilesKeepTheirNames;

impl Invariant for FilesKeepTheirNames {
    fn name(&self) -> &'static str {
        "files keep their names"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, _knowledge: &Knowledge) -> Result<(), String> {
        match ending.written_over.first() {
            None => Ok(()),
            Some(file) => Err(format!(
                "{} is written to, and would perhaps be {} should the power go",
                file.name, file.other
            )),
        }
    }
}
