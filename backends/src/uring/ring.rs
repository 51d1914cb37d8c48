//! An io_uring with the setup that this kernel accepts, and the one way to enter it.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::{
    CompletionQueue, EnterFlags, IoUring, Parameters, Probe, SubmissionQueue, Submitter, cqueue, opcode, squeue, types,
};

use crate::backend::{MinWait, OpenError, Sockets, throwaway_socket};
use crate::frames::pool::Region;
use crate::kernel::setup::MEMLOCK_REMEDY;
use crate::uring::setup::{Setup, explain};

/// How long to wait for a late kernel thread between two checks.
const LATE: Duration = Duration::from_micros(100);
/// How many such checks.
const LATE_MAX: usize = 5_000;

/// Marks completions of cancellations; those of other requests have a number.
pub(super) const CANCEL: u64 = u64::MAX;
/// How often a cancellation checks for the last completion before it gives up.
pub(super) const CANCEL_TRIES: usize = 1000;
/// Entries of the submission queue of what stays armed.
pub(super) const SUBMISSIONS: u32 = 64;
/// The most entries of a completion queue (`IORING_MAX_CQ_ENTRIES` in `io_uring/io_uring.h`).
pub(super) const COMPLETIONS_MAX: usize = 65_536;
/// How long a kernel thread may take for the trial of a request.
pub(super) const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// How long cancelled requests may take to end.
const CANCEL_WITHIN_NS: u32 = 500_000_000;

/// How often to check for completions of a kernel thread before yielding the core.
const SPINS: usize = 10_000;

/// A ring, split once into its three parts.
///
/// The ring's own descriptor is registered (5.18), which saves a look-up in each call; that
/// registration lives in the one `Submitter`, hence the parts that stay split.
pub(super) struct Ring {
    // Dropped in this order: the parts point into `owner`.
    submitter: Submitter<'static>,
    pub(super) sq: SubmissionQueue<'static>,
    pub(super) cq: CompletionQueue<'static>,
    _owner: Owner,
    setup: Setup,
    fd: RawFd,
    /// The files, once they are registered.
    pub(super) files: Files,
    params: Parameters,
    syscalls: u64,
    overflows: u64,
    /// Whether a call has failed permanently: then nothing more is submitted.
    is_broken: bool,
}

/// The registered files.
#[derive(Debug)]
pub(super) struct Files(OnceCell<Box<[RawFd]>>);

impl Files {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.get().map_or(0, |files| files.len())
    }

    /// The file in this place: a socket, or no file's number.
    pub(super) fn at(&self, place: usize) -> RawFd {
        self.0.get().and_then(|files| files.get(place).copied()).unwrap_or(-1)
    }
}

/// The ring that the parts borrow. A pointer, not a box: moving a box asserts that nothing else points into it.
struct Owner(NonNull<IoUring>);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box in `Ring::split`, is freed once, here, and the parts that point into the
        // ring were dropped before (the order of the fields of `Ring`).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// How many calls in a row may return nothing that they wait for. Each returns with a completion, or because of a
/// signal or of completions that must be reaped first; after so many, neither is left as a reason.
const FRUITLESS_MAX: u32 = 20_000;

/// Counts calls that returned nothing.
#[derive(Debug, Default)]
pub(super) struct Patience(u32);

impl Patience {
    /// Another call returned nothing.
    ///
    /// # Errors
    ///
    /// If there were too many.
    pub(super) fn lose(&mut self) -> io::Result<()> {
        self.0 += 1;
        if self.0 < FRUITLESS_MAX {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("{FRUITLESS_MAX} calls of io_uring_enter had no result")))
    }
}

