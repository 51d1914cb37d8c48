//! A throwaway io_uring, and requests on it that are waited for, but not for ever.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use io_uring::{Builder, EnterFlags, IoUring, cqueue, opcode, squeue, types};

use crate::features::lent::Lent;
use crate::features::refusal::{Refusal, SETUP};
use crate::features::row::Patience;

/// An io_uring with memory for its requests.
pub(super) struct Trial<'a> {
    ring: IoUring,
    /// Unmapped only if no request is in flight.
    memory: ManuallyDrop<Lent>,
    /// Requests whose last completion has not arrived.
    under_way: usize,
    patience: &'a mut Patience,
}

/// The name of the call that submits requests.
const ENTER: &str = "io_uring_enter";

/// The user data of a cancellation; that of other requests is 0.
const CANCEL: u64 = u64::MAX;

impl<'a> Trial<'a> {
    /// A ring without any flags.
    pub(super) fn new(patience: &'a mut Patience) -> Result<Self, Refusal> {
        Self::with(patience, |builder| builder)
    }

    /// A ring with the flags that `choose` sets.
    pub(super) fn with(patience: &'a mut Patience, choose: fn(&mut Builder) -> &mut Builder) -> Result<Self, Refusal> {
        let mut builder = IoUring::builder();
        choose(&mut builder);
        let ring = builder.build(8).map_err(Refusal::of(SETUP))?;
        let memory = Lent::new().map_err(Refusal::untried("mapping memory"))?;
        Ok(Self { ring, memory: ManuallyDrop::new(memory), under_way: 0, patience })
    }

    pub(super) fn ring(&mut self) -> &mut IoUring {
        &mut self.ring
    }

    pub(super) fn memory(&mut self) -> &mut Lent {
        &mut self.memory
    }

    /// Submits a request that does nothing, and sees that it completes.
    pub(super) fn nop(&mut self) -> Result<(), Refusal> {
        // SAFETY: the request names no memory.
        unsafe { self.submit(&opcode::Nop::new().build()) }?;
        self.complete("NOP", 1).map(drop)
    }

    /// Submits one request.
    ///
    /// # Safety
    ///
    /// All memory that it names must be in [`Trial::memory`].
    pub(super) unsafe fn submit(&mut self, entry: &squeue::Entry) -> Result<(), Refusal> {
        // SAFETY: the memory stays mapped while requests are in flight, see `Drop`.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| Refusal::Untried("the submission queue is full".into()))?;
        self.under_way += 1;
        self.enter().map_err(Refusal::of(ENTER))
    }

    /// Waits for `count` completions of the request `call`, at most as long as [`Patience`] allows; the first that
    /// reports an error ends it.
    pub(super) fn complete(&mut self, call: &'static str, count: usize) -> Result<Vec<cqueue::Entry>, Refusal> {
        let mut completions = Vec::new();
        loop {
            while let Some(completion) = self.reap() {
                if completion.result() < 0 {
                    let error = io::Error::from_raw_os_error(completion.result().saturating_neg());
                    return Err(Refusal::of(call)(error));
                }
                completions.push(completion);
                if completions.len() == count {
                    return Ok(completions);
                }
            }
            if !self.patience.pause() {
                return Err(Refusal::Untried(format!("{call} did not complete in time")));
            }
            self.enter().map_err(Refusal::of(ENTER))?;
        }
    }

    fn reap(&mut self) -> Option<cqueue::Entry> {
        let completion = self.ring.completion().next()?;
        self.under_way -= usize::from(!cqueue::more(completion.flags()));
        Some(completion)
    }

    /// Submits queued requests and runs deferred work; never waits.
    fn enter(&mut self) -> io::Result<()> {
        if self.ring.params().is_setup_sqpoll() {
            return self.ring.submit().map(drop);
        }
        let queued = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed, and the flags need none.
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None) };
        match entered {
            // Callers that wait for completions enter again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Ends the request that is in flight, and reaps what is left.
    pub(super) fn cancel(&mut self) {
        let entry = opcode::AsyncCancel::new(0).build().user_data(CANCEL);
        // SAFETY: the request names no memory.
        if unsafe { self.submit(&entry) }.is_err() {
            return;
        }
        loop {
            while self.reap().is_some() {}
            if self.under_way == 0 || !self.patience.pause() || self.enter().is_err() {
                return;
            }
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.under_way > 0 {
            self.cancel();
        }
        if self.under_way == 0 {
            // SAFETY: it is dropped once, here, and the kernel no longer writes to it. (A buffer ring that is still
            // registered has its pages pinned.)
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

/// Two UDP sockets on loopback, connected with each other; datagrams go from one to the other.
pub(super) fn pair() -> Result<(UdpSocket, UdpSocket), Refusal> {
    open_pair().map_err(Refusal::untried("sending a datagram over loopback"))
}

/// As [`pair`], with the kernel's error.
pub(super) fn open_pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    near.connect(far.local_addr()?)?;
    far.connect(near.local_addr()?)?;
    near.set_read_timeout(Some(Duration::from_millis(50)))?;
    far.set_read_timeout(Some(Duration::from_millis(50)))?;
    near.send(b"try")?;
    retry(|| far.recv(&mut [0; 8]))?;
    Ok((near, far))
}

/// Receives, for a moment: rings that are being torn down interrupt system calls of their thread.
pub(super) fn retry<T>(mut receive: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..RETRIES {
        match receive() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no datagram arrived"));
            }
            result => return result,
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// More interruptions than there are rings.
const RETRIES: usize = 100;

/// The descriptor of a socket, for a request.
pub(super) fn fd(socket: &UdpSocket) -> types::Fd {
    types::Fd(std::os::fd::AsRawFd::as_raw_fd(socket))
}
