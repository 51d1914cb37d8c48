//! compio's runtime, and what it does with buffers that the caller owns.

use std::future::{self, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use compio::BufResult;
use compio::buf::{IoBuf, IoBufMut, SetLen};
use compio::driver::{DriverType, OpCode, OpEntry, ProactorBuilder};
use compio::net::UdpSocket;
use compio::runtime::RuntimeBuilder;
use compio::runtime::fd::PollFd;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use io_uring::{IoUring, opcode, types};

use crate::backend::{self, Config, OpenError};
use crate::frames::owned::Owned;
use crate::kernel::timer::Timer;
use crate::runtime::Runtime;
use crate::runtimes::compio::modes::DEFER;
use crate::runtimes::crowd::{Host, Task};
use crate::runtimes::flight::{Ticking, of_len};
use crate::runtimes::slot::{Done, Route, Slot};

/// Entries of its ring, as compio has them.
const ENTRIES: u32 = 1024;

/// Bytes that the kernel puts in front of a payload with an address, in a buffer of the pool.
const MESSAGE_HEADER: usize = 192;

/// compio's runtime. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Proactor(compio::runtime::Runtime);

impl Runtime for Proactor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Proactor {
    pub(super) fn new(config: &Config, frame_size: usize) -> Result<Self, OpenError> {
        let refused = |error| OpenError::of_setup("starting compio's runtime", error);
        let mut proactor = ProactorBuilder::new();
        proactor.driver_type(DriverType::IoUring).capacity(ENTRIES);
        if config.variant.has(DEFER) {
            proactor.single_issuer(true).defer_taskrun(true);
        }
        if config.variant.has_buffer_ring() {
            let buffers = u16::try_from(config.buffers).ok().filter(|buffers| buffers.is_power_of_two());
            let wrong = OpenError::Impossible("a ring of buffers has a power of two of them, up to 32,768");
            proactor.buffer_pool_size(buffers.and_then(NonZero::new).ok_or(wrong)?);
            proactor.buffer_pool_buffer_len(frame_size + MESSAGE_HEADER);
        }
        RuntimeBuilder::new().with_proactor(proactor).build().map(Self).map_err(refused)
    }

    /// Calls `make` in the context of the runtime.
    pub(super) fn enter<T>(&self, make: impl FnOnce() -> T) -> T {
        self.0.enter(make)
    }
}

impl Host for Proactor {
    fn spawn(&self, task: Task) {
        compio::runtime::spawn(task).detach();
    }
}

/// Whether this kernel can cancel all operations on a descriptor.
pub(super) fn probe_cancel() -> Result<(), OpenError> {
    let failed = |error| OpenError::Failed { call: "cancelling nothing", error };
    let socket = backend::throwaway_socket()?;
    let mut ring = IoUring::new(2).map_err(|error| OpenError::of_setup("io_uring_setup", error))?;
    let entry = CancelAll(socket.raw()).entry();
    // SAFETY: the entry points to nothing.
    unsafe { ring.submission().push(&entry) }.map_err(|_| failed(io::ErrorKind::ResourceBusy.into()))?;
    ring.submit_and_wait(1).map_err(failed)?;
    let result = ring.completion().next().map_or(0, |completion| completion.result());
    if result == -libc::EINVAL {
        let feature = "cancellation of all requests of a descriptor (IORING_ASYNC_CANCEL_ALL)";
        return Err(OpenError::Missing { feature, since: "5.19" });
    }
    Ok(())
}

/// Entries and flags of its ring.
pub(super) fn in_effect(config: &Config) -> String {
    let flags = if config.variant.has(DEFER) { "SINGLE_ISSUER|DEFER_TASKRUN " } else { "" };
    format!("{flags}entries={ENTRIES}")
}

/// A timer that the runtime polls.
#[derive(Debug)]
pub(super) struct Tick {
    timer: Rc<Timer>,
    ready: PollFd<Rc<Timer>>,
}

impl Ticking for Tick {
    fn register(timer: Timer) -> io::Result<Self> {
        let timer = Rc::new(timer);
        Ok(Self { ready: PollFd::new(Rc::clone(&timer))?, timer })
    }

    fn timer(&self) -> &Timer {
        &self.timer
    }

    fn poll_tick(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.poll_read_ready(cx).map(|_| {
            // It has gone off, so this finds something.
            let _ = self.timer.take();
        })
    }
}

/// Receives from the first socket. The futures share it, as those of a program do: it knows whether the kernel had more at the last
/// receive, and a clone of it would begin anew.
pub(super) fn receiver(sockets: Rc<[UdpSocket]>, is_connected: bool) -> Slot {
    if is_connected {
        return Slot::new(move |frame, _| {
            let sockets = Rc::clone(&sockets);
            async move {
                let BufResult(outcome, frame) = sockets[0].recv(frame).await;
                (of_len(outcome), frame)
            }
        });
    }
    Slot::new(move |frame, _| {
        let sockets = Rc::clone(&sockets);
        async move {
            let BufResult(outcome, frame) = sockets[0].recv_from(frame).await;
            (outcome.map(|(len, address)| (len, Some(address))), frame)
        }
    })
}

pub(super) fn sender(sockets: Rc<[UdpSocket]>) -> Slot {
    Slot::new(move |frame, route: Route| {
        let sockets = Rc::clone(&sockets);
        async move {
            let socket = &sockets[route.socket];
            let BufResult(outcome, frame) = match route.to {
                None => socket.send(frame).await,
                Some(to) => socket.send_to(frame, to).await,
            };
            (of_len(outcome), frame)
        }
    })
}

/// Cancels what is in flight on the descriptors, and awaits the end of one of these operations: it may have been faster.
pub(super) async fn cancelled(fds: &[RawFd], slot: &mut Slot) -> Done {
    cancel_all(fds).await;
    poll_fn(|cx| slot.poll(cx)).await
}

/// Cancels what is in flight on the descriptors.
pub(super) async fn cancel_all(fds: &[RawFd]) {
    let cancels: FuturesUnordered<_> = fds.iter().map(|&fd| compio::runtime::submit(CancelAll(fd))).collect();
    cancels.for_each(|BufResult(_, _)| future::ready(())).await;
}

/// Cancels all operations on a descriptor (Linux 5.19). The runtime's own way to cancel is to drop the future; what the operation has
/// received meanwhile is then lost.
#[derive(Debug)]
struct CancelAll(RawFd);

impl CancelAll {
    fn entry(&self) -> io_uring::squeue::Entry {
        opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(self.0)).all()).build()
    }
}

// SAFETY: the entry points to nothing.
unsafe impl OpCode for CancelAll {
    type Control = ();

    fn create_entry(&mut self, _: &mut ()) -> OpEntry {
        self.entry().into()
    }
}

impl IoBuf for Owned {
    fn as_init(&self) -> &[u8] {
        self.content()
    }
}

impl SetLen for Owned {
    unsafe fn set_len(&mut self, len: usize) {
        Owned::set_len(self, len);
    }
}

impl IoBufMut for Owned {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: bytes that are initialised may be seen as those that may not be; nothing writes uninitialised ones, as the
        // kernel writes whole bytes.
        unsafe { &mut *(std::ptr::from_mut(self.room()) as *mut [MaybeUninit<u8>]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declaration::Kind;
    use crate::runtimes::refused_ring;

    #[test]
    fn a_ring_that_is_refused_names_its_cause_and_a_remedy() {
        refused_ring(|| Proactor::new(&Config::new(Kind::COMPIO, 1), 64).err());
    }
}
