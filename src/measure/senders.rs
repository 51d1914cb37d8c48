//! What the generators of `flood` and `pace` send from.

use std::net::SocketAddr;
use std::sync::Arc;

use hpbench_backends::Socket;

use crate::measure::near::Near;
use crate::measure::outcome::TrialError;
use crate::measure::remote::session::{Asking, Peer, Session};
use crate::measure::shards::Shards;
use crate::measure::trial::{Far, Part};

/// What the generators of a worker send from.
#[derive(Debug)]
pub enum Senders<'a> {
    /// One end for all of them.
    One(Far<'a>),
    /// The source ports of each generator, connected with the worker's.
    Flows(Vec<Arc<[Arc<Socket>]>>),
}

impl Senders<'_> {
    /// What makes a time of the generators' clock one of ours, in nanoseconds; 0 if it is the same clock.
    pub fn shift_ns(&self) -> i64 {
        match self {
            Self::One(Far::There(session, _)) => session.shift_ns(),
            Self::One(Far::Here(..)) | Self::Flows(_) => 0,
        }
    }
}

impl<'a> Part<'a, '_> {
    /// The worker's socket, and what its generators send from.
    pub(crate) fn streams(&self) -> Result<(Near, Senders<'a>), TrialError> {
        let failed = |what| move |error| TrialError::Socket { what, error };
        let flows = self.cell.flows.unwrap_or(1);
        let (near, address) = match self.shards {
            Some(shards) => match self.peer {
                Some(peer) => return self.sharing_session(shards, peer),
                None => (shards.near(self.index), shards.address()),
            },
            None if flows == 1 || self.peer.is_some() => {
                return self.ends().map(|(near, far)| (near, Senders::One(far)));
            }
            None => {
                let socket = Socket::bind(self.options.bind.at(self.port()));
                let socket = socket.map_err(failed("binding the worker's socket"))?;
                let (rcvbuf, sndbuf) = (self.options.rcvbuf, self.options.sndbuf);
                socket.set_buffers(rcvbuf, sndbuf).map_err(failed("setting socket buffers"))?;
                let address = socket.local_addr().map_err(failed("reading a socket's address"))?;
                (Near::from(Arc::new(socket)), address)
            }
        };
        let generators = self.options.generators_of(self.cell).max(1);
        let sockets = (0..generators).map(|_| (0..flows).map(|_| self.client(address)).collect());
        Ok((near, Senders::Flows(sockets.collect::<Result<_, _>>()?)))
    }

    /// The socket of a worker that shares a port, and an agent that sends there.
    fn sharing_session(&self, shards: &Shards, peer: &'a Peer) -> Result<(Near, Senders<'a>), TrialError> {
        let (demand, near) = (self.demand(self.options.rcvbuf), shards.near(self.index));
        let session = {
            let _turn = shards.take_turn();
            let group: Vec<&Socket> = shards.sockets().map(|socket| &**socket).collect();
            Session::open(peer, &demand, Asking::Group(&group), self.interrupt)?
        };
        // Nobody receives before all have heard the answer.
        self.meet()?;
        Ok((near, Senders::One(Far::There(Box::new(session), None))))
    }

    /// What the kernel has dropped at this worker's socket, as far as it belongs into the account of this worker.
    pub(crate) fn accounted(&self, drops: u64) -> u64 {
        let is_accounted_here = self.shards.is_none_or(|shards| shards.accounts_for_drops(self.index));
        if is_accounted_here { drops } else { 0 }
    }

    /// A socket that is connected with the worker's.
    fn client(&self, address: SocketAddr) -> Result<Arc<Socket>, TrialError> {
        let failed = |what| move |error| TrialError::Socket { what, error };
        let mut socket = Socket::bind(self.options.bind.at(0)).map_err(failed("binding the generators' sockets"))?;
        let (rcvbuf, sndbuf) = (self.options.rcvbuf, self.options.sndbuf);
        socket.set_buffers(rcvbuf, sndbuf).map_err(failed("setting socket buffers"))?;
        socket.connect_to(address).map_err(failed("connecting the generators' sockets"))?;
        socket.report_drops().map_err(failed("setting IP_RECVERR"))?;
        Ok(Arc::new(socket))
    }
}
