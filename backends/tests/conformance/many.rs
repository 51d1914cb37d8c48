//! Several sockets in one backend: each datagram arrives on its own socket, and no socket waits for another.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hpbench_backends::{Choice, Config, Kind, OpenError, Pool, Port, Socket};

use crate::suite::harness::{Deadline, LOCALHOST, Lane, PATIENCE, Subject, skip, stranger};
use crate::suite::traffic::{datagram, nothing_arrives, number};

/// Bytes of these datagrams.
const LEN: usize = 64;
/// Numbers of each socket's datagrams begin at a multiple of this.
const STEP: u64 = 1_000_000;

/// Sockets of a backend under test, and one of `std` that sends to all of them.
struct Sockets {
    near: Vec<Arc<Socket>>,
    addresses: Vec<SocketAddr>,
    far: UdpSocket,
    /// How many datagrams were sent to each, and received by each.
    sent: Vec<u64>,
    received: Vec<u64>,
}

impl Sockets {
    fn open(subject: Subject, count: usize) -> Self {
        let far = stranger();
        far.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let near: Vec<_> = (0..count)
            .map(|_| {
                let near = Socket::bind(SocketAddr::new(LOCALHOST, 0)).expect("loopback has free ports");
                near.set_buffers(4 << 20, 4 << 20).expect("large buffers are granted up to the limit");
                if !subject.is_unconnected() {
                    near.connect(far.local_addr().expect("it is bound")).expect("a peer on loopback");
                }
                Arc::new(near)
            })
            .collect();
        let addresses = near.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
        Self { near, addresses, far, sent: vec![0; count], received: vec![0; count] }
    }

    /// Sends the next `count` datagrams of a socket.
    fn send(&mut self, socket: usize, count: u64) {
        for _ in 0..count {
            let seq = socket as u64 * STEP + self.sent[socket];
            self.far.send_to(&datagram(seq, LEN), self.addresses[socket]).expect("a send on loopback");
            self.sent[socket] += 1;
        }
    }

    /// Takes what has arrived: the next of its socket, in order. Returns the sockets.
    fn take(&mut self, lane: &mut Lane<'_>) -> Vec<usize> {
        let mut by = Vec::new();
        while let Some(packet) = lane.pop() {
            let socket = packet.socket();
            for bytes in packet.datagrams() {
                let expected = socket as u64 * STEP + self.received[socket];
                assert_eq!(number(LEN, bytes), expected, "the next datagram of socket {socket}");
                self.received[socket] += 1;
                by.push(socket);
            }
            lane.free.give(packet.into_frame());
        }
        by
    }

    /// Receives all that was sent. Returns the most sockets that one call has visited with success.
    fn receive_all(&mut self, lane: &mut Lane<'_>) -> usize {
        let deadline = Deadline::new();
        let mut most = 0;
        while self.received != self.sent {
            let came = lane.rx().expect("a receive on loopback");
            let by = self.take(lane);
            assert_eq!(by.len(), came, "rx counted what is in the ring");
            most = most.max(by.into_iter().collect::<HashSet<_>>().len());
            deadline.check(came, format_args!("{:?} of {:?}", self.received, self.sent));
        }
        nothing_arrives(lane);
        most
    }
}

impl Subject {
    /// A configuration for several sockets. If the variant is for one only, makes sure that it is refused.
    fn config_of_many(&self, batch: usize) -> Option<Config> {
        let choice = Choice::parse(self.kind, self.modes).expect("known modes");
        match choice.resolve_for(self.addressing, 2) {
            Ok(variant) => Some(Config { variant, ..self.config(batch) }),
            Err(told) => {
                let pool = self.pool(8, 256);
                let port = Port::Sockets(Sockets::open(*self, 2).near);
                let refused = (self.open)(&self.config(batch), port, &pool).err();
                assert!(matches!(refused, Some(OpenError::Impossible(_))), "{refused:?}");
                skip("many", &told);
                None
            }
        }
    }

    fn lane<'p>(&self, config: &Config, sockets: &Sockets, pool: &'p Pool) -> Lane<'p> {
        Lane::open(*self, config, Port::Sockets(sockets.near.clone()), pool, pool.frames())
    }
}

