//! hpbench compares ways of moving UDP datagrams on Linux: plain `recvfrom`/`sendto`, batches with
//! `recvmmsg`/`sendmmsg`, and io_uring.
//!
//! The ways are backends, in the crate `hpbench-backends`. This crate is the harness, in layers: each imports only
//! from those below it.
//!
//! - [`cli`]: the commands, and their exit status;
//! - [`commands`]: a folder for each verb;
//! - [`compare`]: what may be concluded from two sets of trials; prints nothing;
//! - [`record`]: rows, the files that hold them, and the environment;
//! - [`measure`]: the scenarios, with the hot loop in [`measure::driver`];
//! - [`plan`]: the cells to measure, the cores, and the request that they come from;
//! - [`traffic`]: the content of the datagrams, and what happened to each of them;
//! - [`gates`]: when a trial is unusable;
//! - [`stats`]: medians, their intervals, and tests of a difference;
//! - `text` and `console`: formatting and writing text, and why the command fails.
//!
//! A crate that brings a backend of its own implements [`backends::Backend`] or [`backends::AsyncBackend`] and calls
//! [`cli::run_with`]; `backends/example` is one.
#![forbid(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod compare;
pub(crate) mod console;
#[cfg(test)]
mod fixtures;
pub mod gates;
pub mod measure;
mod place;
pub mod plan;
pub mod record;
pub mod stats;
pub(crate) mod text;
pub mod traffic;

pub use hpbench_backends as backends;
pub use measure::dispatch::{Contest, Contestant};
