//! UDP sockets as hpbench uses them: non-blocking, connected, with measured buffers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::{Domain, Protocol, SockAddr, Type};

use crate::kernel::errno::{self, Verdict};
use crate::kernel::interface::Path;

/// The most datagrams that one send with `UDP_SEGMENT` may be cut into on every kernel that has it
/// (`UDP_MAX_SEGMENTS` in `include/linux/udp.h`: 64 since 4.18, 128 since 6.9).
pub const GSO_SEGMENTS_MAX: usize = 64;

/// The largest UDP payload over IPv4 (65,535 less 20 for IP and 8 for UDP).
pub const PAYLOAD_MAX: usize = 65_507;

/// A datagram socket, with what a measurement needs to know about it.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    drops: Drops,
    unrelated: u64,
}

/// Drops of a socket. The kernel counts them in 32 bits, which 300,000 a second fill in four hours. Here they are
/// widened as they are read.
#[derive(Debug, Default)]
struct Drops {
    /// The kernel's count when this one began.
    base: u32,
    total: AtomicU64,
}

impl Drops {
    /// The drops so far, given the kernel's count `now`. Correct as long as it is read once in 2^31 drops.
    fn widen(&self, now: u32) -> u64 {
        let widened = |total: u64| {
            let grown = now.wrapping_sub(self.base).wrapping_sub(total as u32);
            // It is below 0 if another thread has since read a higher count.
            total + u64::from(grown) * u64::from(grown <= u32::MAX / 2)
        };
        self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, |total| Some(widened(total))).map_or(0, widened)
    }
}

/// The socket's memory and drops as the kernel sees them (`SO_MEMINFO`, Linux 4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemInfo {
    /// Truesize in bytes of everything in the receive queue.
    pub rmem_alloc: u32,
    /// Limit of the receive queue, in bytes of truesize.
    pub rcvbuf: u32,
    /// Limit of the data being sent, in bytes of truesize.
    pub sndbuf: u32,
    /// Datagrams dropped at this socket since it was created; for one of a [`Socket::pair`], since it was connected.
    /// The kernel's count has 32 bits: it must be read once in 2^31 drops.
    pub drops: u64,
}

