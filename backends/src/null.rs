//! No kernel at all: packets go through memory. What remains is the cost of the harness.

use std::io;

use crate::backend::{Backend, Caps, Config, Counters, MemoryPort, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;

const DECLARATION: Declaration = Declaration {
    has_socket: false,
    ..Declaration::new(
        "null",
        "no socket; packets go through memory, which shows what the harness itself costs",
        &[LINK],
    )
};

const LINK: Dimension = Dimension::both("link", &[Mode::new("memory", "no system call at all")]);

/// The `null` backend.
#[derive(Debug)]
pub struct Null<'p> {
    port: MemoryPort<'p>,
    batch: usize,
    counters: Counters,
}

impl<'p> Backend<'p> for Null<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, _pool: &'p Pool) -> Result<Self, OpenError> {
        match port {
            // A frame goes to the other end itself.
            Port::Memory(_) if config.copies != 1 => {
                Err(OpenError::Impossible("null sends each packet once; use a backend with a socket"))
            }
            Port::Memory(port) => Ok(Self { port, batch: config.batch, counters: Counters::default() }),
            Port::Socket(_) | Port::Sockets(_) => Err(OpenError::WrongPort(Self::KIND)),
        }
    }

    #[inline(always)]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let mut received = 0;
        // A datagram brings its own frame, so none is taken from `free`; but as with a socket, nothing is
        // received without a free one.
        self.port.inbound.consume(self.batch.min(free.len()), |packet| {
            received += packet.count();
            rx.deliver(packet, free);
        });
        rx.publish();
        Ok(received)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        // There is no kernel to wait in.
        self.rx(free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, _free: &mut FreeList<'p>) -> io::Result<usize> {
        let mut sent = 0;
        while sent < self.batch {
            if self.port.outbound.free() == 0 {
                self.counters.send_eagain += u64::from(tx.available() > 0);
                break;
            }
            let Some(packet) = tx.pop() else { break };
            sent += packet.count();
            if self.port.outbound.stage(packet).is_err() {
                unreachable!("there was a free slot, and only this side fills it");
            }
        }
        self.port.outbound.publish();
        tx.release();
        Ok(sent)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(mut self, free: &mut FreeList<'p>) -> io::Result<()> {
        while let Some(packet) = self.port.inbound.pop() {
            free.give(packet.into_frame());
        }
        Ok(())
    }
}
