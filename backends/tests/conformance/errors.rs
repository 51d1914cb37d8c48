//! Errors: transient ones are counted, others are returned, and none loses a frame.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hpbench_backends::{Address, Pool, Port, Socket};

use crate::suite::harness::{Deadline, LOCALHOST, Lane, Link, PATIENCE, Subject, quiet_address, skip};
use crate::suite::traffic::{check, datagram, exchange, nothing_arrives, number, queue, receive_until, send_all};

/// The backend under test, connected to an address where a peer may come and go.
fn lane_to<'p>(peer: SocketAddr, subject: Subject, pool: &'p Pool) -> (Lane<'p>, SocketAddr) {
    let near = Socket::bind(SocketAddr::new(LOCALHOST, 0)).expect("loopback has free ports");
    near.connect(peer).expect("an address on loopback");
    let address = near.local_addr().expect("it is bound");
    (Lane::open(subject, &subject.config(8), Port::Socket(Arc::new(near)), pool, pool.frames()), address)
}

/// The peer at an address that nobody else knows.
fn peer_at(address: SocketAddr, near: SocketAddr) -> UdpSocket {
    let peer = UdpSocket::bind(address).expect("a quiet address");
    peer.connect(near).expect("an address on loopback");
    peer.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    peer
}

/// Datagrams `first..first + 50` into the backend, and out of it.
fn traffic_flows(lane: &mut Lane<'_>, peer: &UdpSocket, first: u64) {
    for seq in first..first + 50 {
        peer.send(&datagram(seq, 64)).expect("the peer of the peer is there");
    }
    receive_until(lane, first..first + 50, |_| 64);
    send_all(lane, first..first + 50, |_| 64);
    assert_eq!(read(peer, 50), Vec::from_iter(first..first + 50));
}

/// Reads `count` datagrams at the peer, and returns their numbers.
fn read(peer: &UdpSocket, count: usize) -> Vec<u64> {
    let mut bytes = [0; 256];
    let mut read = || {
        let len = peer.recv(&mut bytes).expect("a datagram within the time-out");
        number(64, &bytes[..len])
    };
    (0..count).map(|_| read()).collect()
}

/// A peer that is gone causes ECONNREFUSED, which is counted in both directions, and is transient.
pub(crate) fn a_closed_peer_is_a_passing_error(subject: Subject) {
    if subject.is_unconnected() {
        return skip("connected", &"a socket that is not connected hears of no refusal");
    }
    let pool = subject.pool(256, 256);
    let address = quiet_address();
    let (mut near, near_address) = lane_to(address, subject, &pool);
    let mut peer = peer_at(address, near_address);
    traffic_flows(&mut near, &peer, 0);
    for round in 1..=3 {
        drop(peer);
        let before = near.backend.counters().io_errors;
        let deadline = Deadline::new();
        while near.backend.counters().io_errors == before {
            send_all(&mut near, 0..20, |_| 64);
            deadline.check(0, "meeting a refusal with a send");
        }
        nothing_arrives(&mut near);
        // The reply to one send is reported by the next call, and here that is a receive.
        let before = near.backend.counters().io_errors;
        send_all(&mut near, 20..21, |_| 64);
        while near.backend.counters().io_errors == before {
            assert_eq!(near.rx().expect("a refusal passes"), 0);
            deadline.check(0, "meeting a refusal with a receive");
        }
        peer = peer_at(address, near_address);
        traffic_flows(&mut near, &peer, 100 * round);
    }
    assert!(near.close().is_whole());
}

/// A refusal is about an earlier datagram; the send that reports it is repeated, once, and its datagram not overtaken.
pub(crate) fn a_refused_send_keeps_its_place(subject: Subject) {
    if subject.is_unconnected() {
        return skip("connected", &"a socket that is not connected hears of no refusal");
    }
    let pool = subject.pool(256, 256);
    let address = quiet_address();
    let (mut near, near_address) = lane_to(address, subject, &pool);
    for round in 0..5 {
        send_all(&mut near, 1000..1001, |_| 64);
        // Time for the reply, if the kernel defers it.
        thread::sleep(Duration::from_millis(2));
        let peer = peer_at(address, near_address);
        let (before, seqs) = (near.backend.counters().io_errors, round * 8..(round + 1) * 8);
        send_all(&mut near, seqs.clone(), |_| 64);
        assert!(near.backend.counters().io_errors > before, "the first send meets the refusal");
        let mut found = read(&peer, 8);
        if subject.refused_are_overtaken() {
            found.sort_unstable();
        }
        assert_eq!(found, Vec::from_iter(seqs));
    }
    assert!(near.close().is_whole());
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Makes SIGUSR1 interrupt system calls, and do nothing else.
fn catch_signals() {
    // SAFETY: an action of zeroes is valid: no flags (so no SA_RESTART) and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler only does an atomic addition, which is safe in a signal handler.
    let status = unsafe { libc::sigaction(libc::SIGUSR1, &action, ptr::null_mut()) };
    assert_eq!(status, 0, "SIGUSR1 can be caught");
}

/// A signal in the middle of a call loses and duplicates nothing.
pub(crate) fn signals_lose_nothing(subject: Subject) {
    catch_signals();
    let pool = subject.pool(512, 256);
    let mut link = Link::open(subject, &subject.config(16), &pool);
    let before = SIGNALS.load(Ordering::Relaxed);
    // SAFETY: only asks for the calling thread's own id.
    let this = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                // SAFETY: the thread waits for this one at the end of the scope, so it is there, and the
                // signal has a handler.
                let status = unsafe { libc::pthread_kill(this, libc::SIGUSR1) };
                assert_eq!(status, 0, "the thread is there");
                thread::sleep(Duration::from_micros(50));
            }
            done.store(true, Ordering::Relaxed);
        });
        let deadline = Deadline::new();
        let mut first = 0;
        while !done.load(Ordering::Relaxed) {
            exchange(&mut link.far, &mut link.near, first..first + 50, 50, |_| 64);
            exchange(&mut link.near, &mut link.far, first..first + 50, 50, |_| 64);
            first += 50;
            deadline.check(1, "traffic among signals");
        }
        assert!(first > 0, "some traffic went through");
    });
    assert!(SIGNALS.load(Ordering::Relaxed) > before, "some signals came");
    assert_eq!(link.near.backend.counters().io_errors, 0, "a signal is no error");
    link.close();
}

