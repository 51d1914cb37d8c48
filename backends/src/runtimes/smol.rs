//! smol: `Async<UdpSocket>` of async-io, which tries a system call first and waits for epoll if that finds nothing.
//!
//! Its reactor is one for the whole process, with a thread of its own ("async-io") that takes over while nobody else waits for
//! events. The CPU time of that thread belongs to the cost of the backend.

use std::future::poll_fn;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_executor::LocalExecutor;
use async_io::Async;

use crate::backend::{self, Caps, Config, Counters, OpenError, Port};
use crate::declaration::{Declaration, Dimension, Kind, Mode};
use crate::frames::copies::Copies;
use crate::frames::packet::{Packet, RxRing};
use crate::frames::pool::{FreeList, Pool};
use crate::frames::ring::Consumer;
use crate::kernel::errno::Verdict;
use crate::kernel::socket::Socket;
use crate::kernel::thread;
use crate::kernel::timer::Timer;
use crate::runtime::{AsyncBackend, Runtime};
use crate::runtimes::crowd::{Host, MANY, MANY_RULE, Task};
use crate::runtimes::desk::{Desk, Receive};
use crate::runtimes::look;
use crate::runtimes::outcome::{self, Received, judge};

const DECLARATION: Declaration = Declaration {
    crates: &["async-io", "async-executor", "polling"],
    // The reactor's thread, which is none of the kernel's, but works for it likewise.
    has_kernel_workers: true,
    shares_descriptors: Some("its reactor is one for all threads, with their descriptors"),
    rules: &[MANY_RULE],
    ..Declaration::new("smol", "the runtime smol: async-io and async-executor, on epoll", &[CALLS, MANY])
};

const CALLS: Dimension = Dimension::both(
    "calls",
    &[Mode::new("single", "recv_from and send_to of Async<UdpSocket>: one datagram per system call")],
);

/// The reactor of async-io, and an executor for tasks on this thread if there are some.
#[derive(Clone, Debug)]
pub struct Reactor(Option<Rc<LocalExecutor<'static>>>);

impl Runtime for Reactor {
    #[inline]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            None => async_io::block_on(future),
            Some(executor) => async_io::block_on(executor.run(future)),
        }
    }
}

impl Host for LocalExecutor<'static> {
    fn spawn(&self, task: Task) {
        LocalExecutor::spawn(self, task).detach();
    }
}

/// The `smol` backend.
#[derive(Debug)]
pub struct Smol<'p> {
    sockets: Box<[Rc<Async<UdpSocket>>]>,
    /// What receives from several sockets.
    desk: Option<Desk<'p>>,
    tick: Option<Async<Timer>>,
    reactor: Reactor,
    batch: usize,
    copies: Copies,
    payload_at: usize,
    counters: Counters,
}

impl<'p> AsyncBackend<'p> for Smol<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    type Runtime = Reactor;

    fn probe(_config: &Config) -> Result<Caps, OpenError> {
        let failed = |error| OpenError::Failed { call: "starting smol's reactor", error };
        start_reactor().map_err(failed)?;
        backend::throwaway_socket()?;
        Ok(Caps::default())
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let sockets = port.non_blocking_sockets(config, pool)?;
        let failed = |error| OpenError::Failed { call: "handing a socket over to smol", error };
        start_reactor().map_err(failed)?;
        let adopt = |socket: &Arc<Socket>| Ok(Rc::new(Async::new(socket.duplicate()?)?));
        let own: Box<[_]> = sockets.iter().map(adopt).collect::<io::Result<_>>().map_err(failed)?;
        let payload_at = outcome::payload_at(config);
        let executor = config.variant.finds_sockets().then(|| Rc::new(LocalExecutor::new()));
        let receivers =
            own.iter().map(|socket| Rc::new(Receiver { socket: Rc::clone(socket), has_addresses: payload_at > 0 }));
        let desk = executor.as_deref().map(|executor| Desk::new(receivers, config, executor, pool));
        if desk.is_none() {
            sockets.only()?;
        }
        Ok(Self {
            sockets: own,
            desk,
            tick: config.block.map(tick_every).transpose().map_err(failed)?,
            reactor: Reactor(executor),
            batch: config.batch,
            copies: Copies::new(config.copies),
            payload_at,
            counters: Counters::default(),
        })
    }

    fn runtime(&self) -> Reactor {
        self.reactor.clone()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if let Some(desk) = &mut self.desk {
            desk.open(free);
            // Tasks run, and then the reactor looks.
            for _ in 0..2 {
                desk.run().await;
                look().await;
            }
            return self.collect(free, rx);
        }
        let came = self.take_each(self.batch, free, rx);
        rx.publish();
        let came = came?;
        if came == 0 {
            look().await;
        }
        Ok(came)
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let tick = self.tick.as_ref();
        if let Some(desk) = &mut self.desk {
            if desk.open(free) {
                poll_fn(|cx| match desk.poll(cx) {
                    Poll::Ready(()) => Poll::Ready(()),
                    Poll::Pending => poll_tick(tick, cx),
                })
                .await;
            }
            return self.collect(free, rx);
        }
        poll_fn(|cx| {
            loop {
                let errors = self.counters.io_errors;
                let came = self.take_each(self.batch, free, rx);
                rx.publish();
                // An error that was counted leaves the socket to the next call.
                if !matches!(came, Ok(0)) || free.is_empty() || self.counters.io_errors > errors {
                    return Poll::Ready(came);
                }
                // Ready if something has come since the last time.
                if self.sockets[0].poll_readable(cx)?.is_pending() {
                    return poll_tick(self.tick.as_ref(), cx).map(|()| Ok(0));
                }
            }
        })
        .await
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        if tx.available() == 0 {
            return Ok(0);
        }
        let mut full = None;
        let sent = self.send_each(tx, free, &mut full)?;
        let (Some(socket), 0) = (full, sent) else { return Ok(sent) };
        if self.tick.is_none() {
            self.counters.send_eagain += 1;
            look().await;
            return Ok(0);
        }
        poll_fn(|cx| match self.sockets[socket].poll_writable(cx) {
            Poll::Ready(ready) => Poll::Ready(ready),
            Poll::Pending => {
                let ended = poll_tick(self.tick.as_ref(), cx).map(Ok);
                self.counters.send_eagain += u64::from(ended.is_ready());
                ended
            }
        })
        .await?;
        self.send_each(tx, free, &mut full)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        if let Some(desk) = self.desk {
            desk.close(free);
        }
        Ok(())
    }
}