impl Ring {
    /// Creates a ring with the first of `choices` that the kernel accepts. It shares the kernel thread of the
    /// ring `beside` it, if they have one.
    pub(super) fn open(choices: &[Setup], sq: u32, cq: u32, beside: Option<&Self>) -> Result<Self, OpenError> {
        let mut refusal = io::Error::from_raw_os_error(libc::EINVAL);
        let beside = beside.map(|ring| ring.fd);
        for &setup in choices {
            match setup.build(sq, cq, beside) {
                Ok(ring) => return Ok(Self::split(ring, setup)),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = error,
                Err(error) => return Err(explain(error, setup)),
            }
        }
        // The kernel does not know a flag that all choices share. Every ring is set up with CLAMP.
        if Setup::is_clamp_unknown() {
            return Err(OpenError::Missing { feature: "CLAMP for io_uring", since: "5.6" });
        }
        if choices.iter().all(|setup| setup.coop_taskrun) {
            return Err(OpenError::Missing { feature: "COOP_TASKRUN for io_uring", since: "5.19" });
        }
        Err(explain(refusal, *choices.last().unwrap_or(&Setup::PLAIN)))
    }

    fn split(ring: IoUring, setup: Setup) -> Self {
        let (fd, params) = (ring.as_raw_fd(), ring.params().clone());
        let owner = Owner(NonNull::from(Box::leak(Box::new(ring))));
        // SAFETY: the parts borrow a ring on the heap that does not move, that nothing else touches while they live,
        // and that is dropped after them (the order of the fields). `'static` does not leave this struct: its methods
        // lend the parts out.
        let whole: &'static mut IoUring = unsafe { &mut *owner.0.as_ptr() };
        let (mut submitter, sq, cq) = whole.split();
        // If it is refused, the plain descriptor does.
        let _ = submitter.register_ring_fd();
        let (files, syscalls, overflows, is_broken) = (Files(OnceCell::new()), 0, 0, false);
        Self { submitter, sq, cq, _owner: owner, setup, fd, files, params, syscalls, overflows, is_broken }
    }

