//! Memory that the kernel is lent for a trial.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::frames::pool::Region;

/// Two pages of 4 KiB, or a part of a larger one: first a buffer ring of [`Lent::BUFFERS`] entries and room for
/// headers, then the buffers.
#[derive(Debug)]
pub(super) struct Lent(Region);

/// The headers of a `sendmsg` or `recvmsg`, which must stay put.
#[repr(C)]
pub(super) struct Headers {
    pub(super) message: libc::msghdr,
    pub(super) vector: libc::iovec,
}

impl Lent {
    /// Buffers, each of [`Lent::SIZE`] bytes.
    pub(super) const BUFFERS: u16 = 4;
    pub(super) const SIZE: usize = 512;

    const HEADERS_AT: usize = 2048;
    const BUFFERS_AT: usize = 4096;

    pub(super) fn new() -> io::Result<Self> {
        Region::map(8192).map(Self)
    }

    /// The address of the buffer ring.
    pub(super) fn ring(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// The address of a buffer. There are [`Lent::BUFFERS`].
    pub(super) fn buffer(&self, index: u16) -> *mut u8 {
        assert!(index < Self::BUFFERS);
        // SAFETY: the last buffer ends within the second page.
        unsafe { self.0.as_ptr().add(Self::BUFFERS_AT + usize::from(index) * Self::SIZE) }
    }

    /// The content of a buffer. The kernel must be done with it.
    pub(super) fn bytes(&self, index: u16, len: usize) -> &[u8] {
        // SAFETY: the memory is initialised, and at least that long; the caller says that the kernel is done with it.
        unsafe { std::slice::from_raw_parts(self.buffer(index), len.min(Self::SIZE)) }
    }

    /// Writes to a buffer that the kernel does not have yet.
    pub(super) fn write(&mut self, index: u16, bytes: &[u8]) {
        assert!(bytes.len() <= Self::SIZE);
        // SAFETY: the buffer is long enough, and no part of `bytes`, which was borrowed from elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.buffer(index), bytes.len()) };
    }

    /// Provides all buffers to the kernel; the ring must be registered.
    pub(super) fn publish(&mut self) {
        let entries = self.0.as_ptr().cast::<BufRingEntry>();
        for index in 0..Self::BUFFERS {
            // SAFETY: the first page holds that many entries, zeroed or written; the kernel reads none before the
            // tail is past it. Entry 0 also holds the tail: it is set field by field.
            let entry = unsafe { &mut *entries.add(usize::from(index)) };
            entry.set_addr(self.buffer(index) as u64);
            entry.set_len(Self::SIZE as u32);
            entry.set_bid(index);
        }
        // SAFETY: the address is that of entry 0 of a ring that is page-aligned and zeroed; its tail is a u16 that
        // we alone write.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(Self::BUFFERS, Ordering::Release);
    }

    /// Headers of a message of `len` bytes in buffer 0, with room for a name of `name` bytes.
    pub(super) fn headers(&mut self, len: usize, name: usize) -> NonNull<Headers> {
        let vector = libc::iovec { iov_base: self.buffer(0).cast(), iov_len: len };
        // SAFETY: the place lies within the first page, behind the ring, is aligned to far more than the headers
        // are, and zeroes are a valid message.
        unsafe {
            let headers = self.0.as_ptr().add(Self::HEADERS_AT).cast::<Headers>();
            (*headers).vector = vector;
            (*headers).message.msg_iov = &raw mut (*headers).vector;
            (*headers).message.msg_iovlen = 1;
            (*headers).message.msg_namelen = name as libc::socklen_t;
            NonNull::new_unchecked(headers)
        }
    }
}
