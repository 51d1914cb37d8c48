//! What is measured: the cells, the cores, and the request that they come from.

pub mod address;
pub mod args;
pub(crate) mod backends;
pub mod cells;
pub(crate) mod cgroup;
mod clients;
pub(crate) mod command;
pub mod cores;
pub(crate) mod descriptors;
mod left_out;
pub mod lists;
mod memory;
pub mod path;
pub mod pointless;
mod ports;
pub mod request;
pub mod schedule;
pub mod shards;
pub mod spread;
pub(crate) mod topology;
pub(crate) mod values;
