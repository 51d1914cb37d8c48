//! hpbench compares ways of moving UDP datagrams on Linux: plain `recvfrom`/`sendto`, batches with
//! `recvmmsg`/`sendmmsg`, and io_uring.
//!
//! The ways are backends, in the crate `hpbench-backends`. This crate is the harness:
//!
//! - [`plan`]: the cells to measure, and the order of the trials;
//! - [`trial`] and [`scenario`]: what a trial does, with the hot loop in [`driver`];
//! - [`app`], [`wire`], [`ledger`]: what is in the datagrams, and where each of them went;
//! - [`cost`], [`counters`], [`kthreads`], [`environment`]: what the hardware and the kernel tell;
//! - [`record`], [`output`], [`hlog`], [`table`]: the results; [`resume`]: those of a run that was cut short;
//! - [`cli`], [`command`], [`request`] and [`run`]: from flags to an exit status;
//! - [`compare`] and [`stats`]: what two sets of trials tell of each other;
//! - [`report`]: one page of runs, with charts;
//! - [`selftest`]: what difference a machine can resolve;
//! - [`doctor`]: what a machine offers, and what spoils measurements on it;
//! - [`lab`]: the same cells under other kernels; [`releases`]: their order and short names.
#![forbid(unsafe_code)]

pub mod app;
mod canaries;
pub mod cli;
pub mod command;
pub mod compare;
pub mod control;
pub mod cores;
pub mod cost;
pub mod counters;
pub mod doctor;
pub mod driver;
pub mod environment;
pub mod filler;
pub mod handoff;
pub mod hlog;
pub mod kthreads;
pub mod lab;
pub mod ledger;
pub mod output;
pub mod plan;
mod reasons;
pub mod record;
pub mod releases;
pub mod report;
pub mod request;
pub mod resume;
pub mod rows;
pub mod run;
pub mod scenario;
pub mod selftest;
pub mod stats;
pub mod table;
pub mod trial;
pub mod wire;
