//! The ledger: where every datagram of a trial went.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::traffic::wire::{Fault, Header};

/// Sequence numbers that the [`Window`] of a single flow can tell apart, counted back from the highest seen.
pub const WINDOW: u64 = 1 << 20;

/// The same for one of many flows, at least.
const WINDOW_LEAST: u64 = 1 << 10;

/// How far ahead of the highest number seen a datagram may be. Between two arrivals nothing can send that many: at 100
/// million a second it takes 43 s, and a worker that gets nothing for 5 s gives up.
///
/// A number beyond is one that nobody has sent. Taking it for the highest would make all that follow late, up to that
/// number, and after `u64::MAX` there is no next one.
pub const AHEAD_MAX: u64 = 1 << 32;

/// Whether a sequence number was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The next one, or one behind a gap.
    First,
    /// An earlier one that was missing.
    Late,
    /// One that was seen, or that is older than the window.
    Before,
    /// One that nobody can have sent: more than [`AHEAD_MAX`] ahead. It is not noted.
    Impossible,
}

/// Which of the last 2^20 sequence numbers of a flow have arrived; of many flows, each has a part of that.
///
/// Datagrams mostly come in order, so the numbers from `run` to `next` are one unbroken run that costs
/// two instructions per datagram to keep. What was before it is in a bitmap of 128 KiB, which is
/// touched only when a number is missing or late.
#[derive(Debug)]
pub struct Window {
    /// Bit `n % size` says whether `n` has arrived, for the `size` numbers before `run`.
    seen: Box<[u64]>,
    /// The first number of the unbroken run.
    run: u64,
    /// One beyond the highest number seen.
    next: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self::of(WINDOW)
    }
}

impl Window {
    /// A window of so many numbers, a multiple of 64.
    fn of(size: u64) -> Self {
        // Numbers below 0 never come, so it does not matter that none of them counts as seen.
        Self { seen: vec![0; (size / 64) as usize].into_boxed_slice(), run: 0, next: 0 }
    }

    /// How many numbers it holds.
    fn size(&self) -> u64 {
        64 * self.seen.len() as u64
    }

    /// Notes a sequence number.
    #[inline(always)]
    pub fn note(&mut self, sequence: u64) -> Seen {
        if sequence == self.next {
            self.next += 1;
            return Seen::First;
        }
        self.note_out_of_order(sequence)
    }

    #[inline(never)]
    fn note_out_of_order(&mut self, sequence: u64) -> Seen {
        if sequence > self.next {
            if sequence - self.next > AHEAD_MAX {
                return Seen::Impossible;
            }
            self.mark(self.run, self.next, true);
            self.mark(self.next, sequence, false);
            (self.run, self.next) = (sequence, sequence + 1);
            return Seen::First;
        }
        if sequence >= self.run || self.next - sequence > self.size() {
            return Seen::Before;
        }
        let (word, bit) = self.bit(sequence);
        let fresh = *word & bit == 0;
        *word |= bit;
        if fresh { Seen::Late } else { Seen::Before }
    }

    /// Notes in the bitmap whether the numbers from `first` to `end` have arrived.
    fn mark(&mut self, first: u64, end: u64, seen: bool) {
        let mut number = first.max(end.saturating_sub(self.size()));
        while number < end {
            let count = (64 - number % 64).min(end - number);
            let bits = (u64::MAX >> (64 - count)) << (number % 64);
            let (word, _) = self.bit(number);
            *word = if seen { *word | bits } else { *word & !bits };
            number += count;
        }
    }

    fn bit(&mut self, sequence: u64) -> (&mut u64, u64) {
        let word = (sequence % self.size()) / 64;
        (&mut self.seen[word as usize], 1 << (sequence % 64))
    }
}

/// What arrived, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Unique and intact.
    pub received: u64,
    /// Those of `received` that came after a higher sequence number.
    pub reordered: u64,
    /// Those of `received` that were sent in the measured phase.
    pub measured: u64,
    /// Intact, but seen before.
    pub duplicate: u64,
    /// Ours, but not as they were sent; their sequence number counts, too.
    pub corrupt: u64,
    /// Not ours.
    pub foreign: u64,
}

/// How often datagrams came again that are sent several times each, out of one frame: their copies are alike.
///
/// The first copy of each is noted in the [`Window`] of its flow. The others are counted here, in a place for the last numbers of
/// the flow.
#[derive(Debug)]
struct Repeats {
    /// How many more there are of each than the first one.
    most: u32,
    /// For each flow the same number of places, a power of two: a sequence number, and how often it came again.
    places: Box<[(u64, u32)]>,
    of_flow: usize,
}

