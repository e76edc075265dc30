//! The state of a store is the sum of its effects, and "once faults stop, nothing stays prepared": nothing is set aside
//! for anybody, except what waits for an operator.

use super::Invariant;
use crate::oracle::{Ending, Knowledge};

pub(super) struct BooksBalance;

impl Invariant for BooksBalance {
    fn name(&self) -> &'static str {
        "books balance"
    }

    fn at_the_end(&mut self, ending: &Ending<'_>, knowledge: &Knowledge) -> Result<(), String> {
        let is_wrong = |books: &&crate::oracle::Books| {
            books.change != books.effects || books.set_aside != 0 && !knowledge.has_forgotten
        };
        match ending.books.iter().find(is_wrong) {
            None => Ok(()),
            Some(books) => Err(format!("{books:?}")),
        }
    }
}
