//! The item of the rings: a frame and the datagrams in it.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::ptr::NonNull;

use crate::frames::address::{ADDRESS_AT, ADDRESS_LEN, Address, PAYLOAD_AT};
use crate::frames::pool::{Frame, FreeList, LINES_MAX, Pool};
use crate::frames::ring::{Consumer, Producer};

/// A frame with the datagrams that it holds.
///
/// A packet is one datagram, or, with segmentation offload, a train of `ceil(len / segment)`
/// datagrams of `segment` bytes each, of which the last may be shorter. hpbench always counts
/// datagrams.
///
/// A packet is two words long. With four words, the 1,024 slots of a ring filled a whole L1
/// cache, which cost a `drain` 18 ns per datagram.
#[derive(Debug)]
#[must_use = "a dropped packet loses its frame"]
pub struct Packet<'p> {
    /// The address of the frame.
    base: NonNull<u8>,
    /// From the lowest bit up: the size of the frame in cache lines (11 bits), the offset in units of 4 bytes (6), the
    /// number of the socket (15), the length (16), and the segment size of a train (16; 0: a single datagram).
    /// One word, because four small stores that are read back as one word stall the processor.
    parts: u64,
    pool: PhantomData<&'p Pool>,
}

/// The parts of a packet within their word.
const LINES_MASK: usize = LINES_MAX;
/// The offset is in units of 4 bytes, so that the two lowest bits of its place are those of the size.
const OFFSET_SHIFT: u32 = 9;
const OFFSET_MASK: usize = 0xfc;
const SOCKET_SHIFT: u32 = 17;

/// The most sockets of a backend: a packet has 15 bits for the number of its socket.
pub const SOCKETS_MAX: usize = 1 << 15;

// SAFETY: a packet owns its frame, and a frame may be sent and shared.
unsafe impl Send for Packet<'_> {}
// SAFETY: as above.
unsafe impl Sync for Packet<'_> {}

impl<'p> Packet<'p> {
    /// One datagram: the first `len` bytes of the frame.
    ///
    /// # Panics
    ///
    /// If the frame is shorter, or `len` is more than 65,535.
    #[inline(always)]
    pub fn datagram(frame: Frame<'p>, len: usize) -> Self {
        Self::train(frame, 0, len, len)
    }

    /// A datagram that the kernel has put after the first `offset` bytes of the frame.
    ///
    /// # Safety
    ///
    /// `offset + len` is at most the size of the frame.
    #[inline(always)]
    unsafe fn received(offset: usize, frame: Frame<'p>, len: usize) -> Self {
        let (base, lines) = frame.into_parts();
        // No length exceeds 16 bits; if a datagram's did, it would be cut, and found to be corrupt.
        let (offset, len) = (offset & OFFSET_MASK, usize::from(len as u16));
        Self { base, parts: (lines | offset << OFFSET_SHIFT | len << 32) as u64, pool: PhantomData }
    }

    /// What the kernel has put into the frame, as its message header reports.
    #[inline(always)]
    pub(crate) fn placed(frame: Frame<'p>, placed: Placed) -> Self {
        let Placed { offset, len, segment, .. } = placed;
        let is_short = len <= usize::from(u16::MAX) && offset & !OFFSET_MASK == 0;
        assert!(is_short && offset + len <= frame.size(), "a packet lies inside of its frame, near its beginning");
        let (base, lines) = frame.into_parts();
        let segment = if segment < len { segment } else { 0 };
        let parts = lines | offset << OFFSET_SHIFT | len << 32 | segment << 48;
        Self { base, parts: parts as u64, pool: PhantomData }
    }

    /// The same packet, of another socket of the backend: the one that it came by, or goes out of.
    ///
    /// # Panics
    ///
    /// If there are not that many ([`SOCKETS_MAX`]).
    #[inline(always)]
    pub fn of_socket(mut self, socket: usize) -> Self {
        assert!(socket < SOCKETS_MAX, "a packet has 15 bits for its socket");
        let mask = ((SOCKETS_MAX - 1) as u64) << SOCKET_SHIFT;
        self.parts = self.parts & !mask | (socket as u64) << SOCKET_SHIFT;
        self
    }

