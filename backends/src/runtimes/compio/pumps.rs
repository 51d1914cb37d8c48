//! Receives into buffers of compio's own pool: a future for each socket.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use compio::driver::BufferRef;
use compio::driver::op::RecvFromMultiResult;
use compio::net::UdpSocket;
use futures_util::StreamExt;

use crate::backend::Config;
use crate::runtimes::compio::modes::MULTI;
use crate::runtimes::compio::proactor::{Proactor, Tick, cancel_all};
use crate::runtimes::crowd::{Crowd, Task};
use crate::runtimes::flight::{Ticking, Ticks, is_cancelled};
use crate::runtimes::inbox::{Inbox, Turn};
use crate::runtimes::look;
use crate::variant::Addressing;

/// A datagram in a buffer of the runtime's pool.
pub(super) enum Datagram {
    /// It is empty, which a TCP socket's end is, too; compio returns no buffer for that.
    Empty,
    Buffer(BufferRef),
    Message(RecvFromMultiResult),
}

impl Datagram {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Buffer(buffer) => buffer,
            Self::Message(message) => message.data(),
        }
    }
}

pub(super) type Arrival = io::Result<(Datagram, Option<SocketAddr>)>;

/// What receives into buffers of the runtime's pool: a future for each socket.
#[derive(Debug)]
pub(super) struct Pumps {
    /// None while nothing is in flight.
    crowd: Option<Crowd<Arrival>>,
    plan: Plan,
    pub(super) inbox: Inbox<Arrival>,
    /// How many of the futures have not ended.
    running: Rc<Cell<usize>>,
}

/// What the futures are made of.
#[derive(Debug)]
struct Plan {
    config: Config,
    sockets: Rc<[UdpSocket]>,
    /// Their descriptors.
    fds: Rc<[RawFd]>,
    proactor: Proactor,
}

impl Pumps {
    pub(super) fn new(config: &Config, proactor: &Proactor, sockets: Rc<[UdpSocket]>, fds: Rc<[RawFd]>) -> Self {
        let plan = Plan { config: config.clone(), sockets, fds, proactor: proactor.clone() };
        Self { crowd: None, plan, inbox: Inbox::new(), running: Rc::default() }
    }

    /// Whether one receive brings many datagrams; an empty one ends it.
    pub(super) fn stay_armed(&self) -> bool {
        self.plan.config.variant.has(MULTI)
    }

    /// Begins a call that takes so many datagrams. Called within the runtime.
    pub(super) fn open(&mut self, room: usize) {
        self.inbox.open(room);
        let Self { crowd, plan, inbox, running } = self;
        crowd.get_or_insert_with(|| {
            running.set(plan.sockets.len());
            let pump = |(number, socket): (usize, &UdpSocket)| -> Task {
                let pump = Pump {
                    socket: socket.clone(),
                    number,
                    has_addresses: plan.config.addressing == Addressing::Unconnected,
                    inbox: inbox.clone(),
                };
                let ended = inbox.clone();
                let (running, stays_armed) = (Rc::clone(running), plan.config.variant.has(MULTI));
                Box::pin(async move {
                    match stays_armed {
                        true => pump.receive_multi().await,
                        false => pump.receive_managed().await,
                    }
                    running.set(running.get() - 1);
                    ended.wake_driver();
                })
            };
            Crowd::new(&plan.config, &plan.proactor, inbox.clone(), plan.sockets.iter().enumerate().map(pump))
        });
    }

    /// Ready if something has come; lets the futures in the loop's task receive.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.crowd.as_mut().map_or(Poll::Pending, |crowd| crowd.poll(cx))
    }

    /// Puts into the inbox what the runtime has taken from the sockets, and no call had room for.
    pub(super) async fn take_rest(&mut self) {
        let Some(crowd) = &mut self.crowd else { return };
        self.inbox.open(usize::MAX);
        crowd.run().await;
        if crowd.is_spawned() {
            look().await;
        }
    }

    /// Ends all futures; what they had received is in the inbox.
    pub(super) async fn stop(&mut self, ticks: &Ticks<Tick>) -> io::Result<()> {
        if self.crowd.is_none() {
            return Ok(());
        }
        self.inbox.stop(true);
        while self.running.get() > 0 {
            cancel_all(&self.plan.fds).await;
            // A ring that defers its work completes what was cancelled in a wait only.
            let glance = ticks.glance()?;
            poll_fn(|cx| {
                let _ = self.poll(cx);
                if self.running.get() == 0 { Poll::Ready(()) } else { glance.poll_tick(cx) }
            })
            .await;
        }
        self.inbox.stop(false);
        self.crowd = None;
        Ok(())
    }
}

/// What receives from one socket.
struct Pump {
    socket: UdpSocket,
    number: usize,
    has_addresses: bool,
    inbox: Inbox<Arrival>,
}

impl Pump {
    async fn receive_managed(self) {
        let turn = Turn::default();
        loop {
            poll_fn(|cx| self.inbox.poll_room(&turn, cx)).await;
            let received = match self.has_addresses {
                false => {
                    let received = self.inbox.receive(self.socket.recv_managed(0)).await;
                    received.map(|buffer| buffer.map(|buffer| (buffer, None)))
                }
                true => {
                    let received = self.inbox.receive(self.socket.recv_from_managed(0)).await;
                    received.map(|received| received.map(|(buffer, address)| (buffer, Some(address))))
                }
            };
            let arrival = received.map(|received| match received {
                Some((buffer, address)) => (Datagram::Buffer(buffer), address),
                None => (Datagram::Empty, None),
            });
            if self.is_over(&turn, arrival) {
                return;
            }
        }
    }

    async fn receive_multi(self) {
        let turn = Turn::default();
        if self.has_addresses {
            let mut stream = pin!(self.socket.recv_from_multi());
            loop {
                poll_fn(|cx| self.inbox.poll_room(&turn, cx)).await;
                let Some(received) = self.inbox.receive(stream.next()).await else { continue };
                let arrival = received.map(|message| {
                    let address = message.addr().and_then(|address| address.as_socket());
                    (Datagram::Message(message), address)
                });
                if self.is_over(&turn, arrival) {
                    return;
                }
            }
        }
        let mut stream = pin!(self.socket.recv_multi(0));
        loop {
            poll_fn(|cx| self.inbox.poll_room(&turn, cx)).await;
            // The stream ends at a datagram that is empty, and goes on if it is asked again.
            let received = self.inbox.receive(stream.next()).await.transpose();
            let arrival = received.map(|buffer| (buffer.map_or(Datagram::Empty, Datagram::Buffer), None));
            if self.is_over(&turn, arrival) {
                return;
            }
        }
    }

    /// Puts what has come; whether it is the end, because the receive was cancelled, or is to be and is not in flight.
    fn is_over(&self, turn: &Turn, arrival: Arrival) -> bool {
        if arrival.as_ref().is_err_and(is_cancelled) {
            return true;
        }
        let is_over = arrival.is_err() && self.inbox.is_stopped();
        self.inbox.put(turn, self.number, arrival);
        is_over
    }
}
