//! What a host's own counters say that it dropped during a trial: by difference, each under its name.
//!
//! The counters of an interface come from the kernel over rtnetlink, and not from `/sys/class/net`, which shows another
//! network namespace than the thread's if that was entered without a mount of its own. Those of protocols come from `/proc`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;

use hpbench_backends::kernel::drops::{QueueDrops, Statistics};
use hpbench_backends::kernel::interface::{self, Path};
use serde::{Deserialize, Serialize};

/// A counter of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Counter {
    /// Dropped by the queueing discipline of the interface.
    Qdisc,
    /// Dropped by filters of `ingress` or `clsact`.
    IngressQdisc,
    /// Of the interface.
    TxDropped,
    /// Of the interface.
    TxErrors,
    /// Of the interface.
    RxDropped,
    /// Of the interface.
    RxErrors,
    /// Of the interface.
    RxMissedErrors,
    /// Of the interface.
    RxNohandler,
    /// Datagrams to a port that nobody has.
    UdpNoPorts,
    /// In `rx_errors` or `rx_missed_errors`, or an event that dropped nothing.
    RxFifoErrors,
    /// Dropped before the network stack, by any interface of the machine; in `rx_dropped` of that one.
    Softnet,
    /// Dropped by sockets, or damaged: those of a trial's own sockets are in `drop_socket`.
    UdpInErrors,
    /// The part of it for which a socket had no room.
    UdpRcvbufErrors,
    /// Sends for which there was no room: they are postponed.
    UdpSndbufErrors,
}

impl Counter {
    /// Whether what it counts is lost, and in no other counter of the host and in no other column.
    fn is_loss(self) -> bool {
        self < Self::RxFifoErrors
    }

    fn name(self, interface: &str) -> String {
        match self {
            Self::Qdisc => format!("qdisc {interface} drops"),
            Self::IngressQdisc => format!("ingress qdisc {interface} drops"),
            Self::TxDropped => format!("{interface} tx_dropped"),
            Self::TxErrors => format!("{interface} tx_errors"),
            Self::RxDropped => format!("{interface} rx_dropped"),
            Self::RxErrors => format!("{interface} rx_errors"),
            Self::RxMissedErrors => format!("{interface} rx_missed_errors"),
            Self::RxNohandler => format!("{interface} rx_nohandler"),
            Self::RxFifoErrors => format!("{interface} rx_fifo_errors"),
            Self::UdpNoPorts => "UDP NoPorts".into(),
            Self::Softnet => "softnet dropped".into(),
            Self::UdpInErrors => "UDP InErrors".into(),
            Self::UdpRcvbufErrors => "UDP RcvbufErrors".into(),
            Self::UdpSndbufErrors => "UDP SndbufErrors".into(),
        }
    }
}

/// By how much the counters of a host rose in a trial; those that did not are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCounts {
    interface: String,
    rises: BTreeMap<Counter, u64>,
}

/// The longest name of an interface, in bytes (`IFNAMSIZ`, less the zero byte).
const NAME_MAX: usize = 15;

impl HostCounts {
    /// Packets that the host dropped. One that two of its counters count is counted once, and what the trial's own sockets
    /// dropped is not in it.
    pub fn dropped(&self) -> u64 {
        self.rises.iter().filter(|(counter, _)| counter.is_loss()).fold(0, |sum, (_, rise)| sum.saturating_add(*rise))
    }

    /// Whether the trial did not leave the host: then its counters are those of both sides.
    pub fn is_of_both_sides(&self) -> bool {
        self.interface == "lo"
    }

    /// Adds what was counted in another trial.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// What was counted at about the same time, by another worker's peer on the same host.
    #[must_use]
    pub fn or_more(mut self, other: &Self) -> Self {
        self.combine(other, u64::max);
        self
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        if self.interface.is_empty() {
            self.interface.clone_from(&other.interface);
        }
        for (counter, rise) in &other.rises {
            let own = self.rises.entry(*counter).or_default();
            *own = with(*own, *rise);
        }
    }

    /// Whether nothing moved.
    pub fn is_empty(&self) -> bool {
        self.rises.is_empty()
    }

    /// Whether all counts are at most `most` and the interface has a name that may stand in a line: an agent may send
    /// anything.
    pub fn is_sane(&self, most: u64) -> bool {
        let is_name = |byte: u8| byte.is_ascii_graphic();
        self.interface.len() <= NAME_MAX
            && self.interface.bytes().all(is_name)
            && self.rises.values().all(|&rise| rise <= most)
    }
}

