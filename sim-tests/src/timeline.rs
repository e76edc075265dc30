//! What happened, for people to look at.

pub mod html;
mod summary;
