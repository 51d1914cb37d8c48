//! The descriptor table, in which a thread's system calls look up files.
//!
//! The threads of a process share one. While they do, each system call on a descriptor takes and drops a reference to
//! the file, two atomic operations (`fdget` in the kernel's `fs/file.c`). A thread with a table of its own avoids them,
//! as does a program with one thread. Files and buffers that are registered with io_uring are not looked up at all.

use std::io;
use std::marker::PhantomData;

/// Descriptors below are standard input, output and error, which any thread may write to at any time.
const FIRST: libc::c_uint = 3;

/// A descriptor table of the calling thread's own. Dropping it closes what is in it. Otherwise the copies would keep
/// sockets open, and their ports bound, until the kernel cleans up after the thread, some time after it was joined.
#[derive(Debug)]
pub struct OwnDescriptors(PhantomData<*const ()>);

impl OwnDescriptors {
    /// Gives the calling thread a table of its own, a copy of the one that it shared (`unshare(2)`). A descriptor that
    /// was open before stays open until it is closed in both tables, so a thread should open what it wants to close.
    ///
    /// Only for a thread that was started for its work: an unshared table is not copied, and is closed all the same.
    /// Threads that this thread starts share the new table; they can leave it in the same way. Make this the thread's
    /// first value, so that it is dropped after everything that uses descriptors.
    ///
    /// # Errors
    ///
    /// The kernel's, e.g. if a seccomp filter forbids it.
    pub fn unshare() -> io::Result<Self> {
        // SAFETY: the table is copied, so every descriptor in it stays valid in this thread and elsewhere.
        match unsafe { libc::unshare(libc::CLONE_FILES) } {
            0 => Ok(Self(PhantomData)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for OwnDescriptors {
    fn drop(&mut self) {
        // Before Linux 5.9 there is no such call, and the copies stay until the kernel has cleaned up.
        // SAFETY: the call takes numbers only. The table belongs to this thread alone (the value cannot leave it), and
        // the thread is at its end; what other threads hold is open in theirs.
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0 as libc::c_uint) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    #[test]
    fn what_a_thread_closes_in_its_own_table_stays_open_elsewhere() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let raw = reader.as_raw_fd();
        std::thread::scope(|scope| {
            let own = scope.spawn(|| {
                let own = OwnDescriptors::unshare().expect("nothing forbids it here");
                // SAFETY: the call only asks for flags.
                let is_open = |fd: i32| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
                assert!(is_open(raw), "the table is a copy");
                drop(own);
                is_open(raw)
            });
            assert!(!own.join().expect("it ends"), "Linux 5.9 closes the copies");
        });
        writer.write_all(b"x").expect("the reader is open");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("so is the writer");
        assert_eq!(text, "x");
    }
}
