//! Bare loops of system calls (feature `bare`): what a benchmark compares the harness with.
//!
//! They receive into buffers that they never look at: no frames, no rings, no checks, no counters.

use std::io;
use std::mem;
use std::sync::Arc;

use io_uring::types::BufRingEntry;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, types};

use crate::pool::Region;
use crate::socket::Socket;

/// Bytes of each buffer, as much as an ordinary frame has.
const BUFFER: usize = 2048;

const NULL: libc::c_long = 0;

/// A loop that receives `count` datagrams, which are in the queue already.
pub trait BareLoop: Sized {
    /// Prepares what the loop needs, for batches of `batch`.
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

/// `recvfrom` into one buffer after another: as many as a batch has, as a program needs that hands batches on.
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

/// `recvfrom` into the same buffer again and again: what a program does that is done with each datagram at once.
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

impl BareLoop for BareMmsg {
    fn open(socket: Arc<Socket>, batch: usize) -> io::Result<Self> {
        let buffers = Region::map_huge(batch * BUFFER)?;
        let mut iovecs: Box<[libc::iovec]> = (0..batch)
            .map(|index| libc::iovec {
                iov_base: buffers.as_ptr().wrapping_add(index * BUFFER).cast(),
                iov_len: BUFFER,
            })
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

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let (fd, mut received) = (self.socket.raw(), 0);
        while received < count {
            let (headers, batch) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
            // SAFETY: each header points through its iovec to a buffer of its own.
            let came = unsafe { libc::syscall(libc::SYS_recvmmsg, fd, headers, batch, libc::MSG_DONTWAIT, NULL) };
            if came < 0 {
                return Err(io::Error::last_os_error());
            }
            received += came as usize;
        }
        Ok(())
    }
}

/// A multishot receive on a ring with deferred task work, buffers from a registered ring.
pub struct BareUring {
    // Closed before the memory goes that it knows of.
    ring: IoUring,
    supply: Supply,
    armed: bool,
    _socket: Arc<Socket>,
}

/// The registered buffers.
struct Supply {
    entries: Region,
    buffers: Region,
    tail: u16,
}

/// Entries of the buffer ring, as many as the backend has by default.
const ENTRIES: u16 = 512;

impl BareLoop for BareUring {
    fn open(socket: Arc<Socket>, _batch: usize) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        let ring = builder.setup_cqsize(2 * u32::from(ENTRIES)).setup_clamp().build(64)?;
        ring.submitter().register_files(&[socket.raw()])?;
        let entries = Region::map(usize::from(ENTRIES) * size_of::<BufRingEntry>())?;
        let buffers = Region::map_huge(usize::from(ENTRIES) * BUFFER)?;
        // SAFETY: a zeroed, page-aligned mapping of so many entries; `drop` closes the ring first.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, ENTRIES, 0, 0) }?;
        let mut supply = Supply { entries, buffers, tail: 0 };
        (0..ENTRIES).for_each(|id| supply.give(id));
        supply.publish();
        Ok(Self { ring, supply, armed: false, _socket: socket })
    }

    #[inline(never)]
    fn receive(&mut self, count: usize) -> io::Result<()> {
        let mut received = 0;
        while received < count {
            let mut queued = 0;
            if !self.armed {
                let entry = opcode::RecvMulti::new(types::Fixed(0), 0).build();
                // SAFETY: the request names no memory; the registered buffers live as long as `self`.
                unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
                (queued, self.armed) = (1, true);
            }
            // SAFETY: no argument is passed.
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None) }?;
            // SAFETY: this is the only completion queue in use.
            for completion in unsafe { self.ring.completion_shared() } {
                if let Some(id) = cqueue::buffer_select(completion.flags()) {
                    received += 1;
                    self.supply.give(id);
                }
                self.armed &= cqueue::more(completion.flags());
            }
            self.supply.publish();
        }
        Ok(())
    }
}

impl Supply {
    fn give(&mut self, id: u16) {
        // SAFETY: the masked index is below the number of entries.
        let entry = unsafe { &mut *self.entries.as_ptr().cast::<BufRingEntry>().add(usize::from(self.tail % ENTRIES)) };
        entry.set_addr(self.buffers.as_ptr().wrapping_add(usize::from(id) * BUFFER) as u64);
        entry.set_len(BUFFER as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: entry 0 of a page-aligned mapping; its reserved field is the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr().cast()) }.cast_mut();
        // SAFETY: an aligned u16 that only this side writes.
        unsafe { std::sync::atomic::AtomicU16::from_ptr(tail) }.store(self.tail, std::sync::atomic::Ordering::Release);
    }
}
