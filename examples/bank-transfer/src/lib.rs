//! Transfers between two stores, while every process is killed at random; then a table that proves what became of them.
//!
//! The example starts a coordinator and two stores as processes of their own (this same program, in other [`roles`]), runs
//! transfers from several [`clients`], and lets a [`storm`](demonstration::storm) kill them with SIGKILL. At the end a [`checker`] reads what the stores
//! themselves hold and what the clients were told, and nothing else.
#![allow(clippy::disallowed_methods, reason = "a demonstration lives in real time")]

pub mod bare;
pub mod checker;
pub mod clients;
pub mod options;
pub mod report;
pub mod roles;
pub mod run;
pub mod schedule;
pub mod side;
pub mod transfers;
