//! The system calls of the socket backends, made directly.
//!
//! glibc's `recvfrom`, `sendto`, `recvmmsg` and `sendmmsg` are cancellation points: in a program with more
//! than one thread, each call does two atomic read-modify-writes around the system call (10 to 15 ns
//! here). A program with one thread does none, and io_uring's calls never do. With direct calls, the rows
//! of all backends hold the cost of the kernel interface, whatever the C library.

use std::io;
use std::time::Duration;

use libc::{c_int, c_long, c_uint};

use crate::frames::address::{ADDRESS_AT, ADDRESS_LEN, PAYLOAD_AT};
use crate::frames::pool::Frame;
use crate::kernel::errno::Verdict;

/// Receives one datagram into a frame, with `flags` beside `MSG_TRUNC`. Returns its real length, even if it was cut,
/// or −1; `errno` then says why.
///
/// # Safety
///
/// The frame must be the caller's to write to.
#[inline(always)]
pub(crate) unsafe fn receive(fd: c_int, frame: &Frame<'_>, flags: c_int) -> c_long {
    let (at, size, flags) = (frame.as_ptr(), frame.size(), flags | libc::MSG_TRUNC);
    // SAFETY: the caller vouches for the frame; no address is asked for.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, size, flags, NULL, NULL) }
}

/// As [`receive`], with the address of the sender in front of the payload.
///
/// # Safety
///
/// As [`receive`]; and the frame has room for an address and a payload.
#[inline(always)]
pub(crate) unsafe fn receive_from(fd: c_int, frame: &Frame<'_>, flags: c_int) -> c_long {
    let (base, size, flags) = (frame.as_ptr(), frame.size(), flags | libc::MSG_TRUNC);
    let mut name_len = ADDRESS_LEN as libc::socklen_t;
    // SAFETY: the caller vouches for the frame and its room; the length is a live local.
    unsafe {
        let (name, payload) = (base.add(ADDRESS_AT), base.add(PAYLOAD_AT));
        libc::syscall(libc::SYS_recvfrom, fd, payload, size - PAYLOAD_AT, flags, name, &raw mut name_len)
    }
}

/// As [`receive`], into what a header points to.
///
/// # Safety
///
/// The header, and what it points to, must be valid to write to.
#[inline(always)]
pub(crate) unsafe fn receive_message(fd: c_int, header: &mut libc::msghdr, flags: c_int) -> c_long {
    // SAFETY: the caller vouches for the header.
    unsafe { libc::syscall(libc::SYS_recvmsg, fd, &raw mut *header, flags | libc::MSG_TRUNC) }
}

/// Sends `len` bytes from `at` as one datagram (or as a train, if the socket has a segment size).
///
/// # Safety
///
/// The bytes must be valid to read.
#[inline(always)]
pub(crate) unsafe fn send(
    syscalls: &mut u64,
    fd: c_int,
    at: *const u8,
    len: usize,
) -> Result<usize, (Verdict, io::Error)> {
    // SAFETY: the caller vouches for the bytes; the socket is connected.
    crate::kernel::errno::retry(syscalls, || unsafe {
        libc::syscall(libc::SYS_sendto, fd, at, len, libc::MSG_DONTWAIT, NULL, 0)
    })
}

/// Sends a message; one with a single piece of memory and no control message by `sendto`.
///
/// # Safety
///
/// What the header points to must be valid to read.
#[inline(always)]
pub(crate) unsafe fn send_message(
    syscalls: &mut u64,
    fd: c_int,
    header: &libc::msghdr,
) -> Result<usize, (Verdict, io::Error)> {
    crate::kernel::errno::retry(syscalls, || {
        if header.msg_iovlen > 1 || header.msg_controllen > 0 {
            // SAFETY: the caller vouches for the header.
            return unsafe { libc::syscall(libc::SYS_sendmsg, fd, header, libc::MSG_DONTWAIT) };
        }
        // SAFETY: the caller vouches for the only iovec, and for the name.
        unsafe {
            let iovec = *header.msg_iov;
            let (name, name_len) = (header.msg_name, header.msg_namelen);
            libc::syscall(libc::SYS_sendto, fd, iovec.iov_base, iovec.iov_len, libc::MSG_DONTWAIT, name, name_len)
        }
    })
}

/// Receives at most `count` datagrams as `headers` say; waits for the first one if `flags` are
/// `MSG_WAITFORONE`, not at all if they are `MSG_DONTWAIT`. Returns how many arrived. The length of one that was
/// cut is its real length (MSG_TRUNC).
///
/// # Safety
///
/// The headers, and what they point to, must be valid to write to.
#[inline(always)]
pub(crate) unsafe fn receive_many(
    syscalls: &mut u64,
    fd: c_int,
    headers: *mut libc::mmsghdr,
    count: usize,
    flags: c_int,
) -> Result<usize, (Verdict, io::Error)> {
    let (count, flags) = (count as c_uint, flags | libc::MSG_TRUNC);
    // SAFETY: the caller vouches for the headers. There is no timeout: the kernel checks it only between
    // datagrams; the socket's own ends the wait for the first one.
    crate::kernel::errno::retry(syscalls, || unsafe {
        libc::syscall(libc::SYS_recvmmsg, fd, headers, count, flags, NULL)
    })
}

/// Sends `count` datagrams as `headers` say. Returns how many the kernel took.
///
/// # Safety
///
/// The headers must be valid to write to (lengths come back in them), and what they point to, to read.
#[inline(always)]
pub(crate) unsafe fn send_many(
    syscalls: &mut u64,
    fd: c_int,
    headers: *mut libc::mmsghdr,
    count: usize,
) -> Result<usize, (Verdict, io::Error)> {
    let count = count as c_uint;
    // SAFETY: the caller vouches for the headers.
    crate::kernel::errno::retry(syscalls, || unsafe {
        libc::syscall(libc::SYS_sendmmsg, fd, headers, count, libc::MSG_DONTWAIT)
    })
}

/// Waits for at most `timeout`, rounded up to milliseconds, until sockets of an epoll instance are ready. Returns how many
/// events were written, or −1; `errno` then says why.
#[inline(always)]
pub(crate) fn find_ready(fd: c_int, events: &mut [libc::epoll_event], timeout: Duration) -> c_long {
    let timeout = timeout.as_micros().div_ceil(1000).min(c_int::MAX as u128) as c_int;
    let (at, count) = (events.as_mut_ptr(), events.len() as c_int);
    // SAFETY: the kernel writes at most `count` events to a slice of that length. No signal mask is passed.
    unsafe { libc::syscall(libc::SYS_epoll_pwait, fd, at, count, timeout, NULL, 8 as c_long) }
}

const NULL: c_long = 0;
