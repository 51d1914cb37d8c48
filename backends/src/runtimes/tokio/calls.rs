//! Sockets of tokio whose datagrams move in system calls of the backend's own, made when tokio says that a socket is ready.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::yield_now;

use crate::backend::{Config, Counters, OpenError, Sockets};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::socket::Socket;
use crate::ready::{End, ReadyQueue, Visit};
use crate::runtimes::crowd::{Crowd, Task};
use crate::runtimes::inbox::{Inbox, Turn};
use crate::runtimes::tokio::reactor::{Reactor, Tick, Transmit, poll_tick};

/// The system calls.
pub(in crate::runtimes) trait Calls<'p> {
    /// Receives from the socket with this number, at most so many messages with one call.
    fn receive(
        &mut self,
        socket: (usize, &UdpSocket),
        most: usize,
        counters: &mut Counters,
        home: (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> Visit;

    /// Sends at most a batch; pending if there is no room for the first.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sockets: &[Rc<UdpSocket>],
        counters: &mut Counters,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>>;

    /// Gives all frames back.
    fn close(self, free: &mut FreeList<'p>);
}

/// A backend of such calls.
pub(in crate::runtimes) struct Caller<'p, C> {
    // Dropped before the runtime with which they are registered.
    sockets: Box<[Rc<UdpSocket>]>,
    /// What finds those of several sockets that are ready.
    finder: Option<Finder>,
    tick: Option<Tick>,
    reactor: Reactor,
    batch: usize,
    calls: C,
    counters: Counters,
    pool: PhantomData<&'p Pool>,
}

/// Futures that await the readiness of a socket each; the loop makes the calls.
#[derive(Debug)]
struct Finder {
    crowd: Crowd<io::Result<()>>,
    ready: ReadyQueue,
}

/// Hands duplicates of sockets over to tokio.
pub(in crate::runtimes) fn adopt(
    sockets: &Sockets,
    reactor: &Reactor,
    call: &'static str,
) -> Result<Box<[Rc<UdpSocket>]>, OpenError> {
    let adopt = |socket: &Arc<Socket>| Ok(Rc::new(reactor.enter(|| UdpSocket::from_std(socket.duplicate()?))?));
    sockets.iter().map(adopt).collect::<io::Result<_>>().map_err(|error| OpenError::Failed { call, error })
}

impl<'p, C: Calls<'p>> Caller<'p, C> {
    pub(in crate::runtimes) fn new(
        config: &Config,
        (reactor, tick): (Reactor, Option<Tick>),
        sockets: Box<[Rc<UdpSocket>]>,
        calls: C,
    ) -> Self {
        let finder = config.variant.finds_sockets().then(|| {
            let inbox = Inbox::new();
            let tasks = sockets
                .iter()
                .enumerate()
                .map(|(number, socket)| -> Task { Box::pin(announce(number, Rc::clone(socket), inbox.clone())) });
            let crowd = Crowd::new(config, &reactor, inbox.clone(), tasks);
            Finder { crowd, ready: ReadyQueue::new(sockets.len(), false) }
        });
        let (batch, counters) = (config.batch, Counters::default());
        Self { sockets, finder, tick, reactor, batch, calls, counters, pool: PhantomData }
    }

    pub(in crate::runtimes) fn runtime(&self) -> Reactor {
        self.reactor.clone()
    }

    pub(in crate::runtimes) async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Some(finder) = &mut self.finder else {
            let came = self.visit((0, self.batch), free, rx).outcome()?;
            if came == 0 {
                yield_now().await;
            }
            return Ok(came);
        };
        if finder.ready.is_due() {
            finder.crowd.inbox.open(self.batch);
            finder.crowd.run().await;
            // Only its reactor can find out that a socket is ready again, and tasks run only now.
            yield_now().await;
            finder.crowd.run().await;
        }
        self.visit_those_found(free, rx).map(|(came, _)| came)
    }

    pub(in crate::runtimes) async fn rx_wait(
        &mut self,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        if self.finder.is_none() {
            return poll_fn(|cx| self.poll_receive(cx, free, rx)).await;
        }
        loop {
            let Self { finder: Some(finder), tick, batch, .. } = &mut *self else { return Ok(0) };
            if finder.ready.is_empty() {
                finder.crowd.inbox.open(*batch);
                let is_over = poll_fn(|cx| match finder.crowd.poll(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => poll_tick(tick.as_ref(), cx).map(|_| true),
                });
                if is_over.await {
                    return Ok(0);
                }
            }
            let (came, is_vain) = self.visit_those_found(free, rx)?;
            if !is_vain {
                return Ok(came);
            }
        }
    }

    /// Receives a batch from those of several sockets that are ready. Also whether all that were visited are empty.
    fn visit_those_found(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<(usize, bool)> {
        let Self { finder: Some(Finder { crowd, ready }), sockets, batch, calls, counters, .. } = self else {
            return Ok((0, true));
        };
        let mut is_vain = true;
        let look = |ready: &mut ReadyQueue, _, _: &mut Counters| {
            crowd.inbox.shut();
            while let Some((number, announced)) = crowd.inbox.pop() {
                announced?;
                ready.add(number as u16);
            }
            Ok(())
        };
        let came = ready.visit(*batch, false, counters, look, |number, most, counters| {
            rx.set_socket(number);
            let visit = visit(sockets, (number.into(), most), calls, counters, (free, rx));
            is_vain &= matches!(visit.end, End::Drained);
            visit
        })?;
        Ok((came, is_vain))
    }

    /// Receives a batch when the only socket is ready.
    fn poll_receive(
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
            match self.visit((0, self.batch), free, rx) {
                Visit { end: End::Drained, .. } => {}
                visit => return Poll::Ready(visit.outcome()),
            }
        }
    }

    fn visit(&mut self, asked: (usize, usize), free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> Visit {
        visit(&self.sockets, asked, &mut self.calls, &mut self.counters, (free, rx))
    }

    pub(in crate::runtimes) fn counters(&self) -> Counters {
        self.counters
    }

    pub(in crate::runtimes) fn close(self, free: &mut FreeList<'p>) {
        self.calls.close(free);
    }
}

