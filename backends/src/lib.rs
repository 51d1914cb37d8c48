//! The ways of moving UDP datagrams that hpbench compares.
//!
//! ```text
//!  kernel ──► Backend::rx ──► RX ring ──► app
//!               ▲ empty frames             │ finished frames
//!               └────────── FreeList ◄─────┤
//!  kernel ◄── Backend::tx ◄── TX ring ◄────┘
//! ```
//!
//! - [`backend`]: the [`Backend`] trait, the contract that all implementations keep;
//! - [`plain`], [`mmsg`], [`uring`], [`null`]: the implementations;
//! - [`pool`], [`packet`], [`ring`](mod@ring): frames, what is in them, and how they travel;
//! - [`socket`], [`offer`]: sockets, and the sender that offers load to a backend under test;
//! - [`features`]: what this kernel offers;
//! - [`thread`]: what a thread has cost, and how it is scheduled;
//! - [`system`]: what the kernel lab asks of the system.
//!
//! All unsafe code of hpbench is in this crate.

pub mod backend;
#[cfg(feature = "bare")]
pub mod bare;
pub mod features;
pub mod frames;
pub mod kernel;
mod message;
pub mod mmsg;
pub mod null;
pub mod offer;
mod outbox;
pub mod plain;
pub mod uring;
pub mod variant;

pub use backend::{Backend, Caps, Config, Counters, Kind, OpenError, Port, Rearms, Visitor};
pub use frames::packet::{Packet, RxRing};
pub use frames::pool::{Frame, FreeList, Pool};
pub use frames::ring::{Consumer, Producer, ring};
pub use kernel::socket::Socket;
pub use message::Address;
pub use null::MemoryPort;
pub use offer::Offer;
pub use variant::{Addressing, Choice, Mode, Variant};