impl Repeats {
    /// For so many flows, which share 2^16 places, but have 64 each at least.
    fn new(flows: usize, copies: usize) -> Self {
        let of_flow = ((1 << 16) / flows.max(1)).max(64);
        let of_flow = (of_flow + 1).next_power_of_two() / 2;
        let most = u32::try_from(copies.saturating_sub(1)).unwrap_or(u32::MAX);
        Self { most, places: vec![(0, 0); flows * of_flow].into_boxed_slice(), of_flow }
    }

    /// Notes that a number came again. Returns whether that is one of its copies.
    fn note(&mut self, flow: usize, sequence: u64) -> bool {
        let place = &mut self.places[flow * self.of_flow + sequence as usize % self.of_flow];
        match place.0.cmp(&sequence) {
            Ordering::Less => *place = (sequence, 0),
            Ordering::Equal => {}
            // A newer one has its place. Copies are alike, so it passes for one.
            Ordering::Greater => return true,
        }
        let is_copy = place.0 == sequence && place.1 < self.most;
        place.1 += u32::from(is_copy);
        is_copy
    }
}

/// Judges and counts arriving datagrams, flow by flow.
#[derive(Debug)]
pub struct Arrivals {
    flows: Vec<Window>,
    repeats: Option<Repeats>,
    tally: Tally,
}

impl Arrivals {
    /// For datagrams of the flows from 0 to `flows` − 1.
    pub fn new(flows: usize) -> Self {
        Self { flows: (0..flows).map(|_| Window::default()).collect(), repeats: None, tally: Tally::default() }
    }

    /// For `flows` flows of each of `sockets` sockets, which share the room for sequence numbers: a window has 2^20 divided
    /// by the sockets, but at least 1,024.
    pub fn of_sockets(flows: usize, sockets: usize) -> Self {
        let window = (WINDOW / sockets.max(1) as u64).max(WINDOW_LEAST);
        let window = (window + 1).next_power_of_two() / 2;
        let flows = (0..flows * sockets).map(|_| Window::of(window)).collect();
        Self { flows, repeats: None, tally: Tally::default() }
    }

    /// The same, where each datagram is to come so often; then it is a duplicate.
    pub fn in_copies(self, copies: usize) -> Self {
        let repeats = (copies > 1).then(|| Repeats::new(self.flows.len(), copies));
        Self { repeats, ..self }
    }

    /// Counts a datagram, and returns its header if it is unique and intact.
    #[inline(always)]
    pub fn note(&mut self, datagram: Result<Header, Fault>) -> Option<Header> {
        let header = self.judge(datagram)?;
        self.tally.measured += header.measured();
        Some(header)
    }

    /// Adds to those that were sent in the measured phase: for loops that [judge](Self::judge), and count them in a register.
    #[inline(always)]
    pub(super) fn add_measured(&mut self, datagrams: u64) {
        self.tally.measured += datagrams;
    }

    /// As [`Arrivals::note`], but does not count whether it was sent in the measured phase.
    #[inline(always)]
    pub(super) fn judge(&mut self, datagram: Result<Header, Fault>) -> Option<Header> {
        let header = match datagram {
            Ok(header) => header,
            Err(fault) => return self.fault(fault),
        };
        let Some(window) = self.flows.get_mut(usize::from(header.flow)) else {
            return self.fault(Fault::Foreign);
        };
        match window.note(header.sequence) {
            Seen::First => {}
            Seen::Late => self.tally.reordered += 1,
            Seen::Before if self.is_copy(&header) => {}
            Seen::Before => {
                self.tally.duplicate += 1;
                return None;
            }
            Seen::Impossible => return self.fault(Fault::Corrupt),
        }
        self.tally.received += 1;
        Some(header)
    }

    /// As [`Arrivals::note`], for many datagrams; shows `seen` the headers of those that are unique and intact.
    ///
    /// A run of one flow in order is counted in registers: counting each in memory takes as long as the load that
    /// waits for the store before it, which would be a tenth of what a datagram of a train costs.
    #[inline(always)]
    pub fn note_all(&mut self, datagrams: impl Iterator<Item = Result<Header, Fault>>, mut seen: impl FnMut(&Header)) {
        let (mut flow, mut first, mut next, mut measured) = (None, 0, 0, 0);
        for datagram in datagrams {
            if let Ok(header) = &datagram
                && header.sequence == next
                && flow == Some(header.flow)
            {
                next += 1;
                measured += header.measured();
                seen(header);
                continue;
            }
            self.note_run(flow, first, next);
            if let Some(header) = self.note(datagram) {
                seen(&header);
                flow = Some(header.flow);
            }
            first = flow.map_or(0, |flow| self.flows[usize::from(flow)].next);
            next = first;
        }
        self.note_run(flow, first, next);
        self.tally.measured += measured;
    }

