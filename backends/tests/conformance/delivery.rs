//! Datagrams that are sent arrive: once, in order, intact, with their own length.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use hpbench_backends::features::{self, Feature, State};
use hpbench_backends::kernel::socket::probe_gso;
use hpbench_backends::uring::modes;
use hpbench_backends::{Config, Mode, Offer, Pool, Port, Socket};

use crate::suite::harness::{Deadline, LOCALHOST, Lane, Link, Medium, Subject, skip};
use crate::suite::traffic::{
    check, exchange, gather, nothing_arrives, queue, receive_until, room, send_all, send_home, send_queued, write,
};

const BATCHES: [usize; 6] = [1, 2, 7, 32, 256, 1024];
const SHORT: [usize; 6] = [32, 33, 64, 200, 1472, 2048];
const LONG: [usize; 2] = [9000, 65_507];
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

pub(crate) fn short_datagrams_arrive_once_in_order_intact(subject: Subject) {
    short_datagrams(subject, LOCALHOST);
}

pub(crate) fn long_datagrams_arrive_once_in_order_intact(subject: Subject) {
    long_datagrams(subject, LOCALHOST);
}

pub(crate) fn short_datagrams_arrive_over_ipv6(subject: Subject) {
    if ipv6_is_here() {
        short_datagrams(subject, IPV6);
    }
}

pub(crate) fn long_datagrams_arrive_over_ipv6(subject: Subject) {
    if subject.kind.name() == "quinn-udp" {
        return skip("fragments", &"quinn-udp forbids the fragments that these datagrams need");
    }
    if ipv6_is_here() {
        long_datagrams(subject, IPV6);
    }
}

fn ipv6_is_here() -> bool {
    let bound = Socket::bind(SocketAddr::new(IPV6, 0));
    if let Err(error) = &bound {
        skip("ipv6", &format_args!("::1 cannot be bound ({error})"));
    }
    bound.is_ok()
}

fn short_datagrams(subject: Subject, ip: IpAddr) {
    for batch in BATCHES {
        // Two batches and a remainder in flight, one batch held by the receiver, and its buffers.
        let count = 2 * batch + 3;
        let pool = subject.pool(2 * (count + batch + 100), 2048);
        deliver(subject, ip, &pool, batch, &SHORT, count as u64);
    }
}

fn long_datagrams(subject: Subject, ip: IpAddr) {
    for batch in BATCHES {
        let pool = subject.pool(2 * 96, 65_536);
        deliver(subject, ip, &pool, batch, &LONG, 12);
    }
}

/// Sends `count` datagrams of each length out of the backend, then as many into it.
fn deliver(subject: Subject, ip: IpAddr, pool: &Pool, batch: usize, lengths: &[usize], count: u64) {
    let (mut link, windows) = match subject.medium {
        Medium::Memory => (Link::open(subject, &subject.config(batch), pool), vec![count; lengths.len()]),
        Medium::Sockets => {
            let (near, far) = subject.udp_pair(ip);
            // SEND_ZC sends whole pages.
            let memory = if subject.has(modes::SEND_ZC) { 4 } else { 1 };
            let windows = lengths.iter().map(|&len| (room(&near, len) / memory).max(1)).collect();
            (Link::join(subject, &subject.config(batch), pool, (Port::Socket(near), Port::Socket(far))), windows)
        }
    };
    let mut first = 0;
    for (&len, &window) in lengths.iter().zip(&windows) {
        exchange(&mut link.near, &mut link.far, first..first + count, window, |_| len);
        first += count;
    }
    for (&len, &window) in lengths.iter().zip(&windows) {
        let largest = exchange(&mut link.far, &mut link.near, first..first + count, window, |_| len);
        first += count;
        let is_single = batch == 1 || window == 1 || subject.variant().is_one_at_a_time();
        assert!(is_single || largest > 1, "a batch of {batch} never brought two datagrams");
    }
    // All lengths mixed, so that no header and no buffer keeps the length of the datagram before.
    let window = windows.iter().copied().min().unwrap_or(1);
    let mixed = |seq: u64| lengths[seq as usize % lengths.len()];
    exchange(&mut link.far, &mut link.near, first..first + count, window, mixed);
    link.close();
}

