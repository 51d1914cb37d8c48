//! tokio: its `UdpSocket`, one datagram per call; or its readiness alone, with `recvmmsg` and `sendmmsg`.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::yield_now;

use crate::backend::{self, Caps, Config, Counters, OpenError, Port, Sockets};
use crate::batches::Batches;
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::ready::{End, Visit};
use crate::runtime::AsyncBackend;
use crate::runtimes::reactor::{self, Reactor, Tick};
use crate::sending::Sending;
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["tokio", "mio"],
    owns_many_sockets: false,
    ..Declaration::new("tokio", "the runtime tokio, current-thread, on epoll", &[CALLS])
};

const CALLS: Dimension = Dimension::both("calls", &[SINGLE, MMSG]);

const SINGLE: Mode = Mode::new("single", "recv_from and send_to of tokio's UdpSocket: one datagram per system call");

const MMSG: Mode = Mode::new("mmsg", "recvmmsg and sendmmsg in try_io, when tokio says that the socket is ready");

/// The `tokio` backend.
#[derive(Debug)]
pub struct Tokio<'p> {
    // Dropped before the runtime with which they are registered.
    socket: UdpSocket,
    tick: Option<Tick>,
    reactor: Reactor,
    batch: usize,
    /// Where payloads begin in frames: behind the address of their sender, if they have one.
    payload_at: usize,
    /// With `mmsg`: what makes the calls.
    calls: Option<Calls<'p>>,
    counters: Counters,
    pool: PhantomData<&'p Pool>,
}

/// System calls for batches.
#[derive(Debug)]
struct Calls<'p> {
    sockets: Sockets,
    batches: Batches<'p>,
    sending: Sending,
}

impl<'p> AsyncBackend<'p> for Tokio<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Reactor;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Reactor::new(config)?;
        backend::throwaway_socket()?;
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        let (reactor, tick) = Reactor::new(config)?;
        let failed = |error| OpenError::Failed { call: "handing a socket over to tokio", error };
        let own = sockets.only()?.duplicate().map_err(failed)?;
        let socket = reactor.enter(|| UdpSocket::from_std(own)).map_err(failed)?;
        let calls = config.variant.has(MMSG).then(|| Calls {
            sockets,
            batches: Batches::new(config),
            sending: Sending::new(config, 1),
        });
        Ok(Self {
            socket,
            tick,
            reactor,
            batch: config.batch,
            payload_at: if config.addressing == Addressing::Unconnected { PAYLOAD_AT } else { 0 },
            calls,
            counters: Counters::default(),
            pool: PhantomData,
        })
    }

    fn runtime(&self) -> Reactor {
        self.reactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let came = match self.calls {
            None => self.receive_each(false, free, rx).await,
            Some(_) => self.receive_batch(false, free, rx).await,
        }?;
        if came == 0 {
            // Only its reactor can find out that a socket is ready again.
            yield_now().await;
        }
        Ok(came)
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match self.calls {
            None => self.receive_each(true, free, rx).await,
            Some(_) => self.receive_batch(true, free, rx).await,
        }
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if tx.available() == 0 {
            return Ok(0);
        }
        match self.calls {
            None => self.send_each(tx, free).await,
            Some(_) => self.send_batch(tx, free).await,
        }
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        if let Some(calls) = self.calls {
            calls.batches.empty(free);
        }
        Ok(())
    }
}

