//! Bare loops of system calls (feature `bare`), with which a benchmark compares the harness.
//!
//! They receive into buffers that they never read: no frames, no rings, no checks, no counters. Those that
//! receive trains pass each datagram to a [`Check`].

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::types::BufRingEntry;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};

use crate::backend::Config;
use crate::frames::pool::Region;
use crate::kernel::socket::Socket;
use crate::message::{Layout, segment_in};

/// Bytes of each buffer, as many as an ordinary frame has.
const BUFFER: usize = 2048;
/// The same for trains.
const TRAIN_BUFFER: usize = 65_536 + 64;

const NULL: libc::c_long = 0;

/// A loop that receives `count` datagrams that are already in the queue.
pub trait BareLoop: Sized {
    /// Sets up the loop, for batches of `batch`.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self>;

    /// Receives.
    ///
    /// # Errors
    ///
    /// The kernel's error, also if there are fewer.
    fn receive(&mut self, count: usize) -> io::Result<()>;
}

/// A loop that receives from many sockets.
pub trait BareMany: Sized {
    /// Sets up the loop, for batches of `batch`.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    fn open_many(sockets: Vec<Arc<Socket>>, batch: usize) -> io::Result<Self>;

    /// Receives `count` datagrams that are already in the queues.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    fn receive_from_many(&mut self, count: usize) -> io::Result<()>;
}

/// Called with each datagram of a train.
pub type Check = fn(&[u8]);

/// A loop that receives trains, and reads each datagram in them.
pub trait BareTrains: BareLoop {
    /// As [`BareLoop::receive`]; passes each datagram to `check`.
    ///
    /// # Errors
    ///
    /// As [`BareLoop::receive`].
    fn receive_checked(&mut self, count: usize, check: Check) -> io::Result<()>;
}

/// `recvfrom` into one buffer after another, a batch of them, as in a program that passes batches on.
#[derive(Debug)]
pub struct BarePlain {
    socket: Arc<Socket>,
    _buffers: Region,
    places: Box<[*mut u8]>,
}

impl BareLoop for BarePlain {
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self> {
        let buffers = Region::map_huge(batch * BUFFER)?;
        let places = (0..batch).map(|index| buffers.as_ptr().wrapping_add(index * BUFFER)).collect();
        Ok(Self { socket, _buffers: buffers, places })
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let (fd, mut received) = (self.socket.raw(), 0);
        while received < count {
            for &at in self.places.iter().take(count - received) {
                // SAFETY: the place is that of a buffer of ours, `BUFFER` bytes long; no address is asked for.
                let len = unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, BUFFER, libc::MSG_DONTWAIT, NULL, NULL) };
                if len < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            received += self.places.len();
        }
        Ok(())
    }
}

/// `recvfrom` into the same buffer each time, as in a program that handles each datagram at once.
#[derive(Debug)]
pub struct BarePlainOneBuffer(BarePlain);