    /// The number of the socket that the packet came by, or goes out of: its place in
    /// [`Port::Sockets`](crate::Port::Sockets), 0 if there is one only.
    #[inline(always)]
    pub fn socket(&self) -> usize {
        (self.parts >> SOCKET_SHIFT) as usize & (SOCKETS_MAX - 1)
    }

    #[inline(always)]
    fn offset(&self) -> usize {
        (self.parts >> OFFSET_SHIFT) as usize & OFFSET_MASK
    }

    /// A train: `len` bytes from `offset` on, in datagrams of `segment` bytes. If the offset is 44 or more, the frame
    /// has an address, in the kernel's form, at byte 16.
    ///
    /// # Panics
    ///
    /// If the frame is shorter, if `len` is more than 65,535, if `offset` is more than 252 or no multiple of 4, or if
    /// `segment` is 0 although there are bytes.
    #[inline(always)]
    pub fn train(frame: Frame<'p>, offset: usize, len: usize, segment: usize) -> Self {
        assert!(segment > 0 || len == 0, "a train needs a segment size");
        Self::placed(frame, Placed { offset, len, segment, truncated: false })
    }

    /// One datagram to be sent to `address`; `write` gets its `len` bytes.
    ///
    /// # Panics
    ///
    /// If the frame has no room for an address and that many bytes (one of [`crate::Config::frame_size`] has).
    #[inline]
    pub fn addressed(mut frame: Frame<'p>, len: usize, address: &Address, write: impl FnOnce(&mut [u8])) -> Self {
        address.write(&mut frame);
        write(&mut frame.bytes_mut()[PAYLOAD_AT..PAYLOAD_AT + len]);
        Self::train(frame, PAYLOAD_AT, len, len)
    }

    /// The sender or the destination of the datagram; `None` if the socket is connected.
    pub fn address(&self) -> Option<SocketAddr> {
        Address::parse(self.name()?)
    }

    /// The address in the kernel's form. Only payloads with an address begin this far into their frame
    /// ([`Layout`](crate::message::Layout)).
    #[inline]
    pub(crate) fn name(&self) -> Option<&[u8]> {
        // SAFETY: the packet owns the frame, whose bytes up to the offset are initialised.
        let front = unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.offset()) };
        let name = front.get(ADDRESS_AT..ADDRESS_AT + ADDRESS_LEN)?;
        // What follows a shorter address is from an earlier use of the frame.
        name.get(..Address::len(name) as usize)
    }

    /// Whether both go out of one socket, to one address.
    #[inline(always)]
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        self.socket() == other.socket() && self.name() == other.name()
    }

    /// The payload bytes of all datagrams of this packet.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the packet owns the frame, and `offset + len` is at most its size, as `placed` or the
        // caller of `received` has ensured; its bytes are initialised.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// The datagrams, one slice each. An empty packet is one datagram of length zero.
    #[inline]
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let (first, rest) = self.bytes().split_at(if self.is_single() { self.len() } else { self.segment() });
        std::iter::once(first).chain(rest.chunks(self.segment().max(1)))
    }

    /// The datagrams of a packet that has bytes: as [`Packet::datagrams`], but faster.
    #[inline(always)]
    pub fn segments(&self) -> std::slice::Chunks<'_, u8> {
        self.bytes().chunks(self.segment_len().max(1))
    }

    #[inline(always)]
    fn segment(&self) -> usize {
        (self.parts >> 48) as usize
    }

    /// The length of each datagram, of which the last may be shorter.
    #[inline(always)]
    pub(crate) fn segment_len(&self) -> usize {
        if self.is_single() { self.len() } else { self.segment() }
    }

    /// Whether the packet is one datagram.
    #[inline(always)]
    pub fn is_single(&self) -> bool {
        self.segment() == 0
    }

    /// How many datagrams the packet holds: at least one.
    #[inline(always)]
    pub fn count(&self) -> usize {
        if self.is_single() { 1 } else { self.len().div_ceil(self.segment()) }
    }

    /// Payload bytes in all datagrams together.
    #[inline(always)]
    pub fn len(&self) -> usize {
        (self.parts >> 32) as usize & 0xffff
    }

    /// Whether this is a datagram without payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame, free to be used again.
    #[inline(always)]
    pub fn into_frame(self) -> Frame<'p> {
        // SAFETY: these are the parts of the frame that the packet was made of, and the packet ends here.
        unsafe { Frame::from_parts((self.base, self.parts as usize & LINES_MASK)) }
    }

    /// Where the payload begins. A caller that hands it to the kernel must keep the packet until the kernel is done.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        // SAFETY: the offset is within the frame.
        unsafe { self.base.as_ptr().add(self.offset()) }
    }
}

