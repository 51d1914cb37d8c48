//! What sits at the far end of the rings.

use std::net::SocketAddr;
use std::sync::Arc;

use hpbench_backends::{Address, Consumer, Frame, FreeList, Packet, Producer};

use crate::traffic::ledger::Arrivals;
use crate::traffic::wire::{self, Header, MEASURED, Tag, Verify, Wire};
use crate::traffic::work::Work;

/// Takes packets off the RX ring, after the backend has put them there.
pub trait App<'p> {
    /// Whether the app runs on the thread that receives, and so leaves the RX ring empty each time.
    const INLINE: bool = true;

    /// Handles everything that is on `rx`; finished frames go to `free`, answers onto `tx`.
    fn run(&mut self, rx: &mut Consumer<Packet<'p>>, tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>);

    /// Unique, intact datagrams so far.
    fn received(&self) -> u64;
}

/// Sees arriving datagrams, besides their account.
pub trait Observer {
    /// Datagrams have come; they are noted next.
    fn arrived(&mut self);
    /// One of them, unique and intact.
    fn note(&mut self, header: &Header);
}

/// Sees nothing.
impl Observer for () {
    #[inline(always)]
    fn arrived(&mut self) {}

    #[inline(always)]
    fn note(&mut self, _header: &Header) {}
}

/// Checks and accounts for every datagram, then recycles its frame.
#[derive(Debug)]
pub struct Sink<O = ()> {
    /// The account.
    pub arrivals: Arrivals,
    /// Sees what arrives.
    pub observer: O,
    wire: Wire,
    work: Work,
}

impl Sink {
    /// A sink for datagrams of so many flows.
    pub fn new(flows: usize, wire: Wire) -> Self {
        Self::observed(flows, wire, ())
    }
}

impl<O: Observer> Sink<O> {
    /// A sink that shows `observer` what arrives.
    pub fn observed(flows: usize, wire: Wire, observer: O) -> Self {
        Self { arrivals: Arrivals::new(flows), observer, wire, work: Work::default() }
    }

    /// The same, which works on each datagram.
    pub fn working(self, work: Work) -> Self {
        Self { work, ..self }
    }

    /// The same, with such an account.
    pub fn with(self, arrivals: Arrivals) -> Self {
        Self { arrivals, ..self }
    }

    /// Checks and accounts for what is on the ring. `FULL` is a constant so that the check of a datagram is inlined into the
    /// loop; a call for each datagram costs 1 ns (4.5 instead of 3.5 ns in `drain` of `null`).
    #[inline(always)]
    fn check<'p, const FULL: bool>(&mut self, rx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) {
        if rx.available() == 0 {
            return;
        }
        self.observer.arrived();
        let (tag, mut measured, before) = (self.wire.tag, 0, self.arrivals.tally().received);
        rx.consume(usize::MAX, |packet| {
            // A train is checked out of line: the loop around single datagrams keeps its registers.
            if packet.is_single() {
                measured += self.note::<FULL>(packet.bytes(), tag);
            } else {
                self.note_train(&packet);
            }
            free.give(packet.into_frame());
        });
        self.arrivals.add_measured(measured);
        self.work.on(self.arrivals.tally().received - before);
    }

    #[inline(never)]
    fn check_fully<'p>(&mut self, rx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) {
        self.check::<true>(rx, free);
    }

    /// Returns 1 if the datagram was sent in the measured phase and counts.
    #[inline(always)]
    fn note<const FULL: bool>(&mut self, datagram: &[u8], tag: Tag) -> u64 {
        let wire = Wire { tag, verify: if FULL { Verify::Full } else { Verify::Header } };
        self.arrivals.judge(wire::read(datagram, wire)).map_or(0, |header| {
            self.observer.note(&header);
            header.measured()
        })
    }

    #[inline(never)]
    fn note_train(&mut self, packet: &Packet<'_>) {
        let Self { arrivals, observer, wire: Wire { tag, verify }, .. } = self;
        let tag = *tag;
        let header = |it| wire::read(it, Wire { tag, verify: Verify::Header });
        let full = |it| wire::read(it, Wire { tag, verify: Verify::Full });
        let seen = |header: &Header| observer.note(header);
        match verify {
            Verify::Header => arrivals.note_all(packet.segments().map(header), seen),
            Verify::Full => arrivals.note_all(packet.segments().map(full), seen),
        }
    }
}

