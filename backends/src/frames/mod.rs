//! Frames, what is in them, and how they travel.

pub mod address;
pub mod copies;
pub(crate) mod held;
#[cfg(feature = "runtimes")]
pub(crate) mod owned;
pub mod packet;
pub mod pool;
pub mod ring;
