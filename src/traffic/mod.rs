//! What is in a datagram, and where each one went.

pub mod app;
pub mod ledger;
pub mod wire;
pub mod work;