    /// Notes the numbers from `first`, the next one of the flow, up to `next`.
    #[inline(always)]
    fn note_run(&mut self, flow: Option<u16>, first: u64, next: u64) {
        if let Some(flow) = flow.filter(|_| next > first) {
            self.flows[usize::from(flow)].next = next;
            self.tally.received += next - first;
        }
    }

    /// Notes that a datagram came again, and returns whether it was to.
    #[inline(never)]
    fn is_copy(&mut self, header: &Header) -> bool {
        let repeats = self.repeats.as_mut();
        repeats.is_some_and(|repeats| repeats.note(usize::from(header.flow), header.sequence))
    }

    #[cold]
    fn fault(&mut self, fault: Fault) -> Option<Header> {
        match fault {
            Fault::Foreign => self.tally.foreign += 1,
            Fault::Corrupt => self.tally.corrupt += 1,
        }
        None
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

/// The account of a trial: `sent = received + drop_socket + drop_ring + unexplained`, over the whole
/// life of its sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Datagrams that the kernel took from us.
    pub sent: u64,
    /// What arrived.
    pub arrived: Tally,
    /// Dropped at the receiving sockets, as the kernel counts it (`SO_MEMINFO`).
    pub drop_socket: u64,
    /// Dropped because a ring was full.
    pub drop_ring: u64,
}

impl Ledger {
    /// Adds the account of another worker.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.arrived.received += other.arrived.received;
        self.arrived.reordered += other.arrived.reordered;
        self.arrived.measured += other.arrived.measured;
        self.arrived.duplicate += other.arrived.duplicate;
        self.arrived.corrupt += other.arrived.corrupt;
        self.arrived.foreign += other.arrived.foreign;
        self.drop_socket += other.drop_socket;
        self.drop_ring += other.drop_ring;
    }

    /// Notes what the kernel dropped at the receiving socket: `drops` trains of at most `longest` datagrams each.
    ///
    /// Where trains are received, the kernel counts a dropped one as one (`__udp_enqueue_schedule_skb` in
    /// `net/ipv4/udp.c`), however many datagrams it had. What is missing, and did not come damaged, is accounted for as
    /// far as that many trains can explain it; with trains of one datagram, the count itself is noted.
    pub fn note_dropped(&mut self, drops: u64, longest: u64) {
        let arrived = self.arrived.received + self.arrived.corrupt + self.drop_ring;
        let missing = self.sent.saturating_sub(arrived);
        self.drop_socket = missing.clamp(drops, drops * longest.max(1));
    }

    /// Whether datagrams of unrelated senders came and some datagrams were dropped: the kernel's count of drops
    /// includes theirs, so nobody can say what became of ours.
    pub fn is_mixed_with_unrelated(&self) -> bool {
        self.arrived.foreign > 0 && self.drop_socket > 0
    }

    /// Where the way leads out of a process: datagrams that were lost on it, and those that nobody accounts for. What came
    /// damaged was not lost, and nothing can come that was not sent.
    pub fn lost(&self) -> (u64, i64) {
        let missing = self.unexplained();
        let damaged = (self.arrived.corrupt as i64).min(missing.max(0));
        let lost = (missing - damaged).max(0);
        (lost as u64, missing - lost)
    }