    pub(super) fn setup(&self) -> Setup {
        self.setup
    }

    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Registers the files that this ring uses; requests name each by its place, the only one as `Fixed(0)`.
    pub(super) fn register(&self, sockets: &Sockets) -> Result<(), OpenError> {
        let files = self.files.0.get_or_init(|| sockets.descriptors().into());
        self.submitter.register_files(files).map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE) => OpenError::Refused {
                what: "registering that many sockets with io_uring",
                error,
                remedy: "raise the limit of open files: `ulimit -n`",
            },
            Some(libc::ENOMEM) => no_memory(error),
            _ => OpenError::Failed { call: "registering the socket with io_uring", error },
        })
    }

    /// Queues a request for the next [`Ring::enter`].
    ///
    /// # Safety
    ///
    /// All memory that the request names must stay valid until its last completion.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.sq.push(entry) }.map_err(|_| full())
    }

    /// Submits a cancellation, and waits for a completion: its own, that of the cancelled request, or another. Does
    /// nothing while a kernel thread has not yet taken what was submitted before.
    ///
    /// # Safety
    ///
    /// As [`Ring::push`].
    pub(super) unsafe fn cancel(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.is_broken {
            return Err(broken());
        }
        self.sq.sync();
        if !self.sq.is_empty() {
            // The kernel thread has not yet taken the last requests, perhaps for lack of a core. More of them would
            // fill the queue, and there is nothing to wait for: what is queued need not be a cancellation.
            self.enter(0)?;
            std::thread::sleep(LATE);
            return Ok(());
        }
        // SAFETY: the caller vouches for the memory.
        unsafe { self.push(entry) }?;
        self.enter(1)
    }

    /// Submits a cancellation of each request whose number is below `count`, marked with `mark`, and waits for a completion.
    ///
    /// One cancellation of all of them would search its way past those that it has already cancelled: 16,384 take four
    /// minutes (6.18).
    pub(super) fn cancel_each(&mut self, count: u64, mark: u64) -> io::Result<()> {
        if self.is_broken {
            return Err(broken());
        }
        for number in 0..count {
            // A kernel thread takes what is queued some time later.
            for _ in 0..LATE_MAX {
                if !self.sq.is_full() {
                    break;
                }
                self.enter(0)?;
                if self.sq.is_full() {
                    std::thread::sleep(LATE);
                }
                self.sq.sync();
            }
            // SAFETY: the request names no memory.
            unsafe { self.push(&opcode::AsyncCancel::new(number).build().user_data(mark)) }?;
        }
        self.enter(1)
    }

    /// Whether completions may be waiting for our next call: always, unless the kernel raises a flag
    /// for it in shared memory (`TASKRUN_FLAG`), or has a thread for them (`SQPOLL`).
    #[inline]
    pub(super) fn wants_enter(&self) -> bool {
        if self.setup.sqpoll {
            return self.sq.cq_overflow();
        }
        !self.setup.taskrun_flag || self.sq.taskrun() || self.sq.cq_overflow()
    }

    /// Whether a kernel thread does the work, so that what was submitted completes some time later.
    #[inline]
    pub(super) fn has_thread(&self) -> bool {
        self.setup.sqpoll
    }

    /// Whether a call has failed permanently, so that nothing more is submitted.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether this kernel can wait with a timeout (EXT_ARG, Linux 5.11).
    pub(super) fn can_wait(&self) -> bool {
        self.params.is_feature_ext_arg()
    }

    /// Whether this kernel can wait for many completions, but no longer than a time of their own.
    pub(super) fn can_wait_for_many(&self) -> bool {
        self.params.is_feature_min_timeout()
    }

    /// Whether this kernel knows a request.
    pub(super) fn knows(&self, opcode: u8) -> bool {
        let mut probe = Probe::new();
        self.submitter.register_probe(&mut probe).is_ok() && probe.is_supported(opcode)
    }

    /// Registers the memory of all frames as buffer 0, for requests that name it, and tries one: a READ_FIXED of an
    /// empty socket that does not wait (sockets have known RWF_NOWAIT since 6.5; before, it is refused).
    pub(super) fn register_memory(&mut self, region: &Region) -> Result<(), OpenError> {
        let iovec = libc::iovec { iov_base: region.as_ptr().cast(), iov_len: region.len() };
        // SAFETY: the caller keeps the region mapped for as long as the ring has requests.
        let registered = unsafe { self.submitter.register_buffers(&[iovec]) };
        registered.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => no_memory(error),
            Some(libc::EFAULT) => OpenError::Refused {
                what: "registering all frames as one buffer",
                error,
                remedy: "the kernel takes 1 GiB at most; use a smaller --payload, --batch or --buffers",
            },
            _ => OpenError::Failed { call: "registering the frames with io_uring", error },
        })?;
        let socket = throwaway_socket()?;
        let read = opcode::ReadFixed::new(types::Fd(socket.raw()), region.as_ptr(), 1, 0);
        let failed = |error| OpenError::Failed { call: "a trial of READ_FIXED", error };
        // SAFETY: nothing is sent to that socket, so that nothing is written; the region is the caller's to keep.
        unsafe { self.push(&read.rw_flags(libc::RWF_NOWAIT).build()) }.map_err(failed)?;
        self.enter(0).map_err(failed)?;
        let mut result = 0;
        self.complete(1, |completion| result = completion.result()).map_err(failed)?;
        self.reset_syscalls();
        match result {
            0.. => Ok(()),
            _ if result == -libc::EAGAIN => Ok(()),
            _ if result == -libc::EOPNOTSUPP => Err(OpenError::Missing {
                feature: "RWF_NOWAIT for sockets, without which a READ_FIXED or WRITE_FIXED may wait",
                since: "6.5",
            }),
            _ => Err(failed(io::Error::from_raw_os_error(-result))),
        }
    }

    /// Whether the kernel has raised a flag for completions that wait for our next call.
    #[inline]
    pub(super) fn is_flagged(&self) -> bool {
        self.setup.taskrun_flag && self.sq.taskrun()
    }

    /// Whether datagrams are received only in our own calls.
    pub(super) fn progresses_only_when_called(&self) -> bool {
        self.setup.defer_taskrun
    }

    /// Submits queued requests, runs deferred work, and waits until `wait` completions are there.
    ///
    /// # Errors
    ///
    /// The kernel's. Requests that were not submitted by then never are.
    #[inline]
    pub(super) fn enter(&mut self, wait: u32) -> io::Result<()> {
        self.sq.sync();
        if self.setup.sqpoll {
            return self.nudge(wait);
        }
        // Requests that were not submitted are not waited for.
        let wait = if self.is_broken { 0 } else { wait };
        self.overflows += u64::from(self.sq.cq_overflow());
        let mut patience = Patience::default();
        loop {
            match self.call(wait, EnterFlags::GETEVENTS) {
                // A ring that has failed submits nothing more: it must not be waited for.
                Ok(_) if self.is_broken => return Err(broken()),
                // Without SUBMIT_ALL a failed request ends the submission early.
                Ok(_) if self.sq.is_empty() => break,
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => patience.lose().inspect_err(|_| self.is_broken = true)?,
                    // Completions must be reaped before the kernel takes more.
                    Some(libc::EAGAIN | libc::EBUSY) => break,
                    _ => return Err(error),
                },
            }
        }
        self.cq.sync();
        Ok(())
    }

    /// One system call that submits what is queued.
    #[inline(always)]
    fn call(&mut self, wait: u32, flags: EnterFlags) -> io::Result<usize> {
        let queued = if self.is_broken { 0 } else { self.sq.len() as u32 };
        self.syscalls += 1;
        // SAFETY: no argument is passed, and the flags need none; the queued requests were vouched for in `push`.
        let outcome = unsafe { self.submitter.enter::<libc::sigset_t>(queued, wait, flags.bits(), None) };
        self.sq.sync();
        outcome.map_err(|error| self.judged(error))
    }

    /// After an error that is not transient, nothing more is submitted.
    #[cold]
    fn judged(&mut self, error: io::Error) -> io::Error {
        let passes = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME));
        self.is_broken |= !passes;
        error
    }

    /// How many queued requests the kernel will not take: after [`Ring::end_all`], those that it has not taken.
    pub(super) fn unsubmitted(&mut self) -> usize {
        self.sq.sync();
        if self.is_broken && !self.setup.sqpoll { self.sq.len() } else { 0 }
    }

    /// Takes completions, and passes them to `note`, until `missing` have arrived.
    ///
    /// # Errors
    ///
    /// The kernel's, or that they do not arrive.
    #[inline(always)]
    pub(super) fn complete(&mut self, mut missing: usize, mut note: impl FnMut(&cqueue::Entry)) -> io::Result<()> {
        let mut patience = Patience::default();
        loop {
            for completion in self.cq.by_ref() {
                note(&completion);
                missing = missing.saturating_sub(1);
            }
            self.cq.sync();
            if missing == 0 {
                return Ok(());
            }
            if self.cq.is_empty() {
                patience.lose()?;
                self.await_completion()?;
            }
        }
    }

    /// Ends all requests that the kernel has, whatever the outcome of earlier calls. Returns whether that is certain:
    /// then the kernel uses no memory that they named.
    ///
    /// `IORING_REGISTER_SYNC_CANCEL` (Linux 6.0) is a call of its own, which needs no queue.
    pub(super) fn end_all(&mut self) -> bool {
        self.is_broken = true;
        // A kernel thread may take the last requests only now; once it sleeps, nobody wakes it.
        self.sq.sync();
        for _ in 0..LATE_MAX {
            if !self.setup.sqpoll || self.sq.is_empty() || self.sq.need_wakeup() {
                break;
            }
            std::thread::sleep(LATE);
            self.sq.sync();
        }
        let within = types::Timespec::new().nsec(CANCEL_WITHIN_NS);
        let ended = self.submitter.register_sync_cancel(Some(within), types::CancelBuilder::any().all());
        self.cq.sync();
        let none_left = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        self.sq.sync();
        let none_queued = !self.setup.sqpoll || self.sq.is_empty();
        none_queued && ended.as_ref().err().is_none_or(none_left)
    }

    /// As [`Ring::enter`], if a kernel thread does the work: a call only to wake it, or to wait.
    #[inline(never)]
    fn nudge(&mut self, wait: u32) -> io::Result<()> {
        let mut flags = EnterFlags::empty();
        flags.set(EnterFlags::SQ_WAKEUP, self.sq.need_wakeup());
        flags.set(EnterFlags::GETEVENTS, wait > 0 || self.sq.cq_overflow());
        if !flags.is_empty() {
            self.overflows += u64::from(self.sq.cq_overflow());
            match self.call(wait, flags) {
                Err(error) if self.is_broken => return Err(error),
                _ => {}
            }
        }
        self.sq.sync();
        self.cq.sync();
        Ok(())
    }

    /// Waits for what was submitted: in the kernel or, if a kernel thread does the work, by polling.
    pub(super) fn await_completion(&mut self) -> io::Result<()> {
        if !self.setup.sqpoll {
            return self.enter(1);
        }
        for _ in 0..SPINS {
            self.enter(0)?;
            if !self.cq.is_empty() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        // Perhaps the kernel thread has no core of its own.
        std::thread::yield_now();
        Ok(())
    }

    /// Submits what is queued, and waits until a completion is there, at most for `timeout`. A signal also ends the
    /// wait.
    pub(super) fn enter_and_wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.enter_for(1, timeout)
    }

    /// As [`Ring::enter_and_wait`]; with a `min_wait`, for so many completions, or for one after its time.
    pub(super) fn enter_and_wait_for(&mut self, min_wait: Option<MinWait>, timeout: Duration) -> io::Result<()> {
        match min_wait {
            None => self.enter_for(1, timeout),
            Some(MinWait { count, within_us }) => self.enter_within(count, within_us, timeout),
        }
    }

    /// Submits what is queued, and waits until `wanted` completions are there, at most for `timeout`.
    ///
    /// Even if no time is left for a wait, the number matters: without one, the kernel does at most 20 pieces of
    /// deferred work (`IO_LOCAL_TW_DEFAULT_MAX` in `io_uring/io_uring.c`, since 6.9).
    pub(super) fn enter_for(&mut self, wanted: u32, timeout: Duration) -> io::Result<()> {
        self.enter_within(wanted, 0, timeout)
    }

    /// The same; after so many microseconds, unless they are none, one completion is enough.
    fn enter_within(&mut self, wanted: u32, min_wait_usec: u32, timeout: Duration) -> io::Result<()> {
        self.sq.sync();
        self.overflows += u64::from(self.sq.cq_overflow());
        let timeout = types::Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
        let argument = GetEvents { sigmask: 0, sigmask_sz: 0, min_wait_usec, ts: &raw const timeout as u64 };
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        flags.set(EnterFlags::SQ_WAKEUP, self.setup.sqpoll && self.sq.need_wakeup());
        let queued = if self.is_broken { 0 } else { self.sq.len() as u32 };
        self.syscalls += 1;
        // SAFETY: with EXT_ARG the kernel reads a `struct io_uring_getevents_arg`, and the timespec that it
        // points to: both are live locals. The queued requests were vouched for in `push`.
        let outcome = unsafe { self.submitter.enter(queued, wanted, flags.bits(), Some(&argument)) };
        self.sq.sync();
        self.cq.sync();
        match outcome.map_err(|error| self.judged(error)) {
            Err(error) if self.is_broken => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets the calls made so far: those of a probe.
    pub(super) fn reset_syscalls(&mut self) {
        self.syscalls = 0;
    }

    pub(super) fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Completions that did not fit: those that the kernel lost, and calls that found some held back.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows + u64::from(self.cq.overflow())
    }
}

