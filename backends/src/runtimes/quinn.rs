//! quinn-udp on tokio: the sockets of the QUIC library quinn. It receives with `recvmmsg` and GRO; it sends one message per
//! system call, which may be a train.
//!
//! The library takes a train as one piece of memory, as quinn writes its packets. hpbench's packets are in frames of their own, so with
//! `gso` they are copied together first, as a program does whose packets lie apart. A train that has come, and goes back, is in one
//! piece already.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit as Message, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Concerns, Declaration, Dimension, Kind, Mode};
use crate::frames::address::Address;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::kernel::socket::PAYLOAD_MAX;
use crate::outbox::Outbox;
use crate::ready::{End, Visit};
use crate::runtime::AsyncBackend;
use crate::runtimes::crowd::{MANY, MANY_RULE};
use crate::runtimes::outcome;
use crate::runtimes::tokio::calls::{Caller, Calls, adopt};
use crate::runtimes::tokio::reactor::{Reactor, Transmit};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["quinn-udp", "tokio", "mio"],
    rules: &[MANY_RULE],
    ..Declaration::new("quinn-udp", "quinn-udp, the UDP sockets of quinn, on tokio", &[Dimension::GSO, TRAINS, MANY])
};

/// The library turns it on for each of its sockets.
const TRAINS: Dimension =
    Dimension { name: "trains received", concerns: Concerns::Receiving, modes: &[Mode::GRO], off_by_default: false };

/// The `quinn-udp` backend.
#[derive(Debug)]
pub struct Quinn<'p>(Caller<'p, Library<'p>>);

impl<'p> AsyncBackend<'p> for Quinn<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Reactor;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Reactor::new(config)?;
        backend::probe_segmentation(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        const CALL: &str = "handing a socket over to quinn-udp";
        let sockets = port.non_blocking_sockets(config, pool)?;
        if !config.variant.finds_sockets() {
            sockets.only()?;
        }
        let (reactor, tick) = Reactor::new(config)?;
        let own = adopt(&sockets, &reactor, CALL)?;
        let states =
            own.iter().map(|socket| UdpSocketState::new(UdpSockRef::from(&**socket))).collect::<io::Result<_>>();
        let is_connected = config.addressing == Addressing::Connected;
        let library = Library {
            states: states.map_err(|error| OpenError::Failed { call: CALL, error })?,
            peers: sockets.iter().map(|socket| socket.peer_addr().ok().filter(|_| is_connected)).collect(),
            payload_at: outcome::payload_at(config),
            held: Vec::with_capacity(config.batch.min(BATCH_SIZE)),
            metas: [RecvMeta::default(); BATCH_SIZE],
            outbox: Outbox::new(config.batch, config.variant.has(Mode::GSO), config.copies),
            train: Vec::with_capacity(PAYLOAD_MAX),
        };
        Ok(Self(Caller::new(config, (reactor, tick), own, library)))
    }

    fn runtime(&self) -> Reactor {
        self.0.runtime()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.0.rx(free, rx).await
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.0.rx_wait(free, rx).await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.0.transmit(tx, free).await
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.0.close(free);
        Ok(())
    }
}

/// The calls of the library.
#[derive(Debug)]
struct Library<'p> {
    /// Of each socket.
    states: Box<[UdpSocketState]>,
    /// Where to send to on each connected socket: the library always names an address.
    peers: Box<[Option<SocketAddr>]>,
    payload_at: usize,
    /// Frames that wait for the next receive.
    held: Vec<Frame<'p>>,
    metas: [RecvMeta; BATCH_SIZE],
    outbox: Outbox,
    /// Where the packets of a train are copied together.
    train: Vec<u8>,
}

impl<'p> Calls<'p> for Library<'p> {
    fn receive(
        &mut self,
        (number, socket): (usize, &UdpSocket),
        most: usize,
        counters: &mut Counters,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> Visit {
        let Self { states, held, metas, payload_at, .. } = self;
        while held.len() < held.capacity().min(BATCH_SIZE) {
            let Some(frame) = free.take() else { break };
            held.push(frame);
        }
        let none = |end| Visit { messages: 0, datagrams: 0, end };
        let count = held.len().min(most);
        if count == 0 {
            return none(End::NoFrame);
        }
        let mut frames = held.iter_mut();
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = array::from_fn(|_| {
            IoSliceMut::new(frames.next().map_or(&mut [], |frame| &mut frame.bytes_mut()[*payload_at..]))
        });
        let received = states[number].recv(socket.into(), &mut slices[..count], &mut metas[..count]);
        let received = match received.map_err(outcome::judge) {
            Ok(received) => received,
            Err((Verdict::Again | Verdict::Interrupted, _)) => return none(End::Drained),
            Err((Verdict::Passing, _)) => {
                counters.note_passing(socket.as_raw_fd());
                return none(End::Passing);
            }
            Err((Verdict::Fatal, error)) => return none(End::Fatal(error)),
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
        Visit { messages: received, datagrams, end: if received == count { End::Full } else { End::Short } }
    }

    /// Message by message.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sockets: &[Rc<UdpSocket>],
        counters: &mut Counters,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        let Self { states, peers, outbox, train, .. } = self;
        let messages = outbox.fill(tx);
        let (mut went, mut result) = (0, Ok(()));
        while went < messages {
            let number = outbox.socket(went);
            let (socket, state) = (&*sockets[number], &states[number]);
            match socket.poll_send_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending if went > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
            // SAFETY: the packets are on the ring until `settle`.
            let (to, contents, segment_size) = unsafe { outbox.in_one_piece(went, train) };
            let Some(destination) = peers[number].or(to) else {
                result = Err(io::ErrorKind::NotConnected.into());
                break;
            };
            let message = Message { destination, ecn: None, contents, segment_size, src_ip: None };
            let sent = socket.try_io(Interest::WRITABLE, || state.try_send(socket.into(), &message));
            match sent.map_err(outcome::judge) {
                Ok(()) => went += 1,
                // tokio now knows that there is no room.
                Err((_, error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(refused) => {
                    result = counters.note_refused(socket.as_raw_fd(), refused);
                    break;
                }
            }
        }
        let datagrams = outbox.settle(went, tx, free);
        Poll::Ready(result.map(|()| datagrams))
    }

    fn close(self, free: &mut FreeList<'p>) {
        self.held.into_iter().for_each(|frame| free.give(frame));
    }
}
