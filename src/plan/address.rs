//! The address that sockets are bound to: of IPv4 or IPv6, and with the interface for one that is link-local.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use hpbench_backends::kernel::interface;

/// An address of one machine. It is printed as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    ip: IpAddr,
    zone: Option<Zone>,
}

/// The interface of a link-local address (RFC 4007).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone {
    name: String,
    index: u32,
}

impl HostAddress {
    /// The address, without its interface.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The address with a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        match (self.ip, &self.zone) {
            (IpAddr::V6(ip), Some(zone)) => SocketAddrV6::new(ip, port, 0, zone.index).into(),
            (ip, _) => SocketAddr::new(ip, port),
        }
    }
}

impl From<IpAddr> for HostAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip, zone: None }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}%{}", self.ip, zone.name),
            None => self.ip.fmt(f),
        }
    }
}

impl FromStr for HostAddress {
    type Err = String;

    /// Reads `ADDRESS` or `ADDRESS%INTERFACE`; the interface, by name or number, must be there.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
        let ip = IpAddr::from_str(address).map_err(|_| format!("'{text}' is not an IPv4 or IPv6 address"))?;
        // Datagrams to these leave the machine.
        if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(format!("'{text}' is not the address of one machine"));
        }
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        match zone {
            None if is_link_local => {
                Err(format!("'{text}' is link-local: name its interface, too, as in {address}%eth0; see `ip link`"))
            }
            Some(_) if !is_link_local => {
                Err(format!("'{text}' is not link-local (fe80::…), and needs no interface: use {address}"))
            }
            None => Ok(ip.into()),
            Some(name) => {
                // A number is one only if no interface has it as its name.
                let by_number = || name.parse().ok().filter(|&index| interface::name_of(index).is_some());
                let index = interface::index_of(name).ok().or_else(by_number);
                let index = index.ok_or_else(|| format!("'{text}': there is no interface '{name}'; see `ip link`"))?;
                Ok(Self { ip, zone: Some(Zone { name: name.to_owned(), index }) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_was_given() {
        for text in ["127.0.0.1", "::1", "10.0.0.7", "fd77::1", "fe80::1%lo", "fe80::1%1"] {
            let address: HostAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
            assert_eq!((address.at(9).port(), address.at(9).ip()), (9, address.ip()));
        }
        let address: HostAddress = "fe80::1%lo".parse().expect("loopback is there");
        assert!(matches!(address.at(7), SocketAddr::V6(v6) if v6.scope_id() == 1), "{address:?}");
    }

    #[test]
    fn an_interface_belongs_to_a_link_local_address_and_is_there() {
        for (text, told) in [
            ("fe80::1", "fe80::1%eth0"),
            ("fe80::1%none", "no interface 'none'"),
            ("fe80::1%", "no interface ''"),
            ("fe80::1%0", "no interface '0'"),
            ("fe80::1%4294967296", "no interface"),
            ("fe80::1%lo%lo", "no interface 'lo%lo'"),
            ("fd77::1%lo", "use fd77::1"),
            ("127.0.0.1%lo", "use 127.0.0.1"),
            ("ff02::1%lo", "one machine"),
            ("%lo", "not an IPv4"),
        ] {
            let message = HostAddress::from_str(text).expect_err(text);
            assert!(message.contains(told), "{text}: {message}");
        }
    }
}
