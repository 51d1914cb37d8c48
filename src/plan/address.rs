//! The address that sockets are bound to: of IPv4 or IPv6, and with the interface for one that is link-local.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use hpbench_backends::kernel::interface;
use serde::{Deserialize, Serialize};

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

    /// Whether it has an interface.
    pub fn is_link_local(&self) -> bool {
        self.zone.is_some()
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
        let (ip, name) = parts(text)?;
        let Some(name) = name else { return Ok(ip.into()) };
        // A number is one only if no interface has it as its name.
        let by_number = || name.parse().ok().filter(|&index| interface::name_of(index).is_some());
        let index = interface::index_of(name).ok().or_else(by_number);
        let index = index.ok_or_else(|| format!("'{text}': there is no interface '{name}'; see `ip link`"))?;
        Ok(Self { ip, zone: Some(Zone { name: name.to_owned(), index }) })
    }
}

/// An address of another machine. Its interface is one of that machine. It is printed as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteAddress {
    ip: IpAddr,
    interface: Option<String>,
}

impl RemoteAddress {
    /// The address, without its interface.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Whether it has an interface.
    pub fn is_link_local(&self) -> bool {
        self.interface.is_some()
    }

    /// The address with a port for a socket of this machine that is bound to `local`: if it is link-local, it is reached by
    /// the interface of `local`.
    pub fn seen_from(&self, local: SocketAddr, port: u16) -> SocketAddr {
        match (self.ip, local) {
            (IpAddr::V6(ip), SocketAddr::V6(local)) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, local.scope_id()).into()
            }
            (ip, _) => SocketAddr::new(ip, port),
        }
    }

    /// The same as an address of this machine.
    ///
    /// # Errors
    ///
    /// If its interface is not here.
    pub fn here(&self) -> Result<HostAddress, String> {
        self.to_string().parse()
    }
}

impl From<IpAddr> for RemoteAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip, interface: None }
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(name) => write!(f, "{}%{name}", self.ip),
            None => self.ip.fmt(f),
        }
    }
}

impl FromStr for RemoteAddress {
    type Err = String;

    /// Reads `ADDRESS` or `ADDRESS%INTERFACE`; whether the interface is there is known on the other machine.
    fn from_str(text: &str) -> Result<Self, String> {
        let (ip, name) = parts(text)?;
        Ok(Self { ip, interface: name.map(str::to_owned) })
    }
}

/// The two parts of `ADDRESS` or `ADDRESS%INTERFACE`. Those that are link-local have an interface, and others have none.
fn parts(text: &str) -> Result<(IpAddr, Option<&str>), String> {
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
        zone => Ok((ip, zone)),
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
    fn an_address_of_another_machine_has_an_interface_of_that_machine() {
        let address: RemoteAddress = "fe80::2%there0".parse().expect("it need not be here");
        assert_eq!(address.to_string(), "fe80::2%there0");
        assert!(address.here().expect_err("it is not here").contains("no interface 'there0'"));
        let local = HostAddress::from_str("fe80::1%lo").expect("loopback is there").at(5);
        assert!(matches!(address.seen_from(local, 7), SocketAddr::V6(v6) if v6.scope_id() == 1 && v6.port() == 7));
        let global: RemoteAddress = "fd77::2".parse().expect("an address");
        assert_eq!(global.seen_from(local, 7), "[fd77::2]:7".parse().expect("an address"));
        for bad in ["fe80::2", "fd77::2%there0", "ff02::1%there0"] {
            assert!(RemoteAddress::from_str(bad).is_err(), "{bad}");
        }
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