/// All datagrams of all sockets, on the right one and in order; the batch is the total of a call.
pub(crate) fn datagrams_arrive_on_their_socket_in_order(subject: Subject) {
    for (count, batch) in [(2, 1), (2, 32), (3, 7), (50, 1), (50, 32), (50, 300)] {
        let Some(config) = subject.config_of_many(batch) else { return };
        let pool = subject.pool(512, 256);
        let mut sockets = Sockets::open(subject, count);
        let mut lane = subject.lane(&config, &sockets, &pool);
        let mut most = 0;
        for round in 0..5 {
            for socket in 0..count {
                // Some have none, some have many.
                sockets.send(socket, (socket as u64 * 7 + round * 3) % 5);
            }
            sockets.send(round as usize % count, 40);
            most = most.max(sockets.receive_all(&mut lane));
        }
        assert!(batch == 1 || most > 1, "no batch of {batch} was of several sockets");
        assert_eq!(lane.backend.counters().io_errors, 0);
        assert!(lane.close().is_whole());
    }
}

/// A socket that always has datagrams does not keep those of others waiting.
pub(crate) fn no_socket_starves_while_another_floods(subject: Subject) {
    const BATCH: usize = 8;
    if subject.shares_its_reactor() {
        return skip("reactor", &"another thread may find out which sockets are ready, and have no core for a while");
    }
    let Some(config) = subject.config_of_many(BATCH) else { return };
    let pool = subject.pool(512, 256);
    let mut sockets = Sockets::open(subject, 12);
    let mut lane = subject.lane(&config, &sockets, &pool);
    for _ in 0..20 {
        sockets.send(5, 200);
        sockets.receive_all(&mut lane);
        // The flood comes first, and goes on.
        sockets.send(5, 600);
        (0..12).filter(|&socket| socket != 5).for_each(|socket| sockets.send(socket, 1));
        let others = |counts: &[u64]| counts.iter().sum::<u64>() - counts[5];
        let deadline = Deadline::new();
        let mut calls = 0;
        while others(&sockets.received) < others(&sockets.sent) {
            sockets.send(5, BATCH as u64);
            let came = lane.rx().expect("a receive on loopback");
            sockets.take(&mut lane);
            calls += usize::from(came > 0);
            deadline.check(came, "receiving beside a flood");
        }
        // A thread of the kernel that finds sockets needs a core for it, and on a busy machine has none for a while.
        let few = subject.has_kernel_thread() || calls < 600 / BATCH;
        assert!(few, "the others waited for {calls} calls, which empty the flooded socket");
        sockets.receive_all(&mut lane);
    }
    assert!(lane.close().is_whole());
}

/// More sockets than buffers or frames, all of them with datagrams: nothing is lost, and nobody waits for ever.
pub(crate) fn more_sockets_than_buffers_suffice(subject: Subject) {
    for (buffers, frames) in [(1, 20), (4, 9), (16, 512)] {
        let Some(config) = subject.config_of_many(8) else { return };
        let pool = subject.pool(frames, 256);
        let mut sockets = Sockets::open(subject, 60);
        let mut lane = subject.lane(&Config { buffers, ..config }, &sockets, &pool);
        for round in 0..4 {
            (0..60).for_each(|socket| sockets.send(socket, 1 + (socket as u64 + round) % 3));
            sockets.receive_all(&mut lane);
        }
        assert!(lane.close().is_whole());
    }
}

/// With requests armed on every socket, datagrams in the queues and in the ring, all frames come home.
pub(crate) fn frames_of_many_sockets_come_home(subject: Subject) {
    let Some(config) = subject.config_of_many(8) else { return };
    for unread in [0, 1, 5] {
        let pool = subject.pool(256, 256);
        let mut sockets = Sockets::open(subject, 100);
        let mut lane = subject.lane(&config, &sockets, &pool);
        sockets.send(3, 1);
        sockets.receive_all(&mut lane);
        (0..100).for_each(|socket| sockets.send(socket, unread));
        for _ in 0..3 {
            lane.rx().expect("a receive on loopback");
        }
        assert!(lane.close().is_whole());
        drop(sockets);
    }
}

/// What `quiesce` finds is delivered like everything else, and reception goes on after it.
pub(crate) fn many_sockets_go_on_after_a_pause(subject: Subject) {
    let Some(config) = subject.config_of_many(4) else { return };
    let pool = subject.pool(512, 256);
    let mut sockets = Sockets::open(subject, 20);
    let mut lane = subject.lane(&config, &sockets, &pool);
    for _ in 0..5 {
        (0..20).for_each(|socket| sockets.send(socket, 2));
        lane.rx().expect("a receive on loopback");
        lane.backend.quiesce(&mut lane.free, &mut lane.rx).expect("a pause");
        sockets.take(&mut lane);
        sockets.receive_all(&mut lane);
        lane.backend.quiesce(&mut lane.free, &mut lane.rx).expect("a pause");
    }
    assert!(lane.close().is_whole());
}