/// The counters that rose, as in `qdisc eth0 drops 191, eth0 rx_dropped 3; not in drop_host: UDP SndbufErrors 9`.
impl fmt::Display for HostCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |is_loss: bool| {
            let chosen = self.rises.iter().filter(|(counter, _)| counter.is_loss() == is_loss);
            chosen.map(|(counter, rise)| format!("{} {rise}", counter.name(&self.interface))).collect::<Vec<_>>()
        };
        let (losses, others) = (list(true).join(", "), list(false).join(", "));
        let between = if losses.is_empty() || others.is_empty() { "" } else { "; " };
        let label = if others.is_empty() { "" } else { "not in drop_host: " };
        write!(f, "{losses}{between}{label}{others}")
    }
}

/// What a host's counters say of both sides of a trial: of the worker's host, and of the peer's in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BothHosts {
    /// Of the worker's host.
    pub own: Option<HostCounts>,
    /// Of the peer's.
    pub peer: Option<HostCounts>,
}

impl BothHosts {
    /// Packets that the two hosts dropped, or the only one; `None` if one of them does not say.
    pub fn dropped(&self, has_peer: bool) -> Option<u64> {
        let own = self.own.as_ref()?;
        if !has_peer || own.is_of_both_sides() {
            return Some(own.dropped());
        }
        Some(own.dropped().saturating_add(self.peer.as_ref()?.dropped()))
    }
}

/// The counters of a host, read when a trial began.
#[derive(Clone, Debug)]
pub struct HostWatch {
    index: u32,
    is_ipv4: bool,
    before: HostCounts,
}

impl HostWatch {
    /// Begins, for datagrams between these addresses. `None` if the kernel knows no way between them, or does not report
    /// what the interface drops. Takes 0.2 ms.
    pub fn begin(local: SocketAddr, peer: SocketAddr) -> Option<Self> {
        let interface = Path::between(local, peer).ok()?.interface;
        let (index, is_ipv4) = (interface::index_of(&interface).ok()?, local.is_ipv4());
        Some(Self { index, is_ipv4, before: HostCounts { interface, rises: read(index, is_ipv4)? } })
    }

    /// What has risen since; `None` if the interface is gone.
    pub fn end(&self) -> Option<HostCounts> {
        let mut rises = read(self.index, self.is_ipv4)?;
        for (counter, now) in &mut rises {
            // A counter that fell was set to zero, or the discipline is another one: what it shows came since.
            let before = self.before.rises.get(counter).copied().unwrap_or(0);
            *now = now.checked_sub(before).unwrap_or(*now);
        }
        rises.retain(|_, rise| *rise > 0);
        Some(HostCounts { interface: self.before.interface.clone(), rises })
    }
}

/// What the counters show now. Those that a kernel lacks are left out, but not those of the interface.
fn read(index: u32, is_ipv4: bool) -> Option<BTreeMap<Counter, u64>> {
    let stats = Statistics::of(index).ok()?;
    let mut counters = BTreeMap::from([
        (Counter::TxDropped, stats.tx_dropped),
        (Counter::TxErrors, stats.tx_errors),
        (Counter::RxDropped, stats.rx_dropped),
        (Counter::RxErrors, stats.rx_errors),
        (Counter::RxMissedErrors, stats.rx_missed_errors),
        (Counter::RxNohandler, stats.rx_nohandler),
        (Counter::RxFifoErrors, stats.rx_fifo_errors),
    ]);
    if let Ok(queues) = QueueDrops::of(index) {
        counters.extend([(Counter::Qdisc, queues.egress), (Counter::IngressQdisc, queues.ingress)]);
    }
    let text = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    counters.extend(softnet(&text("softnet_stat")).map(|drops| (Counter::Softnet, drops)));
    let udp = if is_ipv4 { snmp(&text("snmp")) } else { snmp6(&text("snmp6")) };
    counters.extend(udp);
    Some(counters)
}

/// The counters of UDP that are read.
const UDP: [(&str, Counter); 4] = [
    ("NoPorts", Counter::UdpNoPorts),
    ("InErrors", Counter::UdpInErrors),
    ("RcvbufErrors", Counter::UdpRcvbufErrors),
    ("SndbufErrors", Counter::UdpSndbufErrors),
];

fn udp(name: &str, count: &str) -> Option<(Counter, u64)> {
    let (_, counter) = UDP.iter().find(|(known, _)| *known == name)?;
    Some((*counter, count.parse().ok()?))
}

/// Two lines of UDP in `/proc/net/snmp`: names, and counts.
fn snmp(text: &str) -> Vec<(Counter, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let mut words = || lines.next().unwrap_or_default().split_ascii_whitespace();
    let names = words();
    names.zip(words()).filter_map(|(name, count)| udp(name, count)).collect()
}

/// A line for each counter in `/proc/net/snmp6`.
fn snmp6(text: &str) -> Vec<(Counter, u64)> {
    let of_line = |line: &str| {
        let (name, count) = line.strip_prefix("Udp6")?.split_once(char::is_whitespace)?;
        udp(name, count.trim())
    };
    text.lines().filter_map(of_line).collect()
}

