//! System calls for the kernel lab: a guest's network interface, and guests that do not outlive it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Raises the loopback interface, as `ip link set lo up` does. Needs CAP_NET_ADMIN.
///
/// # Errors
///
/// The kernel's error from creating a socket or from `ioctl`.
pub fn raise_loopback() -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: zeroes are a valid ifreq. The kernel accesses the name and the flags, the union's member that
    // SIOCGIFFLAGS fills in, of a live local. The name ends with the zero bytes after it.
    let status = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        match libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &raw mut request) {
            0 => {
                request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
                libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw const request)
            }
            failed => failed,
        }
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel kill the child that `command` starts when the thread that started it ends, for whatever reason.
pub fn end_with_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: between fork and exec, only system calls that are safe there are made (`prctl`, `getppid`); nothing is
    // allocated, and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before the `prctl`.
            if libc::getppid() as u32 == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let started = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            end_with_parent(command.arg("600")).stdout(Stdio::null()).spawn().expect("sleep is everywhere")
        });
        let mut child = started.join().expect("it does not panic");
        let status = child.wait().expect("a child of ours");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    }

    #[test]
    fn loopback_is_up_or_may_not_be_raised() {
        match raise_loopback() {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
