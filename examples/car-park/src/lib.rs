//! A car park that takes part in transactions and answers readers over HTTP. Three files: what is promised ([`lot`]), what
//! readers see ([`board`]), and how they ask ([`http`]).

pub mod board;
pub mod http;
pub mod lot;