/// An answer goes out of the socket that its request came by, in the same frame.
pub(crate) fn answers_go_out_of_their_socket(subject: Subject) {
    for batch in [1, 16] {
        let Some(config) = subject.config_of_many(batch) else { return };
        let pool = subject.pool(512, 256);
        let mut sockets = Sockets::open(subject, 10);
        let mut lane = subject.lane(&config, &sockets, &pool);
        for _ in 0..5 {
            for socket in [0, 1, 1, 2, 9, 5, 5, 5, 0] {
                sockets.send(socket, 1);
            }
            let deadline = Deadline::new();
            let mut received = 0;
            while received < 9 {
                let came = lane.rx().expect("a receive on loopback");
                received += came;
                deadline.check(came, "receiving requests");
            }
            while let Some(packet) = lane.pop() {
                lane.queue.push(packet).expect("the TX ring has enough slots");
            }
            let mut sent = 0;
            while sent < 9 {
                let went = lane.tx().expect("a send on loopback");
                sent += went;
                deadline.check(went, "sending answers");
            }
            for _ in 0..9 {
                let mut bytes = [0; 256];
                let (len, from) = sockets.far.recv_from(&mut bytes).expect("an answer");
                let seq = number(LEN, &bytes[..len]);
                let socket = (seq / STEP) as usize;
                assert_eq!(from, sockets.addresses[socket], "datagram {seq} came back from another socket");
                sockets.received[socket] += 1;
            }
            assert_eq!(sockets.received, sockets.sent);
        }
        assert!(lane.close().is_whole());
    }
}

/// The error of one socket, whose peer is gone, is counted, and stops no other socket.
pub(crate) fn an_error_of_one_socket_stops_no_other(subject: Subject) {
    if subject.is_unconnected() {
        return skip("connected", &"no error comes back to a socket that is not connected");
    }
    let Some(config) = subject.config_of_many(8) else { return };
    let pool = subject.pool(512, 256);
    let mut sockets = Sockets::open(subject, 10);
    let gone = stranger().local_addr().expect("it is bound");
    sockets.near[4].connect(gone).expect("a peer that was there");
    let mut lane = subject.lane(&config, &sockets, &pool);
    let mut frames = 0;
    for _ in 0..3 {
        // The answer to it is an ICMP message.
        let frame = lane.free.take().expect("enough frames");
        lane.queue.push(hpbench_backends::Packet::datagram(frame, LEN).of_socket(4)).expect("a slot");
        frames += 1;
        let deadline = Deadline::new();
        let mut sent = 0;
        while sent < 1 {
            // The error of the send before may be met here.
            let went = lane.tx().expect("a passing error is none");
            sent += went;
            deadline.check(went, "sending to nobody");
        }
        for socket in (0..10).filter(|&socket| socket != 4) {
            sockets.send(socket, 3);
        }
        sockets.receive_all(&mut lane);
    }
    let deadline = Deadline::new();
    while lane.backend.counters().io_errors == 0 {
        assert_eq!(lane.rx().expect("a passing error is none"), 0);
        deadline.check(0, format_args!("an error of {frames} sends: {:?}", lane.backend.counters()));
    }
    assert!(lane.close().is_whole());
}

/// Empty datagrams keep their place and their socket. They end multishot receives, each its own.
pub(crate) fn empty_datagrams_know_their_socket(subject: Subject) {
    let Some(config) = subject.config_of_many(8) else { return };
    let pool = subject.pool(512, 256);
    let sockets = Sockets::open(subject, 5);
    let mut lane = subject.lane(&config, &sockets, &pool);
    let mut found = vec![Vec::new(); 5];
    for round in 0..4_usize {
        for (socket, address) in sockets.addresses.iter().enumerate() {
            for len in [0, socket, 0, 9] {
                sockets.far.send_to(&vec![1; len], address).expect("a send on loopback");
            }
        }
        let deadline = Deadline::new();
        while found.iter().map(Vec::len).sum::<usize>() < (round + 1) * 20 {
            let came = lane.rx().expect("a receive on loopback");
            while let Some(packet) = lane.pop() {
                found[packet.socket()].push(packet.len());
                lane.free.give(packet.into_frame());
            }
            deadline.check(came, format_args!("{found:?}"));
        }
    }
    for (socket, lengths) in found.iter().enumerate() {
        assert_eq!(*lengths, [0, socket, 0, 9].repeat(4), "socket {socket}");
    }
    assert!(lane.close().is_whole());
}

