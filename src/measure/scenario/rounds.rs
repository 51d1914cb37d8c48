//! What `drain` and `send` share: rounds of two sides on one thread, each side timed separately.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hpbench_backends::kernel::socket::MemInfo;
use hpbench_backends::{Counters, FreeList, Socket};

use crate::gates;
use crate::gates::reason::Reason;
use crate::measure::clock::now_ns;
use crate::measure::cost::{Side, Watch};
use crate::measure::driver::Polls;
use crate::measure::near::Near;
use crate::measure::outcome::{Outcome, Rounds, TrialError};
use crate::measure::targets::Targets;
use crate::measure::trial::Part;
use crate::plan::cells::Until;

/// How long a queue may take to become whole after the last datagram was sent into it. On loopback it
/// is whole at once, unless the kernel deferred the work to a thread of its own.
const WHOLE_WITHIN: Duration = Duration::from_millis(50);

const NONE_TAKEN: &str = "the kernel took no datagram for 200 ms: the interface's queue is full, or drops them; see \
    `tc -s qdisc` and `ip link`";

/// How long a queue must not have changed to be at rest.
const AT_REST: Duration = Duration::from_millis(2);

/// How often a worker that has slept looks at its queue before it empties it.
const LOOKS_BEFORE: usize = 64;

/// How long it may take to come to rest.
const REST_WITHIN: Duration = Duration::from_secs(1);

/// The most rounds that are remembered one by one; beyond that, every second one is, then every fourth, …
const REMEMBERED: usize = 1 << 16;

/// One round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Time of the side under test.
    pub near_ns: u64,
    /// Time of the peer.
    pub far_ns: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Whether the whole round was in the queue before it was emptied, and came out of it.
    pub whole: bool,
}

/// A scenario that works in rounds.
pub trait Exchange<'p> {
    /// Sends and receives `count` datagrams.
    ///
    /// # Errors
    ///
    /// An error that makes it pointless to continue.
    fn round(&mut self, free: &mut FreeList<'p>, count: usize) -> Result<Round, TrialError>;

    /// What follows is measured.
    ///
    /// # Errors
    ///
    /// If a peer in another process is lost.
    fn begin_measuring(&mut self) -> Result<(), TrialError> {
        Ok(())
    }

    /// What the side under test has counted so far.
    fn counters(&self) -> (Counters, Polls);

    /// What both sides use.
    fn sides(&mut self) -> &mut Sides;
}

/// What the two sides of the rounds use, each in its timed part.
#[derive(Debug)]
pub struct Sides {
    /// The side under test.
    pub near: Side,
    /// The peer.
    pub far: Side,
}

impl Sides {
    /// For the calling thread.
    pub fn new() -> Self {
        Self { near: Side::new(), far: Side::new() }
    }
}

impl Default for Sides {
    fn default() -> Self {
        Self::new()
    }
}

/// The queue of a socket, or the queues of many, in datagrams of one size.
#[derive(Debug)]
pub struct Queue {
    near: Near,
    /// Bytes of the queue that each datagram takes.
    truesize: u32,
    rcvbuf: u32,
    /// Packets that the receiving ring of the device holds, if there is one in front of it.
    pub ring: Option<usize>,
}

impl Queue {
    /// The queue of `near`, in which a datagram is known to take `truesize` bytes.
    ///
    /// # Errors
    ///
    /// If the kernel does not report its size.
    pub fn known(near: &Near, truesize: u32) -> Result<Self, TrialError> {
        let info = near.first().meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        Ok(Self { near: near.clone(), truesize, rcvbuf: info.rcvbuf, ring: None })
    }

    /// Bytes of the queue that each datagram takes.
    pub fn truesize(&self) -> u32 {
        self.truesize
    }

