//! Trials of what UDP sockets offer.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use libc::c_int;

use crate::features::feature::Feature;
use crate::features::refusal::Refusal;
use crate::features::row::{Patience, Row, row};
use crate::features::trial::{pair, retry};
use crate::kernel::socket::Socket;

/// In the order in which they arrived.
const ROWS: [Row; 5] = [
    row("SO_RCVBUFFORCE", "2.6.14", |_| privileged(libc::SO_RCVBUFFORCE, "SO_RCVBUFFORCE", 65_536)),
    row("SO_BUSY_POLL", "3.11", |_| privileged(libc::SO_BUSY_POLL, "SO_BUSY_POLL", 50)),
    row("SO_MEMINFO", "4.12", |_| meminfo()),
    row("UDP_SEGMENT (GSO)", "4.18", |_| segments()),
    row("UDP_GRO", "5.0", |_| coalesces()),
];

/// The size of the datagrams in a train, …
const SEGMENT: usize = 100;
/// … and how long a train is: its last datagram is shorter.
const TRAIN: usize = 2 * SEGMENT + SEGMENT / 2;

pub(super) fn try_all(patience: &mut Patience) -> Vec<Feature> {
    ROWS.iter().map(|row| row.try_out(patience)).collect()
}

/// An option that only some processes may set.
fn privileged(name: c_int, call: &'static str, value: c_int) -> Result<(), Refusal> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Refusal::untried("binding a socket"))?;
    match set_option(&socket, libc::SOL_SOCKET, name, value) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(Refusal::Privilege("CAP_NET_ADMIN")),
        Err(error) => Err(Refusal::of(call)(error)),
    }
}

fn meminfo() -> Result<(), Refusal> {
    let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(Refusal::untried("binding a socket"))?;
    socket.meminfo().map(drop).map_err(Refusal::of("SO_MEMINFO"))
}

/// One send becomes three datagrams.
fn segments() -> Result<(), Refusal> {
    let (near, far) = pair()?;
    send_train(&near).map_err(Refusal::of("UDP_SEGMENT"))?;
    let mut bytes = [0; 2 * TRAIN];
    let mut found = [0; 3];
    for len in &mut found {
        *len = retry(|| far.recv(&mut bytes)).map_err(|error| inert("not all datagrams arrived", &error))?;
    }
    let expected = [SEGMENT, SEGMENT, TRAIN - 2 * SEGMENT];
    let wrong = || Refusal::Inert(format!("it cuts a send into datagrams of {found:?} bytes"));
    if found == expected { Ok(()) } else { Err(wrong()) }
}

/// Three datagrams become one read, and the kernel reports how long each of them is.
fn coalesces() -> Result<(), Refusal> {
    let (near, far) = pair()?;
    set_option(&far, libc::SOL_UDP, libc::UDP_GRO, 1).map_err(Refusal::of("UDP_GRO"))?;
    let sent = send_train(&near);
    sent.map_err(|error| Refusal::Untried(format!("without UDP_SEGMENT there is nothing to coalesce: {error}")))?;
    let (len, segment) = retry(|| receive_train(&far)).map_err(|error| inert("nothing came", &error))?;
    match segment {
        Some(segment) if (len, segment) == (TRAIN, SEGMENT as c_int) => Ok(()),
        Some(segment) => Err(Refusal::Inert(format!("it returns {len} bytes in segments of {segment}"))),
        None => Err(Refusal::Inert(format!("it is accepted, but loopback delivers single datagrams ({len} bytes)"))),
    }
}

fn inert(what: &str, error: &io::Error) -> Refusal {
    Refusal::Inert(format!("it is accepted, but {what} ({error})"))
}

fn send_train(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, SEGMENT as c_int)?;
    socket.send(&[7; TRAIN]).map(drop)
}

/// Receives once. Returns how many bytes arrived, and the segment size that came with them.
fn receive_train(socket: &UdpSocket) -> io::Result<(usize, Option<c_int>)> {
    /// Aligned as `cmsghdr` is.
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    let mut bytes = [0_u8; 2 * TRAIN];
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: zeroes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: the message points to live locals, each as long as it says.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the control buffer, and says how far; it is aligned as a header is.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let header = header.filter(|header| (header.cmsg_level, header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO));
    // SAFETY: CMSG_LEN only computes.
    let whole = unsafe { libc::CMSG_LEN(size_of::<c_int>() as u32) } as usize;
    #[allow(clippy::unnecessary_cast, reason = "its type depends on the C library")]
    let segment = header.filter(|header| header.cmsg_len as usize >= whole).map(|header| {
        // SAFETY: the message holds an int behind its header, which its length says.
        unsafe { libc::CMSG_DATA(header).cast::<c_int>().read_unaligned() }
    });
    Ok((len, segment))
}

fn set_option(socket: &UdpSocket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads an int from a live local.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
