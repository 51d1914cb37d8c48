//! An address in the frame of its datagram.
//!
//! It precedes the payload, so that a reply finds it there and nothing is copied. It is at byte 16, where a
//! `recvmsg` multishot also puts it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::frames::pool::Frame;

/// Where in a frame the address is: after the header that a `recvmsg` multishot writes there
/// (`struct io_uring_recvmsg_out` in `include/uapi/linux/io_uring.h`: four words of 32 bits).
pub(crate) const ADDRESS_AT: usize = 16;
/// Bytes of the longest address, a `struct sockaddr_in6`.
pub(crate) const ADDRESS_LEN: usize = 28;
/// Where the payload begins in frames that have an address, unless the kernel decides.
pub(crate) const PAYLOAD_AT: usize = 64;
/// The most bytes in front of a payload.
pub(crate) const HEADROOM: usize = 128;

/// An address as the kernel reads and writes it: a `struct sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address([u8; ADDRESS_LEN]);

impl Address {
    /// The address in the kernel's form.
    pub fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; ADDRESS_LEN];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let family = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                libc::AF_INET6
            }
        };
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        Self(bytes)
    }

    /// Reads what the kernel has written. `None` if it is not an IP address.
    pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes(array(bytes, 0)?));
        let port = u16::from_be_bytes(array(bytes, 2)?);
        match family {
            libc::AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(array::<4>(bytes, 4)?), port).into()),
            libc::AF_INET6 => {
                // The standard library also takes this word as it is.
                let flow = u32::from_ne_bytes(array(bytes, 4)?);
                let scope = u32::from_ne_bytes(array(bytes, 24)?);
                Some(SocketAddrV6::new(Ipv6Addr::from(array::<16>(bytes, 8)?), port, flow, scope).into())
            }
            _ => None,
        }
    }

    /// Writes the address into the frame of a datagram to be sent there.
    #[inline]
    pub(crate) fn write(&self, frame: &mut Frame<'_>) {
        let place = frame.bytes_mut()[ADDRESS_AT..].first_chunk_mut();
        *place.expect("a frame holds an address") = self.0;
    }

    /// The address for a message header, which only reads it.
    pub(crate) fn as_name(&self) -> (*mut libc::c_void, libc::socklen_t) {
        (self.0.as_ptr().cast_mut().cast(), Self::len(&self.0))
    }

    /// How long the address in `bytes` is, by its family.
    pub(crate) fn len(bytes: &[u8]) -> libc::socklen_t {
        let family = array(bytes, 0).map_or(0, u16::from_ne_bytes);
        if i32::from(family) == libc::AF_INET { 16 } else { ADDRESS_LEN as libc::socklen_t }
    }
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["127.0.0.1:5000", "[::1]:65535", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(Address::parse(&Address::new(address).0), Some(address));
        }
        assert_eq!(Address::parse(&[0; ADDRESS_LEN]), None, "no family");
        assert_eq!(Address::parse(&[2, 0, 1]), None, "cut");
    }
}