/// With fewer frames than empty datagrams, each is received or counted as dropped, and no frame goes astray.
pub(crate) fn empty_datagrams_of_many_sockets_are_accounted_for(subject: Subject) {
    let Some(config) = subject.config_of_many(8) else { return };
    let pool = subject.pool(3, 256);
    let sockets = Sockets::open(subject, 12);
    let mut lane = subject.lane(&Config { buffers: 4, ..config }, &sockets, &pool);
    for round in 0..10_usize {
        for (socket, address) in sockets.addresses.iter().enumerate() {
            let len = if (socket + round).is_multiple_of(3) { 64 } else { 0 };
            sockets.far.send_to(&vec![socket as u8; len], address).expect("a send on loopback");
        }
    }
    let (deadline, mut received) = (Deadline::new(), 0);
    while received + lane.rx.dropped() < 120 {
        // The frames stay in the ring for a call, so that the backend runs out of them.
        let mut came = lane.rx().expect("a receive on loopback");
        came += lane.rx().expect("no frame is no error");
        while let Some(packet) = lane.pop() {
            assert!(packet.bytes().iter().all(|&byte| usize::from(byte) == packet.socket()), "{packet:?}");
            received += packet.count() as u64;
            lane.free.give(packet.into_frame());
        }
        deadline.check(came, format_args!("{received} received, {} dropped", lane.rx.dropped()));
    }
    assert!(subject.kind == Kind::URING || lane.rx.dropped() == 0, "{} dropped", lane.rx.dropped());
    assert!(lane.close().is_whole());
}

/// A wait ends with a datagram of any socket, and brings what came.
pub(crate) fn a_wait_ends_with_a_datagram_of_any_socket(subject: Subject) {
    if subject.never_waits() {
        return;
    }
    let Some(config) = subject.config_of_many(8) else { return };
    let pool = subject.pool(512, 256);
    let mut sockets = Sockets::open(subject, 70);
    let config = Config { block: Some(Duration::from_secs(20)), ..config };
    let mut lane = subject.lane(&config, &sockets, &pool);
    let deadline = Deadline::new();
    for socket in [69, 0, 33, 1, 69] {
        let seq = socket as u64 * STEP + sockets.sent[socket];
        sockets.sent[socket] += 1;
        let (far, address) = (sockets.far.try_clone().expect("a descriptor"), sockets.addresses[socket]);
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            far.send_to(&datagram(seq, LEN), address).expect("a send on loopback");
        });
        while sockets.received[socket] < sockets.sent[socket] {
            let came = lane.rx_wait().expect("a wait on loopback");
            assert_eq!(sockets.take(&mut lane).len(), came);
            deadline.check(came, "waiting for a datagram");
        }
        sender.join().expect("it has sent");
    }
    assert!(lane.close().is_whole());
}

/// Room for one datagram is there for whichever socket has one: a socket that has none keeps no other waiting.
pub(crate) fn an_empty_socket_keeps_no_other_waiting(subject: Subject) {
    const COUNT: usize = 6;
    if subject.never_waits() {
        return;
    }
    let Some(config) = subject.config_of_many(1) else { return };
    let pool = subject.pool(512, 256);
    let mut sockets = Sockets::open(subject, COUNT);
    let config = Config { block: Some(Duration::from_secs(20)), ..config };
    let mut lane = subject.lane(&config, &sockets, &pool);
    let deadline = Deadline::new();
    let mut receive_all = |sockets: &mut Sockets| {
        while sockets.received != sockets.sent {
            let came = lane.rx_wait().expect("a wait on loopback");
            assert_eq!(sockets.take(&mut lane).len(), came);
            deadline.check(came, "waiting for a datagram");
        }
    };
    for last in (0..COUNT).rev() {
        (0..COUNT).for_each(|socket| sockets.send(socket, 1));
        receive_all(&mut sockets);
        sockets.send(last, 1);
        receive_all(&mut sockets);
    }
    assert!(lane.close().is_whole());
}