#[cold]
#[inline(never)]
fn full() -> io::Error {
    io::Error::other("the submission queue is full")
}

/// `struct io_uring_getevents_arg` (`include/uapi/linux/io_uring.h`; `EXT_ARG` came with Linux 5.11, and the use of
/// `min_wait_usec`, which was padding, with 6.12).
#[repr(C)]
struct GetEvents {
    sigmask: u64,
    sigmask_sz: u32,
    min_wait_usec: u32,
    ts: u64,
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel tears down a closed ring some time later, and until then a registered socket
        // would keep its port.
        let _ = self.submitter.unregister_files();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("setup", &self.setup).field("params", &self.params).finish()
    }
}

/// The error of a ring with an earlier failed call.
fn broken() -> io::Error {
    io::Error::other("an earlier call of io_uring_enter has failed")
}

/// Frames that the kernel may still use are lost to their pool, whose memory stays mapped for good.
pub(super) fn held_back(frames: usize) -> io::Error {
    let why = format!("io_uring does not return {frames} frames: its requests could not be ended");
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

/// Rings and buffer rings count against the limit of locked memory (all of them since 6.13).
pub(super) fn no_memory(error: io::Error) -> OpenError {
    OpenError::Refused { what: "memory for an io_uring", error, remedy: MEMLOCK_REMEDY }
}
