//! One datagram per call of tokio's `UdpSocket`.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::yield_now;

use crate::backend::{Config, Counters};
use crate::frames::address::{Address, PAYLOAD_AT};
use crate::frames::copies::Copies;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{Frame, FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::runtimes::desk::{Desk, Receive};
use crate::runtimes::outcome::{self, Received};
use crate::runtimes::tokio::reactor::{Reactor, Tick, Transmit, poll_tick};

/// Stands for the address of the only sender.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The mode `single` of the `tokio` backend.
#[derive(Debug)]
pub(super) struct Single<'p> {
    // Dropped before the runtime with which they are registered.
    sockets: Box<[Rc<UdpSocket>]>,
    /// What receives from several sockets.
    desk: Option<Desk<'p>>,
    tick: Option<Tick>,
    reactor: Reactor,
    batch: usize,
    copies: Copies,
    payload_at: usize,
    counters: Counters,
}

impl<'p> Single<'p> {
    pub(super) fn new(
        config: &Config,
        (reactor, tick): (Reactor, Option<Tick>),
        sockets: Box<[Rc<UdpSocket>]>,
        pool: &'p Pool,
    ) -> Self {
        let payload_at = outcome::payload_at(config);
        let receivers =
            sockets.iter().map(|socket| Rc::new(Receiver { socket: Rc::clone(socket), has_addresses: payload_at > 0 }));
        let desk = config.variant.finds_sockets().then(|| Desk::new(receivers, config, &reactor, pool));
        Self {
            sockets,
            desk,
            tick,
            reactor,
            batch: config.batch,
            copies: Copies::new(config.copies),
            payload_at,
            counters: Counters::default(),
        }
    }

    pub(super) fn runtime(&self) -> Reactor {
        self.reactor.clone()
    }

    pub(super) async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Some(desk) = &mut self.desk {
            desk.open(free);
            desk.run().await;
            // Only its reactor can find out that a socket is ready again, and tasks run only now.
            yield_now().await;
            desk.run().await;
            return self.collect(free, rx);
        }
        let came = self.take_more(self.batch, free, rx);
        // Also what came before an error.
        rx.publish();
        let came = came?;
        if came == 0 {
            yield_now().await;
        }
        Ok(came)
    }

    pub(super) async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
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
        poll_fn(|cx| self.poll_receive(cx, free, rx)).await
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn close(self, free: &mut FreeList<'p>) {
        if let Some(desk) = self.desk {
            desk.close(free);
        }
    }

    /// Delivers what the futures of several sockets have received.
    fn collect(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { desk, sockets, counters, .. } = self;
        let Some(desk) = desk else { return Ok(0) };
        desk.collect(counters, |socket| sockets[socket].as_raw_fd(), (free, rx))
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
                Poll::Ready(self.counters.note_receive_error(fd, error).map(|()| 0))
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

    /// As [`Single::take_more`], with this receive.
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
                    self.counters.note_receive_error(self.sockets[0].as_raw_fd(), error)?;
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
}

impl<'p> Transmit<'p> for Single<'p> {
    /// Sends one datagram after the other; pending if there is no room for the first.
    fn poll_send(
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
                    self.copies.sent(tx, free);
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

    fn tick(&self) -> Option<&Tick> {
        self.tick.as_ref()
    }

    fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}

/// One of several sockets.
struct Receiver {
    socket: Rc<UdpSocket>,
    has_addresses: bool,
}

impl Receive for Receiver {
    #[inline]
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<Received>> {
        let mut buffer = ReadBuf::new(bytes);
        let address = match self.has_addresses {
            false => ready!(self.socket.poll_recv(cx, &mut buffer)).map(|()| None),
            true => ready!(self.socket.poll_recv_from(cx, &mut buffer)).map(Some),
        };
        let len = buffer.filled().len();
        Poll::Ready(address.map(|address| (len, address)))
    }
}
