//! Which of several sockets have datagrams: a queue of those that are ready, filled by looking at all of them, by epoll,
//! or by whatever else finds them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::backend::{Config, Counters, OpenError, Sockets};
use crate::declaration::{Concerns, Dimension, Mode, Rule, Want};
use crate::kernel::errno::{self, Verdict};
use crate::kernel::sys;

/// The ways to find the sockets that have datagrams, for backends whose receive names one of them. None is chosen for a
/// single socket, unless it is named.
pub(crate) const READINESS: Dimension = Dimension {
    name: "ready sockets",
    concerns: Concerns::Receiving,
    modes: &[EPOLL, EPOLL_EDGE, SCAN],
    off_by_default: true,
};

/// Several sockets need one of them.
pub(crate) const READINESS_RULE: Rule =
    Rule { wanted_by: &[Want::Sockets], able: &[EPOLL, EPOLL_EDGE, SCAN], others_have: "no way to find them" };

const EPOLL: Mode =
    Mode { finds_sockets: true, ..Mode::new("epoll", "epoll, level-triggered; the default above one socket") };

const EPOLL_EDGE: Mode =
    Mode { finds_sockets: true, ..Mode::new("epoll-edge", "epoll, edge-triggered: each receives until it is empty") };

const SCAN: Mode =
    Mode { finds_sockets: true, never_waits: true, ..Mode::new("scan", "one socket after the other is tried") };

/// The most events that a call of epoll returns.
const EVENTS_MAX: usize = 1024;

/// How many sockets that may have more datagrams are visited again, after all that were found, before others are looked
/// for. A single busy socket then costs one look in nine batches, and keeps the others waiting for no longer than that.
///
/// Where a look found more sockets than that, none is visited again: the next look finds those that do have more, at
/// little cost for each, while a receive that was in vain costs a system call. With one datagram in each of a thousand
/// sockets and batches of one, that was every second call.
const EXTRA_VISITS: usize = 8;

/// The sockets that are ready, in the order in which they are visited.
#[derive(Debug)]
pub(crate) struct ReadyQueue {
    queue: VecDeque<u16>,
    /// Whether a socket is in the queue.
    is_queued: Box<[bool]>,
    /// How many visits are left until it is time to look for others.
    visits_left: usize,
    /// Whether the last look found so few sockets that those that may have more are visited before the next one.
    few: bool,
    /// Whether a socket that was left with datagrams is not found again: only new ones will announce it.
    edge: bool,
}

impl ReadyQueue {
    pub(crate) fn new(sockets: usize, edge: bool) -> Self {
        let is_queued = vec![false; sockets].into_boxed_slice();
        Self { queue: VecDeque::with_capacity(sockets), is_queued, visits_left: 0, few: false, edge }
    }

    /// Adds a socket at the end, unless it is there.
    #[inline]
    pub(crate) fn add(&mut self, socket: u16) {
        let is_queued = &mut self.is_queued[usize::from(socket)];
        if !*is_queued {
            *is_queued = true;
            self.queue.push_back(socket);
        }
    }

    /// Whether nothing is ready, as far as is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether it is time to look for others: the queue is empty, or all in it were visited since the last look.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.queue.is_empty() || self.visits_left == 0
    }

    #[inline]
    fn pop(&mut self) -> Option<u16> {
        let socket = self.queue.pop_front()?;
        self.is_queued[usize::from(socket)] = false;
        self.visits_left = self.visits_left.saturating_sub(1);
        Some(socket)
    }

    /// Back to the front: it is visited next.
    fn put_back(&mut self, socket: u16) {
        self.is_queued[usize::from(socket)] = true;
        self.queue.push_front(socket);
        self.visits_left += 1;
    }

    /// Visits sockets until `batch` messages have come, or no more are ready. `look` adds those that are, once at most,
    /// and waits for some if that is said and nothing has come yet; `receive` receives from one of them, at most so many
    /// messages. Returns how many datagrams came.
    #[inline]
    pub(crate) fn visit(
        &mut self,
        batch: usize,
        waits: bool,
        counters: &mut Counters,
        mut look: impl FnMut(&mut Self, bool, &mut Counters) -> io::Result<()>,
        mut receive: impl FnMut(u16, usize, &mut Counters) -> Visit,
    ) -> io::Result<usize> {
        let (mut messages, mut datagrams) = (0, 0);
        let mut may_look = true;
        while messages < batch {
            if may_look && self.is_due() {
                may_look = false;
                let waits = waits && messages == 0 && self.queue.is_empty();
                look(self, waits, counters)?;
                self.few = self.queue.len() <= EXTRA_VISITS;
                self.visits_left = self.queue.len() + EXTRA_VISITS;
            }
            let Some(socket) = self.pop() else { break };
            let visit = receive(socket, batch - messages, counters);
            messages += visit.messages;
            datagrams += visit.datagrams;
            match visit.end {
                End::Drained => {}
                // A receive that returned fewer than it could has emptied the socket, or met an error.
                End::Short if self.edge => self.put_back(socket),
                End::Short => {}
                End::Full if self.edge || self.few => self.add(socket),
                End::Full => {}
                End::NoFrame => {
                    self.put_back(socket);
                    break;
                }
                End::Passing => {
                    self.add(socket);
                    break;
                }
                End::Fatal(error) => {
                    self.add(socket);
                    return Err(error);
                }
            }
        }
        Ok(datagrams)
    }
}