impl BareLoop for BarePlainOneBuffer {
    fn open(socket: Arc<Socket>, _batch: usize) -> io::Result<Self> {
        BarePlain::open(socket, 1).map(Self)
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let (fd, at) = (self.0.socket.raw(), self.0.places[0]);
        for _ in 0..count {
            // SAFETY: as in `BarePlain`.
            let len = unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, BUFFER, libc::MSG_DONTWAIT, NULL, NULL) };
            if len < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// `recvmmsg` into an array of buffers.
#[derive(Debug)]
pub struct BareMmsg {
    socket: Arc<Socket>,
    _buffers: Region,
    _iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl BareMmsg {
    fn with_buffers(socket: Arc<Socket>, batch: usize, size: usize) -> io::Result<Self> {
        let buffers = Region::map_huge(batch * size)?;
        let mut iovecs: Box<[libc::iovec]> = (0..batch)
            .map(|index| libc::iovec { iov_base: buffers.as_ptr().wrapping_add(index * size).cast(), iov_len: size })
            .collect();
        let headers = iovecs
            .iter_mut()
            .map(|iovec| {
                // SAFETY: zeroes are a valid message header.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_iov = iovec;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Ok(Self { socket, _buffers: buffers, _iovecs: iovecs, headers })
    }

    #[inline(always)]
    fn call(&mut self) -> io::Result<usize> {
        self.call_on(self.socket.raw(), 0)
    }

    /// Receives into the buffers from this one on.
    #[inline(always)]
    fn call_on(&mut self, fd: RawFd, first: usize) -> io::Result<usize> {
        let free = &mut self.headers[first..];
        let (headers, batch) = (free.as_mut_ptr(), free.len() as u32);
        // SAFETY: each header points through its iovec to a buffer of its own.
        let came = unsafe { libc::syscall(libc::SYS_recvmmsg, fd, headers, batch, libc::MSG_DONTWAIT, NULL) };
        usize::try_from(came).map_err(|_| io::Error::last_os_error())
    }
}

impl BareLoop for BareMmsg {
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self> {
        Self::with_buffers(socket, batch, BUFFER)
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let mut received = 0;
        while received < count {
            received += self.call()?;
        }
        Ok(())
    }
}

/// `recvmmsg` on each socket that epoll finds, level-triggered, until a batch is full, as in a program that passes batches
/// on. A socket that was asked for less than it has is found again.
#[derive(Debug)]
pub struct BareEpollMmsg {
    mmsg: BareMmsg,
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    _sockets: Vec<Arc<Socket>>,
}

impl BareMany for BareEpollMmsg {
    fn open_many(sockets: Vec<Arc<Socket>>, batch: usize) -> io::Result<Self> {
        // SAFETY: the call takes flags.
        let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and is nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(raw) };
        for socket in &sockets {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: socket.raw() as u64 };
            // SAFETY: the kernel reads the event, a live local.
            if unsafe { libc::epoll_ctl(raw, libc::EPOLL_CTL_ADD, socket.raw(), &raw mut event) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let mmsg = BareMmsg::open(Arc::clone(&sockets[0]), batch)?;
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; sockets.len().min(1024)].into_boxed_slice();
        Ok(Self { mmsg, epoll, events, _sockets: sockets })
    }

    #[inline(never)]
    fn receive_from_many(&mut self, count: usize) -> io::Result<()> {
        let (mut received, mut gathered) = (0, 0);
        while received < count {
            let (fd, at, room) = (self.epoll.as_raw_fd(), self.events.as_mut_ptr(), self.events.len());
            // SAFETY: the kernel writes at most so many events to a slice of that length.
            let found = unsafe { libc::syscall(libc::SYS_epoll_pwait, fd, at, room as libc::c_int, 0, NULL, 8_usize) };
            let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
            for index in 0..found {
                let came = self.mmsg.call_on(self.events[index].u64 as RawFd, gathered)?;
                received += came;
                gathered += came;
                if gathered == self.mmsg.headers.len() {
                    gathered = 0;
                }
            }
        }
        Ok(())
    }
}

/// A multishot receive on a ring with deferred task work, buffers from a registered ring.
pub struct BareUring {
    // Closed before the memory that it refers to is freed.
    ring: IoUring,
    supply: Supply,
    /// The sockets whose receive is not armed.
    idle: Vec<u32>,
    _sockets: Vec<Arc<Socket>>,
}

/// The same with RECVMSG: each buffer begins with a header. For trains, control messages follow it.
pub struct BareRecvmsgMultishot<const TRAINS: bool> {
    uring: BareUring,
    template: Box<libc::msghdr>,
}

/// The registered buffers.
struct Supply {
    entries: Region,
    buffers: Region,
    size: usize,
    tail: u16,
}

/// Entries of the buffer ring, as many as the backend has by default.
const ENTRIES: u16 = Config::BUFFERS as u16;

fn deferred() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all().setup_clamp();
    builder
}

impl BareUring {
    fn with_buffers(sockets: Vec<Arc<Socket>>, size: usize) -> io::Result<Self> {
        let ends = if sockets.len() > 1 { sockets.len() as u32 } else { 0 };
        let ring = deferred().setup_cqsize(2 * u32::from(ENTRIES) + ends).build(64)?;
        let files: Vec<RawFd> = sockets.iter().map(|socket| socket.raw()).collect();
        ring.submitter().register_files(&files)?;
        let entries = Region::map(usize::from(ENTRIES) * size_of::<BufRingEntry>())?;
        let buffers = Region::map_huge(usize::from(ENTRIES) * size)?;
        // SAFETY: a zeroed, page-aligned mapping of that many entries; `drop` closes the ring first.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, ENTRIES, 0, 0) }?;
        let mut supply = Supply { entries, buffers, size, tail: 0 };
        (0..ENTRIES).for_each(|id| supply.give(id));
        supply.publish();
        Ok(Self { ring, supply, idle: (0..files.len() as u32).collect(), _sockets: sockets })
    }