/// A failure that no later call can repair is an error, and no frame is lost.
pub(crate) fn a_send_that_cannot_be_made_is_an_error(subject: Subject) {
    let pool = subject.pool(160, 65_536);
    let (near, far) = subject.peer_pair();
    let peer = subject.is_unconnected().then(|| Address::new(far.local_addr().expect("it is bound")));
    let mut near = Lane::open(subject, &subject.config(8), Port::Socket(near), &pool, pool.frames());
    near.peer = peer;
    near.rx().expect("an empty queue");
    for (seq, len) in [(0, 64), (1, 64), (2, 65_530), (3, 64)] {
        queue(&mut near, seq, len);
    }
    let error = (0..4).find_map(|_| near.tx().err()).expect("no datagram is that long");
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    // It is still queued, and still too long.
    let error = (0..2).find_map(|_| near.tx().err()).expect("it has not become shorter");
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    assert!(near.close().is_whole());
}

/// As above for a receive: a stream socket that is not connected cannot receive.
pub(crate) fn a_receive_that_cannot_be_made_is_an_error(subject: Subject) {
    if subject.is_bound_to_udp() {
        return skip("stream", &"this variant needs UDP, whose receives do not fail");
    }
    let pool = subject.pool(160, 256);
    let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let port = Port::Socket(Arc::new(Socket::from_fd(OwnedFd::from(stream))));
    let mut near = Lane::open(subject, &subject.config(8), port, &pool, pool.frames());
    for _ in 0..2 {
        let deadline = Deadline::new();
        let tries = (0..3).chain(std::iter::repeat(0).take_while(|_| subject.has_kernel_thread()));
        let mut tries = tries.inspect(|_| deadline.check(0, "waiting for an error"));
        let error = tries.find_map(|_| near.rx().err()).expect("nothing can be received");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
    }
    assert!(near.pop().is_none());
    assert!(near.close().is_whole());
}

/// Frames are returned even if the backend closes before it could report an error.
pub(crate) fn an_error_in_waiting_keeps_no_frame(subject: Subject) {
    if subject.is_bound_to_udp() {
        return skip("stream", &"this variant needs UDP, whose receives do not fail");
    }
    let pool = subject.pool(160, 256);
    let (mut near, mut far) = UnixStream::pair().expect("two connected sockets");
    far.write_all(&datagram(0, 64)).expect("room in an empty queue");
    // A peer that goes away with something unread resets the connection.
    near.write_all(b"unread").expect("room in an empty queue");
    drop(far);
    let port = Port::Socket(Arc::new(Socket::from_fd(OwnedFd::from(near))));
    // One call for one datagram. Some backends learn of the error before it; others would with the next call.
    let mut near = Lane::open(subject, &subject.config(1), port, &pool, pool.frames());
    let deadline = Deadline::new();
    let mut outcome = near.rx();
    // A kernel thread may be late, and a runtime's reactor has not looked yet.
    while (subject.has_kernel_thread() || subject.is_runtime()) && matches!(outcome, Ok(0)) {
        deadline.check(0, "waiting for the datagram or the error");
        outcome = near.rx();
    }
    match outcome {
        Ok(received) => assert_eq!(received, 1),
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET)),
    }
    while let Some(packet) = near.pop() {
        check(0, 64, packet.bytes());
        near.free.give(packet.into_frame());
    }
    // An earlier error is not an error of the close, but may be reported.
    let _ = near.backend.close(&mut near.free);
    assert!(near.free.is_whole(), "{} of {} frames came home", near.free.len(), near.free.total());
}