/// What came of a receive from one socket.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Datagrams, or trains, that came.
    pub(crate) messages: usize,
    /// Datagrams, those in trains included.
    pub(crate) datagrams: usize,
    pub(crate) end: End,
}

/// Why a receive ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All that was asked for has come.
    Full,
    /// Less has come than was asked for.
    Short,
    /// The socket is empty.
    Drained,
    /// No frame is free.
    NoFrame,
    /// An error that was counted; there may be datagrams behind it.
    Passing,
    /// An error that makes continuing pointless.
    Fatal(io::Error),
}

impl Visit {
    /// As a backend with one socket reports it.
    #[inline(always)]
    pub(crate) fn outcome(self) -> io::Result<usize> {
        match self.end {
            End::Fatal(error) => Err(error),
            _ => Ok(self.datagrams),
        }
    }
}

/// Finds the sockets that have datagrams, and visits them.
#[derive(Debug)]
pub(crate) struct Readiness {
    ready: ReadyQueue,
    finder: Finder,
    batch: usize,
    /// How long a wait lasts at most.
    block: Duration,
}

#[derive(Debug)]
enum Finder {
    Epoll(Epoll),
    /// All sockets, in turns.
    Scan,
}

impl Readiness {
    /// `None` for a single socket, unless a way to find it was named.
    pub(crate) fn wanted(config: &Config, sockets: &Sockets) -> Result<Option<Self>, OpenError> {
        if !config.variant.finds_sockets() {
            return match sockets.len() {
                1 => Ok(None),
                _ => Err(OpenError::Impossible("several sockets need a way to find those that are ready, e.g. epoll")),
            };
        }
        Self::check(config)?;
        let edge = config.variant.has(EPOLL_EDGE);
        let finder = if config.variant.has(SCAN) {
            Finder::Scan
        } else {
            let failed = |error| OpenError::Failed { call: "setting up epoll", error };
            Finder::Epoll(Epoll::new(sockets, edge).map_err(failed)?)
        };
        let ready = ReadyQueue::new(sockets.len(), edge);
        Ok(Some(Self { ready, finder, batch: config.batch, block: config.block.unwrap_or_default() }))
    }

    /// Whether the way that was named can do what is asked of it.
    pub(crate) fn check(config: &Config) -> Result<(), OpenError> {
        match config.block {
            Some(_) if config.variant.has(SCAN) => {
                Err(OpenError::Impossible("scan never waits; use epoll, or no wait"))
            }
            _ => Ok(()),
        }
    }

    /// Receives a batch from the sockets that are ready, see [`ReadyQueue::visit`].
    #[inline]
    pub(crate) fn receive(
        &mut self,
        waits: bool,
        counters: &mut Counters,
        receive: impl FnMut(u16, usize, &mut Counters) -> Visit,
    ) -> io::Result<usize> {
        let Self { ready, finder, batch, block } = self;
        let look = |ready: &mut ReadyQueue, waits: bool, counters: &mut Counters| match finder {
            Finder::Epoll(epoll) => epoll.look(ready, if waits { *block } else { Duration::ZERO }, counters),
            Finder::Scan => {
                (0..ready.is_queued.len()).for_each(|socket| ready.add(socket as u16));
                Ok(())
            }
        };
        ready.visit(*batch, waits, counters, look, receive)
    }
}

