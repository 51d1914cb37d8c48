//! tokio: its `UdpSocket`, one datagram per call; or its readiness alone, with `recvmmsg` and `sendmmsg`.

pub(super) mod calls;
pub(super) mod reactor;
mod single;

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::backend::{self, Caps, Config, Counters, OpenError, Port, Sockets};
use crate::batches::Batches;
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::ready::Visit;
use crate::runtime::AsyncBackend;
use crate::runtimes::crowd::{MANY, MANY_RULE};
use crate::runtimes::tokio::calls::{Caller, Calls, adopt};
use crate::runtimes::tokio::reactor::{Reactor, Transmit};
use crate::runtimes::tokio::single::Single;
use crate::sending::Sending;

const DECLARATION: Declaration = Declaration {
    crates: &["tokio", "mio"],
    rules: &[MANY_RULE],
    ..Declaration::new("tokio", "the runtime tokio, current-thread, on epoll", &[CALLS, MANY])
};

const CALLS: Dimension = Dimension::both("calls", &[SINGLE, MMSG]);

const SINGLE: Mode = Mode::new("single", "recv_from and send_to of tokio's UdpSocket: one datagram per system call");

const MMSG: Mode = Mode::new("mmsg", "recvmmsg and sendmmsg in try_io, when tokio says that the socket is ready");

/// The `tokio` backend.
#[derive(Debug)]
pub struct Tokio<'p>(Way<'p>);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a worker has one")]
enum Way<'p> {
    Single(Single<'p>),
    Mmsg(Caller<'p, Mmsg<'p>>),
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
        if !config.variant.finds_sockets() {
            sockets.only()?;
        }
        let (reactor, tick) = Reactor::new(config)?;
        let own = adopt(&sockets, &reactor, "handing a socket over to tokio")?;
        Ok(Self(match config.variant.has(MMSG) {
            false => Way::Single(Single::new(config, (reactor, tick), own, pool)),
            true => Way::Mmsg(Caller::new(config, (reactor, tick), own, Mmsg::new(config, sockets))),
        }))
    }

    fn runtime(&self) -> Reactor {
        match &self.0 {
            Way::Single(single) => single.runtime(),
            Way::Mmsg(mmsg) => mmsg.runtime(),
        }
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match &mut self.0 {
            Way::Single(single) => single.rx(free, rx).await,
            Way::Mmsg(mmsg) => mmsg.rx(free, rx).await,
        }
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        match &mut self.0 {
            Way::Single(single) => single.rx_wait(free, rx).await,
            Way::Mmsg(mmsg) => mmsg.rx_wait(free, rx).await,
        }
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        match &mut self.0 {
            Way::Single(single) => single.transmit(tx, free).await,
            Way::Mmsg(mmsg) => mmsg.transmit(tx, free).await,
        }
    }

    fn counters(&self) -> Counters {
        match &self.0 {
            Way::Single(single) => single.counters(),
            Way::Mmsg(mmsg) => mmsg.counters(),
        }
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        match self.0 {
            Way::Single(single) => single.close(free),
            Way::Mmsg(mmsg) => mmsg.close(free),
        }
        Ok(())
    }
}

/// System calls for batches.
#[derive(Debug)]
struct Mmsg<'p> {
    /// hpbench's own descriptors.
    sockets: Sockets,
    batches: Batches<'p>,
    sending: Sending,
}

impl Mmsg<'_> {
    fn new(config: &Config, sockets: Sockets) -> Self {
        Self { batches: Batches::new(config), sending: Sending::new(config, sockets.len()), sockets }
    }
}

impl<'p> Calls<'p> for Mmsg<'p> {
    fn receive(
        &mut self,
        (number, _): (usize, &UdpSocket),
        most: usize,
        counters: &mut Counters,
        home: (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> Visit {
        self.batches.receive((self.sockets.raw(number), most, libc::MSG_DONTWAIT), counters, home)
    }

    /// tokio is asked about the first socket only: it is the one that has no room if nothing goes.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sockets: &[Rc<UdpSocket>],
        counters: &mut Counters,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> Poll<io::Result<usize>> {
        let socket = &sockets[tx.peek(0).map_or(0, Packet::socket)];
        loop {
            ready!(socket.poll_send_ready(cx))?;
            let sent = socket.try_io(Interest::WRITABLE, || {
                let before = counters.send_eagain;
                match self.sending.send(&self.sockets, counters, tx, free) {
                    Ok(0) if counters.send_eagain > before => Err(io::ErrorKind::WouldBlock.into()),
                    outcome => Ok(outcome),
                }
            });
            if let Ok(outcome) = sent {
                return Poll::Ready(outcome);
            }
        }
    }

    fn close(self, free: &mut FreeList<'p>) {
        self.batches.empty(free);
    }
}