    /// Receives `count` datagrams; `arm` makes the request, `look` counts what is in a buffer.
    #[inline(always)]
    fn receive_with(
        &mut self,
        count: usize,
        arm: impl Fn(u32) -> squeue::Entry,
        mut look: impl FnMut(&[u8]) -> usize,
    ) -> io::Result<()> {
        let mut received = 0;
        while received < count {
            let mut queued = 0;
            while let Some(&socket) = self.idle.last().filter(|_| queued < 64) {
                let entry = arm(socket).user_data(socket.into());
                // SAFETY: the request names no memory but a template that lives as long as `self`; so do the
                // registered buffers.
                unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
                self.idle.pop();
                queued += 1;
            }
            // SAFETY: no argument is passed.
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None) }?;
            // SAFETY: this is the only completion queue in use.
            for completion in unsafe { self.ring.completion_shared() } {
                if let Some(id) = cqueue::buffer_select(completion.flags()) {
                    received += look(self.supply.filled(id, completion.result()));
                    self.supply.give(id);
                }
                if !cqueue::more(completion.flags()) {
                    self.idle.push(completion.user_data() as u32);
                }
            }
            self.supply.publish();
        }
        Ok(())
    }
}

impl BareLoop for BareUring {
    fn open(socket: Arc<Socket>, _batch: usize) -> io::Result<Self> {
        Self::with_buffers(vec![socket], BUFFER)
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        self.receive_with(count, |socket| opcode::RecvMulti::new(types::Fixed(socket), 0).build(), |_| 1)
    }
}

impl BareMany for BareUring {
    fn open_many(sockets: Vec<Arc<Socket>>, _batch: usize) -> io::Result<Self> {
        Self::with_buffers(sockets, BUFFER)
    }

    fn receive_from_many(&mut self, count: usize) -> io::Result<()> {
        self.receive(count)
    }
}

impl<const TRAINS: bool> BareRecvmsgMultishot<TRAINS> {
    const LAYOUT: Layout = Layout { name: 0, control: if TRAINS { 24 } else { 0 } };
}

impl<const TRAINS: bool> BareLoop for BareRecvmsgMultishot<TRAINS> {
    fn open(socket: Arc<Socket>, _batch: usize) -> io::Result<Self> {
        if TRAINS {
            socket.receive_trains()?;
        }
        // SAFETY: zeroes are a valid message header.
        let mut template: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        template.msg_controllen = Self::LAYOUT.control;
        let size = if TRAINS { TRAIN_BUFFER } else { BUFFER };
        Ok(Self { uring: BareUring::with_buffers(vec![socket], size)?, template })
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let template = &raw const *self.template;
        let arm = |socket| opcode::RecvMsgMulti::new(types::Fixed(socket), template, 0).build();
        self.uring.receive_with(count, arm, |_| 1)
    }
}

impl BareTrains for BareRecvmsgMultishot<true> {
    #[inline(never)]
    fn receive_checked(&mut self, count: usize, check: Check) -> io::Result<()> {
        let template = &raw const *self.template;
        let arm = |socket| opcode::RecvMsgMulti::new(types::Fixed(socket), template, 0).build();
        self.uring.receive_with(count, arm, |buffer| {
            let Some(placed) = Self::LAYOUT.read(buffer) else { return 0 };
            check_all(&buffer[placed.offset..placed.offset + placed.len], placed.segment, check)
        })
    }
}

/// A batch of RECV requests into one buffer each.
pub struct BareSingles {
    ring: IoUring,
    buffers: Region,
    batch: usize,
    _socket: Arc<Socket>,
}

impl BareLoop for BareSingles {
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self> {
        let entries = (2 * batch).max(64) as u32;
        let ring = deferred().setup_cqsize(2 * entries).build(entries)?;
        ring.submitter().register_files(&[socket.raw()])?;
        Ok(Self { ring, buffers: Region::map_huge(batch * BUFFER)?, batch, _socket: socket })
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let mut received = 0;
        while received < count {
            for index in 0..self.batch {
                let at = self.buffers.as_ptr().wrapping_add(index * BUFFER);
                let entry = opcode::Recv::new(types::Fixed(0), at, BUFFER as u32).flags(libc::MSG_DONTWAIT).build();
                // SAFETY: the buffers live as long as `self`, and requests that do not wait complete in the call below.
                unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
            }
            let (queued, flags) = (self.batch as u32, EnterFlags::GETEVENTS.bits());
            // SAFETY: no argument is passed.
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, flags, None) }?;
            // SAFETY: this is the only completion queue in use.
            for completion in unsafe { self.ring.completion_shared() } {
                received += usize::from(completion.result() >= 0);
            }
        }
        Ok(())
    }
}

