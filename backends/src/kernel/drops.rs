//! What an interface and its queueing disciplines have dropped.

use std::io;

use crate::frames::address::array;
use crate::kernel::netlink::{self, Message};

/// Packets that an interface has dropped so far, or could not receive or send, as its driver and the kernel count them
/// (`struct rtnl_link_stats64` in `include/uapi/linux/if_link.h`, which says what is in each). A train that is not cut yet
/// is one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bad packets.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Received, and dropped: no resources, or nobody wants such a packet.
    pub rx_dropped: u64,
    /// Dropped on the way out, behind the queueing discipline.
    pub tx_dropped: u64,
    /// Overflows of the device; some drivers count them in another field as well.
    pub rx_fifo_errors: u64,
    /// Packets for which the host had no buffer.
    pub rx_missed_errors: u64,
    /// Received on a device that is not to receive.
    pub rx_nohandler: u64,
}

impl Statistics {
    /// Those of the interface with this number (`RTM_GETSTATS`, Linux 4.7), in the network namespace of the calling
    /// thread, whichever `/sys` shows.
    ///
    /// # Errors
    ///
    /// The kernel's error, or `InvalidData` if its answer is not understood.
    pub fn of(index: u32) -> io::Result<Self> {
        /// Bytes of a `struct if_stats_msg`: family and padding, the number, and which statistics are wanted.
        const HEAD: usize = 12;
        let mut question = vec![0; 4];
        question.extend(index.to_ne_bytes());
        question.extend((1_u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
        let answer = netlink::ask(&netlink::message(RTM_GETSTATS, 0, &question))?;
        let stats = netlink::messages(&answer).find(|message| message.kind == RTM_NEWSTATS);
        let stats = stats.and_then(|stats| netlink::attribute(stats.body.get(HEAD..)?, IFLA_STATS_LINK_64));
        stats.and_then(Self::parse).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(stats: &[u8]) -> Option<Self> {
        let field = |at: usize| array(stats, 8 * at).map(u64::from_ne_bytes);
        Some(Self {
            rx_errors: field(4)?,
            tx_errors: field(5)?,
            rx_dropped: field(6)?,
            tx_dropped: field(7)?,
            rx_fifo_errors: field(14)?,
            rx_missed_errors: field(15)?,
            // Since Linux 4.6.
            rx_nohandler: field(23).unwrap_or(0),
        })
    }
}

/// From `include/uapi/linux/rtnetlink.h` and `if_link.h`.
const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;
const IFLA_STATS_LINK_64: u16 = 1;

/// Packets that the queueing disciplines of an interface have dropped so far.
///
/// Only those at the root count: what a discipline inside another one drops, the outer one counts as well
/// (`qdisc_tree_reduce_backlog` in `net/sched/sch_api.c`; `mq` adds up its own).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDrops {
    /// On the way out.
    pub egress: u64,
    /// By the filters of `ingress` or `clsact`, in either direction.
    pub ingress: u64,
}

impl QueueDrops {
    /// Those of the interface with this number (`RTM_GETQDISC`, `TCA_STATS2`).
    ///
    /// # Errors
    ///
    /// The kernel's error: it may have no queueing disciplines.
    pub fn of(index: u32) -> io::Result<Self> {
        // A `struct tcmsg`. The kernel sends those of all interfaces.
        let question = netlink::message(libc::RTM_GETQDISC, libc::NLM_F_DUMP, &[0; TCMSG]);
        Ok(Self::parse(&netlink::ask(&question)?, index))
    }

    fn parse(answer: &[u8], index: u32) -> Self {
        /// From `include/uapi/linux/pkt_sched.h`; `clsact` stands at the same place as `ingress`.
        const TC_H_ROOT: u32 = u32::MAX;
        const TC_H_INGRESS: u32 = 0xffff_fff1;
        let mut drops = Self::default();
        for Message { body, .. } in netlink::messages(answer).filter(|message| message.kind == libc::RTM_NEWQDISC) {
            let word = |at: usize| array(body, at).map(u32::from_ne_bytes);
            // Family and padding, the number of the interface, the handle, and the parent.
            let (Some(found), Some(parent), Some(rest)) = (word(4), word(12), body.get(TCMSG..)) else { continue };
            let counter = match parent {
                TC_H_ROOT if found == index => &mut drops.egress,
                TC_H_INGRESS if found == index => &mut drops.ingress,
                _ => continue,
            };
            *counter += u64::from(dropped(rest).unwrap_or(0));
        }
        drops
    }
}

/// Bytes of a `struct tcmsg`.
const TCMSG: usize = 20;

/// The drops in the attributes of a queueing discipline: the third number of a `struct gnet_stats_queue`.
fn dropped(attributes: &[u8]) -> Option<u32> {
    const TCA_STATS2: u16 = 7;
    const TCA_STATS_QUEUE: u16 = 3;
    let queue = netlink::attribute(netlink::attribute(attributes, TCA_STATS2)?, TCA_STATS_QUEUE)?;
    array(queue, 8).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::interface::LOOPBACK;

    #[test]
    fn loopback_has_statistics() {
        let stats = Statistics::of(LOOPBACK).expect("Linux 4.7");
        assert_eq!((stats.rx_missed_errors, stats.tx_errors), (0, 0), "it has no device");
        assert_eq!(Statistics::of(u32::MAX >> 1).expect_err("no such interface").raw_os_error(), Some(libc::ENODEV));
        let mut bytes = Vec::new();
        (0..24_u64).for_each(|field| bytes.extend(field.to_ne_bytes()));
        let found = Statistics::parse(&bytes).expect("it is whole");
        assert_eq!((found.rx_errors, found.tx_errors, found.rx_dropped, found.tx_dropped), (4, 5, 6, 7));
        assert_eq!((found.rx_fifo_errors, found.rx_missed_errors, found.rx_nohandler), (14, 15, 23));
        assert_eq!(Statistics::parse(&bytes[..23 * 8]).map(|found| found.rx_nohandler), Some(0));
        assert_eq!(Statistics::parse(&bytes[..15 * 8]), None);
    }

    #[test]
    fn only_the_disciplines_at_the_root_of_the_interface_count() {
        let attribute = |name: u16, value: &[u8]| {
            [&(4 + value.len() as u16).to_ne_bytes()[..], &name.to_ne_bytes(), value].concat()
        };
        let discipline = |index: u32, parent: u32, drops: u32| {
            let words = [0, index, 0x8001_0000, parent, 1].map(u32::to_ne_bytes).concat();
            let queue = [5_u32, 6, drops, 8, 9].map(u32::to_ne_bytes).concat();
            let stats = attribute(7, &[attribute(1, &[0; 16]), attribute(3, &queue)].concat());
            let body = [words, attribute(1, b"tbf\0"), stats].concat();
            netlink::message(libc::RTM_NEWQDISC, libc::NLM_F_MULTI, &body)
        };
        let root = u32::MAX;
        let answer = [
            discipline(2, root, 191),
            discipline(2, 0x8001_0001, 190),
            discipline(2, 0xffff_fff1, 7),
            discipline(3, root, 1000),
            netlink::message(libc::RTM_NEWQDISC, 0, &[0; 3]),
        ]
        .concat();
        assert_eq!(QueueDrops::parse(&answer, 2), QueueDrops { egress: 191, ingress: 7 });
        assert_eq!(QueueDrops::parse(&answer, 4), QueueDrops::default());
        let found = QueueDrops::of(LOOPBACK);
        assert!(found.is_ok() || found.is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)));
    }
}