impl<'p, O: Observer> App<'p> for Sink<O> {
    #[inline(always)]
    fn run(&mut self, rx: &mut Consumer<Packet<'p>>, _tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>) {
        match self.wire.verify {
            Verify::Header => self.check::<false>(rx, free),
            Verify::Full => self.check_fully(rx, free),
        }
    }

    fn received(&self) -> u64 {
        self.arrivals.tally().received
    }
}

/// Sends every datagram back in the frame in which it came. What is not ours is counted and dropped.
#[derive(Debug)]
pub struct Echo {
    /// The account of what was echoed, and of what was not.
    pub arrivals: Arrivals,
    /// Datagrams of ours that were not sent back: the TX ring was full, or their train holds some that are not ours.
    pub dropped: u64,
    wire: Wire,
    work: Work,
}

impl Echo {
    /// An echo of datagrams with this tag, which works on each of them.
    pub fn new(tag: Tag, work: Work) -> Self {
        Self { arrivals: Arrivals::new(1), dropped: 0, wire: Wire { tag, verify: Verify::Header }, work }
    }

    /// The same, with such an account.
    pub fn with(self, arrivals: Arrivals) -> Self {
        Self { arrivals, ..self }
    }

    /// Accounts for a train. Returns whether to send all of it back: no part of it can be taken out.
    #[inline(never)]
    fn note_train(&mut self, packet: &Packet<'_>) -> bool {
        let ours = packet.datagrams().filter(|datagram| self.arrivals.note(wire::read(datagram, self.wire)).is_some());
        let ours = ours.count();
        let is_ours = ours == packet.count();
        if !is_ours {
            self.dropped += ours as u64;
        }
        is_ours
    }
}

impl<'p> App<'p> for Echo {
    #[inline(always)]
    fn run(&mut self, rx: &mut Consumer<Packet<'p>>, tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>) {
        let wire = Wire { verify: Verify::Header, ..self.wire };
        let before = self.received();
        rx.consume(usize::MAX, |packet| {
            let is_ours = match packet.is_single() {
                true => self.arrivals.note(wire::read(packet.bytes(), wire)).is_some(),
                false => self.note_train(&packet),
            };
            if !is_ours {
                free.give(packet.into_frame());
            } else if let Err(packet) = tx.stage(packet) {
                self.dropped += packet.count() as u64;
                free.give(packet.into_frame());
            }
        });
        self.work.on(self.received() - before);
        tx.publish();
    }

    fn received(&self) -> u64 {
        self.arrivals.tally().received
    }
}

/// Several flows that have their turns, each with its own sequence numbers.
#[derive(Debug)]
struct Flows {
    turns: Turns,
    next: Box<[u64]>,
}

/// Which flow has its turn.
#[derive(Debug)]
enum Turns {
    /// As drawn, datagram by datagram.
    Drawn(Arc<[u16]>),
    /// The one that was chosen last.
    Chosen(u16),
}

impl Flows {
    /// The flow of a turn.
    #[inline]
    fn at(&self, turn: u64) -> u16 {
        match &self.turns {
            Turns::Drawn(turns) => turns[(turn % turns.len() as u64) as usize],
            Turns::Chosen(flow) => *flow,
        }
    }

    /// The flow of a turn, counted from `first`, and its next number. Out of line, for the sake of a single flow.
    #[inline(never)]
    fn take_number(&mut self, first: u16, turn: u64) -> (u16, u64) {
        let flow = self.at(turn);
        let next = &mut self.next[usize::from(flow)];
        *next += 1;
        (first + flow, *next - 1)
    }
}