/// As in `relay`: each packet is sent several times, and stays where it is until the last copy has gone.
pub(crate) fn copies_are_sent_of_one_frame(subject: Subject) {
    let len = |seq: u64| 32 + seq as usize * 13 % 1000;
    for (batch, copies) in [(1, 2), (4, 3), (4, 9), (32, 5)] {
        let pool = subject.pool(1024, 2048);
        let mut link = Link::open(subject, &Config { copies, ..subject.config(batch) }, &pool);
        let mut first = 0;
        // One alone, some, and some that are the last ones of a batch with the next one's first copies.
        for count in [1, 2, 11] {
            let (seqs, free) = (first..first + count, link.near.free.len());
            seqs.clone().for_each(|seq| queue(&mut link.near, seq, len(seq)));
            // A call sends a batch at most, so that copies of the first one are still to be sent.
            let went = if batch < copies { link.near.tx().expect("a send on loopback") } else { 0 };
            assert!(went <= batch && link.near.free.len() == free - count as usize, "{went} of {copies} have gone");
            send_queued(&mut link.near, count as usize * copies - went);
            gather(&mut link.far, count as usize * copies);
            for seq in seqs.flat_map(|seq| std::iter::repeat_n(seq, copies)) {
                let packet = link.far.pop().expect("it was counted");
                check(seq, len(seq), packet.bytes());
                link.far.free.give(packet.into_frame());
            }
            nothing_arrives(&mut link.far);
            first += count;
        }
        // The rest of its copies does not keep a frame from coming home.
        queue(&mut link.near, first, len(first));
        link.near.tx().expect("a send on loopback");
        link.close();
    }
}

/// Datagrams without payload, alone, in a row, and between others.
pub(crate) fn empty_datagrams_are_datagrams(subject: Subject) {
    let pool = subject.pool(512, 256);
    let mut link = Link::open(subject, &subject.config(16), &pool);
    let len = |seq: u64| if seq.is_multiple_of(7) || seq % 5 == 3 { 0 } else { 64 };
    let empty = (0..70).filter(|&seq| len(seq) == 0).count() as u64;
    exchange(&mut link.near, &mut link.far, 0..70, 70, len);
    exchange(&mut link.far, &mut link.near, 0..35, 35, len);
    exchange(&mut link.far, &mut link.near, 35..70, 1, len);
    let counters = link.near.backend.counters();
    assert_eq!((counters.truncated, counters.io_errors), (0, 0));
    // Only a multishot receive is ended by them.
    let stays_armed = subject.variant().has_buffer_ring() && !subject.variant().is_one_at_a_time();
    let expected = if stays_armed { empty } else { 0 };
    assert_eq!(counters.rearms.empty_datagram, expected);
    link.close();
}

/// As in `echo`: datagrams go back in the frames in which they arrived.
pub(crate) fn echoed_frames_travel_both_ways(subject: Subject) {
    let pool = subject.pool(512, 2048);
    let mut link = Link::open(subject, &subject.config(8), &pool);
    let len = |seq: u64| 32 + seq as usize * 13 % 1500;
    for round in 0..10 {
        let seqs = round * 40..(round + 1) * 40;
        send_all(&mut link.far, seqs.clone(), len);
        gather(&mut link.near, 40);
        while let Some(packet) = link.near.pop() {
            link.near.queue.push(packet).expect("the TX ring has enough slots");
        }
        send_queued(&mut link.near, 40);
        receive_until(&mut link.far, seqs, len);
    }
    link.close();
}

/// `quiesce` loses and reorders nothing, wherever the datagrams are at that time.
pub(crate) fn datagrams_arrive_after_a_pause(subject: Subject) {
    let pool = subject.pool(512, 256);
    let mut link = Link::open(subject, &subject.config(4), &pool);
    let deadline = Deadline::new();
    let mut next = 0;
    for sent in (40..=200).step_by(40) {
        send_all(&mut link.far, sent - 40..sent, |_| 64);
        let near = &mut link.near;
        let mut received = near.rx().expect("a receive on loopback");
        received += near.backend.quiesce(&mut near.free, &mut near.rx).expect("a pause");
        while received < 40 {
            let moved = near.rx().expect("a receive on loopback");
            received += moved;
            deadline.check(moved, "receiving after a pause");
        }
        received += near.backend.quiesce(&mut near.free, &mut near.rx).expect("a pause");
        assert_eq!(received, 40, "all that arrives is counted once, by rx or by quiesce");
        while let Some(packet) = near.pop() {
            check(next, 64, packet.bytes());
            near.free.give(packet.into_frame());
            next += 1;
        }
        assert_eq!(next, sent);
        send_home(&mut link.near, &mut link.far);
    }
    link.close();
}

