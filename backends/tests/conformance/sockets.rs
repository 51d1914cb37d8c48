//! What only sockets have: datagrams that are too long, unrelated senders, system calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hpbench_backends::uring::modes;
use hpbench_backends::{Address, Packet, Port, Socket};

use crate::suite::harness::{Deadline, LOCALHOST, Lane, Link, PATIENCE, Subject, skip, stranger};
use crate::suite::traffic::{check, datagram, exchange, gather, receive_until, send_all, send_queued};

/// A datagram that is longer than its frame is delivered cut to the frame, and counted.
pub(crate) fn longer_datagrams_are_cut_and_counted(subject: Subject) {
    const FRAME: usize = 256;
    if subject.has(modes::FIXED) {
        return skip("truncation", &"a READ does not report that a datagram was longer");
    }
    if !subject.sees_cuts() {
        return skip("truncation", &"this library does not report that a datagram was longer");
    }
    let pool = subject.pool(256, FRAME);
    let room = pool.frame_size() - subject.payload_at();
    let lengths = [room, 64, room - 1, room + 1, room, 257, 256, 65_507, 32, 300, 0, 1400];
    let (near, far) = subject.peer_pair();
    let mut near = Lane::open(subject, &subject.config(16), Port::Socket(near), &pool, pool.frames());
    let mut next = 0;
    for _ in 0..4 {
        let first = next;
        for len in lengths {
            far.send(&datagram(next, len)).expect("a send on loopback");
            next += 1;
        }
        receive_until(&mut near, first..next, |seq| lengths[seq as usize % lengths.len()].min(room));
    }
    let cut = lengths.iter().filter(|&&len| len > room).count() as u64;
    assert_eq!(near.backend.counters().truncated, 4 * cut);
    assert!(near.close().is_whole());
}

/// A backend does not filter: it delivers the datagrams of everyone who can reach the socket.
pub(crate) fn strangers_are_delivered_to_an_unconnected_socket(subject: Subject) {
    let pool = subject.pool(256, 256);
    let near = Socket::bind(SocketAddr::new(LOCALHOST, 0)).expect("loopback has free ports");
    let address = near.local_addr().expect("it is bound");
    let mut near = Lane::open(subject, &subject.config(8), Port::Socket(Arc::new(near)), &pool, pool.frames());
    let senders = [stranger(), stranger(), stranger()];
    for round in 0..4 {
        let seqs = round * 30..(round + 1) * 30;
        for seq in seqs.clone() {
            let sender = &senders[seq as usize % senders.len()];
            sender.send_to(&datagram(seq, 64), address).expect("a send on loopback");
        }
        receive_until(&mut near, seqs, |_| 64);
    }
    assert_eq!(near.backend.counters().io_errors, 0);
    assert!(near.close().is_whole());
}

/// The kernel keeps unrelated senders from a connected socket, and a backend does nothing to undo that.
pub(crate) fn strangers_never_reach_a_connected_socket(subject: Subject) {
    if subject.is_unconnected() {
        return skip("connected", &"this variant is for sockets that are not connected");
    }
    let pool = subject.pool(256, 256);
    let (near, far) = subject.peer_pair();
    let address = near.local_addr().expect("it is bound");
    let mut near = Lane::open(subject, &subject.config(8), Port::Socket(near), &pool, pool.frames());
    for seq in 0..20 {
        // To an unrelated sender the port is closed; one of its later sends may say so.
        stranger().send_to(&datagram(1000 + seq, 64), address).expect("a first send on loopback");
        far.send(&datagram(seq, 64)).expect("a send on loopback");
    }
    receive_until(&mut near, 0..20, |_| 64);
    assert_eq!(near.backend.counters().io_errors, 0);
    assert!(near.close().is_whole());
}

/// The system calls of either direction are counted: not more than the datagrams and the vain calls
/// need, and not fewer than a batch each.
pub(crate) fn calls_are_counted(subject: Subject) {
    const COUNT: u64 = 200;
    if subject.is_runtime() {
        return skip("calls", &"a runtime does not report which system calls it makes");
    }
    for batch in [1, 16] {
        let pool = subject.pool(1024, 256);
        let mut link = Link::open(subject, &subject.config(batch), &pool);
        send_all(&mut link.near, 0..COUNT, |_| 64);
        let sent = link.near.backend.counters();
        // At most one call for each datagram; the last, in vain, has nothing to send and makes none. A kernel thread
        // is woken as often as it has fallen asleep, and called again for as long as it has no core to wake up on.
        let (fewest, most) = match subject.has_kernel_thread() {
            false => (COUNT.div_ceil(batch as u64), COUNT),
            true => (0, u64::MAX),
        };
        assert!((fewest..=most).contains(&sent.syscalls), "{COUNT} sent in batches of {batch}: {sent:?}");
        assert_eq!(sent.rx_syscalls, 0, "sending receives nothing");
        receive_until(&mut link.far, 0..COUNT, |_| 64);

        send_all(&mut link.far, 0..COUNT, |_| 64);
        receive_until(&mut link.near, 0..COUNT, |_| 64);
        let both = link.near.backend.counters();
        let calls = both.syscalls - sent.syscalls;
        let least = u64::from(!subject.has_kernel_thread());
        assert!((least..=COUNT).contains(&both.rx_syscalls), "{COUNT} received in batches of {batch}: {both:?}");
        assert!(calls >= both.rx_syscalls, "a call that returns something is a call: {both:?}");
        assert!(most > COUNT || calls <= 3 * COUNT, "far more calls than datagrams: {both:?}");
        link.close();
    }
}

