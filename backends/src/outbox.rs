//! Messages to send: trains that are gathered from several packets, or cut out of one.

#[cfg(feature = "runtimes")]
use std::net::SocketAddr;
use std::ptr;

use crate::backend::Config;
use crate::declaration::Mode;
use crate::frames::address::Address;
use crate::frames::packet::Packet;
use crate::frames::pool::FreeList;
use crate::frames::ring::Consumer;
use crate::kernel::socket::{GSO_SEGMENTS_MAX, PAYLOAD_MAX};
use crate::message::{Header, Segmentation, empty_headers, empty_iovecs};
use crate::variant::Addressing;

/// The packets at the front of a TX ring, as messages.
///
/// With `gso`, neighbours of one length become a train, of which the last datagram may be shorter, and the kernel
/// cuts it. Without, a train that was received becomes one message for each of its datagrams. A packet that is sent several times
/// is there as often, one copy after the other. Packets stay on the ring until [`Outbox::settle`].
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) headers: Box<[Header]>,
    iovecs: Box<[libc::iovec]>,
    segmentations: Box<[Segmentation]>,
    messages: Vec<Message>,
    gso: bool,
    /// How often each packet is sent.
    copies: usize,
    /// Pieces of the first packet on the ring that are already sent: copies, or their datagrams where trains are cut.
    begun: usize,
}

// SAFETY: the pointers in the headers are to the slices beside them, and to packets on a ring while they are used.
unsafe impl Send for Outbox {}

/// What a message is made of.
#[derive(Clone, Copy, Debug)]
struct Message {
    /// Datagrams in it.
    datagrams: usize,
    /// Packets that are finished when it is sent: none if more pieces of its packet follow.
    packets: usize,
    /// Pieces of a packet after those that it does not finish.
    begun: usize,
    /// Length of its datagrams, of which the last may be shorter.
    segment: usize,
    /// The socket that it goes out of.
    socket: usize,
}

/// Where the next piece is: in which packet on the ring, how many pieces of it come before, and the iovec that it gets.
#[derive(Clone, Copy, Debug)]
struct Next {
    packet: usize,
    begun: usize,
    iovec: usize,
}

impl Next {
    /// The piece at this place, of a packet with `pieces`, is in the message.
    #[inline(always)]
    fn step(&mut self, pieces: usize, message: &mut Message) {
        self.iovec += 1;
        self.begun += 1;
        message.begun += 1;
        if self.begun == pieces {
            self.packet += 1;
            self.begun = 0;
            message.packets += 1;
            message.begun = 0;
        }
    }
}

impl Outbox {
    /// `None` if each packet is a datagram to the peer of the only socket.
    pub(crate) fn wanted(config: &Config, sockets: usize) -> Option<Self> {
        let (gso, gro) = (config.variant.has(Mode::GSO), config.variant.has(Mode::GRO));
        let wanted = gso || gro || config.addressing == Addressing::Unconnected || sockets > 1;
        wanted.then(|| Self::new(config.batch, gso, config.copies))
    }

