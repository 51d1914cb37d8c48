//! What a backend declares about itself: its name, what it is, and its modes.
//!
//! The declaration stands beside the backend's code (`plain.rs` has a short one, `uring/modes.rs` a long one). Flags,
//! help, plans and columns are derived from it; nothing else in hpbench has to know the backend.

use std::fmt;
use std::hash::{Hash, Hasher};

/// What a backend is and can do.
#[derive(Debug)]
pub struct Declaration {
    /// The name in flags and columns.
    pub name: &'static str,
    /// What it is, for the help: a phrase without a full stop.
    pub about: &'static str,
    /// Whether it moves datagrams through a socket. Without one, no kernel is involved: no system calls, no
    /// addresses, and nothing that a generator could send to.
    pub has_socket: bool,
    /// Whether kernel threads, or a runtime's own one, may work for it; their CPU time is charged to it.
    pub has_kernel_workers: bool,
    /// Whether the kernel reports to it through a completion queue, which may overflow.
    pub has_completion_queue: bool,
    /// Whether the sends of one batch are independent of each other: if the kernel refuses one and takes a later
    /// one, the later datagram overtakes it.
    pub has_independent_sends: bool,
    /// Whether it can own more than one socket.
    pub owns_many_sockets: bool,
    /// The crates of the async runtime that runs its loops, if one does. It then waits by default, and makes system calls that
    /// hpbench does not see. Their versions are recorded if they are among those of hpbench; a backend of another crate has
    /// them in these names, e.g. `"glommio 0.9.0"`.
    pub crates: &'static [&'static str],
    /// Why it cannot look for datagrams again and again, for a runtime that only waits.
    pub only_waits: Option<&'static str>,
    /// Why its worker cannot have a descriptor table of its own, if it cannot.
    pub shares_descriptors: Option<&'static str>,
    /// Its dimensions, in the order of the canonical form.
    pub dimensions: &'static [Dimension],
    /// Which modes can be combined; applied in this order.
    pub rules: &'static [Rule],
}

impl Declaration {
    /// A backend on sockets whose modes can all be combined, and that has none of the other properties.
    pub const fn new(name: &'static str, about: &'static str, dimensions: &'static [Dimension]) -> Self {
        Self {
            name,
            about,
            has_socket: true,
            has_kernel_workers: false,
            has_completion_queue: false,
            has_independent_sends: false,
            owns_many_sockets: true,
            crates: &[],
            only_waits: None,
            shares_descriptors: None,
            dimensions,
            rules: &[],
        }
    }
}