impl<'p> Tokio<'p> {
    /// Awaits the first datagram, if it `waits`; takes the others of a batch as long as some are there.
    async fn receive_each(&mut self, waits: bool, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (socket, at) = (&self.socket, self.payload_at);
        let mut tick = self.tick.as_ref().filter(|_| waits);
        let (mut came, mut result) = (0, Ok(()));
        while came < self.batch {
            let Some(mut frame) = free.take() else { break };
            let bytes = &mut frame.bytes_mut()[at..];
            let outcome = match (tick, at) {
                (Some(tick), 0) => tick.limit(socket.recv(bytes)).await.map(|outcome| outcome.map(|len| (len, None))),
                (Some(tick), _) => tick.limit(socket.recv_from(bytes)).await.map(with_address),
                (None, 0) => Some(socket.try_recv(bytes).map(|len| (len, None))),
                (None, _) => Some(with_address(socket.try_recv_from(bytes))),
            };
            match outcome {
                Some(Ok((len, address))) => {
                    if let Some(address) = address {
                        Address::new(address).write(&mut frame);
                    }
                    rx.deliver_behind(at, frame, len, &mut self.counters.truncated, free);
                    self.counters.rx_syscalls += 1;
                    came += 1;
                    tick = None;
                }
                Some(Err(error)) => {
                    free.give(frame);
                    match reactor::judge(error) {
                        (Verdict::Fatal, error) => result = Err(error),
                        (Verdict::Passing, _) => self.counters.note_passing(socket.as_raw_fd()),
                        (Verdict::Again | Verdict::Interrupted, _) => {}
                    }
                    break;
                }
                None => {
                    free.give(frame);
                    break;
                }
            }
        }
        rx.publish();
        result.map(|()| came)
    }

    /// Awaits readiness, if it `waits`; then `recvmmsg`.
    async fn receive_batch(&mut self, waits: bool, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { socket, tick, calls, counters, .. } = self;
        let (Some(calls), tick) = (calls, tick.as_ref().filter(|_| waits)) else { return Ok(0) };
        let asked = (calls.sockets.raw(0), usize::MAX, libc::MSG_DONTWAIT);
        loop {
            if let Some(tick) = tick
                && tick.limit(socket.readable()).await.transpose()?.is_none()
            {
                return Ok(0);
            }
            let visited =
                socket.try_io(Interest::READABLE, || match calls.batches.receive(asked, counters, (free, rx)) {
                    Visit { end: End::Drained, .. } => Err(io::ErrorKind::WouldBlock.into()),
                    visit => Ok(visit),
                });
            match visited {
                Ok(visit) => return visit.outcome(),
                Err(_) if tick.is_some() => {}
                Err(_) => return Ok(0),
            }
        }
    }

    /// Sends at most a batch, one datagram after the other; waits for room, for a while.
    async fn send_each(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let Self { socket, tick, counters, .. } = self;
        let queued = tx.available().min(self.batch);
        let (mut sent, mut result) = (0, Ok(()));
        while sent < queued {
            let Some(packet) = tx.peek(0) else { break };
            let outcome = match packet.address().filter(|_| self.payload_at > 0) {
                None => reactor::within(tick.as_ref(), || socket.send(packet.bytes())).await,
                Some(address) => reactor::within(tick.as_ref(), || socket.send_to(packet.bytes(), address)).await,
            };
            match outcome {
                Some(Ok(_)) => {
                    if let Some(packet) = tx.pop() {
                        free.give(packet.into_frame());
                    }
                    sent += 1;
                }
                Some(Err(error)) => {
                    result = counters.note_refused(socket.as_raw_fd(), reactor::judge(error));
                    break;
                }
                None => {
                    counters.send_eagain += 1;
                    break;
                }
            }
        }
        tx.release();
        result.map(|()| sent)
    }

    /// Awaits room, for a while; then `sendmmsg`.
    async fn send_batch(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let Self { socket, tick, calls, counters, .. } = self;
        let Some(calls) = calls else { return Ok(0) };
        if reactor::within(tick.as_ref(), || socket.writable()).await.transpose()?.is_none() {
            counters.send_eagain += 1;
            return Ok(0);
        }
        let sent = socket.try_io(Interest::WRITABLE, || {
            let before = counters.send_eagain;
            match calls.sending.send(&calls.sockets, counters, tx, free) {
                Ok(0) if counters.send_eagain > before => Err(io::ErrorKind::WouldBlock.into()),
                outcome => Ok(outcome),
            }
        });
        match sent {
            Ok(outcome) => outcome,
            Err(_) => Ok(0),
        }
    }
}

/// As a receive without an address returns it.
fn with_address(outcome: io::Result<(usize, SocketAddr)>) -> io::Result<(usize, Option<SocketAddr>)> {
    outcome.map(|(len, address)| (len, Some(address)))
}
