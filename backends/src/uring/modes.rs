//! The declaration of the `uring` backend: its modes, what each needs, and which can be combined.

use crate::declaration::{Declaration, Dimension, Mode, Rule, Want};

pub(super) const DECLARATION: Declaration = Declaration {
    has_kernel_workers: true,
    has_completion_queue: true,
    has_independent_sends: true,
    rules: &RULES,
    ..Declaration::new("uring", "io_uring", &DIMENSIONS)
};

const DIMENSIONS: [Dimension; 5] = [
    Dimension::receive(&[MULTISHOT, MULTISHOT_DONTWAIT, RECVMSG_MULTISHOT, SINGLE, SINGLE_RECVMSG, FIXED, POLL]),
    Dimension::send(&[SEND, SENDMSG, SEND_ZC, WRITE_FIXED]),
    Dimension::both("setup", &[DEFER, COOP, DEFAULT, SQPOLL]),
    Dimension::GSO,
    Dimension::GRO,
];

const RULES: [Rule; 4] = [
    Rule {
        wanted_by: &[Want::Mode(Mode::GRO), Want::Addresses],
        able: &[RECVMSG_MULTISHOT, SINGLE_RECVMSG, POLL],
        others_have: "no address and no control message, which carries a train's segment size",
    },
    Rule {
        wanted_by: &[Want::Sockets],
        able: &[MULTISHOT, RECVMSG_MULTISHOT, POLL],
        others_have: "requests that are made anew for one socket in each call",
    },
    Rule {
        wanted_by: &[Want::Mode(Mode::GSO), Want::Addresses],
        able: &[SENDMSG],
        others_have: "one piece of memory and no address, and a train is gathered from several",
    },
    Rule {
        wanted_by: &[Want::Mode(Mode::GRO)],
        able: &[SEND, SENDMSG],
        others_have: "no way to cut a train before it is sent back",
    },
];

/// A RECV that stays armed.
pub const MULTISHOT: Mode = Mode {
    since: Some("6.0"),
    has_buffer_ring: true,
    waits_for_many: true,
    ..Mode::new("multishot", "one RECV stays armed, with buffers from a registered ring")
};

/// The same with `MSG_DONTWAIT`.
pub const MULTISHOT_DONTWAIT: Mode = Mode {
    name: "multishot-dontwait",
    about: "the same, but it ends when the queue is empty",
    never_waits: true,
    waits_for_many: false,
    ..MULTISHOT
};

/// A RECVMSG that stays armed.
pub const RECVMSG_MULTISHOT: Mode = Mode {
    name: "recvmsg-multishot",
    about: "one RECVMSG stays armed: addresses and control messages",
    has_header: true,
    ..MULTISHOT
};

/// A batch of RECV requests, one for each datagram.
pub const SINGLE: Mode = Mode { since: REQUESTS, ..Mode::new("single", "a batch of RECV requests") };

/// A batch of RECVMSG requests.
pub const SINGLE_RECVMSG: Mode = Mode { since: REQUESTS, ..Mode::new("single-recvmsg", "a batch of RECVMSG requests") };

/// A batch of READ_FIXED requests.
pub const FIXED: Mode =
    Mode { since: NO_WAIT, ..Mode::new("fixed", "a batch of READ_FIXED requests into registered memory") };

/// A POLL_ADD that stays armed, and `recvmmsg`.
pub const POLL: Mode = Mode {
    since: Some("5.13"),
    waits_for_many: true,
    ..Mode::new("poll", "a POLL_ADD stays armed for each socket; recvmmsg receives")
};

/// A batch of SEND requests.
pub const SEND: Mode = Mode { since: REQUESTS, ..Mode::new("send", "a batch of SEND requests") };

/// A batch of SENDMSG requests.
pub const SENDMSG: Mode = Mode { since: REQUESTS, ..Mode::new("sendmsg", "a batch of SENDMSG requests") };

/// A batch of SEND_ZC requests.
pub const SEND_ZC: Mode = Mode {
    since: Some("6.0"),
    ..Mode::new("send-zc", "a batch of SEND_ZC requests: the kernel sends from our memory")
};

/// A batch of WRITE_FIXED requests.
pub const WRITE_FIXED: Mode =
    Mode { since: NO_WAIT, ..Mode::new("write-fixed", "a batch of WRITE_FIXED requests from registered memory") };

/// Completions wait for our own calls, or the nearest to it that the kernel has.
pub const DEFER: Mode =
    Mode { since: Some("6.1"), ..Mode::new("defer", "DEFER_TASKRUN, or the nearest to it that the kernel has") };

/// Completions do not interrupt us.
pub const COOP: Mode =
    Mode { since: Some("5.19"), ..Mode::new("coop", "COOP_TASKRUN: completions do not interrupt us") };

/// No flag about completions: what a program gets by default.
pub const DEFAULT: Mode = Mode { since: REQUESTS, ..Mode::new("default", "no flag: completions interrupt us") };

/// A kernel thread submits and receives.
pub const SQPOLL: Mode = Mode {
    since: Some("5.13"),
    has_kernel_thread: true,
    ..Mode::new("sqpoll", "a kernel thread does the work, on a core of its own")
};

/// The release with the requests and the flag (CLAMP) that every mode uses.
const REQUESTS: Option<&str> = Some("5.6");

/// The release since which a READ or WRITE of a socket can be told not to wait (RWF_NOWAIT).
const NO_WAIT: Option<&str> = Some("6.5");