    /// Measures how many bytes a datagram takes in the queue of `socket`, which is new and into which `sent` of them
    /// were sent. `receive(count)` then takes them out, and returns how many came.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it, and those of `receive`.
    pub fn measure(
        socket: &Arc<Socket>,
        sent: usize,
        receive: impl FnOnce(usize) -> Result<usize, TrialError>,
    ) -> Result<Self, TrialError> {
        let near = Near::from(Arc::clone(socket));
        let info = Self::at_rest(&near)?;
        let drops = info.drops as usize;
        // If the network loses all, nothing is in the queue. A train is lost as a whole.
        let held = if info.rmem_alloc == 0 { 0 } else { receive(sent.saturating_sub(drops))? };
        let truesize = match held {
            0 if sent == 0 => return Err(TrialError::Stalled(NONE_TAKEN)),
            0 if drops == 0 => return Err(TrialError::NothingArrived { sent }),
            0 => return Err(TrialError::QueueFull { sent }),
            _ => (info.rmem_alloc / held as u32).max(1),
        };
        Ok(Self { near, truesize, rcvbuf: info.rcvbuf, ring: None })
    }

    /// The state of a queue in which nothing has changed for a while: the kernel may defer work, and not
    /// every network delivers at once.
    fn at_rest(near: &Near) -> Result<MemInfo, TrialError> {
        let look = || near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"));
        let (start, mut last) = (Instant::now(), look()?);
        loop {
            // Looked at again after the pause, however long it was: another program may have had the core.
            std::thread::sleep(AT_REST);
            let info = look()?;
            if (info == last && info.rmem_alloc > 0) || start.elapsed() > REST_WITHIN {
                return Ok(info);
            }
            last = info;
        }
    }

    /// The size of a round: what was asked for, but at most half of the queue, and a multiple of the
    /// batch. Beyond half, the kernel makes datagrams smaller (`skb_condense` in `net/ipv4/udp.c`), so that
    /// they would no longer be alike, and the memory in use would not show how many there are.
    ///
    /// # Errors
    ///
    /// If that is less than one batch.
    pub fn round(&self, trial: &Part<'_, '_>, targets: Option<&Targets>) -> Result<usize, TrialError> {
        let room = Room { rcvbuf: self.rcvbuf, truesize: self.truesize, ring: self.ring };
        let Some(targets) = targets else { return room.round_of(trial) };
        // The busiest queue decides.
        let asked = trial.cell.round.unwrap_or(1);
        let held = targets.row_within(asked, room.held());
        room.round_within(held, asked, trial.cell.batch, trial.cell.payload)
    }

    /// Whether nothing is in the queue.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it.
    pub fn is_empty(&self) -> Result<bool, TrialError> {
        let info = self.near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
        Ok(info.rmem_alloc == 0)
    }

    /// Whether the `count` datagrams that a peer in another process has sent are in the queue: as [`Queue::is_whole`], or
    /// nothing changes there any more, and nothing was dropped beyond `drops`. They may take another truesize than
    /// those that were measured, and whether all have come shows when they are received.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it.
    pub fn is_settled(&self, count: usize, drops: u64) -> Result<bool, TrialError> {
        Ok(self.is_whole(count)? || Self::at_rest(&self.near)?.drops == drops)
    }

    /// Enters the kernel a few times, for a worker that has slept while another process had its core: that core is cold, and
    /// the first calls are not those of a busy server.
    ///
    /// # Errors
    ///
    /// If the kernel does not report the queue.
    pub fn warm(&self) -> Result<(), TrialError> {
        let look = || self.near.first().meminfo().map_err(TrialError::io("reading SO_MEMINFO"));
        (0..LOOKS_BEFORE).try_for_each(|_| look().map(drop))
    }

    /// Datagrams dropped there so far.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it.
    pub fn drops(&self) -> Result<u64, TrialError> {
        Ok(self.near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?.drops)
    }

    /// Waits, briefly, until `count` datagrams are in the queue.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it.
    pub fn is_whole(&self, count: usize) -> Result<bool, TrialError> {
        let mut since = None;
        loop {
            let info = self.near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
            if u64::from(info.rmem_alloc) >= u64::from(self.truesize) * count as u64 {
                return Ok(true);
            }
            if since.get_or_insert_with(Instant::now).elapsed() > WHOLE_WITHIN {
                return Ok(false);
            }
        }
    }
}

