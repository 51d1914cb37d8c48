//! Backends of async runtimes, built with the feature `runtimes`.
//!
//! Each works as a program of its runtime does: one current-thread runtime on the worker's thread, which runs the driver's
//! whole loop in one `block_on`. hpbench opens the socket, and hands over a duplicate of its descriptor.
//!
//! A wait must end when nothing comes. A timer of the kernel that is one more descriptor of the runtime ends it: that costs
//! nothing while datagrams come, unlike a timeout around each receive.

pub mod compio;
mod crowd;
mod desk;
mod flight;
mod inbox;
pub mod monoio;
mod outcome;
pub mod quinn;
mod reactor;
mod slot;
pub mod smol;
pub mod tokio;
