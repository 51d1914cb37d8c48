//! A timer that is a descriptor, for programs that already wait for descriptors.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A timer that goes off again and again (`timerfd_create`).
#[derive(Debug)]
pub(crate) struct Timer(File);

impl Timer {
    /// A timer that goes off every `period`, of a microsecond at least.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub(crate) fn every(period: Duration) -> io::Result<Self> {
        let (timer, period) = (Self::idle()?, period.max(Duration::from_micros(1)));
        timer.set(period, period)?;
        Ok(timer)
    }

    /// A timer that does not go off until [`Timer::set_once`].
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub(crate) fn idle() -> io::Result<Self> {
        // SAFETY: the call takes a clock and flags.
        let raw = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self(fd.into()))
    }

    /// Has it go off once, after `time`, which is not zero.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub(crate) fn set_once(&self, time: Duration) -> io::Result<()> {
        self.set(time, Duration::ZERO)
    }

    fn set(&self, first: Duration, period: Duration) -> io::Result<()> {
        let time = |duration: Duration| libc::timespec {
            tv_sec: duration.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
        };
        let times = libc::itimerspec { it_interval: time(period), it_value: time(first) };
        // SAFETY: the kernel reads the times, a live local, and is asked for no old ones.
        match unsafe { libc::timerfd_settime(self.as_raw_fd(), 0, &raw const times, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(Into::into)
    }

    /// Whether it has gone off since the last call.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it has not.
    pub(crate) fn take(&self) -> io::Result<()> {
        (&self.0).read_exact(&mut [0; 8])
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_off_again_and_again() {
        let timer = Timer::every(Duration::from_millis(2)).expect("Linux 2.6.25");
        for _ in 0..3 {
            let start = std::time::Instant::now();
            while let Err(error) = timer.take() {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                assert!(start.elapsed() < Duration::from_secs(10), "it does not go off");
            }
        }
    }
}