/// Receives from a socket, if tokio knows of no reason that there is nothing.
#[inline]
fn visit<'p>(
    sockets: &[Rc<UdpSocket>],
    (number, most): (usize, usize),
    calls: &mut impl Calls<'p>,
    counters: &mut Counters,
    home: (&mut FreeList<'p>, &mut RxRing<'p>),
) -> Visit {
    let socket = &sockets[number];
    let visited = socket.try_io(Interest::READABLE, || match calls.receive((number, socket), most, counters, home) {
        Visit { end: End::Drained, .. } => Err(io::ErrorKind::WouldBlock.into()),
        visit => Ok(visit),
    });
    visited.unwrap_or(Visit { messages: 0, datagrams: 0, end: End::Drained })
}

/// Says in each call that a socket is ready, if it is.
async fn announce(number: usize, socket: Rc<UdpSocket>, inbox: Inbox<io::Result<()>>) {
    let turn = Turn::default();
    poll_fn(|cx| -> Poll<()> {
        loop {
            ready!(inbox.poll_turn(&turn, cx));
            match socket.poll_recv_ready(cx) {
                Poll::Ready(ready) => inbox.put(&turn, number, ready),
                Poll::Pending => {
                    inbox.pass_on();
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}

impl<'p, C: Calls<'p>> Transmit<'p> for Caller<'p, C> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        self.calls.poll_send(cx, &self.sockets, &mut self.counters, tx, free)
    }

    fn tick(&self) -> Option<&Tick> {
        self.tick.as_ref()
    }

    fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }
}

impl<C: fmt::Debug> fmt::Debug for Caller<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("calls", &self.calls).field("finder", &self.finder).finish_non_exhaustive()
    }
}
