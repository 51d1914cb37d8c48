//! The sockets of a worker, taken together.

use std::io;
use std::sync::Arc;

use hpbench_backends::kernel::socket::MemInfo;
use hpbench_backends::{Port, Socket};

/// The sockets of a worker: mostly one. A copy costs nothing.
#[derive(Clone, Debug)]
pub struct Near(Arc<[Arc<Socket>]>);

impl From<Arc<Socket>> for Near {
    fn from(socket: Arc<Socket>) -> Self {
        Self(Arc::new([socket]))
    }
}

impl FromIterator<Arc<Socket>> for Near {
    fn from_iter<T: IntoIterator<Item = Arc<Socket>>>(sockets: T) -> Self {
        Self(sockets.into_iter().collect())
    }
}

impl Near {
    /// The first one.
    pub fn first(&self) -> &Arc<Socket> {
        &self.0[0]
    }

    /// All of them.
    pub fn sockets(&self) -> &[Arc<Socket>] {
        &self.0
    }

    /// What a backend is opened on.
    pub fn port<'p>(&self) -> Port<'p> {
        match &self.0[..] {
            [socket] => Port::Socket(Arc::clone(socket)),
            sockets => Port::Sockets(sockets.to_vec()),
        }
    }

    /// What is in all queues, and was dropped at any of them; the limits are those of one socket. It takes a system call
    /// for each socket, so it is for times when the worker is idle.
    ///
    /// # Errors
    ///
    /// As [`Socket::meminfo`].
    pub fn meminfo(&self) -> io::Result<MemInfo> {
        let mut sum = self.first().meminfo()?;
        for socket in &self.0[1..] {
            let info = socket.meminfo()?;
            sum.rmem_alloc = sum.rmem_alloc.saturating_add(info.rmem_alloc);
            sum.drops += info.drops;
        }
        Ok(sum)
    }

    /// See [`Socket::unrelated`].
    pub fn unrelated(&self) -> u64 {
        self.0.iter().map(|socket| socket.unrelated()).sum()
    }
}