/// A message found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Where the payload begins, and how many bytes of it there are.
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// The segment size of a train; of a single datagram, its length.
    pub(crate) segment: usize,
    /// Whether the payload was longer than the buffer.
    pub(crate) truncated: bool,
}

/// The producer of the receiving direction: a ring that counts the datagrams that do not fit.
///
/// A full ring means a counted drop, never a wait and never a lost frame. It is counted here, once
/// for all backends.
#[derive(Debug)]
pub struct RxRing<'p> {
    ring: Producer<Packet<'p>>,
    /// The socket of the packets that come next, as it stands in [`Packet::parts`].
    socket: u64,
    dropped: u64,
}

impl<'p> RxRing<'p> {
    /// Wraps the producing half of a ring.
    pub fn new(ring: Producer<Packet<'p>>) -> Self {
        Self { ring, socket: 0, dropped: 0 }
    }

    /// From now on, packets that are delivered came by the socket with this number.
    #[inline(always)]
    pub(crate) fn set_socket(&mut self, socket: u16) {
        debug_assert!(usize::from(socket) < SOCKETS_MAX);
        self.socket = u64::from(socket) << SOCKET_SHIFT;
    }

    /// Stages a packet for the next [`RxRing::publish`]. If the ring is full, the datagrams count as
    /// dropped and the frame goes to the free list.
    #[inline(always)]
    pub fn deliver(&mut self, mut packet: Packet<'p>, free: &mut FreeList<'p>) {
        packet.parts |= self.socket;
        if let Err(packet) = self.ring.stage_compact(packet) {
            self.drop_packet(packet, free);
        }
    }

    /// Counts a datagram as dropped that no frame was free for.
    #[cold]
    pub(crate) fn lose_one(&mut self) {
        self.dropped += 1;
    }

    #[cold]
    #[inline(never)]
    fn drop_packet(&mut self, packet: Packet<'p>, free: &mut FreeList<'p>) {
        self.dropped += packet.count() as u64;
        free.give(packet.into_frame());
    }

    /// Stages a datagram of `len` bytes that the kernel has put at the start of the frame. A datagram that
    /// was longer than the frame is cut to it, and counted in `truncated`.
    #[inline(always)]
    pub(crate) fn deliver_received(
        &mut self,
        frame: Frame<'p>,
        mut len: usize,
        truncated: &mut u64,
        free: &mut FreeList<'p>,
    ) {
        if len > frame.size() {
            *truncated += 1;
            len = frame.size();
        }
        // SAFETY: as long as the frame at most.
        unsafe { self.deliver_at(0, frame, len, free) };
    }

    /// Stages a datagram of `len` bytes that the kernel has put after the first `offset` bytes of the frame.
    ///
    /// # Safety
    ///
    /// `offset + len` is at most the size of the frame.
    #[inline(always)]
    pub(crate) unsafe fn deliver_at(&mut self, offset: usize, frame: Frame<'p>, len: usize, free: &mut FreeList<'p>) {
        debug_assert!(offset + len <= frame.size(), "a packet lies inside of its frame");
        frame.prefetch();
        // SAFETY: the caller's promise.
        self.deliver(unsafe { Packet::received(offset, frame, len) }, free);
    }