/// What holds a round.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes of the receive buffer.
    pub rcvbuf: u32,
    /// Bytes that each datagram takes there.
    pub truesize: u32,
    /// Packets that the receiving ring of the device holds, if they come through one: a round that it holds gets into the
    /// queue whoever has the core that empties it.
    pub ring: Option<usize>,
}

impl Room {
    /// The size of a round: `asked`, if there is so much room, and a multiple of the batch, see [`Queue::round`].
    ///
    /// # Errors
    ///
    /// If that is less than one batch.
    pub fn round(self, asked: usize, batch: usize, payload: usize) -> Result<usize, TrialError> {
        self.round_within(self.held(), asked, batch, payload)
    }

    /// How many datagrams the queue is sure to hold.
    fn held(self) -> usize {
        (self.rcvbuf / 2 / self.truesize) as usize
    }

    /// As [`Room::round`], of at most `held` datagrams.
    fn round_within(self, held: usize, asked: usize, batch: usize, payload: usize) -> Result<usize, TrialError> {
        let Self { rcvbuf, ring, .. } = self;
        let ring = ring.unwrap_or(usize::MAX);
        match asked.min(held).min(ring) / batch * batch {
            0 if asked < batch => Err(TrialError::RoundTooShort { round: asked, batch }),
            0 if ring < batch => Err(TrialError::RingTooShort { ring, batch }),
            0 => Err(TrialError::QueueTooShort { held, payload, rcvbuf, batch }),
            round => Ok(round),
        }
    }

    /// The size of the rounds of a trial, likewise.
    ///
    /// # Errors
    ///
    /// As [`Room::round`].
    pub fn round_of(self, trial: &Part<'_, '_>) -> Result<usize, TrialError> {
        self.round(trial.cell.round.unwrap_or(1), trial.cell.batch, trial.cell.payload)
    }
}

/// The size of a round through memory: what was asked for, as a multiple of the batch.
///
/// # Errors
///
/// If that is less than one batch.
pub fn memory_round(trial: &Part<'_, '_>) -> Result<usize, TrialError> {
    let (batch, round) = (trial.cell.batch, trial.cell.round.unwrap_or(1));
    match round / batch * batch {
        0 => Err(TrialError::RoundTooShort { round, batch }),
        size => Ok(size),
    }
}

/// Runs rounds of `size` datagrams: the warm-up, then the measured phase. Fills in the parts of the
/// outcome that concern the measured phase.
///
/// # Errors
///
/// Those of the rounds, and [`TrialError::Interrupted`].
pub fn measure<'p>(
    exchange: &mut dyn Exchange<'p>,
    trial: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
    size: usize,
) -> Result<Outcome, TrialError> {
    trial.meet()?;
    let until = trial.until();
    let warm_ns = now_ns() + trial.warmup().as_nanos() as u64;
    while now_ns() < warm_ns {
        next_round(exchange, trial, free, size)?;
    }
    let mut record = Record::new(size);
    exchange.sides().near.reset();
    exchange.sides().far.reset();
    exchange.begin_measuring()?;
    let watch = Watch::begin(&trial.cores());
    let before = exchange.counters();
    let start_ns = now_ns();
    let end_ns = loop {
        let count = match until {
            Until::Elapsed(_) => size,
            Until::Datagrams(count) => size.min((count - record.sent.min(count)) as usize),
        };
        let round = next_round(exchange, trial, free, count)?;
        let now_ns = now_ns();
        record.add(round);
        let over = match until {
            Until::Elapsed(duration) => u128::from(now_ns - start_ns) >= duration.as_nanos(),
            Until::Datagrams(count) => record.sent >= count,
        };
        if over {
            break now_ns;
        }
    };
    let after = exchange.counters();
    let disturbance = watch.end();
    if record.broken > 0 {
        trial.truesizes.forget(trial.cell);
    }
    let sides = exchange.sides();
    Ok(Outcome {
        measured_ns: end_ns - start_ns,
        measured_sent: record.sent,
        measured_received: record.received,
        measured_lost: record.sent.saturating_sub(record.received),
        counters: after.0.since(before.0),
        polls: after.1.since(before.1),
        counters_total: after.0,
        invalid: (record.broken > 0).then_some(Reason::BrokenRounds { count: record.broken }),
        usage: sides.near.usage,
        counts: sides.near.counts(),
        peer_counts: sides.far.counts(),
        disturbance,
        steady: record.is_steady(),
        rounds: Some(record.rounds()),
        ..Outcome::default()
    })
}

