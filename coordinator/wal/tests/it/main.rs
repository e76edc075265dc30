//! The log as its users see it, on a disk that misbehaves.
#![allow(clippy::unwrap_used, reason = "all of this is test code, helpers included")]

mod bit_flips;
mod chain;
mod checkpoints;
mod crash_anywhere;
mod disk_errors;
mod group_commit;
mod mem_disk;
mod real_disk;
mod space;
mod support;
mod torn_tails;