    /// As [`RxRing::deliver_received`], for a datagram that the kernel has put after the first `offset` bytes of the
    /// frame, which has that many.
    #[inline(always)]
    pub(crate) fn deliver_behind(
        &mut self,
        offset: usize,
        frame: Frame<'p>,
        len: usize,
        truncated: &mut u64,
        free: &mut FreeList<'p>,
    ) {
        let room = frame.size().saturating_sub(offset);
        *truncated += u64::from(len > room);
        let len = len.min(room);
        self.deliver(Packet::train(frame, offset, len, len), free);
    }

    /// Makes all staged packets visible to the consumer, with one store.
    #[inline]
    pub fn publish(&mut self) {
        self.ring.publish();
    }

    /// See [`Producer::rewind`].
    #[inline(always)]
    pub fn rewind(&mut self, consumer: &mut Consumer<Packet<'p>>) {
        self.ring.rewind(consumer);
    }

    /// Datagrams dropped so far because the ring was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(offset: usize, len: usize, segment: usize) -> Vec<usize> {
        let pool = Pool::new(1, 4096).expect("a pool");
        let packet = Packet::train(pool.frames().take().expect("one frame"), offset, len, segment);
        let lengths: Vec<usize> = packet.datagrams().map(<[u8]>::len).collect();
        assert_eq!(lengths.len(), packet.count());
        lengths
    }

    #[test]
    fn a_train_is_cut_into_its_datagrams() {
        assert_eq!(lengths(0, 300, 100), [100, 100, 100]);
        assert_eq!(lengths(16, 250, 100), [100, 100, 50]);
        assert_eq!(lengths(0, 100, 100), [100]);
        assert_eq!(lengths(0, 40, 100), [40], "a single datagram may be shorter than the segment");
        assert_eq!(lengths(0, 0, 0), [0], "an empty datagram is a datagram");
    }

    #[test]
    #[should_panic(expected = "inside of its frame")]
    fn a_packet_cannot_reach_beyond_its_frame() {
        lengths(4000, 97, 97);
    }

    #[test]
    fn a_packet_keeps_its_parts_apart() {
        let pool = Pool::new(1, LINES_MAX * 64).expect("a pool");
        let mut free = pool.frames();
        for (socket, offset, len, segment) in [
            (0, 0, 0, 0),
            (SOCKETS_MAX - 1, 252, 65_535, 65_534),
            (1, 68, 1, 1),
            (SOCKETS_MAX - 1, 0, 0, 0),
            (3, 4, 9, 4),
        ] {
            let packet = Packet::train(free.take().expect("one frame"), offset, len, segment);
            assert_eq!(packet.socket(), 0);
            let packet = packet.of_socket(SOCKETS_MAX - 1).of_socket(socket);
            let parts = (packet.socket(), packet.offset(), packet.len(), packet.segment());
            assert_eq!(parts, (socket, offset, len, if segment < len { segment } else { 0 }));
            let frame = packet.into_frame();
            assert_eq!(frame.size(), LINES_MAX * 64);
            free.give(frame);
        }
    }

    #[test]
    fn a_packet_is_two_words_long() {
        assert_eq!(size_of::<Option<Packet<'_>>>(), 16);
    }

    #[test]
    fn a_full_ring_drops_counts_and_returns_the_frame() {
        let pool = Pool::new(3, 64).expect("a pool");
        let mut free = pool.frames();
        let (producer, mut consumer) = crate::frames::ring::ring(2);
        let mut rx = RxRing::new(producer);
        for _ in 0..3 {
            let frame = free.take().expect("three frames");
            rx.deliver(Packet::datagram(frame, 10), &mut free);
        }
        rx.publish();
        assert_eq!((rx.dropped(), free.len()), (1, 1));
        while let Some(packet) = consumer.pop() {
            free.give(packet.into_frame());
        }
        assert!(free.is_whole());
    }
}