fn next_round<'p>(
    exchange: &mut dyn Exchange<'p>,
    trial: &Part<'_, 'p>,
    free: &mut FreeList<'p>,
    count: usize,
) -> Result<Round, TrialError> {
    if trial.interrupt.is_raised() {
        return Err(TrialError::Interrupted);
    }
    if trial.options.at_ticks {
        wait_for_tick();
    }
    let round = exchange.round(free, count)?;
    if round.sent == 0 && round.received == 0 {
        return Err(TrialError::Stalled("no datagram moved for 200 ms"));
    }
    Ok(round)
}

/// Returns just after a tick of the kernel's timer, at which its coarse clock moves on.
fn wait_for_tick() {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let before = now();
    while now() == before {}
}

/// The measured rounds.
struct Record {
    size: usize,
    /// Nanoseconds per datagram of whole rounds; preallocated.
    costs_ns: Vec<f64>,
    /// The same for the peer.
    far_costs_ns: Vec<f64>,
    /// One in so many rounds is remembered.
    every: u64,
    rounds: u64,
    broken: u64,
    sent: u64,
    received: u64,
    timed: u64,
    near_ns: u64,
    far_ns: u64,
}

impl Record {
    fn new(size: usize) -> Self {
        // Written to, so that no page fault falls into a measured round.
        let [costs_ns, far_costs_ns] = [(); 2].map(|()| {
            let mut costs_ns = vec![1.0; REMEMBERED];
            costs_ns.clear();
            costs_ns
        });
        let (every, rounds, broken, sent, received, timed) = (1, 0, 0, 0, 0, 0);
        Self { size, costs_ns, far_costs_ns, every, rounds, broken, sent, received, timed, near_ns: 0, far_ns: 0 }
    }

    fn add(&mut self, round: Round) {
        self.sent += round.sent;
        self.received += round.received;
        if !round.whole {
            self.broken += 1;
            return;
        }
        self.timed += round.received;
        self.near_ns += round.near_ns;
        self.far_ns += round.far_ns;
        if self.rounds.is_multiple_of(self.every) {
            if self.costs_ns.len() == REMEMBERED {
                thin_out(&mut self.costs_ns);
                thin_out(&mut self.far_costs_ns);
                self.every *= 2;
            }
            self.costs_ns.push(round.near_ns as f64 / round.received as f64);
            self.far_costs_ns.push(round.far_ns as f64 / round.received as f64);
        }
        self.rounds += 1;
    }

    /// Whether the first quarter of the rounds cost as much as the others: whether the warm-up was long enough.
    fn is_steady(&self) -> Option<bool> {
        let (first, rest) = self.costs_ns.split_at(self.costs_ns.len() / 4);
        let median = |costs: &[f64]| crate::stats::Summary::of(costs.iter().copied()).map(|summary| summary.median);
        Some(gates::is_steady(median(first)?, median(rest)?))
    }

    fn rounds(mut self) -> Rounds {
        self.costs_ns.sort_unstable_by(f64::total_cmp);
        self.far_costs_ns.sort_unstable_by(f64::total_cmp);
        let per_datagram = |ns: u64| ns as f64 / self.timed.max(1) as f64;
        Rounds {
            size: self.size,
            mean_ns: per_datagram(self.near_ns),
            peer_ns: per_datagram(self.far_ns),
            datagrams: self.timed,
            costs_ns: self.costs_ns,
            peer_costs_ns: self.far_costs_ns,
        }
    }
}

