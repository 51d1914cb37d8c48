//! Opening and closing: a refusal leaves nothing behind, and neither does a closed backend.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hpbench_backends::{Config, Counters, OpenError, Port, Socket};

use crate::suite::harness::{Deadline, LOCALHOST, Lane, Link, Medium, Subject, memory_ports, quiet_address};
use crate::suite::traffic::{datagram, exchange};

/// Descriptors that this process has open (including the one that reads them).
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

pub(crate) fn the_wrong_port_is_refused(subject: Subject) {
    let pool = subject.pool(4, 256);
    let free = pool.frames();
    let port = match subject.medium {
        Medium::Memory => Port::Socket(subject.udp_pair(LOCALHOST).0),
        Medium::Sockets => memory_ports(8).0,
    };
    match (subject.open)(&subject.config(8), port, &pool) {
        Err(OpenError::WrongPort(kind)) => assert_eq!(kind, subject.kind),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it opened"),
    }
    assert!(free.is_whole());
}

/// A backend that was opened, and then only called in vain, has nothing to report.
pub(crate) fn what_did_not_happen_is_not_counted(subject: Subject) {
    let pool = subject.pool(256, 256);
    let mut link = Link::open(subject, &subject.config(8), &pool);
    assert_eq!(link.near.backend.counters(), Counters::default(), "only opened");
    for _ in 0..10 {
        assert_eq!(link.near.rx().expect("an empty queue"), 0);
        assert_eq!(link.near.tx().expect("nothing to send"), 0);
    }
    let vain = link.near.backend.counters();
    assert!(vain.syscalls <= 10, "one call at most for each receive, none for a send of nothing: {vain:?}");
    assert_eq!(Counters { syscalls: 0, ..vain }, Counters::default(), "only asked in vain");
    link.close();
}

/// Impossible sizes are refused, possible ones are not, and neither leaves anything behind.
pub(crate) fn refused_sizes_leave_nothing_behind(subject: Subject) {
    let pool = subject.pool(4, 256);
    let free = pool.frames();
    let address = quiet_address();
    let before = descriptors();
    let sizes = [0, 3, 48, 65_535, 65_536, usize::MAX, 1, 2, 8, 16, 32, 512, 32_768];
    for buffers in sizes {
        let socket = Socket::bind(address).expect("the port is free again");
        let config = Config { buffers, ..subject.config(8) };
        let opened = (subject.open)(&config, Port::Socket(Arc::new(socket)), &pool);
        let possible = buffers.is_power_of_two() && buffers <= 32_768;
        match opened {
            // Only io_uring has a buffer ring; the others need not look at its size.
            Ok(backend) => {
                assert!(possible || !subject.variant().has_buffer_ring(), "{buffers} buffers are refused");
                drop(backend);
            }
            Err(error) => assert!(!possible, "{buffers} buffers: {error}"),
        }
        assert_eq!(descriptors(), before, "with {buffers} buffers");
    }
    assert!(free.is_whole());
}

/// Closing gives the port back before it returns.
pub(crate) fn a_closed_port_is_free_at_once(subject: Subject) {
    let address = quiet_address();
    for round in 0..20 {
        let pool = subject.pool(256, 256);
        let near = Socket::bind(address).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let far = UdpSocket::bind((LOCALHOST, 0)).expect("loopback has free ports");
        if !subject.is_unconnected() {
            near.connect(far.local_addr().expect("it is bound")).expect("a peer on loopback");
        }
        let mut near = Lane::open(subject, &subject.config(8), Port::Socket(Arc::new(near)), &pool, pool.frames());
        // Not used at all, with a receive in flight, or with datagrams that nobody has fetched.
        if round % 3 > 0 {
            near.rx().expect("an empty queue");
        }
        if round % 3 > 1 {
            for seq in 0..20 {
                far.send_to(&datagram(seq, 64), address).expect("a send on loopback");
            }
            near.rx().expect("a receive on loopback");
        }
        assert!(near.close().is_whole());
    }
}

/// Opening and closing many times leaks neither descriptors nor frames.
pub(crate) fn opening_and_closing_leaks_nothing(subject: Subject) {
    let before = descriptors();
    for round in 0..50 {
        let pool = subject.pool(256, 256);
        let mut link = Link::open(subject, &subject.config(8), &pool);
        exchange(&mut link.far, &mut link.near, 0..20, 20, |_| 64);
        exchange(&mut link.near, &mut link.far, 0..20, 20, |_| 64);
        link.close();
        drop((subject.probe)(&subject.config(8)).expect("it was probed"));
        assert_eq!(descriptors(), before, "after {} lives", round + 1);
    }
}

/// Frames are returned even if datagrams keep arriving while the backend closes.
pub(crate) fn closing_under_fire_brings_all_frames_home(subject: Subject) {
    let done = AtomicBool::new(false);
    let (socket, far) = subject.peer_pair();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (bytes, deadline) = (datagram(0, 64), Deadline::new());
            while !done.load(Ordering::Relaxed) {
                // A full queue drops; that is not an error of the sender.
                far.send(&bytes).expect("the socket stays open");
                deadline.check(1, "the end of the fire");
            }
        });
        for calls in [0, 1, 2, 5, 10, 20, 40] {
            let pool = subject.pool(256, 256);
            let port = Port::Socket(Arc::clone(&socket));
            let mut near = Lane::open(subject, &subject.config(8), port, &pool, pool.frames());
            for _ in 0..calls {
                near.rx().expect("a receive on loopback");
                while let Some(packet) = near.pop() {
                    near.free.give(packet.into_frame());
                }
            }
            assert!(near.close().is_whole(), "after {calls} calls");
        }
        done.store(true, Ordering::Relaxed);
    });
}