impl Socket {
    /// Binds a non-blocking UDP socket to `address`. Neither `SO_REUSEADDR` nor `SO_REUSEPORT` is set:
    /// with UDP they let a second process take the traffic unnoticed.
    ///
    /// # Errors
    ///
    /// The kernel's error, e.g. `AddrInUse` or `AddrNotAvailable`.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let inner = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_nonblocking(true)?;
        inner.bind(&SockAddr::from(address))?;
        Ok(Self::of(inner))
    }

    /// Binds `count` sockets that share a port (`SO_REUSEPORT`): each datagram goes to one of them, by the hash of its
    /// addresses and ports. The first one has the port alone before it is shared, so none but sockets of the same user
    /// can have it, too; those would have to ask for it while the sockets exist.
    ///
    /// # Errors
    ///
    /// As [`Socket::bind`].
    pub fn group(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        // A port that the kernel chooses for a socket with the option may be one that others with the option have.
        let first = Self::bind(address)?;
        first.set_option(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        while sockets.len() < count {
            let inner = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            inner.set_nonblocking(true)?;
            let member = Self::of(inner);
            member.set_option(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            member.inner.bind(&SockAddr::from(address))?;
            sockets.push(member);
        }
        Ok(sockets)
    }

    /// Has the kernel choose among the `count` sockets of the [group](Self::group) that this one belongs to by the core on
    /// which it delivers a datagram: the one at the core's number modulo `count` (`SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5).
    ///
    /// # Errors
    ///
    /// The kernel's error, `EINVAL` for a socket that is in no group.
    pub fn steer_by_core(&self, count: usize) -> io::Result<()> {
        let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32),
            step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count.max(1) as u32),
            step(libc::BPF_RET | libc::BPF_A, 0),
        ];
        let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
        // SAFETY: the kernel copies a program of `len` steps, which outlives the call.
        let status = unsafe {
            libc::setsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_REUSEPORT_CBPF,
                (&raw const filter).cast(),
                size_of_val(&filter) as libc::socklen_t,
            )
        };
        match status {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn of(inner: socket2::Socket) -> Self {
        Self { inner, drops: Drops::default(), unrelated: 0 }
    }

    /// Binds two sockets and connects them with each other: (`near`, `far`), `near` on `address`. Datagrams that
    /// unrelated senders have sent to them by then are discarded, see [`Socket::unrelated`].
    ///
    /// # Errors
    ///
    /// The kernel's error from any of the calls.
    pub fn pair(address: SocketAddr) -> io::Result<(Self, Self)> {
        let (mut near, mut far) = (Self::bind(address)?, Self::bind(beside(address))?);
        near.connect_alone(far.local_addr()?, None)?;
        far.connect_alone(near.local_addr()?, None)?;
        Ok((near, far))
    }

    /// As [`Socket::pair`], but only the second one is connected.
    ///
    /// # Errors
    ///
    /// As [`Socket::pair`].
    pub fn half_connected_pair(address: SocketAddr) -> io::Result<(Self, Self)> {
        let (near, mut far) = (Self::bind(address)?, Self::bind(beside(address))?);
        far.connect_alone(near.local_addr()?, None)?;
        Ok((near, far))
    }

    /// Connects the socket, and discards what came between `bind` and `connect`, which cannot be one step: that of
    /// unrelated senders, and what begins with the `mark` of a conversation before. Nothing else from the peer may be in
    /// flight.
    fn connect_alone(&mut self, peer: SocketAddr, mark: Option<&[u8]>) -> io::Result<()> {
        self.connect(peer)?;
        // Others reach it no more, so this ends.
        self.discard(mark, usize::MAX)
    }

    /// Discards what is in the queue, as far as it is one of the first `most` datagrams.
    fn discard(&mut self, mark: Option<&[u8]>, most: usize) -> io::Result<()> {
        let mut bytes = [0; 64];
        for _ in 0..most {
            let Some((length, _)) = self.receive_from(&mut bytes)? else { break };
            let is_of_conversation = mark.is_some_and(|mark| bytes[..length].starts_with(mark));
            self.unrelated += u64::from(!is_of_conversation);
        }
        // The drops so far are of unrelated datagrams, too.
        let base = self.meminfo()?.drops as u32;
        self.drops = Drops { base, ..Drops::default() };
        Ok(())
    }

    /// Connects the socket with a peer that is silent, as [`Socket::pair`] connects: what came before is of unrelated senders,
    /// and is discarded.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn connect_to(&mut self, peer: SocketAddr) -> io::Result<()> {
        self.connect_alone(peer, None)
    }

    /// Connects the socket with a peer that has spoken with it before, as [`Socket::pair`] connects. What begins with
    /// `mark` belongs to that conversation; it is discarded, and is not [unrelated](Self::unrelated).
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn connect_after(&mut self, peer: SocketAddr, mark: &[u8]) -> io::Result<()> {
        self.connect_alone(peer, Some(mark))
    }

    /// Discards what has come to a socket that stays unconnected: what begins with `mark`, and what unrelated senders have
    /// sent, see [`Socket::connect_after`]. Those may go on.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn forget(&mut self, mark: &[u8]) -> io::Result<()> {
        const MOST: usize = 1 << 16;
        self.discard(Some(mark), MOST)
    }

    /// Sends a datagram to `peer`, from a socket that is not connected. It is lost if there is no room for it.
    ///
    /// # Errors
    ///
    /// The kernel's error, unless it is a passing one.
    pub fn send_to(&self, bytes: &[u8], peer: SocketAddr) -> io::Result<()> {
        match self.inner.send_to(bytes, &SockAddr::from(peer)) {
            Ok(_) => Ok(()),
            Err(error) => match errno::judge(error.raw_os_error().unwrap_or(0)) {
                Verdict::Fatal => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// The next datagram in the queue and its sender, if there is one. What does not fit into `bytes` is cut off.
    ///
    /// # Errors
    ///
    /// The kernel's error, unless it is a passing one that does not come again and again.
    pub fn receive_from(&self, bytes: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        // SAFETY: bytes that are initialised may be written to like those that are not, and the kernel writes only
        // whole ones.
        let room = unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [std::mem::MaybeUninit<u8>]) };
        let mut failures = 0;
        loop {
            match self.inner.recv_from(room) {
                Ok((length, from)) => {
                    let from = from.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
                    return Ok(Some((length, from)));
                }
                Err(error) => match errno::judge(error.raw_os_error().unwrap_or(0)) {
                    Verdict::Again => return Ok(None),
                    Verdict::Interrupted if failures < errno::INTERRUPTIONS_MAX => failures += 1,
                    Verdict::Passing if failures < errno::INTERRUPTIONS_MAX => {
                        failures += 1;
                        errno::empty_queue(self.raw());
                    }
                    Verdict::Interrupted | Verdict::Passing | Verdict::Fatal => return Err(error),
                },
            }
        }
    }

    /// Datagrams of unrelated senders that arrived before the socket was connected, and were discarded.
    pub fn unrelated(&self) -> u64 {
        self.unrelated
    }

    /// Wraps any datagram socket, e.g. one of `AF_UNIX` for tests of a full queue.
    pub fn from_fd(fd: OwnedFd) -> Self {
        // SAFETY: ownership of an open descriptor passes from `OwnedFd` to the socket.
        let inner = unsafe { socket2::Socket::from_raw_fd(fd.into_raw_fd()) };
        Self::of(inner)
    }

    /// Connects the socket: it then receives from `peer` only.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.inner.connect(&SockAddr::from(peer))
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The kernel's error; `InvalidInput` for a socket that is not one of IP.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Requests receive and send buffers of these sizes, in bytes: beyond the limits of `net.core.rmem_max`
    /// and `wmem_max` if that is permitted (`SO_RCVBUFFORCE`, CAP_NET_ADMIN), else up to them. The
    /// kernel doubles what it grants; [`Socket::meminfo`] reports the result.
    ///
    /// # Errors
    ///
    /// The kernel's error from the unprivileged call.
    pub fn set_buffers(&self, rcvbuf: usize, sndbuf: usize) -> io::Result<()> {
        if self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, clamp(rcvbuf)).is_err() {
            self.inner.set_recv_buffer_size(clamp(rcvbuf) as usize)?;
        }
        if self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, clamp(sndbuf)).is_err() {
            self.inner.set_send_buffer_size(clamp(sndbuf) as usize)?;
        }
        Ok(())
    }

    /// The largest datagram, with its headers, that reaches the peer without fragmentation: the MTU of the path
    /// (`IP_MTU`, `IPV6_MTU`), in bytes. `None` for a socket that is not connected.
    pub fn path_mtu(&self) -> Option<usize> {
        let (level, name) = match self.local_addr().ok()? {
            SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_MTU),
            SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_MTU),
        };
        let mut mtu: libc::c_int = 0;
        let mut len = size_of_val(&mtu) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to an int.
        let status = unsafe { libc::getsockopt(self.raw(), level, name, (&raw mut mtu).cast(), &raw mut len) };
        (status == 0).then(|| usize::try_from(mtu).ok())?
    }

    /// Bytes of the headers before a payload: of IP and UDP.
    ///
    /// # Errors
    ///
    /// As [`Socket::local_addr`].
    pub fn header_bytes(&self) -> io::Result<usize> {
        Ok(if self.local_addr()?.is_ipv4() { 20 + 8 } else { 40 + 8 })
    }

    /// Whether datagrams of this size reach the peer of this socket whole; true if the kernel does not report it.
    pub fn sends_whole(&self, payload: usize) -> bool {
        let mtu = self.path_mtu().zip(self.header_bytes().ok());
        mtu.is_none_or(|(mtu, headers)| payload + headers <= mtu)
    }

    /// The path to the peer of this socket, which is connected.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if it is not connected, and those of [`Path::between`].
    pub fn path(&self) -> io::Result<Path> {
        let peer = self.inner.peer_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        Path::between(self.local_addr()?, peer)
    }

    /// Has the kernel cut every longer send into datagrams of `segment` bytes (`UDP_SEGMENT`, Linux 4.18).
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` if the kernel has no GSO for UDP, `EINVAL` for a size beyond 65,535.
    pub fn set_segment(&self, segment: usize) -> io::Result<()> {
        self.set_option(libc::SOL_UDP, libc::UDP_SEGMENT, clamp(segment))
    }

    /// Lets a send report what the kernel dropped on its way out (`IP_RECVERR`, `IPV6_RECVERR`, see ip(7)): one that a
    /// queueing discipline has dropped is then `ENOBUFS`, else it is a success (`udp_send_skb` in `net/ipv4/udp.c` and
    /// `udp_v6_send_skb` in `net/ipv6/udp.c`). The backends take it as "no room", and send the datagram again.
    ///
    /// A send that succeeds costs the same. What loopback drops at a full receive queue stays the receiver's: no queueing
    /// discipline is there. ICMP messages then come to sockets that are not connected, too, and those of passing troubles
    /// (a host or network out of reach) to all (`__udp4_lib_err`): the next call on the socket returns each as its error.
    /// They are also put into the socket's error queue, which takes room in its receive buffer; the backends empty it when
    /// they meet such an error.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn report_drops(&self) -> io::Result<()> {
        match self.local_addr()? {
            SocketAddr::V4(_) => self.set_option(libc::SOL_IP, libc::IP_RECVERR, 1),
            SocketAddr::V6(_) => self.set_option(libc::SOL_IPV6, libc::IPV6_RECVERR, 1),
        }
    }

    /// Lets trains of datagrams arrive as they were sent (`UDP_GRO`, Linux 5.0).
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` if the kernel has no GRO for UDP.
    pub fn receive_trains(&self) -> io::Result<()> {
        self.set_option(libc::SOL_UDP, libc::UDP_GRO, 1)
    }

    /// Lets receives that ask for it wait for a datagram, for at most `timeout` (`SO_RCVTIMEO`). All others
    /// say `MSG_DONTWAIT`.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn set_blocking(&self, timeout: std::time::Duration) -> io::Result<()> {
        self.inner.set_nonblocking(false)?;
        self.inner.set_read_timeout(Some(timeout))
    }

    /// The queue's memory and the drops so far.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` before Linux 4.12.
    pub fn meminfo(&self) -> io::Result<MemInfo> {
        /// `SO_MEMINFO` and its indices, from `include/uapi/linux/sock_diag.h` (`enum sk_meminfo_vars`).
        const SO_MEMINFO: libc::c_int = 55;
        const RMEM_ALLOC: usize = 0;
        const RCVBUF: usize = 1;
        const SNDBUF: usize = 3;
        const DROPS: usize = 8;
        let mut vars = [0_u32; 9];
        let mut len = size_of_val(&vars) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to an array of that size.
        let status =
            unsafe { libc::getsockopt(self.raw(), libc::SOL_SOCKET, SO_MEMINFO, vars.as_mut_ptr().cast(), &mut len) };
        match status {
            0 => Ok(MemInfo {
                rmem_alloc: vars[RMEM_ALLOC],
                rcvbuf: vars[RCVBUF],
                sndbuf: vars[SNDBUF],
                drops: self.drops.widen(vars[DROPS]),
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Another descriptor of the socket, for a runtime to own. Options are those of both, and so is whether they wait:
    /// neither does.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn duplicate(&self) -> io::Result<std::net::UdpSocket> {
        self.inner.set_nonblocking(true)?;
        self.inner.try_clone().map(Into::into)
    }

    /// As [`Socket::duplicate`], of a socket whose receives wait: io_uring waits for no others.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn duplicate_blocking(&self) -> io::Result<std::net::UdpSocket> {
        self.inner.set_nonblocking(false)?;
        self.inner.try_clone().map(Into::into)
    }

    /// The address of the peer that the socket is connected with.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if it is not connected; `InvalidInput` for a socket that is not one of IP.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()?.as_socket().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    fn set_option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the kernel reads an int from a live local.
        let status = unsafe {
            libc::setsockopt(self.raw(), level, name, (&raw const value).cast(), size_of_val(&value) as libc::socklen_t)
        };
        match status {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether this kernel cuts sends into datagrams (`UDP_SEGMENT`), determined by asking it for a socket of the family of
/// `address`.
///
/// # Errors
///
/// The kernel's error if it does not, or if it has no such sockets.
pub fn probe_gso(address: IpAddr) -> io::Result<()> {
    let domain = Domain::for_address(SocketAddr::new(address, 0));
    Socket::of(socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?).set_segment(1400)
}

/// The same address at a port that the kernel chooses.
fn beside(mut address: SocketAddr) -> SocketAddr {
    // Unlike a new one from its IP address, it keeps the interface of a link-local address.
    address.set_port(0);
    address
}

fn clamp(value: usize) -> libc::c_int {
    libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_pair_is_connected_both_ways_and_nobody_can_join() {
        let (near, far) = Socket::pair((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        let address = near.local_addr().expect("bound");
        assert_eq!(Socket::bind(address).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        far.inner.send(b"x").expect("sent");
        assert!(near.meminfo().expect("Linux 4.12").rmem_alloc > 0);
    }

    #[test]
    fn a_group_shares_its_port_and_the_traffic() {
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let group = Socket::group(local, 4).expect("loopback");
        let address = group[0].local_addr().expect("bound");
        assert!(group.iter().all(|member| member.local_addr().is_ok_and(|own| own == address)));
        assert_eq!(Socket::bind(address).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        let queued =
            |socket: &Socket| std::iter::from_fn(|| socket.receive_from(&mut [0; 8]).expect("it is open")).count();
        let senders: Vec<Socket> = (0..64).map(|_| Socket::bind(local).expect("loopback")).collect();
        senders.iter().for_each(|sender| sender.send_to(b"x", address).expect("sent"));
        let counts: Vec<usize> = group.iter().map(queued).collect();
        assert_eq!(counts.iter().sum::<usize>(), 64, "{counts:?}");
        assert!(counts.iter().all(|&count| count > 0 && count < 64), "{counts:?}");

        group[2].steer_by_core(4).expect("Linux 4.5");
        let core = crate::kernel::thread::affinity().expect("the kernel tells it")[0];
        std::thread::spawn(move || {
            crate::kernel::thread::pin(core).expect("it is allowed");
            senders.iter().for_each(|sender| sender.send_to(b"x", address).expect("sent"));
            let counts: Vec<usize> = group.iter().map(queued).collect();
            let mut expected = [0; 4];
            expected[core % 4] = 64;
            assert_eq!(counts, expected, "all are sent, and delivered, on core {core}");
        })
        .join()
        .expect("it steers");
        let alone = Socket::bind(local).expect("loopback");
        assert!(alone.steer_by_core(1).is_err());
    }

    #[test]
    fn a_connected_socket_knows_what_is_sent_whole() {
        let (near, far) = Socket::half_connected_pair((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        assert_eq!(near.path_mtu(), None, "it is not connected");
        assert!(near.path().is_err() && far.path().is_ok_and(|path| path.is_local && path.interface == "lo"));
        let mtu = far.path_mtu().expect("it is connected");
        assert!(mtu >= 1280 && far.sends_whole(mtu - 28) && !far.sends_whole(mtu - 27) && near.sends_whole(65_507));
    }

    #[test]
    fn an_error_queue_is_emptied_when_its_error_is_met() {
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let (sender, gone) = (Socket::bind(local).expect("loopback"), Socket::bind(local).expect("loopback"));
        let address = gone.local_addr().expect("bound").into();
        drop(gone);
        sender.inner.send_to(b"x", &address).expect("sent");
        let error = sender.inner.take_error().expect("an option");
        assert!(error.is_none(), "nobody tells a socket that is not connected: {error:?}");
        sender.report_drops().expect("an old option");
        sender.inner.send_to(b"x", &address).expect("sent");
        assert!(sender.meminfo().expect("Linux 4.12").rmem_alloc > 0, "the ICMP message takes room");
        let error = sender.inner.send_to(b"x", &address).expect_err("the message comes first");
        assert_eq!(errno::judge(error.raw_os_error().expect("the kernel's")), Verdict::Passing);
        errno::empty_queue(sender.raw());
        assert_eq!(sender.meminfo().expect("Linux 4.12").rmem_alloc, 0);
        sender.inner.send_to(b"x", &address).expect("nothing is left of it");
        errno::empty_queue(-1);
    }

    #[test]
    fn a_full_queue_on_loopback_is_still_the_receivers_loss() {
        let (near, far) = Socket::pair((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        near.set_buffers(1, 1 << 20).expect("the least that there is");
        far.report_drops().expect("an old option");
        while near.meminfo().expect("Linux 4.12").drops < 9 {
            far.inner.send(&[1; 999]).expect("it is sent, whether there is room or not");
        }
    }

    #[test]
    fn drops_go_on_where_the_kernels_count_wraps() {
        let drops = Drops { base: u32::MAX - 9, ..Drops::default() };
        let read = |now: u32| drops.widen(now);
        assert_eq!([u32::MAX - 9, u32::MAX, 0, 5, 5].map(read), [0, 9, 10, 15, 15]);
        assert_eq!(read(3), 15, "another thread has read more meanwhile");
        assert_eq!(
            [2_000_000_000, 4_000_000_000, 1_705_032_704].map(read),
            [2_000_000_010, 4_000_000_010, 6_000_000_010]
        );
    }

    #[test]
    fn what_comes_before_a_socket_is_connected_is_of_others() {
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let [mut near, far, other] = [(); 3].map(|()| Socket::bind(local).expect("loopback"));
        let address = near.local_addr().expect("bound");
        near.set_buffers(1, 1).expect("the least that there is");
        let send = |socket: &Socket| socket.inner.send_to(&[1; 999], &address.into()).expect("sent");
        while near.meminfo().expect("Linux 4.12").drops == 0 {
            send(&other);
        }
        near.connect_alone(far.local_addr().expect("bound"), None).expect("connected");
        send(&other);
        let info = near.meminfo().expect("Linux 4.12");
        assert!(near.unrelated() > 0 && (info.drops, info.rmem_alloc) == (0, 0), "{} {info:?}", near.unrelated());
        send(&far);
        assert!(near.meminfo().expect("Linux 4.12").rmem_alloc > 0);
    }

    #[test]
    fn granted_buffers_are_reported() {
        let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        socket.set_buffers(65_536, 65_536).expect("small buffers");
        let info = socket.meminfo().expect("Linux 4.12");
        assert_eq!(
            (info.rcvbuf, info.sndbuf, info.drops),
            (131_072, 131_072, 0),
            "the kernel doubles what it is asked for"
        );
    }
}
