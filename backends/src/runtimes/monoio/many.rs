//! Sockets that have a receive in flight each, into a buffer that the socket keeps.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use crate::backend::Config;
use crate::frames::packet::RxRing;
use crate::frames::pool::{FreeList, Pool};
use crate::runtimes::desk::{Desk, Receive};
use crate::runtimes::flight::{Flight, is_cancelled};
use crate::runtimes::monoio::proactor::{Cancel, Proactor};
use crate::runtimes::outcome::{self, Received};
use crate::runtimes::slot::{Route, Slot};

/// Sockets with a buffer each.
#[derive(Debug)]
pub(super) struct Many<'p> {
    pub(super) desk: Desk<'p>,
    receivers: Box<[Rc<Receiver>]>,
    payload_at: usize,
}

impl<'p> Many<'p> {
    /// Called within the runtime.
    pub(super) fn new(
        slots: impl Iterator<Item = Slot<Vec<u8>>>,
        config: &Config,
        host: &Proactor,
        pool: &'p Pool,
    ) -> Self {
        let payload_at = outcome::payload_at(config);
        let size = pool.frame_size() - payload_at;
        let receivers: Box<[_]> = slots.map(|slot| Rc::new(Receiver::new(slot, size))).collect();
        Self { desk: Desk::new(receivers.iter().cloned(), config, host, pool), receivers, payload_at }
    }

    /// Cancels what is in flight, and awaits the end of that.
    pub(super) async fn rest(&self, cancel: &Cancel) {
        cancel.all();
        for receiver in &self.receivers {
            poll_fn(|cx| receiver.poll_rest(cx)).await;
        }
    }

    /// Delivers what the sockets' buffers hold, as far as there are frames.
    pub(super) fn deliver(
        &self,
        flight: &mut Flight<'p>,
        free: &mut FreeList<'p>,
        rx: &mut RxRing<'p>,
    ) -> io::Result<usize> {
        let (mut came, mut result) = (0, Ok(()));
        for (number, receiver) in self.receivers.iter().enumerate().filter(|(_, receiver)| receiver.has_some()) {
            let Some(mut frame) = free.take() else { break };
            match receiver.take(&mut frame.bytes_mut()[self.payload_at..]) {
                Some(Ok(received)) => {
                    rx.set_socket(number as u16);
                    outcome::deliver(&mut flight.counters, (frame, self.payload_at), received, (free, rx));
                    came += 1;
                }
                Some(Err(error)) => {
                    free.give(frame);
                    let noted = flight.note_failed_receive(number, error);
                    if result.is_ok() {
                        result = noted;
                    }
                }
                None => free.give(frame),
            }
        }
        rx.publish();
        result.map(|()| came)
    }

    /// Ends all receives and their futures, which else would keep each other, and the sockets.
    pub(super) async fn end(self, cancel: &Cancel) -> Desk<'p> {
        self.desk.stop();
        self.rest(cancel).await;
        let Self { mut desk, receivers, .. } = self;
        poll_fn(|cx| {
            // Each that ends wakes this one.
            let _ = desk.poll(cx);
            let has_ended = |receiver: &Rc<_>| Rc::strong_count(receiver) == 1;
            if receivers.iter().all(has_ended) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        desk
    }
}

/// One of several sockets: its buffer is in flight, or holds what has come.
#[derive(Debug)]
struct Receiver(RefCell<State>);

#[derive(Debug)]
struct State {
    slot: Slot<Vec<u8>>,
    /// `None` while it is in flight.
    buffer: Option<Vec<u8>>,
    /// What is in it, for the next who asks.
    come: Option<io::Result<Received>>,
    /// Of the future that awaits the end.
    waker: Option<Waker>,
}

impl Receiver {
    fn new(slot: Slot<Vec<u8>>, size: usize) -> Self {
        Self(RefCell::new(State { slot, buffer: Some(vec![0; size]), come: None, waker: None }))
    }

    fn has_some(&self) -> bool {
        self.0.borrow().come.is_some()
    }

    /// Copies what has come.
    fn take(&self, bytes: &mut [u8]) -> Option<io::Result<Received>> {
        let State { buffer, come, .. } = &mut *self.0.borrow_mut();
        let come = come.take()?;
        if let (Ok((len, _)), Some(buffer)) = (&come, buffer) {
            let len = (*len).min(bytes.len());
            bytes[..len].copy_from_slice(&buffer[..len]);
        }
        Some(come)
    }

    /// Ready when nothing is in flight, because it was cancelled or has come.
    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if !state.slot.is_idle() {
            let (outcome, buffer) = ready!(state.slot.poll(cx));
            state.buffer = Some(buffer);
            state.come = Some(outcome).filter(|outcome| !outcome.as_ref().is_err_and(is_cancelled));
        }
        // Its future has to begin anew.
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }
}

impl Receive for Receiver {
    fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<Received>> {
        loop {
            if let Some(come) = self.take(bytes) {
                return Poll::Ready(come);
            }
            let mut state = self.0.borrow_mut();
            let State { slot, buffer, come, waker } = &mut *state;
            if let Some(buffer) = buffer.take() {
                slot.start(buffer, Route::default());
            }
            match slot.poll(cx) {
                Poll::Ready((outcome, back)) => (*come, *buffer, *waker) = (Some(outcome), Some(back), None),
                Poll::Pending => {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}
