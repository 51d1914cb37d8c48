//! Several sockets: a future for each receives into frames that the loop lends.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::backend::{Config, Counters};
use crate::frames::owned::{Lender, Owned};
use crate::frames::packet::RxRing;
use crate::frames::pool::{FreeList, Pool};
use crate::runtimes::crowd::{Crowd, Host, Task};
use crate::runtimes::inbox::{Inbox, Turn};
use crate::runtimes::outcome::{self, Received};

/// A socket of a runtime.
pub(super) trait Receive {
    /// Receives a datagram when one is there.
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<Received>>;
}

/// What came by a socket: a frame, and how many bytes of it from whom.
type Arrival = io::Result<(Owned, Received)>;

/// The sockets' futures, and what they hand over.
#[derive(Debug)]
pub(super) struct Desk<'p> {
    crowd: Crowd<Arrival>,
    /// Frames for the next receives.
    empty: Rc<RefCell<Vec<Owned>>>,
    lender: Lender<'p>,
    batch: usize,
    payload_at: usize,
}

impl<'p> Desk<'p> {
    /// A desk for these sockets. Called within the runtime.
    pub(super) fn new<R: Receive + 'static>(
        sockets: impl IntoIterator<Item = Rc<R>>,
        config: &Config,
        host: &impl Host,
        pool: &'p Pool,
    ) -> Self {
        let (inbox, empty) = (Inbox::new(), Rc::new(RefCell::new(Vec::with_capacity(config.batch))));
        let tasks = sockets.into_iter().enumerate().map(|(number, socket)| -> Task {
            Box::pin(receive_all(number, socket, inbox.clone(), Rc::clone(&empty)))
        });
        let crowd = Crowd::new(config, host, inbox.clone(), tasks);
        let payload_at = outcome::payload_at(config);
        Self { crowd, empty, lender: Lender::new(pool), batch: config.batch, payload_at }
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
        self.crowd.inbox.open(room);
        room > 0
    }

    /// Ready if something has come; lets the futures in the loop's task receive.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.crowd.poll(cx)
    }

    /// As [`Desk::poll`], once.
    pub(super) async fn run(&mut self) {
        self.crowd.run().await;
    }

    /// Has the futures end that run from now on.
    pub(super) fn stop(&self) {
        self.crowd.inbox.stop(true);
    }

    /// Ends a call: delivers what has come. `fd` has the descriptor of a socket, for its errors.
    pub(super) fn collect(
        &mut self,
        counters: &mut Counters,
        fd: impl Fn(usize) -> RawFd,
        (free, rx): (&mut FreeList<'p>, &mut RxRing<'p>),
    ) -> io::Result<usize> {
        self.crowd.inbox.shut();
        let (mut came, mut result) = (0, Ok(()));
        while let Some((socket, arrival)) = self.crowd.inbox.pop() {
            match arrival {
                Ok((owned, received)) => {
                    // SAFETY: all frames at the desk were lent by `open`.
                    let frame = unsafe { self.lender.take_back(owned) };
                    rx.set_socket(socket as u16);
                    outcome::deliver(counters, (frame, self.payload_at), received, (free, rx));
                    came += 1;
                }
                Err(error) => {
                    let noted = counters.note_receive_error(fd(socket), error);
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
        let come = std::iter::from_fn(|| self.crowd.inbox.pop()).filter_map(|(_, arrival)| arrival.ok());
        let empty = self.empty.take();
        for owned in come.map(|(owned, _)| owned).chain(empty) {
            // SAFETY: all frames at the desk were lent by `open`.
            free.give(unsafe { self.lender.take_back(owned) });
        }
    }
}

/// Receives from a socket whenever there is room for what comes.
async fn receive_all(number: usize, socket: Rc<impl Receive>, inbox: Inbox<Arrival>, empty: Rc<RefCell<Vec<Owned>>>) {
    let turn = Turn::default();
    poll_fn(|cx| {
        loop {
            if inbox.is_stopped() {
                inbox.wake_driver();
                return Poll::Ready(());
            }
            if inbox.poll_room(&turn, cx).is_pending() {
                return Poll::Pending;
            }
            // There are as many as there is room.
            let Some(mut frame) = empty.borrow_mut().pop() else { return Poll::Pending };
            match socket.poll_receive(cx, frame.room()) {
                Poll::Ready(Ok(received)) => inbox.put(&turn, number, Ok((frame, received))),
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