/// Writes datagrams of one flow, numbered from 0, or of several.
#[derive(Debug)]
pub struct Source {
    /// How many datagrams were written so far: the next sequence number of a single flow.
    pub next: u64,
    flow: u16,
    /// The flows that have their turns, if there are several.
    many: Option<Flows>,
    /// [`MEASURED`] in the measured phase.
    phase: u16,
    payload: usize,
    wire: Wire,
    out: Out,
}

/// Which socket datagrams that are put onto a ring go out of, and where to.
#[derive(Debug)]
enum Out {
    /// Of the only socket, to its peer.
    Connected,
    /// Of the only socket, to this address.
    To(Address),
    /// Of the socket whose turn it is: to its peer, or to an address.
    OfMany(Option<Address>),
}

impl Source {
    /// A source of datagrams of `payload` bytes.
    pub fn new(flow: u16, payload: usize, wire: Wire) -> Self {
        Self { next: 0, flow, many: None, phase: 0, payload, wire, out: Out::Connected }
    }

    /// The same, for a socket that is not connected.
    pub fn addressed_to(self, to: Option<SocketAddr>) -> Self {
        let to = to.map(Address::new);
        let out = match self.out {
            Out::OfMany(_) => Out::OfMany(to),
            Out::Connected | Out::To(_) => to.map_or(Out::Connected, Out::To),
        };
        Self { out, ..self }
    }

    /// The same, whose datagrams go out of a socket for each flow.
    pub fn of_sockets(self) -> Self {
        Self { out: Out::OfMany(None), ..self }
    }

    /// The same, of `count` flows from the first one on, in these turns; after the last turn comes the first again.
    pub fn to_flows(self, count: usize, turns: Arc<[u16]>) -> Self {
        Self { many: Some(Flows { turns: Turns::Drawn(turns), next: vec![0; count].into_boxed_slice() }), ..self }
    }

    /// The same, of `count` flows from the first one on, which are [chosen](Self::choose).
    pub fn of_flows(self, count: usize) -> Self {
        Self { many: Some(Flows { turns: Turns::Chosen(0), next: vec![0; count].into_boxed_slice() }), ..self }
    }

    /// The datagrams from now on are of this flow, counted from the first one, if flows are chosen. What was written
    /// before is not [taken back](Self::rewind) any more.
    #[inline]
    pub fn choose(&mut self, flow: usize) {
        if let Some(Flows { turns: Turns::Chosen(chosen), .. }) = &mut self.many {
            *chosen = flow as u16;
        }
    }

    /// Takes back all but the first `written` datagrams: their numbers are used again.
    pub fn rewind(&mut self, written: u64) {
        if let Some(many) = &mut self.many {
            for turn in written..self.next {
                many.next[usize::from(many.at(turn))] -= 1;
            }
        }
        self.next = written;
    }

    /// Whether the datagrams from now on are sent in the measured phase.
    #[inline]
    pub fn set_measured(&mut self, measured: bool) {
        self.phase = if measured { MEASURED } else { 0 };
    }

    /// Writes the next datagram, which fills `bytes`.
    #[inline]
    pub fn write(&mut self, bytes: &mut [u8]) {
        self.write_stamped(bytes, 0, 0);
    }

    /// Writes the next datagram with flags, of which the highest is not free, and an intended send time.
    #[inline(always)]
    pub fn write_stamped(&mut self, bytes: &mut [u8], flags: u16, intended_ns: u64) {
        let (flow, sequence) = match &mut self.many {
            None => (self.flow, self.next),
            Some(many) => many.take_number(self.flow, self.next),
        };
        let header = Header { flow, flags: flags | self.phase, sequence, intended_ns };
        wire::write(bytes, header, self.wire);
        self.next += 1;
    }

