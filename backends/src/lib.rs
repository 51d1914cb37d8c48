//! The ways of moving UDP datagrams that hpbench compares.
//!
//! ```text
//!  kernel ──► Backend::rx ──► RX ring ──► app
//!               ▲ empty frames             │ finished frames
//!               └────────── FreeList ◄─────┤
//!  kernel ◄── Backend::tx ◄── TX ring ◄────┘
//! ```
//!
//! In layers, each of which imports only from those below it:
//!
//! - [`dispatch`]: the list of all backends;
//! - [`plain`], [`mmsg`], [`uring`], [`null`], and with the feature `runtimes` those of async runtimes: the implementations;
//! - `message`, `outbox`, `ready`, `batches`, `sending`: what implementations share; [`offer`]: the sender that offers load to a backend under test;
//! - [`runtime`]: what drives a backend, and the [`AsyncBackend`] trait, which the driver works with;
//! - [`backend`]: the [`Backend`] trait, the contract that all implementations keep; [`declaration`]: what each of them
//!   declares about itself; [`variant`]: which of its modes are chosen;
//! - [`features`]: what this kernel offers;
//! - [`kernel`]: system calls, sockets, threads;
//! - [`frames`]: frames, what is in them, and how they travel.
//!
//! All unsafe code of hpbench is in this crate.

pub mod backend;
#[cfg(feature = "bare")]
pub mod bare;
mod batches;
pub mod declaration;
pub mod dispatch;
pub mod features;
pub mod frames;
pub mod kernel;
mod message;
pub mod mmsg;
pub mod null;
pub mod offer;
mod outbox;
pub mod plain;
mod ready;
pub mod runtime;
#[cfg(feature = "runtimes")]
pub mod runtimes;
mod sending;
pub mod uring;
pub mod variant;

pub use backend::{Backend, Caps, Config, Counters, MemoryPort, MinWait, OpenError, Port, Rearms};
pub use declaration::{Declaration, Kind, Mode};
pub use dispatch::Visitor;
pub use frames::address::Address;
pub use frames::copies::Copies;
pub use frames::packet::{Packet, RxRing, SOCKETS_MAX};
pub use frames::pool::{Frame, FreeList, Pool};
pub use frames::ring::{Consumer, Producer, ring};
pub use kernel::socket::Socket;
pub use offer::Offer;
pub use runtime::{AsyncBackend, Runtime};
pub use variant::{Addressing, Choice, Variant};
