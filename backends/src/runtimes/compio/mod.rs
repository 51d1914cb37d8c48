//! compio: a runtime on io_uring. Its receives take a buffer that the caller owns, or one of the runtime's own pool; those of the
//! second kind can stay armed.

mod modes;
mod proactor;
mod pumps;

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::Poll;

use compio::net::UdpSocket;

use crate::backend::{Caps, Config, Counters, OpenError, Port};
use crate::declaration::Kind;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::compio::modes::{DECLARATION, DEFER};
use crate::runtimes::compio::proactor::{Proactor, Tick, cancelled, in_effect, probe_cancel, receiver, sender};
use crate::runtimes::compio::pumps::Pumps;
use crate::runtimes::flight::{Flight, Ticking, Ticks};
use crate::runtimes::outcome;
use crate::variant::Addressing;

/// The `compio` backend.
#[derive(Debug)]
pub struct Compio<'p> {
    // Dropped before the runtime.
    flight: Flight<'p>,
    /// What receives into buffers of the runtime's pool.
    pumps: Option<Pumps>,
    ticks: Ticks<Tick>,
    defers: bool,
    proactor: Proactor,
    /// The runtime's descriptors.
    fds: Rc<[RawFd]>,
    batch: usize,
    payload_at: usize,
    in_effect: String,
}

impl<'p> AsyncBackend<'p> for Compio<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Proactor;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        Proactor::new(config, 64)?;
        probe_cancel()?;
        Ok(Caps { in_effect: in_effect(config) })
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        if !config.variant.finds_sockets() {
            sockets.only()?;
        }
        let failed = |error| OpenError::Failed { call: "handing a socket over to compio", error };
        let proactor = Proactor::new(config, pool.frame_size())?;
        // io_uring only waits for descriptors that may block.
        let own =
            sockets.iter().map(|socket| socket.duplicate_blocking()).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let fds: Rc<[_]> = own.iter().map(AsRawFd::as_raw_fd).collect();
        let adopt = || own.into_iter().map(UdpSocket::from_std).collect::<io::Result<Rc<[_]>>>();
        let own = proactor.enter(adopt).map_err(failed)?;
        let new_pumps = || Pumps::new(config, &proactor, Rc::clone(&own), Rc::clone(&fds));
        let pumps = config.variant.has_buffer_ring().then(new_pumps);
        let slots = (receiver(Rc::clone(&own), config.addressing == Addressing::Connected), sender(own));
        Ok(Self {
            flight: Flight::new(slots, sockets, config, pool),
            pumps,
            ticks: proactor.enter(|| Ticks::new(config)).map_err(failed)?,
            defers: config.variant.has(DEFER),
            proactor,
            fds,
            batch: config.batch,
            payload_at: outcome::payload_at(config),
            in_effect: in_effect(config),
        })
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
        // A ring that defers its work takes datagrams only when the runtime enters the kernel.
        if self.defers {
            let Some(pumps) = &mut self.pumps else { return Ok(0) };
            self.proactor.clone().block_on(pumps.take_rest());
            return self.collect(usize::MAX, free, rx);
        }
        if let Some(pumps) = &mut self.pumps {
            self.proactor.clone().block_on(pumps.stop(&self.ticks))?;
            return self.collect(usize::MAX, free, rx);
        }
        if self.flight.receiving.is_idle() {
            return Ok(0);
        }
        let done = self.proactor.clone().block_on(cancelled(&self.fds, &mut self.flight.receiving));
        self.flight.deliver(done, free, rx)
    }

    fn counters(&self) -> Counters {
        self.flight.counters
    }

    fn in_effect(&self) -> String {
        self.in_effect.clone()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let Self { flight, mut pumps, ticks, proactor, fds, .. } = self;
        let stopped = pumps.as_mut().map_or(Ok(()), |pumps| proactor.block_on(pumps.stop(&ticks)));
        let closed = flight.close(|slot| proactor.block_on(cancelled(&fds, slot)), free);
        stopped.and(closed)
    }
}

impl<'p> Compio<'p> {
    /// Receives until the timer ends it.
    async fn receive(
        &mut self,
        which: impl FnOnce(&Ticks<Tick>) -> io::Result<&Tick>,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let tick = which(&self.ticks)?;
        let Some(pumps) = &mut self.pumps else { return self.flight.receive(tick, free, rx).await };
        pumps.open(self.batch.min(free.len()));
        poll_fn(|cx| match pumps.poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => tick.poll_tick(cx),
        })
        .await;
        self.collect(self.batch, free, rx)
    }

    /// Copies what has come into frames, at most so many datagrams, and delivers them.
    fn collect(&mut self, most: usize, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { flight, pumps, payload_at, .. } = self;
        let Some(pumps) = pumps else { return Ok(0) };
        pumps.inbox.shut();
        let (mut came, mut result) = (0, Ok(()));
        while came < most {
            let Some((socket, arrival)) = pumps.inbox.pop() else { break };
            let (received, address) = match arrival {
                Ok(arrival) => arrival,
                // compio's own words for ENOBUFS.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    flight.counters.rearms.no_buffers += 1;
                    continue;
                }
                Err(error) => {
                    let noted = flight.note_failed_receive(socket, error);
                    if result.is_ok() {
                        result = noted;
                    }
                    continue;
                }
            };
            let Some(mut frame) = free.take() else {
                pumps.inbox.put_back((socket, Ok((received, address))));
                break;
            };
            let bytes = received.bytes();
            flight.counters.rearms.empty_datagram += u64::from(bytes.is_empty() && pumps.stay_armed());
            let room = &mut frame.bytes_mut()[*payload_at..];
            let len = bytes.len().min(room.len());
            room[..len].copy_from_slice(&bytes[..len]);
            rx.set_socket(socket as u16);
            outcome::deliver(&mut flight.counters, (frame, *payload_at), (bytes.len(), address), (free, rx));
            came += 1;
        }
        rx.publish();
        result.map(|()| came)
    }
}