    /// Room for `batch` datagrams; each packet is sent so often.
    pub(crate) fn new(batch: usize, gso: bool, copies: usize) -> Self {
        Self {
            headers: empty_headers(batch),
            iovecs: empty_iovecs(batch),
            segmentations: vec![Segmentation::NONE; batch].into_boxed_slice(),
            messages: Vec::with_capacity(batch),
            gso,
            copies,
            begun: 0,
        }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Datagrams in a message.
    pub(crate) fn datagrams(&self, index: usize) -> usize {
        self.messages[index].datagrams
    }

    /// The number of the socket that a message goes out of.
    pub(crate) fn socket(&self, index: usize) -> usize {
        self.messages[index].socket
    }

    /// The messages from `first` on that go out of one socket: which, and how many there are.
    pub(crate) fn run(&self, first: usize) -> (usize, usize) {
        let socket = self.messages[first].socket;
        (socket, self.messages[first..].iter().take_while(|message| message.socket == socket).count())
    }

    /// The bytes of a message that is just one piece of memory: no train, no address.
    pub(crate) fn only_piece(&self, index: usize) -> Option<libc::iovec> {
        let header = &self.headers[index].msg_hdr;
        let is_one = header.msg_iovlen == 1 && self.messages[index].datagrams == 1;
        // SAFETY: the header points to an iovec beside it.
        (is_one && header.msg_name.is_null()).then(|| unsafe { *header.msg_iov })
    }

    /// A message for a library that wants one piece of memory: where it goes, unless its socket is connected; its bytes, which are
    /// copied together in `room` if they lie apart; the segment size of a train.
    ///
    /// # Safety
    ///
    /// The packets that the last [`Outbox::fill`] found are still on the ring.
    #[cfg(feature = "runtimes")]
    pub(crate) unsafe fn in_one_piece<'a>(
        &'a self,
        index: usize,
        room: &'a mut Vec<u8>,
    ) -> (Option<SocketAddr>, &'a [u8], Option<usize>) {
        let (message, header) = (self.messages[index], &self.headers[index].msg_hdr);
        let to = (!header.msg_name.is_null()).then(|| {
            // SAFETY: `fill` has pointed to an address of that length, in a frame of a packet that is there.
            unsafe { std::slice::from_raw_parts(header.msg_name.cast::<u8>(), header.msg_namelen as usize) }
        });
        // SAFETY: `fill` has pointed to so many iovecs beside the header.
        let iovecs = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
        // SAFETY: and each of them to the bytes of a packet that is there.
        let mut pieces = iovecs
            .iter()
            .map(|piece| unsafe { std::slice::from_raw_parts(piece.iov_base.cast::<u8>(), piece.iov_len) });
        let bytes = match pieces.len() {
            1 => pieces.next().unwrap_or_default(),
            _ => {
                room.clear();
                pieces.for_each(|piece| room.extend_from_slice(piece));
                room
            }
        };
        (to.and_then(Address::parse), bytes, (message.datagrams > 1).then_some(message.segment))
    }

    /// Makes messages of what is on the ring: at most a batch of datagrams, or one train if that is longer. They
    /// point to packets that must stay on the ring. Returns how many there are.
    pub(crate) fn fill(&mut self, tx: &mut Consumer<Packet<'_>>) -> usize {
        self.messages.clear();
        tx.available();
        let batch = self.headers.len();
        let mut queued = 0;
        let mut next = Next { packet: 0, begun: self.begun, iovec: 0 };
        while queued < batch {
            let Some(packet) = tx.peek(next.packet) else { break };
            if !self.gso && !packet.is_single() {
                queued += self.cut(packet, batch - queued, &mut next);
            } else if queued == 0 || packet.count() <= batch - queued {
                queued += self.gather(tx, packet, batch - queued, &mut next);
            } else {
                break;
            }
        }
        self.messages.len()
    }

    /// Makes a message of the piece that is next, of `first`, and of the datagrams after it that fit into a train with it, at most
    /// as many as there is `room` for. Returns how many datagrams there are in it.
    #[inline]
    fn gather(&mut self, tx: &Consumer<Packet<'_>>, first: &Packet<'_>, room: usize, next: &mut Next) -> usize {
        let begin = next.iovec;
        let (segment, mut len) = (first.segment_len(), first.len());
        let mut message = Message { datagrams: first.count(), packets: 0, begun: 0, segment, socket: first.socket() };
        self.iovecs[begin] = iovec(first.bytes());
        next.step(self.copies, &mut message);
        if self.gso && first.is_single() {
            let most = room.min(GSO_SEGMENTS_MAX);
            let mut last = len;
            // Only the last one is shorter.
            while message.datagrams < most && last == segment {
                let Some(packet) = tx.peek(next.packet).filter(|packet| packet.is_single()) else { break };
                last = packet.len();
                let fits = last > 0 && last <= segment && len + last <= PAYLOAD_MAX;
                if !fits || !packet.goes_with(first) {
                    break;
                }
                len += last;
                message.datagrams += 1;
                self.iovecs[next.iovec] = iovec(packet.bytes());
                next.step(self.copies, &mut message);
            }
        }
        self.add(message, (begin, next.iovec - begin), first.name());
        message.datagrams
    }

    /// Makes a message of each datagram of a train that is not yet sent, and of its copies, at most as many as there is `room`
    /// for. Returns how many there are.
    fn cut(&mut self, train: &Packet<'_>, room: usize, next: &mut Next) -> usize {
        let pieces = self.copies * train.count();
        let rest = (0..self.copies).flat_map(|_| train.datagrams()).skip(next.begun).take(room);
        let mut count = 0;
        for bytes in rest {
            let begin = next.iovec;
            let (segment, socket) = (bytes.len(), train.socket());
            let mut message = Message { datagrams: 1, packets: 0, begun: 0, segment, socket };
            self.iovecs[begin] = iovec(bytes);
            next.step(pieces, &mut message);
            self.add(message, (begin, 1), train.name());
            count += 1;
        }
        count
    }