    /// Datagrams that nobody accounts for (negative: too many). Anything but zero makes the trial invalid.
    pub fn unexplained(&self) -> i64 {
        self.sent as i64 - (self.arrived.received + self.drop_socket + self.drop_ring) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::wire::MEASURED;

    #[test]
    fn numbers_in_order_are_new_across_several_windows() {
        let mut window = Window::default();
        for sequence in 0..3 * WINDOW + 7 {
            assert_eq!(window.note(sequence), Seen::First);
        }
        for sequence in [3 * WINDOW + 6, 3 * WINDOW, 2 * WINDOW + 100, 5] {
            assert_eq!(window.note(sequence), Seen::Before);
        }
    }

    #[test]
    fn what_is_missing_on_the_way_is_lost_and_what_came_damaged_or_too_often_is_not() {
        let ledger = |sent, received, corrupt| Ledger {
            sent,
            arrived: Tally { received, corrupt, ..Tally::default() },
            drop_socket: 2,
            drop_ring: 1,
        };
        for (sent, received, corrupt, lost) in
            [(10, 7, 0, (0, 0)), (10, 4, 0, (3, 0)), (10, 4, 1, (2, 1)), (10, 8, 0, (0, -1)), (10, 8, 5, (0, -1))]
        {
            let ledger = ledger(sent, received, corrupt);
            assert_eq!(ledger.lost(), lost, "{ledger:?}");
            assert_eq!(lost.0 as i64 + lost.1, ledger.unexplained(), "{ledger:?}");
        }
    }

    #[test]
    fn late_numbers_count_once() {
        let mut window = Window::default();
        assert_eq!(window.note(200), Seen::First);
        for sequence in (0..200).rev() {
            assert_eq!(window.note(sequence), Seen::Late, "{sequence}");
            assert_eq!(window.note(sequence), Seen::Before, "{sequence}");
        }
    }

    #[test]
    fn a_gap_of_more_than_a_window_forgets_what_was_before() {
        let mut window = Window::default();
        assert!((0..WINDOW).all(|sequence| window.note(sequence) == Seen::First));
        assert_eq!(window.note(5 * WINDOW), Seen::First);
        assert_eq!(window.note(5 * WINDOW - 1), Seen::Late);
        assert_eq!(window.note(4 * WINDOW + 1), Seen::Late);
        assert_eq!(window.note(4 * WINDOW), Seen::Before, "the window does not reach that far");
        assert_eq!(window.note(WINDOW - 1), Seen::Before);
    }

    /// A datagram with our tag and a right checksum may still carry a number that nobody has sent.
    #[test]
    fn a_number_that_nobody_can_have_sent_changes_nothing() {
        let mut window = Window::default();
        assert_eq!(window.note(u64::MAX), Seen::Impossible);
        assert!((0..100).all(|sequence| window.note(sequence) == Seen::First));
        for sequence in [u64::MAX, u64::MAX - 1, 1 << 63, 100 + AHEAD_MAX + 1] {
            assert_eq!(window.note(sequence), Seen::Impossible, "{sequence}");
            assert_eq!(window.note(50), Seen::Before, "{sequence}");
        }
        assert!((100..3 * WINDOW).all(|sequence| window.note(sequence) == Seen::First));
        assert_eq!(window.note(3 * WINDOW + AHEAD_MAX), Seen::First, "as far as can be");
        assert_eq!(window.note(3 * WINDOW + AHEAD_MAX - 1), Seen::Late);

        let mut arrivals = Arrivals::new(1);
        let header = |sequence| Ok(Header { sequence, ..Header::default() });
        let train = [0, 1, u64::MAX, 2, 3, u64::MAX - 1, u64::MAX, 4].map(header);
        arrivals.note_all(train.into_iter(), |_| {});
        assert!(arrivals.note(header(u64::MAX)).is_none() && arrivals.note(header(5)).is_some());
        assert_eq!(arrivals.tally(), Tally { received: 6, corrupt: 4, ..Tally::default() });
    }

    /// Against a set that remembers everything, with jumps, repeats and reordering.
    #[test]
    fn agrees_with_a_set() {
        let (mut window, mut set, mut highest) = (Window::default(), std::collections::HashSet::new(), 0_u64);
        let mut state = 42_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jump = (state >> 33) % 300;
            let sequence = (highest + jump).saturating_sub(200);
            let fresh = set.insert(sequence);
            let expected = match (fresh, sequence >= highest) {
                (true, true) => Seen::First,
                (true, false) => Seen::Late,
                (false, _) => Seen::Before,
            };
            assert_eq!(window.note(sequence), expected, "{sequence} after {highest}");
            highest = highest.max(sequence + 1);
        }
    }

