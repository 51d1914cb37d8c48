//! tokio: its `UdpSocket`, one datagram per call; or its readiness alone, with `recvmmsg` and `sendmmsg`.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;
use tokio::task::{unconstrained, yield_now};

use crate::backend::{self, Caps, Config, Counters, OpenError, Port, Sockets};
use crate::batches::Batches;
use crate::declaration::{Declaration, Dimension, Kind, Mode, Rule, Want};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::kernel::socket::Socket;
use crate::ready::{End, Visit};
use crate::runtime::AsyncBackend;
use crate::runtimes::crowd::{Crowd, MANY, MANY_RULE, ONE_TASK, TASKS, Task};
use crate::runtimes::desk::{Desk, Receive};
use crate::runtimes::outcome;
use crate::runtimes::reactor::{Reactor, Tick, Transmit, poll_tick};
use crate::sending::Sending;
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["tokio", "mio"],
    rules: &[MANY_RULE, MANY_CALLS],
    ..Declaration::new("tokio", "the runtime tokio, current-thread, on epoll", &[CALLS, MANY])
};

const CALLS: Dimension = Dimension::both("calls", &[SINGLE, MMSG]);

const SINGLE: Mode = Mode::new("single", "recv_from and send_to of tokio's UdpSocket: one datagram per system call");

const MMSG: Mode = Mode::new("mmsg", "recvmmsg and sendmmsg in try_io, when tokio says that the socket is ready");

/// The tasks of several sockets await datagrams as most servers do.
const MANY_CALLS: Rule = Rule {
    wanted_by: &[Want::Sockets, Want::Mode(TASKS), Want::Mode(ONE_TASK)],
    able: &[SINGLE],
    others_have: "one socket",
};

/// Stands for the address of the only sender.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The `tokio` backend.
#[derive(Debug)]
pub struct Tokio<'p> {
    // Dropped before the runtime with which they are registered.
    sockets: Box<[Rc<UdpSocket>]>,
    /// What receives from several sockets.
    desk: Option<Desk<'p>>,
    tick: Option<Tick>,
    reactor: Reactor,
    batch: usize,
    /// How often each packet is sent, and how often the first one on the ring has been sent.
    copies: usize,
    copied: usize,
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
        let adopt = |socket: &Arc<Socket>| Ok(Rc::new(reactor.enter(|| UdpSocket::from_std(socket.duplicate()?))?));
        let own: Box<[_]> = sockets.iter().map(adopt).collect::<io::Result<_>>().map_err(failed)?;
        let payload_at = if config.addressing == Addressing::Unconnected { PAYLOAD_AT } else { 0 };
        let desk = config.variant.finds_sockets().then(|| {
            let receiver = |socket: &Rc<_>| -> Rc<dyn Receive> {
                Rc::new(Receiver { socket: Rc::clone(socket), has_addresses: payload_at > 0 })
            };
            let receivers = own.iter().map(receiver).collect();
            // What tokio's budget puts off is resumed when the reactor has looked, which may be after the end of a `block_on`, and
            // then is lost; tasks of their own are resumed before.
            let is_within = !config.variant.has(TASKS);
            let unbounded = |task: Task| -> Task { if is_within { Box::pin(unconstrained(task)) } else { task } };
            let crowd = |tasks: &mut dyn Iterator<Item = Task>| {
                Crowd::new(config, tasks.map(unbounded), |task| reactor.spawn(task))
            };
            Desk::new(receivers, crowd, (config.batch, payload_at), pool)
        });
        if desk.is_none() {
            sockets.only()?;
        }
        let calls = config.variant.has(MMSG).then(|| Calls {
            sockets,
            batches: Batches::new(config),
            sending: Sending::new(config, 1),
        });
        Ok(Self {
            sockets: own,
            desk,
            tick,
            reactor,
            batch: config.batch,
            copies: config.copies,
            copied: 0,
            payload_at,
            calls,
            counters: Counters::default(),
            pool: PhantomData,
        })
    }

    fn runtime(&self) -> Reactor {
        self.reactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Some(desk) = &mut self.desk {
            desk.open(free);
            desk.run().await;
            // Only its reactor can find out that a socket is ready again, and tasks run only now.
            yield_now().await;
            desk.run().await;
            return self.collect(free, rx);
        }
        let came = match &self.calls {
            None => self.take_more(self.batch, free, rx),
            Some(_) => self.take_batch(free, rx).map(|came| came.unwrap_or(0)),
        };
        // Also what came before an error.
        rx.publish();
        let came = came?;
        if came == 0 {
            yield_now().await;
        }
        Ok(came)
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Some(desk) = &mut self.desk {
            let tick = self.tick.as_ref();
            if desk.open(free) {
                poll_fn(|cx| match desk.poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Ok(0)),
                    Poll::Pending => poll_tick(tick, cx),
                })
                .await?;
            }
            return self.collect(free, rx);
        }
        match self.calls {
            None => poll_fn(|cx| self.poll_receive(cx, free, rx)).await,
            Some(_) => poll_fn(|cx| self.poll_receive_batch(cx, free, rx)).await,
        }
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.transmit(tx, free).await
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        if let Some(desk) = self.desk {
            desk.close(free);
        }
        if let Some(calls) = self.calls {
            calls.batches.empty(free);
        }
        Ok(())
    }
}

