//! Distinguishable datagrams, how they are sent, and how they are checked.

use std::ops::Range;
use std::sync::LazyLock;

use hpbench_backends::{Packet, Socket};

use crate::suite::harness::{Deadline, Lane};

/// The most bytes in a datagram of these tests.
const LONGEST: usize = 65_536;
/// Datagrams start at this many different places of [`NOISE`]: a prime, so that no batch size divides it.
const STARTS: u64 = 4093;

/// Bytes without a pattern.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..LONGEST + STARTS as usize).map(|_| byte()).collect()
});

/// Writes datagram number `seq`: the number, then noise that depends on it.
pub(crate) fn write(seq: u64, bytes: &mut [u8]) {
    let start = (seq % STARTS) as usize;
    let len = bytes.len();
    bytes.copy_from_slice(&NOISE[start..][..len]);
    let head = len.min(8);
    bytes[..head].copy_from_slice(&seq.to_le_bytes()[..head]);
}

/// Datagram number `seq` with `len` bytes.
pub(crate) fn datagram(seq: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    write(seq, &mut bytes);
    bytes
}

/// Checks the length and every byte of a datagram that should be number `seq`.
pub(crate) fn check(seq: u64, len: usize, bytes: &[u8]) {
    let number = bytes.first_chunk().map(|&head| u64::from_le_bytes(head));
    assert_eq!(bytes.len(), len, "the length of datagram {seq}; this one says that it is {number:?}");
    assert!(bytes == datagram(seq, len), "datagram {seq} is another one or damaged; it says that it is {number:?}");
}

/// The number of any datagram, once its length and all its bytes have been checked.
pub(crate) fn number(len: usize, bytes: &[u8]) -> u64 {
    let head = bytes.first_chunk().expect("these datagrams have room for a number");
    let seq = u64::from_le_bytes(*head);
    check(seq, len, bytes);
    seq
}

/// How many datagrams of `len` bytes a socket's receive queue is sure to hold. The kernel accounts for
/// more than the payload: headers, and memory rounded up to a power of two.
pub(crate) fn room(socket: &Socket, len: usize) -> u64 {
    let rcvbuf = socket.meminfo().expect("Linux 4.12").rcvbuf;
    u64::from(rcvbuf / (2 * (len as u32 + 1024))).max(1)
}

/// Puts datagram number `seq` into the lane's TX ring.
pub(crate) fn queue(lane: &mut Lane<'_>, seq: u64, len: usize) {
    let mut frame = lane.free.take().expect("the pool has enough frames");
    let packet = match &lane.peer {
        Some(peer) => Packet::addressed(frame, len, peer, |bytes| write(seq, bytes)),
        None => {
            write(seq, &mut frame.bytes_mut()[..len]);
            Packet::datagram(frame, len)
        }
    };
    lane.queue.push(packet).expect("the TX ring has enough slots");
}

/// Queues the datagrams numbered `seqs` and sends them all. `tx` must count each of them once.
pub(crate) fn send_all(lane: &mut Lane<'_>, seqs: Range<u64>, len: impl Fn(u64) -> usize) {
    for seq in seqs.clone() {
        queue(lane, seq, len(seq));
    }
    send_queued(lane, (seqs.end - seqs.start) as usize);
}

/// Sends `count` datagrams, all that are queued.
pub(crate) fn send_queued(lane: &mut Lane<'_>, count: usize) {
    let deadline = Deadline::new();
    let mut sent = 0;
    while sent < count {
        let moved = lane.tx().expect("a send on loopback");
        sent += moved;
        deadline.check(moved, format_args!("sending {count} datagrams, {sent} sent, {:?}", lane.backend.counters()));
    }
    assert_eq!(sent, count, "tx counted more than was queued");
    assert_eq!(lane.tx().expect("nothing to send"), 0, "tx counted datagrams that were not queued");
}

/// Receives exactly the datagrams numbered `seqs`, in order and intact, and returns the most that one
/// call returned. `rx` must count each of them once.
pub(crate) fn receive_until(lane: &mut Lane<'_>, seqs: Range<u64>, len: impl Fn(u64) -> usize) -> usize {
    let deadline = Deadline::new();
    let mut largest = 0;
    let mut next = seqs.start;
    while next < seqs.end {
        let received = lane.rx().expect("a receive on loopback");
        largest = largest.max(received);
        let first = next;
        while next < first + received as u64 {
            let packet = lane.pop().expect("rx counted a datagram that is not in the ring");
            assert!(packet.is_single() || lane.most == usize::MAX, "a datagram is one datagram");
            for datagram in packet.datagrams() {
                check(next, len(next), datagram);
                next += 1;
            }
            lane.free.give(packet.into_frame());
        }
        assert_eq!(next, first + received as u64, "rx counted what is in the ring");
        deadline.check(received, format_args!("receiving {seqs:?}, {next} is next, {:?}", lane.backend.counters()));
    }
    assert_eq!(next, seqs.end, "more datagrams than were sent");
    nothing_arrives(lane);
    largest
}

/// Receives exactly `count` datagrams, and leaves them in the ring.
pub(crate) fn gather(lane: &mut Lane<'_>, count: usize) {
    let deadline = Deadline::new();
    let mut received = 0;
    while received < count {
        let moved = lane.rx().expect("a receive on loopback");
        received += moved;
        deadline.check(moved, format_args!("{received} of {count} received, {:?}", lane.backend.counters()));
    }
    assert_eq!(received, count, "more datagrams than were sent, or than there are frames");
}

/// Receives a few times, and gets nothing.
pub(crate) fn nothing_arrives(lane: &mut Lane<'_>) {
    for _ in 0..3 {
        assert_eq!(lane.rx().expect("a receive on loopback"), 0, "rx counted a datagram that was not sent");
        assert!(lane.pop().is_none(), "a datagram is in the ring that rx did not count");
    }
}

/// Sends `seqs` from one lane to the other, at most `window` in flight, and returns the most that
/// one call of `rx` returned.
pub(crate) fn exchange<'p>(
    from: &mut Lane<'p>,
    to: &mut Lane<'p>,
    seqs: Range<u64>,
    window: u64,
    len: impl Fn(u64) -> usize,
) -> usize {
    let mut largest = 0;
    let mut next = seqs.start;
    while next < seqs.end {
        let end = seqs.end.min(next + window);
        send_all(from, next..end, &len);
        largest = largest.max(receive_until(to, next..end, &len));
        send_home(to, from);
        next = end;
    }
    largest
}

/// In memory the frames go with the packets: sends them back.
pub(crate) fn send_home<'p>(to: &mut Lane<'p>, from: &mut Lane<'p>) {
    while to.free.len() > to.share {
        from.free.give(to.free.take().expect("more than its share"));
    }
}