impl Smol<'_> {
    /// Receives at most `most` datagrams that are there.
    #[inline(always)]
    fn take_each<'p>(&mut self, most: usize, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let socket = &self.sockets[0];
        let mut came = 0;
        while came < most {
            let Some(mut frame) = free.take() else { break };
            match receive(socket, self.payload_at > 0, &mut frame.bytes_mut()[self.payload_at..]) {
                Ok(received) => {
                    outcome::deliver(&mut self.counters, (frame, self.payload_at), received, (free, rx));
                }
                Err(error) => {
                    free.give(frame);
                    self.counters.note_receive_error(socket.as_raw_fd(), error)?;
                    break;
                }
            }
            came += 1;
        }
        Ok(came)
    }
}

impl<'p> Smol<'p> {
    /// Delivers what the futures of several sockets have received.
    fn collect(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let Self { desk, sockets, counters, .. } = self;
        let Some(desk) = desk else { return Ok(0) };
        desk.collect(counters, |socket| sockets[socket].as_raw_fd(), (free, rx))
    }

    /// Sends one datagram after the other, at most a batch, up to one that a socket has no room for.
    fn send_each(
        &mut self,
        tx: &mut Consumer<Packet<'p>>,
        free: &mut FreeList<'p>,
        full: &mut Option<usize>,
    ) -> io::Result<usize> {
        let _ = tx.available();
        let (mut sent, mut result) = (0, Ok(()));
        while sent < self.batch {
            let Some(packet) = tx.peek(0) else { break };
            let socket = &self.sockets[packet.socket()];
            let outcome = match packet.address().filter(|_| self.payload_at > 0) {
                None => socket.get_ref().send(packet.bytes()),
                Some(address) => socket.get_ref().send_to(packet.bytes(), address),
            };
            match outcome.map_err(judge) {
                Ok(_) => {}
                Err((Verdict::Again | Verdict::Interrupted, _)) => {
                    *full = Some(packet.socket());
                    break;
                }
                Err(refused) => {
                    result = self.counters.note_refused(socket.as_raw_fd(), refused);
                    break;
                }
            }
            self.copies.sent(tx, free);
            sent += 1;
        }
        tx.release();
        result.map(|()| sent)
    }
}

/// Starts the reactor, if need be. Its thread, which may run where the thread may that starts it, is not to share the worker's core.
fn start_reactor() -> io::Result<()> {
    let start = || {
        thread::roam()?;
        tick_every(Duration::from_secs(3600)).map(drop)
    };
    let ended = std::thread::Builder::new().name("smol".into()).spawn(start)?.join();
    ended.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// Receives a datagram that is there.
#[inline(always)]
fn receive(socket: &Async<UdpSocket>, has_addresses: bool, bytes: &mut [u8]) -> io::Result<Received> {
    match has_addresses {
        false => socket.get_ref().recv(bytes).map(|len| (len, None)),
        true => socket.get_ref().recv_from(bytes).map(|(len, address)| (len, Some(address))),
    }
}

/// A timer among the descriptors of the reactor.
fn tick_every(period: Duration) -> io::Result<Async<Timer>> {
    Async::new(Timer::every(period)?)
}

/// Ready when the timer has gone off since the last time; at once if there is none.
fn poll_tick(tick: Option<&Async<Timer>>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(tick) = tick else { return Poll::Ready(()) };
    loop {
        if ready!(tick.poll_readable(cx)).is_err() || tick.get_ref().take().is_ok() {
            return Poll::Ready(());
        }
    }
}

// SAFETY: a timer has one descriptor, which no method replaces.
unsafe impl async_io::IoSafe for Timer {}

/// One of several sockets.
struct Receiver {
    socket: Rc<Async<UdpSocket>>,
    has_addresses: bool,
}

impl Receive for Receiver {
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<Received>> {
        loop {
            match receive(&self.socket, self.has_addresses, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_readable(cx))?,
                received => return Poll::Ready(received),
            }
        }
    }
}
