//! Orders over four systems, while every process is killed at random; then a table that proves what became of them.
//!
//! The example starts PostgreSQL, MariaDB and Kafka, a coordinator, and two agents that serve all four systems. Its [`clients`] carry
//! orders out, and a [`storm`](demonstration::storm) kills everything with SIGKILL, the servers too. At the end a [`checker`] reads
//! what the four [`systems`] themselves hold and what the clients were told, and nothing else.
#![allow(clippy::disallowed_methods, reason = "a demonstration lives in real time")]

pub mod agents;
pub mod asked;
pub mod checker;
pub mod clients;
pub mod control;
pub mod install;
pub mod options;
pub mod orders;
pub mod report;
pub mod run;
pub mod servers;
pub mod systems;
