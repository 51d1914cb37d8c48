//! What the errors that runtimes return mean.

use std::io;

use crate::kernel::errno::{self, Verdict};

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
