//! What the calls of runtimes return: datagrams, and errors.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::backend::{Config, Counters};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::packet::RxRing;
use crate::frames::pool::{Frame, FreeList};
use crate::kernel::errno::{self, Verdict};
use crate::variant::Addressing;

/// How many bytes a receive brought, and from whom if the socket is not connected.
pub(super) type Received = (usize, Option<SocketAddr>);

/// Where payloads begin in frames: behind the address of their sender, if they have one.
pub(super) fn payload_at(config: &Config) -> usize {
    if config.addressing == Addressing::Unconnected { PAYLOAD_AT } else { 0 }
}

/// Delivers a datagram that is in a frame, behind its first `at` bytes.
#[inline(always)]
pub(super) fn deliver<'p>(
    counters: &mut Counters,
    (mut frame, at): (Frame<'p>, usize),
    (len, address): Received,
    (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
) {
    if let Some(address) = address {
        Address::new(address).write(&mut frame);
    }
    rx.deliver_behind(at, frame, len, &mut counters.truncated, free);
    counters.rx_syscalls += 1;
}

/// Judges what a runtime returned as an error.
#[cold]
pub(super) fn judge(error: io::Error) -> (Verdict, io::Error) {
    let verdict = match error.raw_os_error() {
        Some(number) => errno::judge(number),
        // The runtime says so without having asked the kernel; compio makes ENOBUFS, a queue that is full, a busy resource.
        None if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy) => Verdict::Again,
        None => Verdict::Fatal,
    };
    (verdict, error)
}

impl Counters {
    /// Counts the error of a receive from this descriptor.
    ///
    /// # Errors
    ///
    /// The error, if it makes continuing pointless.
    #[cold]
    pub(super) fn note_receive_error(&mut self, fd: RawFd, error: io::Error) -> io::Result<()> {
        match judge(error) {
            (Verdict::Fatal, error) => return Err(error),
            (Verdict::Passing, _) => self.note_passing(fd),
            (Verdict::Again | Verdict::Interrupted, _) => {}
        }
        Ok(())
    }
}