/// `recvmmsg` of trains, with the segment size from a control message.
#[derive(Debug)]
pub struct BareTrainsMmsg {
    mmsg: BareMmsg,
    controls: Box<[[u64; 3]]>,
}

impl BareLoop for BareTrainsMmsg {
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self> {
        socket.receive_trains()?;
        let mut mmsg = BareMmsg::with_buffers(socket, batch, TRAIN_BUFFER)?;
        let mut controls = vec![[0_u64; 3]; batch].into_boxed_slice();
        for (header, control) in mmsg.headers.iter_mut().zip(&mut controls) {
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        }
        Ok(Self { mmsg, controls })
    }

    fn receive(&mut self, count: usize) -> io::Result<()> {
        self.receive_checked(count, |_| ())
    }
}

impl BareTrains for BareTrainsMmsg {
    #[inline(never)]
    fn receive_checked(&mut self, count: usize, check: Check) -> io::Result<()> {
        let mut received = 0;
        while received < count {
            for header in &mut self.mmsg.headers {
                header.msg_hdr.msg_controllen = size_of::<[u64; 3]>();
            }
            let came = self.mmsg.call()?;
            for index in 0..came {
                let (header, control) = (&self.mmsg.headers[index], &self.controls[index]);
                // SAFETY: the kernel has written that much to the buffer of this header, and to its control message.
                let (bytes, control) = unsafe {
                    let at = (*header.msg_hdr.msg_iov).iov_base.cast::<u8>();
                    let bytes = std::slice::from_raw_parts(at, header.msg_len as usize);
                    let len = header.msg_hdr.msg_controllen.min(size_of::<[u64; 3]>());
                    (bytes, std::slice::from_raw_parts(control.as_ptr().cast::<u8>(), len))
                };
                received += check_all(bytes, segment_in(control).unwrap_or(bytes.len()), check);
            }
        }
        Ok(())
    }
}

/// Passes each datagram of a train to `check`. Returns how many there are.
#[inline(always)]
fn check_all(bytes: &[u8], segment: usize, check: Check) -> usize {
    let datagrams = bytes.chunks(segment.max(1));
    let count = datagrams.len();
    datagrams.for_each(check);
    count
}

impl Supply {
    fn give(&mut self, id: u16) {
        // SAFETY: the masked index is below the number of entries.
        let entry = unsafe { &mut *self.entries.as_ptr().cast::<BufRingEntry>().add(usize::from(self.tail % ENTRIES)) };
        entry.set_addr(self.buffers.as_ptr().wrapping_add(usize::from(id) * self.size) as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The content of a buffer that the kernel has filled.
    #[inline(always)]
    fn filled(&self, id: u16, written: i32) -> &[u8] {
        let (at, len) = (usize::from(id) * self.size, (written.max(0) as usize).min(self.size));
        // SAFETY: the buffer lies within the mapping, and the kernel is done with it until it is provided again.
        unsafe { std::slice::from_raw_parts(self.buffers.as_ptr().add(at), len) }
    }

    fn publish(&self) {
        // SAFETY: entry 0 of a page-aligned mapping; its reserved field is the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr().cast()) }.cast_mut();
        // SAFETY: an aligned u16 that only this side writes.
        unsafe { std::sync::atomic::AtomicU16::from_ptr(tail) }.store(self.tail, std::sync::atomic::Ordering::Release);
    }
}

/// `recv` of tokio's `UdpSocket` for the first datagram of a batch, and `try_recv` for the others, in one `block_on`.
#[cfg(feature = "runtimes")]
#[derive(Debug)]
pub struct BareTokio {
    // Dropped before the runtime with which it is registered.
    socket: tokio::net::UdpSocket,
    runtime: tokio::runtime::Runtime,
    buffers: Vec<[u8; BUFFER]>,
}

#[cfg(feature = "runtimes")]
impl BareLoop for BareTokio {
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let socket = {
            let _context = runtime.enter();
            tokio::net::UdpSocket::from_std(socket.duplicate()?)?
        };
        Ok(Self { socket, runtime, buffers: vec![[0; BUFFER]; batch] })
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let Self { socket, runtime, buffers } = self;
        runtime.block_on(async {
            let mut received = 0;
            while received < count {
                let batch = buffers.len().min(count - received);
                for (index, buffer) in buffers[..batch].iter_mut().enumerate() {
                    if index == 0 {
                        socket.recv(buffer).await?;
                    } else {
                        socket.try_recv(buffer)?;
                    }
                }
                received += batch;
            }
            Ok(())
        })
    }
}