/// A line for each core in `/proc/net/softnet_stat`; the second hexadecimal number counts drops, in 32 bits.
fn softnet(text: &str) -> Option<u64> {
    let of_line = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    let drops: Vec<u64> = text.lines().filter_map(of_line).collect();
    (!drops.is_empty()).then(|| drops.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};

    fn counts(interface: &str, rises: &[(Counter, u64)]) -> HostCounts {
        HostCounts { interface: interface.into(), rises: rises.iter().copied().collect() }
    }

    #[test]
    fn counters_are_named_and_only_losses_add_up() {
        let all = counts("eth0", &[(Counter::Qdisc, 191), (Counter::RxDropped, 3), (Counter::UdpSndbufErrors, 9)]);
        let text = "qdisc eth0 drops 191, eth0 rx_dropped 3; not in drop_host: UDP SndbufErrors 9";
        assert_eq!((all.dropped(), all.to_string().as_str()), (194, text));
        let beside = counts("eth0", &[(Counter::Softnet, 5)]);
        assert_eq!((beside.dropped(), beside.to_string().as_str()), (0, "not in drop_host: softnet dropped 5"));
        assert_eq!(counts("eth0", &[(Counter::UdpNoPorts, 1)]).to_string(), "UDP NoPorts 1");
        let mut sum = all.clone();
        sum.add(&beside);
        sum.add(&counts("", &[(Counter::Qdisc, 9)]));
        assert_eq!((sum.dropped(), sum.rises[&Counter::Softnet]), (203, 5));
        assert_eq!(
            all.or_more(&counts("eth0", &[(Counter::Qdisc, 190)])).dropped(),
            194,
            "seen twice at the same time"
        );
    }

    #[test]
    fn both_hosts_count_unless_they_are_one() {
        let (own, peer) =
            (Some(counts("eth0", &[(Counter::Qdisc, 2)])), Some(counts("eth1", &[(Counter::RxErrors, 3)])));
        let loopback = Some(counts("lo", &[(Counter::Qdisc, 2)]));
        let dropped = |own: &Option<_>, peer: &Option<_>, has_peer| {
            BothHosts { own: own.clone(), peer: peer.clone() }.dropped(has_peer)
        };
        assert_eq!(dropped(&own, &peer, true), Some(5));
        assert_eq!(dropped(&own, &None, true), None, "the other half is unknown");
        assert_eq!(dropped(&None, &peer, true), None);
        assert_eq!(dropped(&loopback, &loopback, true), Some(2), "the same counters");
        assert_eq!(dropped(&own, &None, false), Some(2));
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let snmp = snmp(
            "Ip: Forwarding NoPorts\nIp: 1 99\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors \
             InCsumErrors\nUdp: 10 1 2 20 3 4 5\nUdpLite: NoPorts\nUdpLite: 77\n",
        );
        let expected = [
            (Counter::UdpNoPorts, 1),
            (Counter::UdpInErrors, 2),
            (Counter::UdpRcvbufErrors, 3),
            (Counter::UdpSndbufErrors, 4),
        ];
        assert_eq!(snmp, expected);
        let snmp6 = snmp6(
            "Ip6InReceives 9\nUdp6InDatagrams    10\nUdp6NoPorts    1\nUdp6InErrors   2\nUdp6RcvbufErrors \t 3\n\
             Udp6SndbufErrors 4\nUdpLite6NoPorts 77\n",
        );
        assert_eq!(snmp6, expected);
        assert_eq!(softnet("0000 0000000a 0 0\n0001 00000010 0 0\n"), Some(26));
        assert_eq!(
            (softnet(""), super::snmp("").len(), super::snmp6("Udp6NoPorts\nUdp6NoPorts x\n").len()),
            (None, 0, 0)
        );
    }

    #[test]
    fn what_an_agent_sends_may_stand_in_a_line() {
        assert!(counts("enp3s0f0.100", &[(Counter::Qdisc, 5)]).is_sane(5) && HostCounts::default().is_sane(0));
        for bad in [counts("a b", &[]), counts("a\u{1b}[31m", &[]), counts("0123456789abcdef", &[])] {
            assert!(!bad.is_sane(5), "{bad:?}");
        }
        assert!(!counts("eth0", &[(Counter::Qdisc, 6)]).is_sane(5));
    }

    #[test]
    fn a_datagram_to_nobody_is_noticed() {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let Some(watch) = HostWatch::begin(address, address) else {
            return crate::fixtures::skip("netlink", "the kernel does not say what loopback drops");
        };
        let nobody = UdpSocket::bind(address).and_then(|socket| socket.local_addr()).expect("loopback");
        UdpSocket::bind(address).and_then(|socket| socket.send_to(b"x", nobody)).expect("loopback");
        let found = watch.end().expect("lo stays");
        assert!(found.is_of_both_sides() && found.dropped() > 0, "{found}");
        assert!(found.to_string().contains("UDP NoPorts"), "{found}");
    }
}
