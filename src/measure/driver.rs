//! The driver: one loop for all backends.
//!
//! [`receive`] and [`send`] are the hot loops of `drain` and `send`; [`turns`] is the loop of the other scenarios. They
//! are generic over the backend, so that each becomes code of its own, without a branch or a pointer between the
//! system call and the check. Each is written once, and compiled twice: as plain code for backends of system calls, and
//! as an `async` block for runtimes, which run the whole loop in one `block_on`.
//!
//! The path of a datagram in `drain`, from the kernel to the CSV (docs/CONTRIBUTING.md has the whole list):
//!
//! 1. `Filler::fill` sends a round into the socket's queue; `Queue::is_whole` asks whether all of it is there.
//! 2. [`receive`] calls [`AsyncBackend::rx`], which for system calls is `Backend::rx`: the kernel copies the datagram into a frame of the
//!    [`FreeList`].
//! 3. The [`RxRing`] takes the frame as a [`Packet`], and publishes a batch at once.
//! 4. `Lane::check_gathered` runs the app: `Sink` takes it off the ring, `wire::read` checks its header.
//! 5. `Arrivals::judge` books it as received, duplicate, corrupt or foreign; the frame goes back to the [`FreeList`].
//! 6. `Record::add` notes the round's time; the trial's end makes an `Outcome` with the `Ledger`.
//! 7. `Row::new` turns it into a row, and `Output::write` appends it to the CSV.

use std::hint::spin_loop;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hpbench_backends::runtime::Inline;
use hpbench_backends::{
    AsyncBackend, Config, Consumer, Counters, FreeList, OpenError, Packet, Pool, Port, Producer, Runtime, RxRing, ring,
};

use crate::traffic::app::{App, Source};

/// How long a round may go without any progress.
const STALL: Duration = Duration::from_millis(200);

/// How many datagrams [`receive`] gathers on the RX ring before the app checks them.
///
/// The kernel evicts the app's code from the nearest caches. With smaller batches than this, it would be fetched again
/// after each call of `rx`: that made a `drain` of batch 1 5% more expensive than one of batch 32, with the same system
/// calls (`cargo bench --bench harness_cost -- plain`).
const GATHERED: usize = 32;

/// A backend with its rings.
#[derive(Debug)]
pub struct Lane<'p, B> {
    backend: B,
    rx_in: RxRing<'p>,
    rx_out: Consumer<Packet<'p>>,
    /// Where a source puts what is to be sent.
    pub tx_in: Producer<Packet<'p>>,
    tx_out: Consumer<Packet<'p>>,
    polls: Polls,
    /// Datagrams that the backend has sent in turns.
    sent: u64,
    /// Whether all that is to be sent goes out in a turn; else a batch.
    sends_all: bool,
    /// Whether there is more of it, and the kernel takes it.
    has_more: bool,
    batch: usize,
    /// Whether `rx` may wait in the kernel.
    waits: bool,
    /// How many datagrams may be on the RX ring when `rx` is called again: another batch always fits.
    gathers: usize,
}

/// Calls of `rx`, by what they returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    /// Calls that returned none.
    pub empty: u64,
    /// Datagrams returned.
    pub datagrams: u64,
    /// Fruitful calls by how many datagrams they returned: class `k` is from 2^k up to 2^(k+1) − 1.
    pub sizes: [u64; 11],
}

impl Polls {
    /// Calls that returned datagrams.
    pub fn fruitful(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// Adds what another worker has counted.
    pub fn add(&mut self, other: Self) {
        self.empty += other.empty;
        self.datagrams += other.datagrams;
        self.sizes.iter_mut().zip(other.sizes).for_each(|(own, others)| *own += others);
    }

    /// What was counted since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            empty: self.empty - before.empty,
            datagrams: self.datagrams - before.datagrams,
            sizes: std::array::from_fn(|class| self.sizes[class] - before.sizes[class]),
        }
    }
}

/// The output of a future of a backend of system calls, which is ready.
macro_rules! polled {
    ($future:expr) => {
        Inline.block_on($future)
    };
}

/// The output of a future of a runtime's backend.
macro_rules! awaited {
    ($future:expr) => {
        $future.await
    };
}

/// Runs the text of a loop with the backend of a lane. The text is compiled twice: with `get!` for [`polled`] as plain code,
/// which is for backends of system calls, and with `get!` for [`awaited`] in one `block_on` of the runtime.
///
/// One `async` block for both would keep its variables in memory rather than in registers. With it, a `drain` of batch 1
/// took 2.5% longer with `mmsg`, and 3% with single receives of io_uring (`cargo bench --bench harness_cost`).
macro_rules! run {
    ($backend:ident, $lane:ident, $text:block) => {
        if $backend::Runtime::IS_INLINE {
            use polled as get;
            $text
        } else {
            $lane.backend.runtime().block_on(async {
                use awaited as get;
                $text
            })
        }
    };
}