/// Keeps every second value.
fn thin_out(values: &mut Vec<f64>) {
    let mut index = 0;
    values.retain(|_| {
        index += 1;
        index % 2 == 1
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(near_ns: u64) -> Round {
        Round { near_ns, far_ns: 2000, sent: 10, received: 10, whole: true }
    }

    #[test]
    fn a_round_has_room_in_the_queue_and_in_the_ring_of_the_device() {
        let room = Room { rcvbuf: 2048 * 1000, truesize: 1000, ring: None };
        let round = |room: Room, asked, batch| room.round(asked, batch, 64).map_err(|error| error.to_string());
        assert_eq!([1000, 1024, 4096].map(|asked| round(room, asked, 32)), [992, 1024, 1024].map(Ok));
        let behind = Room { ring: Some(500), ..room };
        assert_eq!([100, 4096].map(|asked| round(behind, asked, 32)), [96, 480].map(Ok));
        for (room, asked, word) in [(behind, 4096, "ethtool -G"), (room, 512, "--round"), (room, 4096, "--rcvbuf")] {
            let error = round(room, asked, 1025).expect_err("no batch");
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn mean_median_and_least_are_per_datagram() {
        let mut record = Record::new(10);
        [1000, 1100, 9000].into_iter().for_each(|near_ns| record.add(round(near_ns)));
        record.add(Round { whole: false, ..round(1_000_000) });
        assert_eq!((record.broken, record.sent, record.received), (1, 40, 40));
        let rounds = record.rounds();
        assert_eq!((rounds.size, rounds.mean_ns, rounds.peer_ns, rounds.datagrams), (10, 370.0, 200.0, 30));
        assert_eq!((rounds.p50_ns(), rounds.min_ns()), (110.0, 100.0));
        assert_eq!(rounds.peer_costs_ns, [200.0; 3]);
    }

    #[test]
    fn a_queue_that_takes_nothing_says_why() {
        let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let (near, _far) = Socket::half_connected_pair(address).expect("loopback");
        let near = Arc::new(near);
        near.set_buffers(4096, 4096).expect("small buffers");
        let measured = |sent| Queue::measure(&near, sent, |_| Ok(0));
        assert!(matches!(measured(0), Err(TrialError::Stalled(_))));
        assert!(matches!(measured(64), Err(TrialError::NothingArrived { sent: 64 })));
        let other = std::net::UdpSocket::bind(address).expect("loopback");
        let near_address = near.local_addr().expect("it is bound");
        while near.meminfo().expect("Linux 4.12").drops < 64 {
            other.send_to(&[0; 100], near_address).expect("loopback takes it");
        }
        let error = measured(64).expect_err("there is no room");
        assert!(
            matches!(error, TrialError::QueueFull { sent: 64 }) && error.to_string().contains("unrelated"),
            "{error}"
        );
    }

    #[test]
    fn rounds_may_wait_for_a_tick() {
        let coarse = || rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        let (before, start) = (coarse(), Instant::now());
        (0..3).for_each(|_| wait_for_tick());
        assert!(coarse() > before);
        // Ticks are 1 to 10 ms apart; the first one may come at once.
        assert!(start.elapsed() > Duration::from_millis(1), "{:?}", start.elapsed());
    }

    #[test]
    fn many_rounds_are_thinned_out_evenly() {
        let mut record = Record::new(10);
        (0..3 * REMEMBERED as u64).for_each(|index| record.add(round(index)));
        assert!(record.costs_ns.len() <= REMEMBERED && record.costs_ns.len() > REMEMBERED / 2);
        let middle = 1.5 * REMEMBERED as f64 / 10.0;
        assert!((record.rounds().p50_ns() / middle - 1.0).abs() < 0.01);
    }
}
