//! What the errors of datagram calls mean, in one place for all backends.

use std::io;
use std::os::fd::RawFd;

/// What to do about an error of a receive or a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing there, or no room: try again later (`EAGAIN`, and `ENOBUFS` from a full device queue).
    Again,
    /// A signal interrupted the call: call again at once.
    Interrupted,
    /// The error is about an earlier datagram (an ICMP message came back), or transient: count it, continue.
    Passing,
    /// Continuing is pointless.
    Fatal,
}

/// Judges a positive `errno`.
pub(crate) fn judge(errno: i32) -> Verdict {
    match errno {
        libc::EAGAIN | libc::ENOBUFS => Verdict::Again,
        libc::EINTR => Verdict::Interrupted,
        libc::ECONNREFUSED
        | libc::EHOSTUNREACH
        | libc::ENETUNREACH
        | libc::EHOSTDOWN
        | libc::ENETDOWN
        | libc::ENOMEM => Verdict::Passing,
        _ => Verdict::Fatal,
    }
}

/// The error of the last system call, judged. Out of line, to keep the rare case out of the hot path.
#[cold]
#[inline(never)]
pub(crate) fn last() -> (Verdict, io::Error) {
    let error = io::Error::last_os_error();
    (judge(error.raw_os_error().unwrap_or(0)), error)
}

/// How often in a row a call may be interrupted. Signals are rare; after so many interruptions, none is left as a reason.
pub(crate) const INTERRUPTIONS_MAX: u32 = 20_000;

/// What a call has if signals seem to interrupt it for ever.
#[cold]
#[inline(never)]
pub(crate) fn interrupted_for_ever() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{INTERRUPTIONS_MAX} calls in a row were interrupted"))
}

/// What is read from an error queue at once: far more than there is room for in a receive buffer.
const QUEUED_ERRORS_MAX: usize = 1 << 16;

/// Empties the error queue of a socket with `IP_RECVERR` (ip(7)). What is in it takes room in the receive buffer, and makes
/// every poll of the socket return at once. Out of line: it is called only after an error.
#[cold]
#[inline(never)]
pub(crate) fn empty_queue(fd: RawFd) {
    for _ in 0..QUEUED_ERRORS_MAX {
        // SAFETY: zeroes are a valid `msghdr` with no room for anything: the kernel takes an error from the queue, and
        // writes only flags to the live local.
        let status = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            libc::syscall(libc::SYS_recvmsg, fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
        };
        if status < 0 {
            break;
        }
    }
}

/// Repeats a system call until no signal interrupts it, within reason; counts each call in `syscalls`.
///
/// The call returns −1 and sets `errno`, or returns a count.
#[inline(always)]
pub(crate) fn retry(syscalls: &mut u64, mut call: impl FnMut() -> libc::c_long) -> Result<usize, (Verdict, io::Error)> {
    let mut interruptions = 0;
    loop {
        *syscalls += 1;
        let status = call();
        if status >= 0 {
            return Ok(status as usize);
        }
        match last() {
            (Verdict::Interrupted, _) if interruptions < INTERRUPTIONS_MAX => interruptions += 1,
            (Verdict::Interrupted, _) => return Err((Verdict::Fatal, interrupted_for_ever())),
            failed => return Err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(errno: i32) -> libc::c_long {
        // SAFETY: `errno` is this thread's own.
        unsafe { *libc::__errno_location() = errno };
        -1
    }

    #[test]
    fn interrupted_calls_are_made_again_and_counted() {
        let (mut syscalls, mut left) = (0, 3);
        let result = retry(&mut syscalls, || {
            left -= 1;
            if left > 0 { fail(libc::EINTR) } else { 7 }
        });
        assert!(matches!(result, Ok(7)));
        assert_eq!(syscalls, 3);
    }

    #[test]
    fn a_call_that_is_always_interrupted_fails() {
        let mut syscalls = 0;
        let (verdict, error) = retry(&mut syscalls, || fail(libc::EINTR)).expect_err("it ends");
        assert_eq!((verdict, error.kind()), (Verdict::Fatal, io::ErrorKind::TimedOut));
        assert_eq!(syscalls, u64::from(INTERRUPTIONS_MAX) + 1);
    }

    #[test]
    fn errors_are_judged() {
        for (errno, verdict) in [
            (libc::EAGAIN, Verdict::Again),
            (libc::ENOBUFS, Verdict::Again),
            (libc::ECONNREFUSED, Verdict::Passing),
            (libc::EMSGSIZE, Verdict::Fatal),
            (libc::EBADF, Verdict::Fatal),
        ] {
            let (found, error) = retry(&mut 0, || fail(errno)).expect_err("it failed");
            assert_eq!((found, error.raw_os_error()), (verdict, Some(errno)));
        }
    }
}