/// Calls `rx` once, and counts the result.
macro_rules! poll {
    ($lane:ident, $free:ident) => {
        match $lane.waits {
            false => get!($lane.backend.rx($free, &mut $lane.rx_in)),
            true => get!($lane.backend.rx_wait($free, &mut $lane.rx_in)),
        }
        .inspect(|&received| $lane.count(received))
    };
}

/// One turn: the kernel's datagrams to the app, the app's answers to the kernel. How many datagrams moved.
macro_rules! take_turn {
    ($lane:ident, $app:ident, $free:ident) => {{
        let received = match $lane.has_more {
            false => poll!($lane, $free)?,
            true => 0,
        };
        $lane.check($app, $free);
        let sent = get!($lane.backend.tx(&mut $lane.tx_out, $free))?;
        $lane.has_more = $lane.sends_all && sent > 0 && (sent >= $lane.batch || $lane.tx_out.available() > 0);
        $lane.sent += sent as u64;
        if received + sent == 0 {
            spin_loop();
        }
        received + sent
    }};
}

impl<'p, B: AsyncBackend<'p>> Lane<'p, B> {
    /// Opens a backend, and rings of `slots` slots.
    ///
    /// # Errors
    ///
    /// As [`AsyncBackend::open`].
    pub fn open(config: &Config, port: Port<'p>, pool: &'p Pool, slots: usize) -> Result<Self, OpenError> {
        let backend = B::open(config, port, pool)?;
        let (rx_in, rx_out) = ring(slots);
        let (tx_in, tx_out) = ring(slots);
        Ok(Self {
            backend,
            rx_in: RxRing::new(rx_in),
            rx_out,
            tx_in,
            tx_out,
            polls: Polls::default(),
            sent: 0,
            sends_all: config.copies > 1,
            has_more: false,
            batch: config.batch,
            waits: config.block.is_some(),
            gathers: (slots.saturating_sub(config.batch)).min(GATHERED - 1),
        })
    }

    /// Counts what a call of `rx` returned.
    #[inline(always)]
    fn count(&mut self, received: usize) {
        if received > 0 {
            self.polls.datagrams += received as u64;
            self.polls.sizes[received.ilog2().min(10) as usize] += 1;
        } else {
            self.polls.empty += 1;
        }
    }

    /// Lets the app handle what is on the RX ring.
    #[inline]
    fn check<A: App<'p>>(&mut self, app: &mut A, free: &mut FreeList<'p>) {
        app.run(&mut self.rx_out, &mut self.tx_in, free);
        if A::INLINE {
            self.rx_in.rewind(&mut self.rx_out);
        }
    }

    /// As [`Lane::check`], out of line, which keeps the code between two system calls together. One call for 32
    /// datagrams costs nothing.
    #[inline(never)]
    fn check_gathered<A: App<'p>>(&mut self, app: &mut A, free: &mut FreeList<'p>) {
        self.check(app, free);
    }

    /// Sends one batch of what is on the TX ring.
    ///
    /// # Errors
    ///
    /// As [`AsyncBackend::tx`].
    #[inline]
    pub fn transmit(&mut self, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.backend.runtime().block_on(self.backend.tx(&mut self.tx_out, free))
    }

    /// Leaves the socket's queue alone until the next receive; what came until then goes to `app`.
    ///
    /// # Errors
    ///
    /// As [`AsyncBackend::quiesce`].
    pub fn quiesce(&mut self, app: &mut impl App<'p>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let received = self.backend.quiesce(free, &mut self.rx_in)?;
        app.run(&mut self.rx_out, &mut self.tx_in, free);
        Ok(received)
    }

    /// Lets an app on another thread hand back the frames that it is done with.
    pub(crate) fn reclaim(&mut self, app: &mut impl App<'p>, free: &mut FreeList<'p>) {
        app.run(&mut self.rx_out, &mut self.tx_in, free);
        spin_loop();
    }

    /// Takes the app's ends of the rings away, for an app on another thread. What is left in their place is empty.
    pub(crate) fn detach(&mut self) -> (Consumer<Packet<'p>>, Producer<Packet<'p>>) {
        let (tx_in, rx_out) = ring(1);
        (std::mem::replace(&mut self.rx_out, rx_out), std::mem::replace(&mut self.tx_in, tx_in))
    }

    /// Puts them back.
    pub(crate) fn attach(&mut self, (rx_out, tx_in): (Consumer<Packet<'p>>, Producer<Packet<'p>>)) {
        (self.rx_out, self.tx_in) = (rx_out, tx_in);
    }

    /// What the backend and the driver have counted so far.
    pub fn counters(&self) -> (Counters, Polls) {
        (self.backend.counters(), self.polls)
    }

    /// Datagrams sent so far in [`turns`], copies included.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Datagrams dropped so far because the RX ring was full.
    pub fn dropped(&self) -> u64 {
        self.rx_in.dropped()
    }

    /// What took effect, see [`AsyncBackend::in_effect`].
    pub fn in_effect(&self) -> String {
        self.backend.in_effect()
    }

    /// Closes the backend; all frames return to `free`, those in the rings included.
    ///
    /// # Errors
    ///
    /// As [`AsyncBackend::close`].
    pub fn close(mut self, free: &mut FreeList<'p>) -> io::Result<()> {
        let result = self.backend.close(free);
        // What the kernel may still read from is lost to the pool.
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
            return result;
        }
        for consumer in [&mut self.rx_out, &mut self.tx_out] {
            while let Some(packet) = consumer.pop() {
                free.give(packet.into_frame());
            }
        }
        result
    }
}

