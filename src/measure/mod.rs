//! How it is measured: the driver, the scenarios, and what the kernel reports about their cost.

pub mod clock;
pub mod control;
pub mod cost;
pub mod counters;
pub mod dispatch;
pub mod driver;
pub mod handoff;
pub mod host;
pub mod kthreads;
pub mod near;
pub mod neighbours;
pub mod order;
pub mod outcome;
pub mod peer;
mod remedy;
pub mod remote;
pub mod scenario;
pub mod senders;
pub mod shards;
pub(crate) mod silence;
pub(crate) mod slowed;
pub mod stops;
pub mod targets;
mod threads;
pub mod transfer;
pub mod trial;
pub mod truesizes;