/// After `quiesce` nothing leaves the socket's queue until `rx` is called again.
pub(crate) fn a_receiver_at_rest_leaves_the_queue_alone(subject: Subject) {
    let pool = subject.pool(512, 256);
    let (near, far) = subject.udp_pair(LOCALHOST);
    let socket = Arc::clone(&near);
    let held = || socket.meminfo().expect("Linux 4.12").rmem_alloc;
    let mut link = Link::join(subject, &subject.config(16), &pool, (Port::Socket(near), Port::Socket(far)));
    for round in 0..3 {
        let first = round * 100;
        exchange(&mut link.far, &mut link.near, first..first + 50, 50, |_| 64);
        let near = &mut link.near;
        assert_eq!(near.backend.quiesce(&mut near.free, &mut near.rx).expect("a pause"), 0);
        assert_eq!(held(), 0, "everything was received");
        send_all(&mut link.far, first + 50..first + 51, |_| 64);
        let deadline = Deadline::new();
        while held() == 0 {
            deadline.check(0, "the queue is empty: somebody took the datagram");
        }
        let one = held();
        send_all(&mut link.far, first + 51..first + 100, |_| 64);
        while held() < 50 * one {
            deadline.check(0, "not all fifty are in the queue: somebody took some");
        }
        thread::sleep(Duration::from_millis(2));
        assert_eq!(held(), 50 * one, "all fifty stay in the queue");
        receive_until(&mut link.near, first + 50..first + 100, |_| 64);
    }
    link.close();
}

/// Each datagram arrives with the address of its sender, and a reply in the same frame goes there.
pub(crate) fn answers_find_the_sender(subject: Subject) {
    if !subject.is_unconnected() {
        return skip("unconnected", &"the sockets of this variant are connected");
    }
    let pool = subject.pool(256, 256);
    let near = Socket::bind(SocketAddr::new(LOCALHOST, 0)).expect("loopback has free ports");
    let address = near.local_addr().expect("it is bound");
    let mut near = Lane::open(subject, &subject.config(8), Port::Socket(Arc::new(near)), &pool, pool.frames());
    let senders = [stranger(), stranger(), stranger()];
    for sender in &senders {
        sender.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    }
    for round in 0..4 {
        for seq in round * 30..(round + 1) * 30 {
            let sender = &senders[seq as usize % senders.len()];
            sender.send_to(&datagram(seq, 64), address).expect("a send on loopback");
        }
        gather(&mut near, 30);
        for seq in round * 30..(round + 1) * 30 {
            let packet = near.pop().expect("thirty have come");
            let sender = senders[seq as usize % senders.len()].local_addr().expect("it is bound");
            assert_eq!(packet.address(), Some(sender), "of datagram {seq}");
            check(seq, 64, packet.bytes());
            near.queue.push(packet).expect("the TX ring has enough slots");
        }
        send_queued(&mut near, 30);
        for seq in round * 30..(round + 1) * 30 {
            let mut bytes = [0; 256];
            let (len, from) =
                senders[seq as usize % senders.len()].recv_from(&mut bytes).expect("an answer within the time-out");
            check(seq, 64, &bytes[..len]);
            assert_eq!(from, address);
        }
    }
    // An address that the app chooses also works.
    let mut frame = near.free.take().expect("all frames are home");
    frame.bytes_mut().fill(0);
    let sender = senders[1].local_addr().expect("it is bound");
    let packet = Packet::addressed(frame, 64, &Address::new(sender), |bytes| crate::suite::traffic::write(7, bytes));
    assert_eq!(packet.address(), Some(sender));
    near.queue.push(packet).expect("the TX ring has enough slots");
    send_queued(&mut near, 1);
    let mut bytes = [0; 256];
    let len = senders[1].recv(&mut bytes).expect("it was sent there");
    check(7, 64, &bytes[..len]);
    assert!(near.close().is_whole());
}
