//! Frames: a backend works with few, uses all that it has, and returns all of them.

use hpbench_backends::{Config, Port};

use crate::suite::harness::{Lane, Link, Subject};
use crate::suite::traffic::{
    check, datagram, exchange, gather, nothing_arrives, queue, receive_until, send_all, send_home,
};

/// Without a free frame `rx` returns 0 and leaves the datagrams where they are.
pub(crate) fn without_free_frames_reception_pauses(subject: Subject) {
    let pool = subject.pool(512, 256);
    let mut link = Link::open(subject, &subject.config(16), &pool);
    let mut taken = Vec::new();
    while let Some(frame) = link.near.free.take() {
        taken.push(frame);
    }
    send_all(&mut link.far, 0..40, |_| 64);
    nothing_arrives(&mut link.near);
    taken.into_iter().for_each(|frame| link.near.free.give(frame));
    receive_until(&mut link.near, 0..40, |_| 64);
    send_home(&mut link.near, &mut link.far);
    link.close();
}

/// With fewer frames than a batch, `rx` receives what fits, and continues as frames return.
pub(crate) fn few_free_frames_bound_reception(subject: Subject) {
    const FRAMES: usize = 5;
    const COUNT: u64 = 43;
    let pool = subject.pool(FRAMES, 256);
    let (near, far) = subject.peer_pair();
    let mut near = Lane::open(subject, &subject.config(8), Port::Socket(near), &pool, pool.frames());
    for round in 0..3 {
        let (first, end) = (round * COUNT, (round + 1) * COUNT);
        for seq in first..end {
            far.send(&datagram(seq, 64)).expect("a send on loopback");
        }
        let mut next = first;
        while next < end {
            gather(&mut near, FRAMES.min((end - next) as usize));
            // All frames are in the ring now: nothing can be received, however often `rx` is called.
            for _ in 0..5 {
                assert_eq!(near.rx().expect("no frame is no error"), 0);
            }
            give_back(&mut near, &mut next, 64);
        }
        nothing_arrives(&mut near);
    }
    assert!(near.close().is_whole());
}

/// Takes all packets out of the ring, checks them, and gives their frames back.
fn give_back(lane: &mut Lane<'_>, next: &mut u64, len: usize) {
    while let Some(packet) = lane.pop() {
        check(*next, len, packet.bytes());
        lane.free.give(packet.into_frame());
        *next += 1;
    }
}

/// The smallest sizes of io_uring's buffer ring also work: a run of datagrams needs no more than one.
pub(crate) fn few_buffers_suffice(subject: Subject) {
    for buffers in [1, 2, 8] {
        let pool = subject.pool(512, 256);
        let config = Config { buffers, ..subject.config(16) };
        let mut link = Link::open(subject, &config, &pool);
        exchange(&mut link.far, &mut link.near, 0..200, 50, |_| 64);
        exchange(&mut link.near, &mut link.far, 0..200, 50, |_| 64);
        link.close();
    }
}

/// A backend can receive into the frames that it holds: with a frame left for each datagram,
/// each arrives, even when the free list is empty.
pub(crate) fn every_frame_is_of_use(subject: Subject) {
    const FRAMES: usize = 8;
    let pool = subject.pool(FRAMES, 256);
    let (near, far) = subject.peer_pair();
    let mut near = Lane::open(subject, &subject.config(FRAMES), Port::Socket(near), &pool, pool.frames());
    let mut next = 0;
    let mut sent = 0;
    for trickle in [1, 2, 1, 4, 3, 3, 2] {
        for _ in 0..trickle {
            far.send(&datagram(sent, 64)).expect("a send on loopback");
            sent += 1;
        }
        gather(&mut near, trickle);
        if sent - next == FRAMES as u64 {
            give_back(&mut near, &mut next, 64);
        }
    }
    give_back(&mut near, &mut next, 64);
    assert_eq!(next, sent);
    assert!(near.close().is_whole());
}

/// An empty datagram needs a frame like any other, and keeps its place while there is none.
pub(crate) fn empty_datagrams_wait_for_frames(subject: Subject) {
    let pool = subject.pool(3, 256);
    let (near, far) = subject.peer_pair();
    // Fewer buffers than empty datagrams, each of which must leave its buffer behind.
    let config = Config { buffers: 4, ..subject.config(8) };
    let mut near = Lane::open(subject, &config, Port::Socket(near), &pool, pool.frames());
    let len = |seq: u64| if seq.is_multiple_of(3) { 64 } else { 0 };
    for seq in 0..60 {
        far.send(&datagram(seq, len(seq))).expect("a send on loopback");
    }
    let mut next = 0;
    while next < 60 {
        // The frames stay in the ring for a while, so the backend runs out of them.
        gather(&mut near, 3);
        assert_eq!(near.rx().expect("no frame is no error"), 0);
        while let Some(packet) = near.pop() {
            check(next, len(next), packet.bytes());
            near.free.give(packet.into_frame());
            next += 1;
        }
    }
    assert!(near.close().is_whole());
}

/// Wherever the frames are (in the socket, with the kernel, in the rings), closing returns them.
pub(crate) fn frames_come_home_after_close(subject: Subject) {
    for (sent, calls) in [(0, 0), (0, 1), (50, 0), (50, 1), (50, 3), (50, 100)] {
        for batch in [1, 16, 64] {
            let pool = subject.pool(512, 256);
            let mut link = Link::open(subject, &subject.config(batch), &pool);
            send_all(&mut link.far, 0..sent, |_| 64);
            for seq in 0..sent {
                queue(&mut link.near, seq, 64);
            }
            for _ in 0..calls {
                link.near.rx().expect("a receive on loopback");
                link.near.tx().expect("a send on loopback");
            }
            link.close();
        }
    }
}