/// Which backend: a handle on its declaration, compared by name.
#[derive(Clone, Copy)]
pub struct Kind(&'static Declaration);

impl Kind {
    /// The most dimensions that a backend has.
    pub const DIMENSIONS_MAX: usize = 5;

    /// The backend of a declaration.
    ///
    /// # Panics
    ///
    /// If it has more than [`Kind::DIMENSIONS_MAX`] dimensions.
    pub const fn of(declaration: &'static Declaration) -> Self {
        assert!(declaration.dimensions.len() <= Self::DIMENSIONS_MAX, "more dimensions than DIMENSIONS_MAX");
        Self(declaration)
    }

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether it moves datagrams through a socket, see [`Declaration::has_socket`].
    pub fn has_socket(self) -> bool {
        self.0.has_socket
    }

    /// Whether a runtime of async Rust runs its loops, see [`Declaration::crates`].
    pub fn is_runtime(self) -> bool {
        !self.0.crates.is_empty()
    }

    /// The backend's declaration.
    pub fn declaration(self) -> &'static Declaration {
        self.0
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Kind {}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One way of doing one thing. Modes are compared by name.
#[derive(Clone, Copy)]
pub struct Mode {
    /// The name in flags and columns; no two modes of a backend share one.
    pub name: &'static str,
    /// What happens, for the help: a phrase without a full stop.
    pub about: &'static str,
    /// The kernel release that it needs; `None` if every kernel that hpbench runs on has it.
    pub since: Option<&'static str>,
    /// Whether it receives into buffers of a registered ring, of [`Config::buffers`](crate::Config::buffers) entries.
    pub has_buffer_ring: bool,
    /// Whether a kernel thread works beside the worker, and needs a core of its own.
    pub has_kernel_thread: bool,
    /// Whether the kernel writes a header of its own in front of each payload.
    pub has_header: bool,
    /// Whether it cannot wait for datagrams in the kernel.
    pub never_waits: bool,
    /// Whether it moves one datagram of a socket per call, so that larger batches mean nothing for one socket.
    pub one_at_a_time: bool,
    /// Whether it can wait for many datagrams at once, see [`Config::min_wait`](crate::Config::min_wait).
    pub waits_for_many: bool,
    /// Whether it is a way to find the sockets that have datagrams, for which one socket alone has no need.
    pub finds_sockets: bool,
}

impl Mode {
    /// Long trains of datagrams are sent at once (UDP_SEGMENT).
    pub const GSO: Self =
        Self { since: Some("4.18"), ..Self::new("gso", "UDP_SEGMENT: the kernel cuts trains on their way out") };

    /// Long trains of datagrams are received at once (UDP_GRO).
    pub const GRO: Self =
        Self { since: Some("5.0"), ..Self::new("gro", "UDP_GRO: trains that arrive together are received together") };

    /// A mode that every kernel has, with none of the other properties.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            since: None,
            has_buffer_ring: false,
            has_kernel_thread: false,
            has_header: false,
            never_waits: false,
            one_at_a_time: false,
            waits_for_many: false,
            finds_sockets: false,
        }
    }
}

impl PartialEq for Mode {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Mode {}

impl Hash for Mode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A dimension of a backend: at most one of its modes is chosen.
#[derive(Debug)]
pub struct Dimension {
    /// What its modes are ways of.
    pub name: &'static str,
    /// What it affects.
    pub concerns: Concerns,
    /// The default first, unless the dimension is off by default.
    pub modes: &'static [Mode],
    /// Whether none of its modes is chosen unless named.
    pub off_by_default: bool,
}

/// What a dimension affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// How datagrams are received.
    Receiving,
    /// How datagrams are sent.
    Sending,
    /// Both.
    Both,
}

impl Dimension {
    /// Whether trains are sent, for a backend that can.
    pub const GSO: Self = Self { name: "trains sent", off_by_default: true, ..Self::send(&[Mode::GSO]) };

    /// Whether trains are received, for a backend that can.
    pub const GRO: Self = Self { name: "trains received", off_by_default: true, ..Self::receive(&[Mode::GRO]) };

    /// Ways to receive.
    pub const fn receive(modes: &'static [Mode]) -> Self {
        Self { name: "receive", concerns: Concerns::Receiving, modes, off_by_default: false }
    }

    /// Ways to send.
    pub const fn send(modes: &'static [Mode]) -> Self {
        Self { name: "send", concerns: Concerns::Sending, modes, off_by_default: false }
    }

    /// Modes that affect both.
    pub const fn both(name: &'static str, modes: &'static [Mode]) -> Self {
        Self { name, concerns: Concerns::Both, modes, off_by_default: false }
    }
}

/// Which modes of a dimension can do what something else requires.
#[derive(Debug)]
pub struct Rule {
    /// What requires it; any of these.
    pub wanted_by: &'static [Want],
    /// The modes that can, all of one dimension; the first is taken if none was named.
    pub able: &'static [Mode],
    /// What the other modes of the dimension have instead: continues "MODE has".
    pub others_have: &'static str,
}

/// What may restrict the modes of another dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A mode that was named.
    Mode(Mode),
    /// Unconnected sockets: each datagram has an address.
    Addresses,
    /// More than one socket.
    Sockets,
}