/// The loop of the scenarios with a generator: turn after turn, until `over` breaks it. That is called after each turn,
/// with the number of datagrams that moved. Returns what it breaks with.
///
/// # Errors
///
/// An error that makes it pointless to continue.
#[inline]
pub fn turns<'p, B: AsyncBackend<'p>, A: App<'p>, T>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    free: &mut FreeList<'p>,
    mut over: impl FnMut(&Lane<'p, B>, &A, usize) -> ControlFlow<T>,
) -> io::Result<T> {
    run!(B, lane, {
        loop {
            let moved = take_turn!(lane, app, free);
            if let ControlFlow::Break(end) = over(lane, app, moved) {
                return Ok(end);
            }
        }
    })
}

/// One turn of [`turns`].
///
/// # Errors
///
/// An error that makes it pointless to continue.
pub fn turn<'p, B: AsyncBackend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    free: &mut FreeList<'p>,
) -> io::Result<usize> {
    run!(B, lane, { Ok(take_turn!(lane, app, free)) })
}

/// Receives one batch into `app`, without sending. Returns how many datagrams came.
///
/// # Errors
///
/// An error that makes it pointless to continue.
#[inline]
pub fn receive_once<'p, B: AsyncBackend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    free: &mut FreeList<'p>,
) -> io::Result<usize> {
    let received = run!(B, lane, { poll!(lane, free) })?;
    lane.check(app, free);
    Ok(received)
}

/// As [`receive_once`], but never waits.
///
/// # Errors
///
/// An error that makes it pointless to continue.
pub fn poll_once<'p, B: AsyncBackend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    free: &mut FreeList<'p>,
) -> io::Result<usize> {
    let waits = std::mem::replace(&mut lane.waits, false);
    let received = receive_once(lane, app, free);
    lane.waits = waits;
    received
}

/// Receives into `app` until `count` datagrams have come, or none comes for a while. Returns how many came.
///
/// This is the hot loop of `drain`: `rx` again and again, and the app whenever 32 datagrams are there.
///
/// # Errors
///
/// An error that makes it pointless to continue.
#[inline(never)]
pub fn receive<'p, B: AsyncBackend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    free: &mut FreeList<'p>,
    count: usize,
) -> io::Result<usize> {
    run!(B, lane, {
        let mut patience = Patience::default();
        let (mut received, mut unchecked) = (0, 0);
        while received < count {
            let came = poll!(lane, free)?;
            received += came;
            unchecked += came;
            if unchecked > lane.gathers || came == 0 {
                lane.check_gathered(app, free);
                unchecked = 0;
                if came > 0 {
                    patience = Patience::default();
                } else if patience.is_over(lane.waits) {
                    return Ok(received);
                }
            }
        }
        lane.check_gathered(app, free);
        Ok(received)
    })
}

/// Sends `count` datagrams of `source`, batch by batch, or fewer if the kernel takes none for a while.
/// Returns how many it took.
///
/// # Errors
///
/// An error that makes it pointless to continue.
#[inline(never)]
pub fn send<'p, B: AsyncBackend<'p>>(
    lane: &mut Lane<'p, B>,
    source: &mut Source,
    free: &mut FreeList<'p>,
    count: usize,
    batch: usize,
) -> io::Result<usize> {
    run!(B, lane, {
        let mut patience = Patience::default();
        let (mut queued, mut sent) = (0, 0);
        while sent < count {
            if queued == sent {
                let before = source.next;
                source.produce(batch.min(count - queued), &mut lane.tx_in, free);
                queued += (source.next - before) as usize;
            }
            let went = get!(lane.backend.tx(&mut lane.tx_out, free))?;
            sent += went;
            if went == 0 && patience.is_over(lane.waits) {
                break;
            }
        }
        Ok(sent)
    })
}

/// Looks at the clock now and then while nothing happens.
#[derive(Default)]
struct Patience {
    idle: u32,
    since: Option<Instant>,
}

impl Patience {
    /// Counts an idle turn, and returns whether the idle turns have lasted [`STALL`]. Turns that wait are few.
    #[cold]
    fn is_over(&mut self, waits: bool) -> bool {
        spin_loop();
        self.idle += 1;
        (waits || self.idle.is_multiple_of(256)) && self.since.get_or_insert_with(Instant::now).elapsed() > STALL
    }
}
