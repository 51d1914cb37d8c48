//! quinn-udp on tokio: the sockets of the QUIC library quinn. It receives with `recvmmsg` and GRO; it sends one message per
//! system call, which is a train if the datagrams are one piece of memory.

use std::array;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit as Message, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::yield_now;

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Concerns, Declaration, Dimension, Kind, Mode};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::runtime::AsyncBackend;
use crate::runtimes::outcome;
use crate::runtimes::reactor::{Reactor, Tick, Transmit, poll_tick};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["quinn-udp", "tokio", "mio"],
    owns_many_sockets: false,
    ..Declaration::new("quinn-udp", "quinn-udp, the UDP sockets of quinn, on tokio", &[TRAINS])
};

/// The library turns it on for each of its sockets.
const TRAINS: Dimension =
    Dimension { name: "trains received", concerns: Concerns::Receiving, modes: &[Mode::GRO], off_by_default: false };

/// The `quinn-udp` backend.
#[derive(Debug)]
pub struct Quinn<'p> {
    // Dropped before the runtime with which they are registered.
    socket: UdpSocket,
    tick: Option<Tick>,
    reactor: Reactor,
    state: UdpSocketState,
    batch: usize,
    /// Where payloads begin in frames: behind the address of their sender, if they have one.
    payload_at: usize,
    /// Where to send to on a connected socket: the library always names an address.
    peer: Option<SocketAddr>,
    /// Frames that wait for the next receive.
    held: Vec<Frame<'p>>,
    metas: [RecvMeta; BATCH_SIZE],
    /// Bytes of the first packet on the TX ring that are already sent.
    begun: usize,
    /// How often each packet is sent, and how often that one has been sent.
    copies: usize,
    copied: usize,
    counters: Counters,
}

impl<'p> AsyncBackend<'p> for Quinn<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Reactor;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Reactor::new(config)?;
        backend::probe_segmentation(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        let (reactor, tick) = Reactor::new(config)?;
        let failed = |error| OpenError::Failed { call: "handing a socket over to quinn-udp", error };
        let original = sockets.only()?;
        let socket = reactor.enter(|| UdpSocket::from_std(original.duplicate()?)).map_err(failed)?;
        let is_connected = config.addressing == Addressing::Connected;
        Ok(Self {
            state: UdpSocketState::new(UdpSockRef::from(&socket)).map_err(failed)?,
            socket,
            tick,
            reactor,
            batch: config.batch,
            payload_at: if is_connected { 0 } else { PAYLOAD_AT },
            peer: is_connected.then(|| original.peer_addr().ok()).flatten(),
            held: Vec::with_capacity(config.batch.min(BATCH_SIZE)),
            metas: [RecvMeta::default(); BATCH_SIZE],
            begun: 0,
            copies: config.copies,
            copied: 0,
            counters: Counters::default(),
        })
    }

    fn runtime(&self) -> Reactor {
        self.reactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let came = self.receive(free, rx)?;
        if came.is_none() {
            yield_now().await;
        }
        Ok(came.unwrap_or(0))
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        poll_fn(|cx| {
            loop {
                match self.socket.poll_recv_ready(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => return poll_tick(self.tick.as_ref(), cx),
                }
                if let Some(came) = self.receive(free, rx)? {
                    return Poll::Ready(Ok(came));
                }
            }
        })
        .await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.transmit(tx, free).await
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.held.into_iter().for_each(|frame| free.give(frame));
        Ok(())
    }
}

/// Packet by packet.
impl<'p> Transmit<'p> for Quinn<'p> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        let (mut sent, mut result) = (0, Ok(()));
        while sent < self.batch {
            let Some(packet) = tx.peek(0) else { break };
            let Some(destination) = self.peer.or_else(|| packet.address()) else {
                result = Err(io::ErrorKind::NotConnected.into());
                break;
            };
            let (segment, most) = (packet.segment_len(), self.state.max_gso_segments());
            let rest = &packet.bytes()[self.begun..];
            let contents = &rest[..rest.len().min(segment * most)];
            let segment_size = (contents.len() > segment).then_some(segment);
            let message = Message { destination, ecn: None, contents, segment_size, src_ip: None };
            let (socket, state) = (&self.socket, &self.state);
            match socket.poll_send_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending if sent > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
            let went = socket.try_io(Interest::WRITABLE, || state.try_send(UdpSockRef::from(socket), &message));
            match went.map_err(outcome::judge) {
                Ok(()) => {}
                // tokio now knows that there is no room.
                Err((_, error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(refused) => {
                    result = self.counters.note_refused(self.socket.as_raw_fd(), refused);
                    break;
                }
            }
            sent += contents.len().div_ceil(segment.max(1)).max(1);
            self.begun += contents.len();
            if contents.len() == rest.len() {
                self.begun = 0;
                self.copied += 1;
                if self.copied == self.copies
                    && let Some(packet) = tx.pop()
                {
                    free.give(packet.into_frame());
                    self.copied = 0;
                }
            }
        }
        tx.release();
        Poll::Ready(result.map(|()| sent))
    }

    fn tick(&self) -> Option<&Tick> {
        self.tick.as_ref()
    }

    fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}

impl<'p> Quinn<'p> {
    /// Receives what is there, with one call. `None` if the socket is empty.
    fn receive(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<Option<usize>> {
        let Self { socket, state, held, metas, counters, payload_at, .. } = self;
        while held.len() < held.capacity().min(BATCH_SIZE) {
            let Some(frame) = free.take() else { break };
            held.push(frame);
        }
        if held.is_empty() {
            return Ok(Some(0));
        }
        let count = held.len();
        let mut frames = held.iter_mut();
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = array::from_fn(|_| {
            IoSliceMut::new(frames.next().map_or(&mut [], |frame| &mut frame.bytes_mut()[*payload_at..]))
        });
        let received = socket.try_io(Interest::READABLE, || {
            state.recv(UdpSockRef::from(&*socket), &mut slices[..count], &mut metas[..count])
        });
        let received = match received.map_err(outcome::judge) {
            Ok(received) => received,
            Err((Verdict::Again | Verdict::Interrupted, _)) => return Ok(None),
            Err((Verdict::Passing, _)) => {
                counters.note_passing(socket.as_raw_fd());
                return Ok(Some(0));
            }
            Err((Verdict::Fatal, error)) => return Err(error),
        };
        counters.rx_syscalls += 1;
        let mut datagrams = 0;
        for (mut frame, meta) in held.drain(..received).zip(metas) {
            if *payload_at > 0 {
                Address::new(meta.addr).write(&mut frame);
            }
            let packet = Packet::train(frame, *payload_at, meta.len, meta.stride);
            datagrams += packet.count();
            rx.deliver(packet, free);
        }
        rx.publish();
        Ok(Some(datagrams))
    }
}
