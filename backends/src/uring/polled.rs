//! A multishot POLL_ADD that stays armed for each socket: completions say which are ready, and `recvmmsg` receives.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::Fixed;
use io_uring::{cqueue, opcode};

use crate::backend::{Config, Counters, MinWait, OpenError, Sockets};
use crate::batches::Batches;
use crate::frames::packet::RxRing;
use crate::frames::pool::FreeList;
use crate::ready::ReadyQueue;
use crate::uring::ring::{CANCEL, CANCEL_TRIES, COMPLETIONS_MAX, PROBE_WITHIN, Ring, SUBMISSIONS};
use crate::uring::setup::Setup;

/// The receiving half of the `uring` backend, with `recvmmsg`.
#[derive(Debug)]
pub(super) struct Polled<'p> {
    ring: Ring,
    sockets: Sockets,
    /// A multishot poll reports each arrival once, like epoll with an edge.
    ready: ReadyQueue,
    /// The sockets whose poll the kernel does not hold.
    idle: VecDeque<u16>,
    batches: Batches<'p>,
    batch: usize,
    block: Duration,
    /// For how many completions it waits at once.
    min_wait: Option<MinWait>,
    counters: Counters,
}

impl<'p> Polled<'p> {
    pub(super) fn open(choices: &[Setup], sockets: Sockets, config: &Config) -> Result<Self, OpenError> {
        // An arrival makes a completion unless one is pending.
        let completions = (2 * sockets.len()).clamp(2 * SUBMISSIONS as usize, COMPLETIONS_MAX);
        let mut ring = Ring::open(choices, SUBMISSIONS, completions as u32, None)?;
        ring.register(&sockets)?;
        probe(&mut ring)?;
        ring.reset_syscalls();
        Ok(Self {
            ring,
            ready: ReadyQueue::new(sockets.len(), true),
            idle: (0..sockets.len()).map(|number| number as u16).collect(),
            sockets,
            batches: Batches::new(config),
            batch: config.batch,
            block: config.block.unwrap_or_default(),
            min_wait: config.min_wait,
            counters: Counters::default(),
        })
    }

    /// Out of line, as for many multishots.
    #[inline(never)]
    pub(super) fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(false, free, rx)
    }

    pub(super) fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(true, free, rx)
    }

    fn receive(&mut self, waits: bool, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { ring, sockets, ready, idle, batches, batch, block, min_wait, counters } = self;
        let look = |ready: &mut ReadyQueue, waits: bool, counters: &mut Counters| {
            look(ring, idle, ready, waits.then_some((*min_wait, *block)), counters)
        };
        ready.visit(*batch, waits, counters, look, |socket, most, counters| {
            rx.set_socket(socket);
            let asked = (sockets.raw(usize::from(socket)), most, libc::MSG_DONTWAIT);
            batches.receive(asked, counters, (free, rx))
        })
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            syscalls: self.counters.syscalls + self.ring.syscalls(),
            cq_overflow: self.ring.overflows(),
            ..self.counters
        }
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The kernel holds no frame, but armed polls would keep the sockets, and their ports, for some time.
    pub(super) fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let Self { mut ring, mut idle, mut ready, mut counters, sockets, batches, .. } = self;
        batches.empty(free);
        for _ in 0..CANCEL_TRIES {
            ring.cq.sync();
            // An earlier error is none of the close.
            let _ = reap(&mut ring, &mut idle, &mut ready, &mut counters);
            if idle.len() == sockets.len() {
                return Ok(());
            }
            ring.cancel_each(sockets.len() as u64, CANCEL)?;
        }
        Err(io::Error::other("multishot polls could not be cancelled"))
    }
}

/// Arms the polls that have ended, asks the kernel for completions if it may have some, and adds the sockets that they
/// name. Waits for one, or as many as `wait` says, for at most the time there.
fn look(
    ring: &mut Ring,
    idle: &mut VecDeque<u16>,
    ready: &mut ReadyQueue,
    wait: Option<(Option<MinWait>, Duration)>,
    counters: &mut Counters,
) -> io::Result<()> {
    ring.cq.sync();
    reap(ring, idle, ready, counters)?;
    let arms = !idle.is_empty();
    while let Some(&socket) = idle.front() {
        if ring.sq.is_full() {
            ring.enter(0)?;
            if ring.sq.is_full() {
                break;
            }
        }
        // SAFETY: a poll names no memory.
        unsafe { ring.push(&poll(socket.into())) }?;
        idle.pop_front();
    }
    match wait.filter(|_| ready.is_empty() && idle.is_empty()) {
        Some((min_wait, timeout)) => ring.enter_and_wait_for(min_wait, timeout)?,
        None if arms || ring.wants_enter() => ring.enter(0)?,
        None => return Ok(()),
    }
    reap(ring, idle, ready, counters)
}

/// Takes all completions.
fn reap(ring: &mut Ring, idle: &mut VecDeque<u16>, ready: &mut ReadyQueue, counters: &mut Counters) -> io::Result<()> {
    let mut result = Ok(());
    for completion in ring.cq.by_ref() {
        if completion.user_data() == CANCEL {
            continue;
        }
        let socket = completion.user_data() as u16;
        ready.add(socket);
        if !cqueue::more(completion.flags()) {
            idle.push_back(socket);
            match completion.result() {
                // The completion queue was full.
                0.. => counters.rearms.queue_full += 1,
                res if res == -libc::ECANCELED => {}
                res => {
                    counters.rearms.error += 1;
                    result = Err(io::Error::from_raw_os_error(-res));
                }
            }
        }
    }
    ring.cq.sync();
    result
}

fn poll(socket: u32) -> io_uring::squeue::Entry {
    let entry = opcode::PollAdd::new(Fixed(socket), libc::POLLIN as u32).multi(true).build();
    entry.user_data(socket.into())
}

/// Arms the poll of a file that is not there, marked so that nobody takes it for that of a socket if it ends late: a kernel that has multishot polls says EBADF, an older one EINVAL.
fn probe(ring: &mut Ring) -> Result<(), OpenError> {
    let failed = |error| OpenError::Failed { call: "a trial of a multishot poll", error };
    // SAFETY: a poll names no memory.
    unsafe { ring.push(&poll(u32::from(u16::MAX)).user_data(CANCEL)) }.and_then(|()| ring.enter(0)).map_err(failed)?;
    if ring.has_thread() && ring.cq.is_empty() {
        ring.enter_and_wait(PROBE_WITHIN).map_err(failed)?;
    }
    let result = ring.cq.next().map(|completion| completion.result());
    ring.cq.sync();
    match result {
        Some(result) if result == -libc::EINVAL => {
            Err(OpenError::Missing { feature: "multishot polls for io_uring", since: "5.13" })
        }
        _ => Ok(()),
    }
}
