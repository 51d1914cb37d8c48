//! io_uring's system call is refused in the middle of a trial, by a seccomp filter or for lack of memory: the result is
//! an error or nothing, never a hang, and every frame is returned.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::uring::Uring;
use hpbench_backends::{
    Addressing, Backend, Choice, Config, FreeList, Kind, Packet, Pool, Port, RxRing, Socket, Variant, ring,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Errors that `io_uring_enter` may return, some transient, some not.
const ERRORS: [i32; 6] = [libc::EPERM, libc::ENOMEM, libc::ENXIO, libc::EBUSY, libc::EAGAIN, libc::EINTR];
/// Longer than any of it takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);
const BATCH: usize = 8;

/// Makes each `io_uring_enter` of the calling thread fail from now on.
fn refuse_enter(errno: i32) {
    let rules = BTreeMap::from([(libc::SYS_io_uring_enter, vec![])]);
    let architecture = std::env::consts::ARCH.try_into().expect("a known architecture");
    let action = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("a thread may filter its own calls");
}

/// Sends and receives a batch, continues while calls are refused, and closes. Returns how many frames are missing.
fn refused(variant: Variant, errno: i32) -> Result<usize, String> {
    let pool = Pool::new(512, Config::of(variant, BATCH).frame_size(64)).map_err(|error| error.to_string())?;
    let mut free = pool.frames();
    let [near, far] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports"));
    near.connect(far.local_addr().expect("it is bound")).expect("loopback");
    far.connect(near.local_addr().expect("it is bound")).expect("loopback");
    let near = Socket::from_fd(near.into());
    let config = Config { buffers: 64, ..Config::of(variant, BATCH) };
    let mut backend =
        Uring::open(&config, Port::Socket(Arc::new(near)), &pool).map_err(|error| format!("SKIPPED: {error}"))?;
    let (mut tx_in, mut tx_out) = ring(64);
    let (rx_in, mut rx_out) = ring(64);
    let mut rx = RxRing::new(rx_in);
    send(&far);
    let start = Instant::now();
    let mut received = 0;
    while received < BATCH && start.elapsed() < WITHIN {
        received += backend.rx(&mut free, &mut rx).map_err(|error| error.to_string())?;
    }
    refuse_enter(errno);
    for _ in 0..3 {
        send(&far);
        queue(&mut free, &mut tx_in);
        // An error or nothing: what counts is that both return.
        let _ = backend.tx(&mut tx_out, &mut free);
        let _ = backend.rx(&mut free, &mut rx);
    }
    let closed = backend.close(&mut free);
    for consumer in [&mut rx_out, &mut tx_out] {
        while let Some(packet) = consumer.pop() {
            free.give(packet.into_frame());
        }
    }
    let missing = free.total() - free.len();
    if missing > 0 && closed.is_ok() {
        return Err(format!("{missing} frames are missing, without an error"));
    }
    Ok(missing)
}

/// Puts a batch onto the ring, as far as there is room.
fn queue<'p>(free: &mut FreeList<'p>, tx: &mut hpbench_backends::Producer<Packet<'p>>) {
    for _ in 0..BATCH {
        let Some(mut frame) = free.take() else { return };
        frame.bytes_mut()[..64].fill(7);
        if let Err(packet) = tx.push(Packet::datagram(frame, 64)) {
            free.give(packet.into_frame());
        }
    }
}

/// A batch from the peer.
fn send(peer: &UdpSocket) {
    for _ in 0..BATCH {
        peer.send(&[1; 64]).expect("loopback takes a few datagrams");
    }
}

#[test]
fn refused_calls_neither_hang_nor_lose_frames() {
    let choices = Choice::alternatives(Kind::URING).into_iter();
    let variants = choices.map(|choice| choice.resolve(Addressing::Connected).expect("it goes together"));
    for variant in variants {
        for errno in ERRORS {
            let start = Instant::now();
            // A filter cannot be removed, so each case has a thread of its own.
            let outcome = std::thread::spawn(move || refused(variant, errno)).join().expect("no panic");
            assert!(start.elapsed() < WITHIN, "{variant}, error {errno}: {:?}", start.elapsed());
            match outcome {
                Ok(0) => {}
                Ok(missing) => panic!("{variant}, error {errno}: {missing} frames were not returned"),
                Err(reason) if reason.starts_with("SKIPPED") => eprintln!("{variant}: {reason}"),
                Err(reason) => panic!("{variant}, error {errno}: {reason}"),
            }
        }
    }
}
