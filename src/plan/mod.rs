//! What is measured: the cells, the cores, and the request that they come from.

pub mod args;
pub(crate) mod backends;
pub mod cells;
pub mod cores;
pub mod request;
pub(crate) mod topology;
