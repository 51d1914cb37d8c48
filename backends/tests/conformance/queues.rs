//! Full queues: nothing is lost uncounted, duplicated or reordered.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::thread;

use hpbench_backends::{Config, Port, Socket};

use crate::suite::harness::{Deadline, Lane, Link, Medium, PATIENCE, Subject, memory_ports, skip};
use crate::suite::traffic::{check, datagram, gather, nothing_arrives, number, queue, receive_until, send_all};

/// A full RX ring means counted drops: the datagrams are received, and their frames are returned.
pub(crate) fn a_full_rx_ring_is_a_counted_drop(subject: Subject) {
    const SLOTS: usize = 8;
    let pool = subject.pool(512, 256);
    let (near, far) = subject.ports();
    let mut free = pool.frames();
    let far_free = free.split_off(256);
    let config = subject.config(16);
    let mut near = Lane::with_rx_slots(SLOTS, subject, &config, near, &pool, free);
    let mut far = Lane::open(subject.far(), &subject.far().config(16), far, &pool, far_free);
    for round in 0..3 {
        let first = round * 50;
        send_all(&mut far, first..first + 20, |_| 64);
        gather(&mut near, 20);
        assert_eq!(near.rx.dropped(), 12 * (round + 1));
        for seq in first..first + SLOTS as u64 {
            let packet = near.pop().expect("the ring was full");
            check(seq, 64, packet.bytes());
            near.free.give(packet.into_frame());
        }
        nothing_arrives(&mut near);
        // With room in the ring, nothing is dropped.
        send_all(&mut far, first + 20..first + 28, |_| 64);
        receive_until(&mut near, first + 20..first + 28, |_| 64);
        assert_eq!(near.rx.dropped(), 12 * (round + 1));
    }
    Link { near, far }.close();
}

/// Datagrams that the kernel does not take stay queued, in order, and their frames are returned at the end.
pub(crate) fn a_full_send_queue_keeps_the_rest_in_order(subject: Subject) {
    if is_bound_to_udp(subject) {
        return;
    }
    if subject.sends_in_flight() {
        return skip("in-flight", &"a send of this runtime waits in the kernel, and goes before a call returns it");
    }
    const COUNT: u64 = 100;
    let pool = subject.pool(512, 256);
    let mut link = Link::join(subject, &subject.config(16), &pool, short_queue(subject));
    let len = |seq: u64| 32 + seq as usize;
    for seq in 0..COUNT {
        queue(&mut link.near, seq, len(seq));
    }
    let mut next = 0;
    while next < COUNT {
        let before = link.near.backend.counters().send_eagain;
        let sent = fill(&mut link.near);
        assert!(sent > 0, "there was room again");
        let put_off = link.near.backend.counters().send_eagain > before;
        assert!(put_off || next + sent == COUNT, "a full queue is counted");
        receive_until(&mut link.far, next..next + sent, len);
        next += sent;
    }
    assert_eq!(link.near.tx().expect("nothing to send"), 0);
    // Some in flight, some deferred, some not yet read: all are returned.
    for seq in 0..COUNT {
        queue(&mut link.near, seq, len(seq));
    }
    assert!(fill(&mut link.near) < COUNT);
    link.close();
}

/// Whether the subject cannot work on `AF_UNIX`, the only sockets whose queues can be full.
fn is_bound_to_udp(subject: Subject) -> bool {
    if subject.is_bound_to_udp() {
        skip("full-queue", &"only a socket of AF_UNIX has a full send queue here, and this variant needs UDP");
    }
    subject.is_bound_to_udp()
}

/// Ports with a queue of about ten datagrams.
fn short_queue<'p>(subject: Subject) -> (Port<'p>, Port<'p>) {
    match subject.medium {
        Medium::Memory => memory_ports(8),
        Medium::Sockets => {
            let (near, far) = UnixDatagram::pair().expect("two connected sockets");
            (unix_port(near), unix_port(far))
        }
    }
}

/// A socket that says EAGAIN after about ten datagrams, as UDP never does on loopback: `AF_UNIX` counts
/// them against the sender's buffer until they are read.
fn unix_port<'p>(socket: UnixDatagram) -> Port<'p> {
    let socket = Socket::from_fd(OwnedFd::from(socket));
    socket.set_buffers(4096, 4096).expect("small buffers");
    Port::Socket(Arc::new(socket))
}

/// Sends until the queue is full, and returns how many datagrams that was.
fn fill(lane: &mut Lane<'_>) -> u64 {
    let mut total = 0;
    for _ in 0..100 {
        match lane.tx().expect("a full queue is no error") {
            0 => return total,
            sent => total += sent as u64,
        }
    }
    panic!("the queue is never full");
}

