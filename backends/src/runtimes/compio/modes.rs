//! What the `compio` backend is, and its modes.

use crate::declaration::{Declaration, Dimension, Mode, Rule, Want};
use crate::runtimes::crowd::{MANY, MANY_RULE, ONE_TASK, TASKS};

pub(super) const DECLARATION: Declaration = Declaration {
    crates: &["compio", "compio-runtime", "compio-driver", "compio-net"],
    only_waits: Some("compio has no way to look without waiting"),
    has_kernel_workers: true,
    rules: &[MANY_RULE, MANY_BUFFERS],
    ..Declaration::new("compio", "the runtime compio, on io_uring", &[RECEIVE, SETUP, MANY])
};

const RECEIVE: Dimension = Dimension::receive(&[RECV, MANAGED, MULTI]);

const RECV: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("recv", "recv_from of compio's UdpSocket into a frame, one at a time; with --batch 1")
};

/// A buffer of the runtime's pool for each receive.
const MANAGED: Mode = Mode {
    since: Some("5.19"),
    has_buffer_ring: true,
    one_at_a_time: true,
    ..Mode::new(
        "managed",
        "recv_from_managed: a buffer of the runtime's pool for each receive, and a copy; with --batch 1",
    )
};

/// A receive that stays armed.
pub(super) const MULTI: Mode = Mode {
    since: Some("6.0"),
    has_buffer_ring: true,
    ..Mode::new("multi", "recv_from_multi: one receive stays armed, with buffers as managed has them")
};

const SETUP: Dimension = Dimension::both("setup", &[DEFAULT, DEFER]);

const DEFAULT: Mode = Mode::new("default", "a ring as compio makes it: completions interrupt the thread");

pub(super) const DEFER: Mode =
    Mode { since: Some("6.1"), ..Mode::new("defer", "single_issuer and defer_taskrun of compio's ProactorBuilder") };

/// A receive that is made anew keeps its buffer until its socket has a datagram.
const MANY_BUFFERS: Rule = Rule {
    wanted_by: &[Want::Sockets, Want::Mode(TASKS), Want::Mode(ONE_TASK)],
    able: &[MULTI],
    others_have: "one receive in flight",
};