    /// Adds a message: its iovecs, from which on and how many, and where it goes if the socket is not connected.
    #[inline]
    fn add(&mut self, message: Message, (begin, iovecs): (usize, usize), name: Option<&[u8]>) {
        let index = self.messages.len();
        let header = &mut self.headers[index].msg_hdr;
        header.msg_name = name.map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut().cast());
        header.msg_namelen = name.map_or(0, Address::len);
        header.msg_iov = self.iovecs.as_mut_ptr().wrapping_add(begin);
        header.msg_iovlen = iovecs;
        (header.msg_control, header.msg_controllen) = (ptr::null_mut(), 0);
        if message.datagrams > 1 {
            self.segmentations[index].set(message.segment as u16);
            header.msg_control = self.segmentations.as_mut_ptr().wrapping_add(index).cast();
            header.msg_controllen = Segmentation::LEN;
        }
        self.messages.push(message);
    }

    /// The first `sent` messages are sent: returns the frames of finished packets to the free list. Returns how many
    /// datagrams were sent.
    pub(crate) fn settle<'p>(&mut self, sent: usize, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> usize {
        let mut datagrams = 0;
        for message in &self.messages[..sent] {
            datagrams += message.datagrams;
            if message.packets > 0 {
                self.begun = 0;
            }
            for _ in 0..message.packets {
                if let Some(packet) = tx.pop() {
                    free.give(packet.into_frame());
                }
            }
            self.begun += message.begun;
        }
        tx.release();
        datagrams
    }
}