/// With a full queue and nothing to send, nothing is deferred and nothing is counted.
pub(crate) fn a_send_of_nothing_is_nothing(subject: Subject) {
    if is_bound_to_udp(subject) {
        return;
    }
    let pool = subject.pool(512, 256);
    let (near, far) = short_queue(subject);
    let mut free = pool.frames();
    let far_free = free.split_off(256);
    let mut near = Lane::open(subject, &subject.config(16), near, &pool, free);
    // It makes room for one at a time.
    let mut far = Lane::open(subject.far(), &subject.far().config(1), far, &pool, far_free);
    for seq in 0..100 {
        queue(&mut near, seq, 64);
    }
    let mut sent = fill(&mut near);
    let deadline = Deadline::new();
    let mut read = 0;
    while sent < 100 {
        let moved = far.rx().expect("a receive of what was sent");
        read += moved as u64;
        sent += fill(&mut near);
        deadline.check(moved, "making room for one");
    }
    let full = near.backend.counters();
    for _ in 0..3 {
        assert_eq!(near.tx().expect("nothing to send"), 0);
    }
    assert_eq!(near.backend.counters(), full, "a send of nothing is not put off, and no call");
    assert!(read < sent, "the queue is not empty");
    Link { near, far }.close();
}

/// The peer makes room at any time, even between two datagrams of one batch: nothing is reordered.
pub(crate) fn a_queue_that_the_peer_empties_keeps_its_order(subject: Subject) {
    if is_bound_to_udp(subject) {
        return;
    }
    const COUNT: u64 = 3_000;
    let pool = subject.pool(512, 256);
    let (near, far) = UnixDatagram::pair().expect("two connected sockets");
    far.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut near = Lane::open(subject, &subject.config(16), unix_port(near), &pool, pool.frames());
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut bytes = [0; 256];
            let mut read = || {
                let len = far.recv(&mut bytes).expect("all datagrams within the time-out");
                number(64, &bytes[..len])
            };
            let mut found: Vec<u64> = (0..COUNT).map(|_| read()).collect();
            if subject.refused_are_overtaken() {
                found.sort_unstable();
            }
            let strays = (0..COUNT).zip(found).find(|(expected, found)| expected != found);
            assert_eq!(strays, None, "the first that is not where it should be");
        });
        let deadline = Deadline::new();
        let (mut queued, mut sent) = (0, 0);
        while sent < COUNT {
            while queued < COUNT && queued - sent < 64 {
                queue(&mut near, queued, 64);
                queued += 1;
            }
            let moved = near.tx().expect("a full queue is no error");
            sent += moved as u64;
            deadline.check(moved, "sending while the peer reads");
        }
        assert_eq!(sent, COUNT);
    });
    assert!(near.close().is_whole());
}

/// The kernel drops and counts what the queue cannot hold; the rest arrives in order.
pub(crate) fn an_overrun_queue_accounts_for_every_datagram(subject: Subject) {
    const COUNT: u64 = 500;
    const LEN: usize = 200;
    let pool = subject.pool(256, 256);
    let (socket, far) = subject.peer_pair();
    socket.set_buffers(16_384, 16_384).expect("small buffers");
    let config = Config { buffers: 32, ..subject.config(16) };
    let mut near = Lane::open(subject, &config, Port::Socket(Arc::clone(&socket)), &pool, pool.frames());
    let deadline = Deadline::new();
    let mut total = 0;
    for round in 1..=4 {
        for seq in (round - 1) * COUNT..round * COUNT {
            far.send(&datagram(seq, LEN)).expect("a send on loopback");
        }
        let mut last = None;
        let drops = || socket.meminfo().expect("Linux 4.12").drops;
        while total + drops() < round * COUNT {
            let moved = near.rx().expect("a receive on loopback");
            total += moved as u64;
            while let Some(packet) = near.pop() {
                let seq = number(LEN, packet.bytes());
                assert!(last < Some(seq), "datagram {seq} came after {last:?}");
                last = Some(seq);
                near.free.give(packet.into_frame());
            }
            deadline.check(moved, format_args!("{total} received and {} dropped of {}", drops(), round * COUNT));
        }
        assert_eq!(total + drops(), round * COUNT, "received or dropped: there is nothing else");
        assert!(total > 0 && drops() > 0, "the queue holds some of them, and not all");
        nothing_arrives(&mut near);
    }
    assert!(near.close().is_whole());
}