impl<'p> Tokio<'p> {
    /// Delivers what the futures of several sockets have received.
    fn collect(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { desk, sockets, counters, .. } = self;
        let Some(desk) = desk else { return Ok(0) };
        desk.collect(counters, |counters, socket, error| note(counters, sockets[socket].as_raw_fd(), error), (free, rx))
    }

    /// Receives the first datagram of a batch when it comes, and the others as long as some are there; ready with none when
    /// the timer goes off.
    ///
    /// This and its siblings are one function each: `recv().await` within `async fn`s for the batch and for the timer took 50 ns more than in a
    /// bare loop (`cargo bench --features runtimes --bench harness_cost -- tokio`), as all their code is fetched anew after each
    /// system call.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> Poll<io::Result<usize>> {
        let Some(mut frame) = free.take() else { return Poll::Ready(Ok(0)) };
        let mut buffer = ReadBuf::new(&mut frame.bytes_mut()[self.payload_at..]);
        let received = match self.payload_at {
            0 => self.sockets[0].poll_recv(cx, &mut buffer).map_ok(|()| NO_ADDRESS),
            _ => self.sockets[0].poll_recv_from(cx, &mut buffer),
        };
        let len = buffer.filled().len();
        match received {
            Poll::Ready(Ok(address)) => {
                self.deliver(frame, len, address, free, rx);
                let more = if self.batch > 1 { self.take_more(self.batch - 1, free, rx) } else { Ok(0) };
                rx.publish();
                Poll::Ready(more.map(|more| more + 1))
            }
            Poll::Ready(Err(error)) => {
                free.give(frame);
                let fd = self.sockets[0].as_raw_fd();
                Poll::Ready(note(&mut self.counters, fd, error).map(|()| 0))
            }
            Poll::Pending => {
                free.give(frame);
                poll_tick(self.tick.as_ref(), cx)
            }
        }
    }

    /// Takes at most `most` datagrams that are there, as far as tokio knows.
    fn take_more(&mut self, most: usize, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if self.payload_at > 0 {
            return self.take_each(most, UdpSocket::try_recv_from, (free, rx));
        }
        self.take_each(most, |socket, bytes| socket.try_recv(bytes).map(|len| (len, NO_ADDRESS)), (free, rx))
    }

    /// As [`Tokio::take_more`], with this receive.
    #[inline(always)]
    fn take_each(
        &mut self,
        most: usize,
        receive: impl Fn(&UdpSocket, &mut [u8]) -> io::Result<(usize, SocketAddr)>,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> io::Result<usize> {
        let mut came = 0;
        while came < most {
            let Some(mut frame) = free.take() else { break };
            match receive(&self.sockets[0], &mut frame.bytes_mut()[self.payload_at..]) {
                Ok((len, address)) => self.deliver(frame, len, address, free, rx),
                Err(error) => {
                    free.give(frame);
                    note(&mut self.counters, self.sockets[0].as_raw_fd(), error)?;
                    break;
                }
            }
            came += 1;
        }
        Ok(came)
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        mut frame: Frame<'p>,
        len: usize,
        address: SocketAddr,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) {
        self.counters.rx_syscalls += 1;
        if self.payload_at == 0 {
            return rx.deliver_received(frame, len, &mut self.counters.truncated, free);
        }
        Address::new(address).write(&mut frame);
        rx.deliver_behind(PAYLOAD_AT, frame, len, &mut self.counters.truncated, free);
    }

    /// Receives a batch when the socket is ready; as [`Tokio::poll_receive`].
    fn poll_receive_batch(
        &mut self,
        cx: &mut Context<'_>,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.sockets[0].poll_recv_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return poll_tick(self.tick.as_ref(), cx),
            }
            if let Some(came) = self.take_batch(free, rx)? {
                return Poll::Ready(Ok(came));
            }
        }
    }

    /// Receives a batch, if tokio knows of no reason that there is none. `None` if there is none.
    fn take_batch(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<Option<usize>> {
        let Self { sockets, calls, counters, .. } = self;
        let Some(calls) = calls else { return Ok(None) };
        let asked = (calls.sockets.raw(0), usize::MAX, libc::MSG_DONTWAIT);
        let visited =
            sockets[0].try_io(Interest::READABLE, || match calls.batches.receive(asked, counters, (free, rx)) {
                Visit { end: End::Drained, .. } => Err(io::ErrorKind::WouldBlock.into()),
                visit => Ok(visit),
            });
        visited.ok().map(Visit::outcome).transpose()
    }

    /// Sends one datagram after the other; pending if there is no room for the first.
    fn poll_send_each(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        let _ = tx.available();
        let (mut sent, mut result) = (0, Ok(()));
        while sent < self.batch {
            let Some(packet) = tx.peek(0) else { break };
            let socket = &self.sockets[packet.socket()];
            let outcome = match packet.address().filter(|_| self.payload_at > 0) {
                None => socket.poll_send(cx, packet.bytes()),
                Some(address) => socket.poll_send_to(cx, packet.bytes(), address),
            };
            match outcome {
                Poll::Ready(Ok(_)) => {
                    self.copied += 1;
                    if self.copied == self.copies
                        && let Some(packet) = tx.pop()
                    {
                        free.give(packet.into_frame());
                        self.copied = 0;
                    }
                    sent += 1;
                }
                Poll::Ready(Err(error)) => {
                    result = self.counters.note_refused(socket.as_raw_fd(), outcome::judge(error));
                    break;
                }
                Poll::Pending if sent == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        tx.release();
        Poll::Ready(result.map(|()| sent))
    }

    /// `sendmmsg`; pending if there is no room for the first.
    fn poll_send_batch(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        let Self { sockets, calls, counters, .. } = self;
        let Some(calls) = calls else { return Poll::Ready(Ok(0)) };
        let socket = &sockets[0];
        loop {
            ready!(socket.poll_send_ready(cx))?;
            let sent = socket.try_io(Interest::WRITABLE, || {
                let before = counters.send_eagain;
                match calls.sending.send(&calls.sockets, counters, tx, free) {
                    Ok(0) if counters.send_eagain > before => Err(io::ErrorKind::WouldBlock.into()),
                    outcome => Ok(outcome),
                }
            });
            if let Ok(outcome) = sent {
                return Poll::Ready(outcome);
            }
        }
    }
}

impl<'p> Transmit<'p> for Tokio<'p> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        match self.calls {
            None => self.poll_send_each(cx, tx, free),
            Some(_) => self.poll_send_batch(cx, tx, free),
        }
    }

    fn tick(&self) -> Option<&Tick> {
        self.tick.as_ref()
    }

    fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}

/// Counts an error of a receive from this descriptor.
///
/// # Errors
///
/// The error, if it makes continuing pointless.
#[cold]
fn note(counters: &mut Counters, fd: RawFd, error: io::Error) -> io::Result<()> {
    match outcome::judge(error) {
        (Verdict::Fatal, error) => return Err(error),
        (Verdict::Passing, _) => counters.note_passing(fd),
        (Verdict::Again | Verdict::Interrupted, _) => {}
    }
    Ok(())
}

/// One of several sockets.
struct Receiver {
    socket: Rc<UdpSocket>,
    has_addresses: bool,
}

impl Receive for Receiver {
    #[inline]
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<(usize, Option<SocketAddr>)>> {
        let mut buffer = ReadBuf::new(bytes);
        let address = match self.has_addresses {
            false => ready!(self.socket.poll_recv(cx, &mut buffer)).map(|()| None),
            true => ready!(self.socket.poll_recv_from(cx, &mut buffer)).map(Some),
        };
        let len = buffer.filled().len();
        Poll::Ready(address.map(|address| (len, address)))
    }
}
