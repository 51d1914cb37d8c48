//! Several sockets on runtimes that wait for readiness: a future for each receives into frames that the loop lends.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::backend::Counters;
use crate::frames::address::Address;
use crate::frames::owned::{Lender, Owned};
use crate::frames::packet::RxRing;
use crate::frames::pool::{FreeList, Pool};
use crate::runtimes::crowd::{Crowd, Task};
use crate::runtimes::inbox::{Inbox, Turn};

/// A socket of a runtime.
pub(super) trait Receive {
    /// Receives a datagram when one is there: how many bytes, and from whom if the socket is not connected.
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<(usize, Option<SocketAddr>)>>;
}

/// What came by a socket.
type Arrival = io::Result<(Owned, Option<SocketAddr>)>;

/// The sockets' futures, and what they hand over.
#[derive(Debug)]
pub(super) struct Desk<'p> {
    crowd: Crowd,
    inbox: Inbox<Arrival>,
    /// Frames for the next receives.
    empty: Rc<RefCell<Vec<Owned>>>,
    lender: Lender<'p>,
    batch: usize,
    payload_at: usize,
}

impl<'p> Desk<'p> {
    /// A desk for these sockets; `crowd` decides where their futures run.
    pub(super) fn new(
        sockets: Vec<Rc<dyn Receive>>,
        crowd: impl FnOnce(&mut dyn Iterator<Item = Task>) -> Crowd,
        (batch, payload_at): (usize, usize),
        pool: &'p Pool,
    ) -> Self {
        let (inbox, empty) = (Inbox::new(), Rc::new(RefCell::new(Vec::with_capacity(batch))));
        let task =
            |(number, socket)| -> Task { Box::pin(receive_all(number, socket, inbox.clone(), Rc::clone(&empty))) };
        let crowd = crowd(&mut sockets.into_iter().enumerate().map(task));
        Self { crowd, inbox, empty, lender: Lender::new(pool), batch, payload_at }
    }

    /// Begins a call, with frames for a batch. Whether there are some.
    pub(super) fn open(&mut self, free: &mut FreeList<'p>) -> bool {
        let mut empty = self.empty.borrow_mut();
        while empty.len() < self.batch {
            let Some(frame) = free.take() else { break };
            empty.push(self.lender.lend(frame, self.payload_at, 0));
        }
        let room = empty.len();
        drop(empty);
        self.inbox.open(room);
        room > 0
    }

    /// Ready if something has come; lets the futures in the loop's task receive.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.crowd.poll(cx);
        self.inbox.poll_full(cx)
    }

    /// As [`Desk::poll`], once.
    pub(super) async fn run(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Ends a call: delivers what has come, and counts errors by `note`, which returns those that make continuing pointless.
    pub(super) fn collect(
        &mut self,
        counters: &mut Counters,
        mut note: impl FnMut(&mut Counters, usize, io::Error) -> io::Result<()>,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> io::Result<usize> {
        self.inbox.shut();
        let (mut came, mut result) = (0, Ok(()));
        while let Some((socket, arrival)) = self.inbox.pop() {
            match arrival {
                Ok((owned, address)) => {
                    let len = owned.content().len();
                    // SAFETY: all frames at the desk were lent by `open`.
                    let mut frame = unsafe { self.lender.take_back(owned) };
                    if let Some(address) = address {
                        Address::new(address).write(&mut frame);
                    }
                    rx.set_socket(socket as u16);
                    rx.deliver_behind(self.payload_at, frame, len, &mut counters.truncated, free);
                    counters.rx_syscalls += 1;
                    came += 1;
                }
                Err(error) => {
                    let noted = note(counters, socket, error);
                    if result.is_ok() {
                        result = noted;
                    }
                }
            }
        }
        rx.publish();
        result.map(|()| came)
    }

    /// Gives all frames back.
    pub(super) fn close(mut self, free: &mut FreeList<'p>) {
        let come = std::iter::from_fn(|| self.inbox.pop()).filter_map(|(_, arrival)| arrival.ok());
        let empty = self.empty.take();
        for owned in come.map(|(owned, _)| owned).collect::<Vec<_>>().into_iter().chain(empty) {
            // SAFETY: all frames at the desk were lent by `open`.
            free.give(unsafe { self.lender.take_back(owned) });
        }
    }
}

/// Receives from a socket whenever there is room for what comes.
async fn receive_all(number: usize, socket: Rc<dyn Receive>, inbox: Inbox<Arrival>, empty: Rc<RefCell<Vec<Owned>>>) {
    let turn = Turn::default();
    poll_fn(|cx| -> Poll<()> {
        loop {
            if inbox.poll_room(&turn, cx).is_pending() {
                return Poll::Pending;
            }
            // There are as many as there is room.
            let Some(mut frame) = empty.borrow_mut().pop() else { return Poll::Pending };
            match socket.poll_receive(cx, frame.room()) {
                Poll::Ready(Ok((len, address))) => {
                    frame.set_len(len);
                    inbox.put(&turn, number, Ok((frame, address)));
                }
                Poll::Ready(Err(error)) => {
                    empty.borrow_mut().push(frame);
                    inbox.put(&turn, number, Err(error));
                }
                Poll::Pending => {
                    empty.borrow_mut().push(frame);
                    inbox.pass_on();
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}
