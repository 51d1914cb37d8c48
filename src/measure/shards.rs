//! The sockets of workers that share a port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hpbench_backends::Socket;

use crate::measure::near::Near;
use crate::measure::outcome::TrialError;
use crate::plan::cells::Options;
use crate::plan::shards::{Sharding, Steer};

/// The sockets of all workers of a trial, at one port.
#[derive(Debug)]
pub struct Shards {
    /// One for each worker, or one for all.
    sockets: Vec<Near>,
    address: SocketAddr,
    /// Held by the worker that speaks with its agent from the port.
    turn: Mutex<()>,
}

impl Shards {
    /// Opens them, before anything is sent; nothing if each worker has a port of its own.
    ///
    /// # Errors
    ///
    /// If a socket is not available, or the kernel cannot steer.
    pub fn open(sharding: Option<Sharding>, options: &Options) -> Result<Option<Self>, TrialError> {
        let failed = |what| move |error| TrialError::Socket { what, error };
        let (address, workers) = (options.bind.at(options.port), options.cores.places.len());
        let sockets = match sharding {
            None | Some(Sharding::Ports) => return Ok(None),
            Some(Sharding::Single) => Socket::bind(address).map(|socket| vec![socket]),
            Some(Sharding::Reuseport(_)) => Socket::group(address, workers),
        };
        let sockets = sockets.map_err(failed("binding the socket that workers share"))?;
        if sharding == Some(Sharding::Reuseport(Steer::Cpu)) {
            sockets[0].steer_by_core(workers).map_err(failed("setting SO_ATTACH_REUSEPORT_CBPF"))?;
        }
        for socket in &sockets {
            socket.set_buffers(options.rcvbuf, options.sndbuf).map_err(failed("setting socket buffers"))?;
        }
        let address = sockets[0].local_addr().map_err(failed("reading a socket's address"))?;
        let sockets = sockets.into_iter().map(|socket| Near::from(Arc::new(socket))).collect();
        Ok(Some(Self { sockets, address, turn: Mutex::default() }))
    }

    /// The socket that a worker receives from.
    pub fn near(&self, worker: usize) -> Near {
        self.sockets[worker % self.sockets.len()].clone()
    }

    /// The sockets at the port.
    pub fn sockets(&self) -> impl Iterator<Item = &Arc<Socket>> {
        self.sockets.iter().map(Near::first)
    }

    /// Waits until no other worker expects an answer at the port.
    pub fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is dropped at its socket is in the account of this worker: a socket that workers share is in one.
    pub fn accounts_for_drops(&self, worker: usize) -> bool {
        worker < self.sockets.len()
    }

    /// Where the generators send.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
