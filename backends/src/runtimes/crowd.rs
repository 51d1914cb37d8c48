//! The futures that receive from the sockets of a backend: one for each socket, in tasks of their own or in that of the loop.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::backend::Config;
use crate::declaration::{Concerns, Dimension, Mode, Rule, Want};
use crate::runtimes::inbox::Inbox;

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

/// Where futures run.
pub(super) trait Host {
    /// Makes a task of the runtime of a future. Called within the runtime.
    fn spawn(&self, task: Task);

    /// Prepares a future for the task of the loop.
    fn within(&self, task: Task) -> Task {
        task
    }
}

/// What receives from all sockets, and where it puts that.
pub(super) struct Crowd<T> {
    pub(super) inbox: Inbox<T>,
    futures: Futures,
}

enum Futures {
    /// One in the task of the loop.
    One(Option<Task>),
    /// Several in the task of the loop.
    Set(FuturesUnordered<Task>),
    /// In tasks of their own, which the runtime polls.
    Spawned,
}

impl<T> Crowd<T> {
    /// One in the loop's task, unless `config` names another way.
    pub(super) fn new(
        config: &Config,
        host: &impl Host,
        inbox: Inbox<T>,
        mut tasks: impl Iterator<Item = Task>,
    ) -> Self {
        let futures = if config.variant.has(TASKS) {
            tasks.for_each(|task| host.spawn(task));
            Futures::Spawned
        } else if config.variant.has(ONE_TASK) {
            Futures::Set(tasks.map(|task| host.within(task)).collect())
        } else {
            Futures::One(tasks.next().map(|task| host.within(task)))
        };
        Self { inbox, futures }
    }

    /// Whether they are in tasks of their own.
    pub(super) fn is_spawned(&self) -> bool {
        matches!(self.futures, Futures::Spawned)
    }

    /// Ready if something has come; polls those in the task of the loop, as far as they were woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.futures {
            Futures::One(task) => {
                if task.as_mut().is_some_and(|task| task.as_mut().poll(cx).is_ready()) {
                    *task = None;
                }
            }
            Futures::Set(tasks) => while let Poll::Ready(Some(())) = tasks.poll_next_unpin(cx) {},
            Futures::Spawned => {}
        }
        self.inbox.poll_full(cx)
    }

    /// As [`Crowd::poll`], once.
    pub(super) async fn run(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll(cx);
            Poll::Ready(())
        })
        .await;
    }
}

impl<T> fmt::Debug for Crowd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd").field("inbox", &self.inbox).field("is_spawned", &self.is_spawned()).finish()
    }
}
