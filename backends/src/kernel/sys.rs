//! The system calls of the socket backends, made directly.
//!
//! glibc's `recvfrom`, `sendto`, `recvmmsg` and `sendmmsg` are cancellation points: in a program with more
//! than one thread each call does two atomic read-modify-writes around the system call (10 to 15 ns
//! here), in a program with one thread none, and io_uring's calls never. Called directly, the rows of all
//! backends hold what the kernel interface costs, whatever the C library.

use std::io;

use libc::{c_int, c_long, c_uint};

use crate::frames::address::{ADDRESS_AT, ADDRESS_LEN, PAYLOAD_AT};
use crate::frames::pool::Frame;
use crate::kernel::errno::Verdict;

/// Receives one datagram into each frame, until a call fails (`errno` tells why). Returns how many came, and
/// puts their lengths into `lens`; the length of one that was cut is its real length (MSG_TRUNC).
///
/// Nothing else happens between two system calls, and the loop is small: the kernel drives this code out
/// of the instruction cache each time, so that every line of it is fetched anew for every datagram. Out of
/// line, it keeps all it needs in registers; what it had to keep in memory cost 2% of a `drain`.
///
/// # Safety
///
/// The frames must be the caller's to write to.
#[inline(never)]
pub(crate) unsafe fn receive_each(fd: c_int, frames: &[Frame<'_>], lens: &mut [usize]) -> usize {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    let mut index = 0;
    let lens = &mut lens[..frames.len()];
    while index < frames.len() {
        let (at, size) = (frames[index].as_ptr(), frames[index].size());
        // SAFETY: the caller vouches for the frame; no address is asked for.
        let status = unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, size, flags, NULL, NULL) };
        if status < 0 {
            break;
        }
        lens[index] = status as usize;
        index += 1;
    }
    index
}

/// Receives one datagram into a frame; does not wait. Returns its real length, also if it was cut (MSG_TRUNC).
///
/// # Safety
///
/// The frame must be the caller's to write to.
#[inline(always)]
pub(crate) unsafe fn receive(syscalls: &mut u64, fd: c_int, frame: &Frame<'_>) -> Result<usize, (Verdict, io::Error)> {
    let (at, size, flags) = (frame.as_ptr(), frame.size(), libc::MSG_DONTWAIT | libc::MSG_TRUNC);
    // SAFETY: the caller vouches for the frame; no address is asked for.
    crate::kernel::errno::retry(syscalls, || unsafe {
        libc::syscall(libc::SYS_recvfrom, fd, at, size, flags, NULL, NULL)
    })
}

/// As [`receive_each`], but each call waits for a datagram, for as long as the socket is set to.
///
/// # Safety
///
/// As [`receive_each`].
pub(crate) unsafe fn receive_each_waiting(fd: c_int, frames: &[Frame<'_>], lens: &mut [usize]) -> usize {
    each(frames, lens, |frame| {
        let (at, size) = (frame.as_ptr(), frame.size());
        // SAFETY: the caller vouches for the frame; no address is asked for.
        unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, size, libc::MSG_TRUNC, NULL, NULL) }
    })
}

/// As [`receive_each`], with `flags` beside `MSG_TRUNC`, and with the address of each sender in front of the payload.
///
/// # Safety
///
/// As [`receive_each`].
#[inline(never)]
pub(crate) unsafe fn receive_each_from(fd: c_int, frames: &[Frame<'_>], lens: &mut [usize], flags: c_int) -> usize {
    each(frames, lens, |frame| {
        let (base, size) = (frame.as_ptr(), frame.size());
        let mut name_len = ADDRESS_LEN as libc::socklen_t;
        // SAFETY: the caller vouches for the frame, which has room for an address and a payload, as `Plain::open`
        // has made sure; the length is a live local.
        unsafe {
            let (name, payload) = (base.add(ADDRESS_AT), base.add(PAYLOAD_AT));
            let flags = flags | libc::MSG_TRUNC;
            libc::syscall(libc::SYS_recvfrom, fd, payload, size - PAYLOAD_AT, flags, name, &raw mut name_len)
        }
    })
}

/// As [`receive_each`], into what `headers` point to, with `flags` beside `MSG_TRUNC`.
///
/// # Safety
///
/// The headers, and what they point to, must be valid to write to.
#[inline(never)]
pub(crate) unsafe fn receive_each_message(
    fd: c_int,
    headers: &mut [libc::mmsghdr],
    lens: &mut [usize],
    flags: c_int,
) -> usize {
    each(headers, lens, |header| {
        let flags = flags | libc::MSG_TRUNC;
        // SAFETY: the caller vouches for the header.
        unsafe { libc::syscall(libc::SYS_recvmsg, fd, &raw mut header.msg_hdr, flags) }
    })
}

/// Makes a call for each of `items`, until one fails. Returns how many did not, and puts what they returned into
/// `lens`.
#[inline(always)]
fn each<I>(items: impl IntoIterator<Item = I>, lens: &mut [usize], mut call: impl FnMut(I) -> c_long) -> usize {
    let mut done = 0;
    for (item, len) in items.into_iter().zip(lens) {
        match call(item) {
            status @ 0.. => *len = status as usize,
            _ => break,
        }
        done += 1;
    }
    done
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

/// Sends a message. Without a control message and with one piece of memory, `sendto` does.
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
/// `MSG_WAITFORONE`, not at all if they are `MSG_DONTWAIT`. Returns how many came. The length of one that was cut
/// is its real length (MSG_TRUNC).
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
    // SAFETY: the caller vouches for the headers. There is no timeout: the kernel looks at it only between
    // datagrams, the socket's own ends the wait for the first one.
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

const NULL: c_long = 0;