/// An epoll instance with all sockets of a backend.
#[derive(Debug)]
struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Epoll {
    fn new(sockets: &Sockets, edge: bool) -> io::Result<Self> {
        // SAFETY: the call takes flags.
        let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let events = libc::EPOLLIN | if edge { libc::EPOLLET } else { 0 };
        for (number, socket) in sockets.descriptors().iter().enumerate() {
            let mut event = libc::epoll_event { events: events as u32, u64: number as u64 };
            // SAFETY: the kernel reads the event, a live local.
            let status = unsafe { libc::epoll_ctl(raw, libc::EPOLL_CTL_ADD, *socket, &raw mut event) };
            if status < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let room = sockets.len().min(EVENTS_MAX);
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; room].into_boxed_slice() })
    }

    /// Adds the sockets that have datagrams or errors; waits for some for at most `timeout`. A signal ends the wait.
    fn look(&mut self, ready: &mut ReadyQueue, timeout: Duration, counters: &mut Counters) -> io::Result<()> {
        let fd: RawFd = self.fd.as_raw_fd();
        counters.syscalls += 1;
        let found = sys::find_ready(fd, &mut self.events, timeout);
        let Ok(found) = usize::try_from(found) else {
            return match errno::last() {
                (Verdict::Interrupted, _) => Ok(()),
                (_, error) => Err(error),
            };
        };
        for event in &self.events[..found] {
            ready.add(event.u64 as u16);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sockets with so many messages each, and what visits did.
    struct Model {
        left: Vec<usize>,
        ready: ReadyQueue,
        looks: usize,
        visited: Vec<u16>,
    }

    impl Model {
        fn new(left: &[usize], edge: bool) -> Self {
            let ready = ReadyQueue::new(left.len(), edge);
            Self { left: left.to_vec(), ready, looks: 0, visited: Vec::new() }
        }

        /// A batch; a level-triggered look finds all that have messages.
        fn rx(&mut self, batch: usize) -> usize {
            let Self { left, ready, looks, visited } = self;
            let before = left.clone();
            let look = |ready: &mut ReadyQueue, _: bool, _: &mut Counters| {
                *looks += 1;
                (0..).zip(&before).filter(|(_, left)| **left > 0).for_each(|(socket, _)| ready.add(socket));
                Ok(())
            };
            let receive = |socket: u16, most: usize, _: &mut Counters| {
                visited.push(socket);
                let left = &mut left[usize::from(socket)];
                let messages = most.min(*left);
                *left -= messages;
                let end = match messages {
                    0 => End::Drained,
                    _ if messages == most => End::Full,
                    _ => End::Short,
                };
                Visit { messages, datagrams: messages, end }
            };
            ready.visit(batch, false, &mut Counters::default(), look, receive).expect("no error")
        }
    }

    #[test]
    fn a_batch_is_the_total_and_a_socket_with_more_goes_to_the_end() {
        let mut model = Model::new(&[5, 0, 2, 9], false);
        assert_eq!([model.rx(4), model.rx(4), model.rx(4), model.rx(4), model.rx(4)], [4, 4, 4, 4, 0]);
        assert_eq!(model.visited, [0, 2, 3, 0, 3, 3, 3], "a full batch says that there may be more");
        assert_eq!(model.left, [0; 4]);
    }

    #[test]
    fn an_edge_is_followed_to_the_end() {
        let mut model = Model::new(&[3, 0, 2], true);
        assert_eq!(model.rx(8), 5);
        assert_eq!(model.visited, [0, 0, 2, 2], "each once more than it has messages");
    }

    #[test]
    fn where_many_have_datagrams_none_is_received_from_in_vain() {
        let many = 4 * EXTRA_VISITS;
        let mut model = Model::new(&vec![1; many], false);
        model.left[5] = 3;
        (0..many + 2).for_each(|_| assert_eq!(model.rx(1), 1));
        assert_eq!(model.visited.len(), many + 2, "one visit for each datagram");
        assert_eq!((model.left.iter().sum::<usize>(), model.looks), (0, 2), "a socket with more is found again");
    }

    #[test]
    fn others_are_looked_for_while_one_socket_floods() {
        let mut model = Model::new(&[usize::MAX, 0], false);
        (0..3).for_each(|_| assert_eq!(model.rx(4), 4));
        model.left[1] = 1;
        let served = (0..100).position(|_| {
            model.rx(4);
            model.left[1] == 0
        });
        assert!(served.is_some_and(|calls| calls <= EXTRA_VISITS + 1), "{served:?}");
        let looks = model.looks;
        (0..90).for_each(|_| assert_eq!(model.rx(4), 4));
        assert!((9..=12).contains(&(model.looks - looks)), "{} looks in 90 batches", model.looks - looks);
    }

    #[test]
    fn a_queue_has_each_socket_once() {
        let mut ready = ReadyQueue::new(3, false);
        for socket in [2, 0, 2, 2, 0] {
            ready.add(socket);
        }
        let first = ready.pop().expect("two are there");
        ready.put_back(first);
        ready.add(first);
        assert_eq!([ready.pop(), ready.pop(), ready.pop()], [Some(2), Some(0), None]);
        assert!(ready.is_empty());
    }
}
