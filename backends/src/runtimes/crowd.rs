//! The futures that receive from the sockets of a backend: one for each socket, in tasks of their own or in that of the loop.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::backend::Config;
use crate::declaration::{Concerns, Dimension, Mode, Rule, Want};

/// What receives from one socket.
pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How several sockets are received from. One socket needs none of them, but may have one.
pub(super) const MANY: Dimension = Dimension {
    name: "several sockets",
    concerns: Concerns::Receiving,
    modes: &[TASKS, ONE_TASK],
    off_by_default: true,
};

pub(super) const TASKS: Mode = Mode {
    finds_sockets: true,
    ..Mode::new("tasks", "a task for each, spawned, as servers do; the default above one socket")
};

pub(super) const ONE_TASK: Mode =
    Mode { finds_sockets: true, ..Mode::new("one-task", "one task for all, with FuturesUnordered of futures-util") };

/// Several sockets need one of them.
pub(super) const MANY_RULE: Rule =
    Rule { wanted_by: &[Want::Sockets], able: &[TASKS, ONE_TASK], others_have: "no way to receive from them" };

/// What receives from all sockets.
pub(super) enum Crowd {
    /// In the task of the loop.
    One(Option<Task>),
    /// Several in the task of the loop.
    Set(FuturesUnordered<Task>),
    /// In tasks of their own, which the runtime polls.
    Spawned,
}

impl Crowd {
    /// One in the loop's task, unless `config` names another way; `spawn` makes a task of the runtime.
    pub(super) fn new(config: &Config, mut tasks: impl Iterator<Item = Task>, spawn: impl FnMut(Task)) -> Self {
        if config.variant.has(TASKS) {
            tasks.for_each(spawn);
            return Self::Spawned;
        }
        match (config.variant.has(ONE_TASK), tasks.next()) {
            (false, only) => Self::One(only),
            (true, first) => Self::Set(first.into_iter().chain(tasks).collect()),
        }
    }

    /// Polls those in the task of the loop, as far as they were woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::One(task) => {
                if task.as_mut().is_some_and(|task| task.as_mut().poll(cx).is_ready()) {
                    *task = None;
                }
            }
            Self::Set(tasks) => while let Poll::Ready(Some(())) = tasks.poll_next_unpin(cx) {},
            Self::Spawned => {}
        }
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Set(_) => "Set",
            Self::Spawned => "Spawned",
        })
    }
}