/// Datagrams of a generator arrive as they were written, even without segmentation by the kernel.
pub(crate) fn trains_arrive_as_datagrams(subject: Subject) {
    trains(subject, false);
}

pub(crate) fn trains_cut_by_the_kernel_arrive_as_datagrams(subject: Subject) {
    match probe_gso(LOCALHOST) {
        Ok(()) => trains(subject, true),
        Err(error) => skip("gso", &format_args!("this kernel has no GSO for UDP ({error})")),
    }
}

fn trains(subject: Subject, gso: bool) {
    const COUNT: u64 = 300;
    for len in [32, 1400] {
        let payload = if subject.has(Mode::GRO) { 65_536 } else { 2048 };
        let pool = subject.pool(512, payload);
        let (near, far) = subject.udp_pair(LOCALHOST);
        let window = room(&near, len).min(COUNT) as usize;
        let mut offer = Offer::new(far, len, gso).expect("it was probed");
        let mut lane = Lane::open(subject, &subject.config(32), Port::Socket(near), &pool, pool.frames());
        let mut first = 0;
        while first < COUNT {
            let mut seq = first;
            let count = window.min((COUNT - first) as usize);
            let sent = offer
                .send(count, |bytes| {
                    write(seq, bytes);
                    seq += 1;
                })
                .expect("a send on loopback");
            receive_until(&mut lane, first..first + sent as u64, |_| len);
            first += sent as u64;
        }
        nothing_arrives(&mut lane);
        assert!(lane.close().is_whole());
    }
}

/// Whether a train arrives whole at a socket that receives trains, tried with bare system calls.
fn keeps_trains() -> bool {
    static KEEPS: OnceLock<bool> = OnceLock::new();
    let is_there = |feature: &Feature| feature.name == "UDP_GRO" && feature.state == State::Yes;
    *KEEPS.get_or_init(|| features::try_all().iter().any(is_there))
}

/// A train whose last datagram is shorter arrives as it was sent: as one packet if trains are received, else as
/// datagrams. And it goes back, whole or cut, even if the backend's batch is shorter than the train.
pub(crate) fn trains_with_a_shorter_end_travel_both_ways(subject: Subject) {
    if let Err(error) = probe_gso(LOCALHOST) {
        return skip("gso", &format_args!("this kernel has no GSO for UDP ({error})"));
    }
    const TRAIN: u64 = 30;
    const COUNT: u64 = 2 * TRAIN;
    let len = |seq: u64| if seq % TRAIN == TRAIN - 1 { 17 } else { 100 };
    // Some kernels accept UDP_GRO, but still cut trains on loopback (seen: 5.10).
    let together = if subject.has(Mode::GRO) && keeps_trains() { TRAIN } else { 1 };
    for batch in [1, 7, 64] {
        let pool = subject.pool(512, 65_536);
        // The buffer ring runs dry, and is filled again.
        let config = Config { buffers: 1, ..subject.config(batch) };
        let mut link = Link::between(subject, &config, Subject::PLAIN_GSO, &pool, subject.ports());
        for round in 0..5 {
            let seqs = round * COUNT..(round + 1) * COUNT;
            send_all(&mut link.far, seqs.clone(), len);
            gather(&mut link.near, COUNT as usize);
            let mut next = seqs.start;
            while let Some(packet) = link.near.pop() {
                assert_eq!(packet.count() as u64, together);
                for datagram in packet.datagrams() {
                    check(next, len(next), datagram);
                    next += 1;
                }
                link.near.queue.push(packet).expect("the TX ring has enough slots");
            }
            assert_eq!(next, seqs.end);
            send_queued(&mut link.near, COUNT as usize);
            receive_until(&mut link.far, seqs, len);
        }
        link.close();
    }
}
