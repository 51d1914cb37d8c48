//! The peer of `drain` on a thread of its own: fills the queue from another core, as a network does.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::Scope;

use hpbench_backends::{FreeList, Socket};

use crate::measure::clock::now_ns;
use crate::measure::order::Order;
use crate::measure::outcome::TrialError;
use crate::measure::peer::filler::Filler;
use crate::measure::targets::Targets;
use crate::measure::threads;

/// What one filling has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filling {
    /// Datagrams sent.
    pub sent: u64,
    /// How long it took, in nanoseconds.
    pub ns: u64,
}

/// A filler on another thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Beside {
    orders: Sender<usize>,
    filled: Receiver<Result<Filling, TrialError>>,
    /// Datagrams sent so far.
    pub sent: u64,
    /// The most datagrams that are sent with one call.
    pub train: usize,
    /// How they are sent.
    pub method: &'static str,
}

impl Beside {
    /// Starts a thread that is set up by `pin`, whose result lives as long as it does, and that sends from the socket, to many
    /// if there are targets. `free` may
    /// be empty.
    ///
    /// # Errors
    ///
    /// If the thread cannot start, or cannot send.
    pub fn start<'scope, 'p: 'scope, T>(
        scope: &'scope Scope<'scope, '_>,
        order: Order,
        to: (Arc<Socket>, Option<Targets>),
        pin: impl FnOnce() -> Result<T, TrialError> + Send + 'scope,
        mut free: FreeList<'p>,
    ) -> Result<Self, TrialError> {
        let (orders, asked) = channel();
        let (done, filled) = channel();
        let (about, told) = channel();
        let work = move || {
            let _pinned = pin()?;
            // Dropped before what `pin` has returned, which may be the descriptor table that it is in.
            let (socket, targets) = to;
            let mut filler = Filler::to(&order, &socket, targets.as_ref())?;
            let _ = about.send((filler.train(), filler.method()));
            while let Some(count) = next(&asked) {
                let start_ns = now_ns();
                let sent = filler.fill(&mut free, count);
                let filling = sent.map(|sent| Filling { sent: sent as u64, ns: now_ns() - start_ns });
                if done.send(filling).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let thread = threads::spawn(scope, work)?;
        let Ok((train, method)) = told.recv() else {
            return Err(threads::join(thread).err().unwrap_or(TrialError::Panicked));
        };
        Ok(Self { orders, filled, sent: 0, train, method })
    }

    /// Has it send `count` datagrams, as [`Filler::fill`].
    ///
    /// # Errors
    ///
    /// Those of [`Filler::fill`].
    pub fn fill(&mut self, count: usize) -> Result<Filling, TrialError> {
        let _ = self.orders.send(count);
        let filling = next(&self.filled).unwrap_or(Err(TrialError::Panicked))?;
        self.sent += filling.sent;
        Ok(filling)
    }
}

/// The next message, without sleeping: a core that has slept is slower for a while. `None` after the last one.
fn next<T>(messages: &Receiver<T>) -> Option<T> {
    loop {
        match messages.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Empty) => spin_loop(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}