/// What the kernel gets of a piece.
#[inline(always)]
fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::pool::Pool;
    use crate::frames::ring::{Producer, ring};

    /// Puts packets onto a ring: single datagrams of these lengths, or trains of a length and a segment size.
    fn queue<'p>(tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>, packets: &[(usize, usize)]) {
        for &(len, segment) in packets {
            let frame = free.take().expect("enough frames");
            tx.push(Packet::train(frame, 0, len, segment)).expect("enough slots");
        }
    }

    /// Datagrams, pieces and bytes of each message.
    fn messages(outbox: &Outbox) -> Vec<(usize, usize, usize)> {
        let mut pieces = outbox.iovecs.iter();
        let of = |(message, header): (&Message, &Header)| {
            let iovecs = header.msg_hdr.msg_iovlen;
            (message.datagrams, iovecs, pieces.by_ref().take(iovecs).map(|piece| piece.iov_len).sum())
        };
        outbox.messages.iter().zip(&outbox.headers).map(of).collect()
    }

    #[test]
    fn neighbours_of_one_length_become_a_train_with_a_shorter_end() {
        let pool = Pool::new(64, 4096).expect("a pool");
        let mut free = pool.frames();
        let (mut tx, mut rx) = ring(64);
        let mut outbox = Outbox::new(16, true, 1);
        queue(&mut tx, &mut free, &[(100, 100), (100, 100), (40, 40), (40, 40), (0, 0), (100, 100), (200, 200)]);
        assert_eq!(outbox.fill(&mut rx), 5);
        assert_eq!(messages(&outbox), [(3, 3, 240), (1, 1, 40), (1, 1, 0), (1, 1, 100), (1, 1, 200)]);
        assert_eq!(outbox.headers[0].msg_hdr.msg_controllen, Segmentation::LEN);
        assert_eq!(outbox.headers[1].msg_hdr.msg_controllen, 0, "one datagram needs no segment size");
        // Only the first two were taken.
        assert_eq!(outbox.settle(2, &mut rx, &mut free), 4);
        assert_eq!((outbox.fill(&mut rx), messages(&outbox)[0]), (3, (1, 1, 0)), "the rest keeps its place");
        assert_eq!(outbox.settle(3, &mut rx, &mut free), 3);
        assert_eq!(outbox.fill(&mut rx), 0);
        assert!(free.is_whole());
    }

    #[test]
    fn a_train_goes_out_of_one_socket() {
        let pool = Pool::new(8, 4096).expect("a pool");
        let mut free = pool.frames();
        let (mut tx, mut rx) = ring(8);
        for socket in [5, 5, 7, 7, 7, 5] {
            let packet = Packet::datagram(free.take().expect("enough frames"), 100).of_socket(socket);
            tx.push(packet).expect("enough slots");
        }
        for (gso, expected) in [(false, &[(5, 2), (7, 3), (5, 1)][..]), (true, &[(5, 1), (7, 1), (5, 1)])] {
            let mut outbox = Outbox::new(16, gso, 1);
            let (count, mut first, mut runs) = (outbox.fill(&mut rx), 0, Vec::new());
            while first < count {
                runs.push(outbox.run(first));
                first += outbox.run(first).1;
            }
            assert_eq!(runs, expected);
        }
        let mut outbox = Outbox::new(16, false, 1);
        let count = outbox.fill(&mut rx);
        assert_eq!(outbox.settle(count, &mut rx, &mut free), 6);
        assert!(free.is_whole());
    }

    #[test]
    fn no_more_than_a_batch_is_sent_unless_a_train_is_longer() {
        let pool = Pool::new(64, 4096).expect("a pool");
        let mut free = pool.frames();
        let (mut tx, mut rx) = ring(64);
        let mut outbox = Outbox::new(4, true, 1);
        queue(&mut tx, &mut free, &[(10, 10), (10, 10), (10, 10), (60, 10), (10, 10), (10, 10)]);
        for expected in [&[(3, 3, 30)][..], &[(6, 1, 60)], &[(2, 2, 20)]] {
            let count = outbox.fill(&mut rx);
            assert_eq!(messages(&outbox), expected);
            outbox.settle(count, &mut rx, &mut free);
        }
        assert!(free.is_whole());
    }

    /// The messages of a call, and how many packets are still on the ring after it.
    type Call = (Vec<(usize, usize, usize)>, usize);

    /// What becomes of packets that are sent three times, if the kernel takes so many messages of each call.
    fn copied(gso: bool, taken: &[usize]) -> Vec<Call> {
        let pool = Pool::new(8, 4096).expect("a pool");
        let mut free = pool.frames();
        let (mut tx, mut rx) = ring(8);
        let mut outbox = Outbox::new(4, gso, 3);
        queue(&mut tx, &mut free, &[(10, 10), (10, 10), (50, 20)]);
        let mut calls = Vec::new();
        for &count in taken {
            let _ = outbox.fill(&mut rx);
            let told = messages(&outbox);
            outbox.settle(count.min(told.len()), &mut rx, &mut free);
            calls.push((told, rx.available()));
        }
        assert!(free.is_whole(), "{calls:?}");
        calls
    }

    #[test]
    fn a_packet_stays_until_its_last_copy_is_sent() {
        let one = |len| (1, 1, len);
        let [first, rest, last] = [vec![one(10); 4], vec![one(10); 2], vec![one(20), one(20), one(10), one(20)]];
        let calls = copied(false, &[4, 4, 0, 4, 4]);
        assert_eq!(calls[0], (first, 2), "all copies of one, and one of the next");
        assert_eq!(calls[1], ([rest, last[..2].to_vec()].concat(), 1), "a train is cut, and each copy of it");
        assert_eq!(calls[2], (vec![one(10), one(20), one(20), one(10)], 1));
        assert_eq!((&calls[3], calls[4].1), (&calls[2], 0), "what was refused is next");
        // The kernel cuts them: a train has copies of two packets, and one of three datagrams is as long as a batch allows.
        let calls = copied(true, &[9; 5]);
        assert_eq!(calls[0], (vec![(4, 4, 40)], 2));
        assert_eq!(calls[1], (vec![(2, 2, 20)], 1));
        assert_eq!(calls[2..].iter().map(|(told, _)| told[0]).collect::<Vec<_>>(), [(3, 1, 50); 3]);
    }

    #[test]
    fn a_train_that_is_cut_goes_on_where_it_was_refused() {
        let pool = Pool::new(64, 4096).expect("a pool");
        let mut free = pool.frames();
        let (mut tx, mut rx) = ring(64);
        let mut outbox = Outbox::new(4, false, 1);
        queue(&mut tx, &mut free, &[(10, 10), (95, 20), (7, 7)]);
        let mut lengths = Vec::new();
        let mut taken = [1, 0, 2, 3, 1, 4].into_iter();
        while outbox.fill(&mut rx) > 0 {
            let count = taken.next().expect("few calls do").min(outbox.len());
            lengths.extend(messages(&outbox)[..count].iter().map(|message| message.2));
            outbox.settle(count, &mut rx, &mut free);
        }
        assert_eq!(lengths, [10, 20, 20, 20, 20, 15, 7]);
        assert!(free.is_whole());
    }
}
