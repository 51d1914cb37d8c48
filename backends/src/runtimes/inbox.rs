//! Where tasks put what they receive from their sockets, for the driver's loop to take: at most a batch per call.
//!
//! The tasks and the loop are on one thread. A task that finds no room waits in a line; those that have received in this call
//! stand behind the others, so that a socket that always has datagrams keeps none waiting.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A handle: clones are the same inbox.
pub(super) struct Inbox<T>(Rc<State<T>>);

struct State<T> {
    /// What has come, and by which socket.
    items: RefCell<VecDeque<(usize, T)>>,
    /// How many more may come in this call.
    room: Cell<usize>,
    /// The number of this call.
    call: Cell<u64>,
    /// Whether the tasks are to end.
    stops: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    waiting: RefCell<VecDeque<Waker>>,
    /// Those that wait, and have received in this call.
    served: RefCell<VecDeque<Waker>>,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("items", &self.0.items.borrow().len()).field("room", &self.0.room).finish()
    }
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Self {
        Self(Rc::new(State {
            items: RefCell::default(),
            room: Cell::new(0),
            call: Cell::new(0),
            stops: Cell::new(false),
            driver: RefCell::default(),
            waiting: RefCell::default(),
            served: RefCell::default(),
        }))
    }

    /// Begins a call of the driver, which takes `room` items at most.
    pub(super) fn open(&self, room: usize) {
        let state = &*self.0;
        state.call.set(state.call.get() + 1);
        state.waiting.borrow_mut().append(&mut state.served.borrow_mut());
        state.room.set(room.saturating_sub(state.items.borrow().len()));
        let woken = state.room.get().min(state.waiting.borrow().len());
        (0..woken).for_each(|_| self.wake_next());
    }

    /// Ends it: tasks that run later put nothing.
    pub(super) fn shut(&self) {
        self.0.room.set(0);
    }

    /// While it is stopped, there is room for everything: tasks end when they have received what is left.
    pub(super) fn stop(&self, stops: bool) {
        self.0.stops.set(stops);
        let lines = [&self.0.waiting, &self.0.served].map(RefCell::take);
        lines.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether the tasks are to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.stops.get()
    }

    /// For the driver: ready if something is there.
    pub(super) fn poll_full(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.0.items.borrow().is_empty() {
            return Poll::Ready(());
        }
        let mut driver = self.0.driver.borrow_mut();
        match &mut *driver {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *driver = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The next item, and its socket.
    pub(super) fn pop(&self) -> Option<(usize, T)> {
        self.0.items.borrow_mut().pop_front()
    }

    /// Back to the front.
    pub(super) fn put_back(&self, item: (usize, T)) {
        self.0.items.borrow_mut().push_front(item);
    }

    /// For a task: ready if it may receive one. `turn` is the task's own.
    pub(super) fn poll_room(&self, turn: &Turn, cx: &mut Context<'_>) -> Poll<()> {
        let state = &*self.0;
        if state.room.get() > 0 || state.stops.get() {
            return Poll::Ready(());
        }
        let line = if turn.0.get() == state.call.get() { &state.served } else { &state.waiting };
        line.borrow_mut().push_back(cx.waker().clone());
        Poll::Pending
    }

    /// As [`Inbox::poll_room`], for a task that puts one item in each call.
    pub(super) fn poll_turn(&self, turn: &Turn, cx: &mut Context<'_>) -> Poll<()> {
        let state = &*self.0;
        if turn.0.get() == state.call.get() {
            state.served.borrow_mut().push_back(cx.waker().clone());
            return Poll::Pending;
        }
        self.poll_room(turn, cx)
    }

    /// For a task that may: puts what it has received.
    pub(super) fn put(&self, turn: &Turn, socket: usize, item: T) {
        let state = &*self.0;
        turn.0.set(state.call.get());
        state.items.borrow_mut().push_back((socket, item));
        state.room.set(state.room.get().saturating_sub(1));
        self.wake_driver();
    }

    /// Has the driver look again.
    pub(super) fn wake_driver(&self) {
        if let Some(driver) = &*self.0.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// For a task that may: awaits what its socket has, and passes on while that is nothing.
    pub(super) async fn receive<F: Future>(&self, receive: F) -> F::Output {
        let mut receive = pin!(receive);
        poll_fn(|cx| {
            let received = receive.as_mut().poll(cx);
            if received.is_pending() {
                self.pass_on();
            }
            received
        })
        .await
    }

    /// For a task whose socket is empty: the next one in the line may have more luck.
    pub(super) fn pass_on(&self) {
        if self.0.room.get() > 0 {
            self.wake_next();
        }
    }

    fn wake_next(&self) {
        let next = self.0.waiting.borrow_mut().pop_front();
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// When a task has put something last.
#[derive(Debug, Default)]
pub(super) struct Turn(Cell<u64>);

#[cfg(test)]
mod tests {
    use std::future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task that receives for as long as there is room.
    struct Task {
        turn: Turn,
        count: Arc<Count>,
    }

    impl Task {
        fn new() -> Self {
            Self { turn: Turn::default(), count: Arc::new(Count(AtomicUsize::new(0))) }
        }

        fn woken(&self) -> usize {
            self.count.0.load(Ordering::Relaxed)
        }

        /// Awaits room, and then a socket that is empty.
        fn run_in_vain(&self, inbox: &Inbox<u32>) {
            let waker = Waker::from(Arc::clone(&self.count));
            let mut cx = Context::from_waker(&waker);
            assert!(inbox.poll_room(&self.turn, &mut cx).is_ready());
            assert!(pin!(inbox.receive(future::pending::<u32>())).poll(&mut cx).is_pending());
        }

        fn run(&self, inbox: &Inbox<u32>, number: usize) {
            let waker = Waker::from(Arc::clone(&self.count));
            while inbox.poll_room(&self.turn, &mut Context::from_waker(&waker)).is_ready() {
                inbox.put(&self.turn, number, 7);
            }
        }
    }

    #[test]
    fn a_batch_is_the_total_and_who_was_served_stands_behind_the_others() {
        let inbox = Inbox::new();
        let tasks = [Task::new(), Task::new()];
        inbox.open(3);
        tasks[0].run(&inbox, 0);
        tasks[1].run(&inbox, 1);
        assert_eq!(std::iter::from_fn(|| inbox.pop()).collect::<Vec<_>>(), [(0, 7), (0, 7), (0, 7)]);
        inbox.open(1);
        assert_eq!([tasks[0].woken(), tasks[1].woken()], [0, 1], "it has had nothing yet");
        tasks[1].run(&inbox, 1);
        assert_eq!(inbox.pop(), Some((1, 7)));
        inbox.open(1);
        assert_eq!([tasks[0].woken(), tasks[1].woken()], [1, 1]);
        inbox.pass_on();
        assert_eq!([tasks[0].woken(), tasks[1].woken()], [1, 2], "the first had nothing");
        inbox.shut();
        tasks[0].run(&inbox, 0);
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn a_task_whose_socket_is_empty_wakes_the_next_in_the_line() {
        let inbox = Inbox::new();
        let tasks = [Task::new(), Task::new(), Task::new()];
        tasks.iter().enumerate().for_each(|(number, task)| task.run(&inbox, number));
        inbox.open(1);
        assert_eq!(tasks.each_ref().map(Task::woken), [1, 0, 0], "there is room for one");
        tasks[0].run_in_vain(&inbox);
        assert_eq!(tasks.each_ref().map(Task::woken), [1, 1, 0], "the first has nothing");
        tasks[1].run(&inbox, 1);
        assert_eq!(inbox.pop(), Some((1, 7)));
        assert_eq!(tasks[2].woken(), 0, "there is no room left");
    }

    #[test]
    fn what_was_left_takes_room_and_the_driver_is_woken() {
        let (inbox, task) = (Inbox::new(), Task::new());
        let driver = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&driver));
        let mut cx = Context::from_waker(&waker);
        assert!(inbox.poll_full(&mut cx).is_pending());
        inbox.open(2);
        task.run(&inbox, 4);
        assert_eq!(driver.0.load(Ordering::Relaxed), 2);
        assert!(inbox.poll_full(&mut cx).is_ready());
        let item = inbox.pop().expect("two have come");
        inbox.put_back(item);
        inbox.open(3);
        task.run(&inbox, 4);
        assert_eq!(std::iter::from_fn(|| inbox.pop()).count(), 3);
    }
}
