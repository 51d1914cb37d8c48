//! The interface to the kernel: system calls, sockets, threads, and what an error means.

pub mod descriptors;
pub mod drops;
pub(crate) mod errno;
pub mod interface;
mod netlink;
pub mod order;
pub(crate) mod setup;
pub mod socket;
pub(crate) mod sys;
pub mod system;
pub mod thread;
#[cfg(feature = "runtimes")]
pub(crate) mod timer;