    /// Puts up to `count` datagrams onto the TX ring, as far as there are frames and slots.
    #[inline]
    pub fn produce<'p>(&mut self, count: usize, tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>) {
        for _ in 0..count.min(tx.free()) {
            let Some(mut frame) = free.take() else { break };
            let packet = match self.out {
                Out::Connected => {
                    self.write(&mut frame.bytes_mut()[..self.payload]);
                    Packet::datagram(frame, self.payload)
                }
                Out::To(to) => Packet::addressed(frame, self.payload, &to, |bytes| self.write(bytes)),
                Out::OfMany(to) => self.packet_of_socket(frame, to),
            };
            if let Err(packet) = tx.stage(packet) {
                unreachable!("there was a free slot for {packet:?}, and only this side fills it");
            }
        }
        tx.publish();
    }

    /// The next datagram, for the socket whose turn it is. Out of line, which keeps the loop for one socket as it is.
    #[inline(never)]
    fn packet_of_socket<'p>(&mut self, mut frame: Frame<'p>, to: Option<Address>) -> Packet<'p> {
        let (flow, _) = self.next_number();
        let packet = match to {
            None => {
                self.write(&mut frame.bytes_mut()[..self.payload]);
                Packet::datagram(frame, self.payload)
            }
            Some(to) => Packet::addressed(frame, self.payload, &to, |bytes| self.write(bytes)),
        };
        packet.of_socket(usize::from(flow - self.flow))
    }

    /// The flow and the sequence number of the next datagram.
    pub fn next_number(&self) -> (u16, u64) {
        match &self.many {
            None => (self.flow, self.next),
            Some(many) => {
                let flow = many.at(self.next);
                (self.flow + flow, many.next[usize::from(flow)])
            }
        }
    }

    /// Writes the next datagram into a frame of its own, to an address unless the socket knows it, and puts it onto the TX
    /// ring, unpublished.
    /// Returns whether there was a frame and a slot for it.
    #[inline]
    pub fn produce_stamped<'p>(
        &mut self,
        (flags, intended_ns): (u16, u64),
        to: Option<&Address>,
        tx: &mut Producer<Packet<'p>>,
        free: &mut FreeList<'p>,
    ) -> bool {
        if tx.free() == 0 {
            return false;
        }
        let Some(mut frame) = free.take() else { return false };
        let packet = match to {
            None => {
                self.write_stamped(&mut frame.bytes_mut()[..self.payload], flags, intended_ns);
                Packet::datagram(frame, self.payload)
            }
            Some(to) => {
                let payload = self.payload;
                Packet::addressed(frame, payload, to, |bytes| self.write_stamped(bytes, flags, intended_ns))
            }
        };
        tx.stage(packet).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use hpbench_backends::{Pool, ring};

    use super::*;

    #[test]
    fn datagrams_of_ours_in_a_train_that_is_not_sent_back_are_counted_as_dropped() {
        const LEN: usize = 64;
        let [ours, theirs] = [1, 2].map(|tag| Wire { tag: Tag::new(tag), verify: Verify::Header });
        let pool = Pool::new(4, 2048).expect("a pool");
        let mut free = pool.frames();
        let (mut rx_in, mut rx) = ring(4);
        let (mut tx, mut tx_out) = ring(4);
        let mut echo = Echo::new(ours.tag, Work::default());
        for (stranger, dropped) in [(None, 0), (Some(1), 2)] {
            let mut frame = free.take().expect("four frames");
            for at in 0..3_usize {
                let wire = if stranger == Some(at) { theirs } else { ours };
                let header = Header { sequence: 3 * dropped + at as u64, intended_ns: 0, flags: 0, flow: 0 };
                wire::write(&mut frame.bytes_mut()[at * LEN..][..LEN], header, wire);
            }
            assert!(rx_in.push(Packet::train(frame, 0, 3 * LEN, LEN)).is_ok());
            echo.run(&mut rx, &mut tx, &mut free);
            assert_eq!(echo.dropped, dropped);
            assert_eq!(tx_out.available(), usize::from(stranger.is_none()), "all of a train, or nothing");
            tx_out.consume(usize::MAX, |packet| free.give(packet.into_frame()));
        }
        assert_eq!((echo.received(), echo.arrivals.tally().foreign), (5, 1));
        assert!(free.is_whole());
    }
}
