//! Network interfaces: their numbers and drivers, and which one the kernel chooses for a path.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Type};

use crate::frames::address::array;
use crate::kernel::netlink::{self, Message};

/// The number of loopback in every network namespace (`LOOPBACK_IFINDEX` in `include/net/flow.h`).
pub(super) const LOOPBACK: u32 = 1;

/// The number of an interface of this network namespace.
///
/// # Errors
///
/// `ENODEV` if there is none of this name.
pub fn index_of(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the C library reads a string that ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The name of an interface of this network namespace. `None` if there is none with this number.
pub fn name_of(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the C library writes at most `IF_NAMESIZE` bytes, with the zero byte that ends them.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
    (!found.is_null()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// The driver of an interface, e.g. `virtio_net` or `veth` (`ETHTOOL_GDRVINFO`). `None` if the kernel names none, as for
/// loopback.
pub fn driver_of(name: &str) -> Option<String> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    /// Bytes of `struct ethtool_drvinfo`: the command, six texts of 32, 32, 32, 32, 32 and 12 bytes, and five numbers.
    const INFO_LEN: usize = 4 + 5 * 32 + 12 + 5 * 4;
    let info = ethtool::<{ INFO_LEN / 4 }>(name, ETHTOOL_GDRVINFO)?;
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = bytes[4..36].split(|&byte| byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// How many packets the receiving ring of an interface holds, as `ethtool -g` shows it (`ETHTOOL_GRINGPARAM`). `None` if it
/// has no ring, as loopback and veth.
pub fn receive_ring_of(name: &str) -> Option<usize> {
    const ETHTOOL_GRINGPARAM: u32 = 16;
    /// The words of `struct ethtool_ringparam`: the command, four that are the most possible, and four in use, of which the
    /// first is the receiving ring's.
    const WORDS: usize = 9;
    const RX_PENDING: usize = 5;
    let ring = ethtool::<WORDS>(name, ETHTOOL_GRINGPARAM)?[RX_PENDING] as usize;
    (ring > 0).then_some(ring)
}

/// Asks the driver of an interface with a command of `include/uapi/linux/ethtool.h`, whose answer has `WORDS` words of 32
/// bits. `None` if it does not answer.
fn ethtool<const WORDS: usize>(name: &str, command: u32) -> Option<[u32; WORDS]> {
    /// From `include/uapi/linux/sockios.h`.
    const SIOCETHTOOL: libc::c_int = 0x8946;
    /// A `struct ifreq`: the name, and a union of 24 bytes that begins with a pointer.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut u8,
        rest: [u8; 16],
    }
    if name.len() >= libc::IFNAMSIZ {
        return None;
    }
    let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    let mut answer = [0_u32; WORDS];
    answer[0] = command;
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: answer.as_mut_ptr().cast(), rest: [0; 16] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads a `struct ifreq`, and writes the structure of the command to where it points, which has as many
    // words as the callers above say; both live.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    (status == 0).then_some(answer)
}

/// Where datagrams to an address leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The interface; `lo` for an address of this machine, whatever interface has it.
    pub interface: String,
    /// Whether they stay on this machine.
    pub is_local: bool,
}

impl Path {
    /// The path from `local` to `peer`, as the kernel's routing tables have it now (`RTM_GETROUTE`, rtnetlink(7)).
    ///
    /// # Errors
    ///
    /// The kernel's error if there is no route, or `InvalidData` if it answers in a way that is not understood.
    pub fn between(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let (index, is_local) = read(&netlink::ask(&request(local, peer))?)?;
        let index = if is_local { LOOPBACK } else { index };
        let interface = name_of(index).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        Ok(Self { interface, is_local })
    }

    /// How many packets the receiving ring of its interface holds, if it has one.
    pub fn receive_ring(&self) -> Option<usize> {
        if self.is_local { None } else { receive_ring_of(&self.interface) }
    }
}

/// Bytes of a `struct rtmsg`.
const ROUTE: usize = 12;

/// The question to the kernel: how does one get from `local` to `peer`?
fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (from, to) = (octets(local.ip()), octets(peer.ip()));
    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let has_source = local.is_ipv4() == peer.is_ipv4() && !local.ip().is_unspecified();
    let source_bits = if has_source { 8 * from.len() as u8 } else { 0 };
    // Family, bits of the address to and from; then what is left open.
    let mut body = vec![family, 8 * to.len() as u8, source_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut attribute = |name: u16, value: &[u8]| {
        // Their lengths are multiples of 4, so that there is no padding.
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(name.to_ne_bytes());
        body.extend(value);
    };
    attribute(libc::RTA_DST, &to);
    if has_source {
        attribute(libc::RTA_SRC, &from);
    }
    // A link-local address means something on one interface only, which either end may name.
    let scope = |address: SocketAddr| match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    };
    if let Some(scope) = scope(peer).or_else(|| scope(local)) {
        attribute(libc::RTA_OIF, &scope.to_ne_bytes());
    }
    netlink::message(libc::RTM_GETROUTE, 0, &body)
}

/// The kernel's answer: the number of the interface, and whether the address is one of this machine.
fn read(answer: &[u8]) -> io::Result<(u32, bool)> {
    let route = netlink::messages(answer).find(|message| message.kind == libc::RTM_NEWROUTE);
    let found = route.and_then(|Message { body, .. }| {
        let (route, rest) = body.split_at_checked(ROUTE)?;
        let index = netlink::attribute(rest, libc::RTA_OIF)?;
        Some((u32::from_ne_bytes(array(index, 0)?), route[7] == libc::RTN_LOCAL))
    });
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn loopback_has_a_number_and_no_driver() {
        assert_eq!((index_of("lo").ok(), name_of(LOOPBACK).as_deref()), (Some(LOOPBACK), Some("lo")));
        assert!(index_of("no such one").is_err() && index_of("a\0b").is_err() && name_of(u32::MAX).is_none());
        assert_eq!((driver_of("lo"), driver_of("none"), driver_of("a name that is far too long")), (None, None, None));
        assert_eq!((receive_ring_of("lo"), receive_ring_of("none")), (None, None));
    }

    #[test]
    fn the_path_to_this_machine_is_loopback() {
        let local = Path { interface: "lo".into(), is_local: true };
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            if std::net::UdpSocket::bind((ip, 0)).is_ok() {
                let address = SocketAddr::new(ip, 1);
                assert_eq!(Path::between(address, address).expect("a route"), local);
                let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
                assert_eq!(Path::between(any, address).expect("a route"), local);
            }
        }
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let question = request((Ipv4Addr::LOCALHOST, 1).into(), (Ipv4Addr::LOCALHOST, 2).into());
        assert_eq!(question.len(), netlink::HEADER + ROUTE + 8 + 8);
        for len in 0..question.len() {
            assert!(read(&question[..len]).is_err());
        }
        let route = |attributes: &[u8]| {
            let body = [&[0; ROUTE], attributes].concat();
            read(&netlink::message(libc::RTM_NEWROUTE, 0, &body))
        };
        assert!(route(&[0; 64]).is_err(), "an attribute of length 0 does not hold it up");
        #[cfg(target_endian = "little")]
        assert_eq!(route(&[8, 0, libc::RTA_OIF as u8, 0, 7, 0, 0, 0]).expect("a route"), (7, false));
    }
}
