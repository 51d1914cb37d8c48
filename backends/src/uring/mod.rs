//! io_uring: a multishot receive from a registered buffer ring, and batches of SEND requests.
//!
//! Receive and send use separate rings, so that neither's completions wait behind the other's.

mod buffers;
mod receive;
mod ring;
mod send;

use std::io;
use std::sync::Arc;

use crate::backend::{Backend, Caps, Config, Counters, Kind, OpenError, Port};
use crate::packet::{Packet, RxRing};
use crate::pool::{FreeList, Pool};
use crate::ring::Consumer;
use crate::socket::Socket;
use receive::Multishot;
use ring::Setup;
use send::Sends;

/// The `uring` backend.
#[derive(Debug)]
pub struct Uring<'p> {
    receive: Multishot<'p>,
    send: Sends<'p>,
    in_effect: String,
}

impl<'p> Backend<'p> for Uring<'p> {
    const KIND: Kind = Kind::Uring;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        let failed = |error| OpenError::Failed { call: "binding a throwaway socket", error };
        let socket = Socket::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).map_err(failed)?;
        let pool = Pool::new(1, 64).map_err(|error| OpenError::Failed { call: "mapping a throwaway pool", error })?;
        let uring = Uring::open(config, Port::Socket(Arc::new(socket)), &pool)?;
        Ok(Caps { in_effect: uring.in_effect })
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        Self::open_as(&Setup::CHOICES, config, port, pool)
    }

    #[inline]
    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive.rx(free, rx)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive.rx_wait(free, rx)
    }

    #[inline]
    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.send.tx(tx, free)
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.receive.quiesce(free, rx)
    }

    fn counters(&self) -> Counters {
        let (received, sent) = (self.receive.counters(), self.send.counters());
        Counters {
            syscalls: received.syscalls + sent.syscalls,
            send_eagain: sent.send_eagain,
            io_errors: received.io_errors + sent.io_errors,
            cq_overflow: received.cq_overflow + sent.cq_overflow,
            ..received
        }
    }

    fn in_effect(&self) -> String {
        self.in_effect.clone()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        let received = self.receive.close(free);
        self.send.close(free);
        received
    }
}

impl<'p> Uring<'p> {
    /// Opens with the first of `choices` that this kernel takes.
    fn open_as(choices: &[Setup], config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let socket = port.socket(Self::KIND, config)?;
        let receive = Multishot::open(choices, &socket, config, pool)?;
        let send = Sends::open(choices, &socket, config, pool)?;
        let in_effect = receive.in_effect().to_string();
        Ok(Self { receive, send, in_effect })
    }
}

#[cfg(test)]
mod tests;