    #[test]
    fn faults_and_unknown_flows_are_counted_apart() {
        let mut arrivals = Arrivals::new(1);
        let header = Header { sequence: 1, flags: MEASURED | 3, ..Header::default() };
        assert!(arrivals.note(Ok(header)).is_some());
        assert!(arrivals.note(Ok(Header { sequence: 0, ..header })).is_some());
        assert!(arrivals.note(Ok(header)).is_none());
        assert!(arrivals.note(Ok(Header { flow: 1, ..header })).is_none());
        assert!(arrivals.note(Err(Fault::Corrupt)).is_none());
        assert!(arrivals.note(Err(Fault::Foreign)).is_none());
        let expected = Tally { received: 2, reordered: 1, measured: 2, duplicate: 1, corrupt: 1, foreign: 2 };
        assert_eq!(arrivals.tally(), expected);
        let ledger = Ledger { sent: 5, arrived: expected, drop_socket: 1, drop_ring: 1 };
        assert_eq!(ledger.unexplained(), 1);
    }

    #[test]
    fn copies_are_no_duplicates_and_more_of_them_are() {
        let mut arrivals = Arrivals::of_sockets(1, 2).in_copies(3);
        let header = |flow, sequence| Ok(Header { flow, sequence, flags: MEASURED, ..Header::default() });
        // In the order in which they are sent; then two that overtake each other, one that is lost, and one too many.
        for sequence in [0, 0, 0, 1, 1, 1, 2, 3, 2, 3, 2, 3, 4, 4, 5, 5, 5] {
            assert!(arrivals.note(header(1, sequence)).is_some(), "{sequence}");
        }
        assert!(arrivals.note(header(1, 5)).is_none() && arrivals.note(header(1, 0)).is_none());
        assert!(arrivals.note(header(0, 5)).is_some(), "another flow");
        let tally = arrivals.tally();
        assert_eq!((tally.received, tally.measured, tally.duplicate), (18, 18, 2));
        let far = 1 << 17;
        assert!((0..3).all(|_| arrivals.note(header(1, far)).is_some()) && arrivals.note(header(1, far)).is_none());
        assert!(arrivals.note(header(1, far - 1)).is_some(), "late");
    }

    /// Datagrams noted together are noted as one by one, whatever their order.
    #[test]
    fn many_are_noted_as_each() {
        let (mut each, mut all) = (Arrivals::new(3), Arrivals::new(3));
        let mut state = 1_u64;
        let mut next = [0_u64; 4];
        for _ in 0..2000 {
            let mut train = Vec::new();
            let mut flow = 0;
            for _ in 0..16 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let dice = (state >> 33) % 100;
                if dice < 10 {
                    flow = dice as usize % 4;
                }
                let sequence = next[flow];
                next[flow] += 1;
                let flags = if dice.is_multiple_of(3) { MEASURED } else { 7 };
                let header = Header { flow: flow as u16, flags, sequence, ..Header::default() };
                train.push(match dice {
                    90 => Ok(Header { flow: u16::MAX, sequence: 0, ..header }),
                    91 => Err(Fault::Corrupt),
                    92 => Err(Fault::Foreign),
                    93..96 => Ok(Header { sequence: sequence.saturating_sub(dice - 90), ..header }),
                    96.. => Ok(Header { sequence: sequence + dice - 95, ..header }),
                    _ => Ok(header),
                });
            }
            let one_by_one: Vec<u64> =
                train.iter().filter_map(|datagram| each.note(*datagram)).map(|header| header.sequence).collect();
            let mut together = Vec::new();
            all.note_all(train.into_iter(), |header| together.push(header.sequence));
            assert_eq!(together, one_by_one);
            assert_eq!(all.tally(), each.tally());
        }
        let tally = all.tally();
        assert!(
            tally.received > 20_000
                && tally.measured > 5_000
                && tally.duplicate > 0
                && tally.reordered > 0
                && tally.corrupt > 0,
            "{tally:?}"
        );
    }

    #[test]
    fn dropped_trains_explain_no_more_datagrams_than_they_may_have_held() {
        let after = |missing: u64, drops, longest| {
            let mut ledger = Ledger { sent: missing, ..Ledger::default() };
            ledger.note_dropped(drops, longest);
            (ledger.drop_socket, ledger.unexplained())
        };
        assert_eq!(after(100, 2, 64), (100, 0));
        assert_eq!(after(129, 2, 64), (128, 1));
        assert_eq!(after(1, 2, 64), (2, -1));
        assert_eq!(after(5, 0, 64), (0, 5));
        assert_eq!(after(5, 3, 1), (3, 2));
        let arrived = Tally { corrupt: 10, ..Tally::default() };
        let mut ledger = Ledger { sent: 20, arrived, ..Ledger::default() };
        ledger.note_dropped(1, 64);
        assert_eq!((ledger.drop_socket, ledger.unexplained()), (10, 10), "what came damaged was not dropped");
    }
}
