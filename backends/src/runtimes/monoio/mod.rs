//! monoio: a runtime on io_uring, whose operations own their buffers. One receive for each socket and one send are in flight at most.

mod many;
mod proactor;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use monoio::net::udp::UdpSocket;

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode, Rule, Want};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::socket::Socket;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::crowd::{MANY, MANY_RULE, ONE_TASK, TASKS};
use crate::runtimes::flight::{Flight, Ticking, Ticks};
use crate::runtimes::monoio::many::Many;
use crate::runtimes::monoio::proactor::{Cancel, Proactor, Tick, in_effect, receiver, sender};
use crate::variant::Addressing;

const DECLARATION: Declaration = Declaration {
    crates: &["monoio"],
    only_waits: Some("monoio has no way to look without waiting"),
    has_kernel_workers: true,
    rules: &[MANY_RULE, MANY_BUFFERS],
    ..Declaration::new("monoio", "the runtime monoio, on io_uring", &[RECEIVE, MANY])
};

const RECEIVE: Dimension = Dimension::receive(&[RECV, COPY]);

const RECV: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("recv", "recv_from of monoio's UdpSocket into a frame, one at a time; with --batch 1")
};

/// A buffer of its own for each socket.
const COPY: Mode = Mode {
    one_at_a_time: true,
    ..Mode::new("copy", "recv_from into a buffer that each socket keeps, and a copy; the default above one socket")
};

/// A receive keeps its buffer until its socket has a datagram.
const MANY_BUFFERS: Rule = Rule {
    wanted_by: &[Want::Sockets, Want::Mode(TASKS), Want::Mode(ONE_TASK)],
    able: &[COPY],
    others_have: "one receive in flight",
};

/// The `monoio` backend.
#[derive(Debug)]
pub struct Monoio<'p> {
    // Dropped before the runtime.
    flight: Flight<'p>,
    /// What receives into buffers of the sockets.
    many: Option<Many<'p>>,
    ticks: Ticks<Tick>,
    cancel: Cancel,
    proactor: Proactor,
}

impl<'p> AsyncBackend<'p> for Monoio<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Proactor;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Proactor::new()?;
        backend::throwaway_socket()?;
        Ok(Caps { in_effect: in_effect() })
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        if !config.variant.finds_sockets() {
            sockets.only()?;
        }
        let failed = |error| OpenError::Failed { call: "handing a socket over to monoio", error };
        let proactor = Proactor::new()?;
        let is_connected = config.addressing == Addressing::Connected;
        let (cancel, host) = (Cancel::default(), proactor.clone());
        let opened = proactor.block_on(async {
            // io_uring only waits for descriptors that may block.
            let adopt = |socket: &Arc<Socket>| Ok(Rc::new(UdpSocket::from_std(socket.duplicate_blocking()?)?));
            let own: Rc<[_]> = sockets.iter().map(adopt).collect::<io::Result<_>>()?;
            let slot = |socket: &Rc<_>| receiver(Rc::clone(socket), is_connected, cancel.clone());
            let many = config.variant.has(COPY).then(|| Many::new(own.iter().map(slot), config, &host, pool));
            let slots =
                (receiver(Rc::clone(&own[0]), is_connected, cancel.clone()), sender(Rc::clone(&own), cancel.clone()));
            Ok((slots, many, Ticks::new(config)?))
        });
        let (slots, many, ticks) = opened.map_err(failed)?;
        Ok(Self { flight: Flight::new(slots, sockets, config, pool), many, ticks, cancel, proactor })
    }

    fn runtime(&self) -> Proactor {
        self.proactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(Ticks::glance, free, rx).await
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive(Ticks::periodic, free, rx).await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.flight.send(&self.ticks, tx, free).await
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Some(many) = &self.many {
            self.proactor.block_on(many.rest(&self.cancel));
            return many.deliver(&mut self.flight, free, rx);
        }
        if self.flight.receiving.is_idle() {
            return Ok(0);
        }
        let done = self.proactor.block_on(self.cancel.end(&mut self.flight.receiving));
        self.flight.deliver(done, free, rx)
    }

    fn counters(&self) -> Counters {
        self.flight.counters
    }

    fn in_effect(&self) -> String {
        in_effect()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let Self { flight, many, cancel, proactor, .. } = self;
        if let Some(many) = many {
            proactor.block_on(many.end(&cancel)).close(free);
        }
        flight.close(|slot| proactor.block_on(cancel.end(slot)), free)
    }
}

impl<'p> Monoio<'p> {
    /// Receives until the timer ends it.
    async fn receive(
        &mut self,
        which: impl FnOnce(&Ticks<Tick>) -> io::Result<&Tick>,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let Self { flight, many, ticks, .. } = self;
        let tick = which(ticks)?;
        let Some(Many { desk, .. }) = many else { return flight.receive(tick, free, rx).await };
        if desk.open(free) {
            poll_fn(|cx| match desk.poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => tick.poll_tick(cx),
            })
            .await;
        }
        let Flight { counters, sockets, .. } = flight;
        desk.collect(counters, |socket| sockets.raw(socket), (free, rx))
    }
}
