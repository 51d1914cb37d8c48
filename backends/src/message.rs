//! What accompanies a datagram in a message: an address, and the segment size of a train.

use std::ops::{Deref, DerefMut};
use std::{mem, ptr};

use crate::backend::Config;
use crate::declaration::Mode;
use crate::frames::address::{ADDRESS_AT, ADDRESS_LEN, Address, PAYLOAD_AT, array};
use crate::frames::packet::{Packet, Placed, RxRing};
use crate::frames::pool::{Frame, FreeList};
use crate::variant::Addressing;

/// Room for one control message with an `int`: the segment size.
const CONTROL_LEN: usize = 24;
const CONTROL_HEADER: usize = mem::size_of::<libc::cmsghdr>();

#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// The segment size of a train, from the control messages that came with it (`UDP_GRO`). `None` if they hold
/// none, or make no sense.
#[inline]
pub(crate) fn segment_in(mut control: &[u8]) -> Option<usize> {
    while let Some(len) = array(control, 0).map(usize::from_ne_bytes) {
        let level = i32::from_ne_bytes(array(control, mem::size_of::<usize>())?);
        let kind = i32::from_ne_bytes(array(control, mem::size_of::<usize>() + 4)?);
        let data = control.get(CONTROL_HEADER..len)?;
        if level == libc::SOL_UDP && kind == libc::UDP_GRO {
            let segment = i32::from_ne_bytes(array(data, 0)?);
            return usize::try_from(segment).ok().filter(|segment| (1..=usize::from(u16::MAX)).contains(segment));
        }
        control = control.get(len.checked_next_multiple_of(mem::size_of::<usize>())?..)?;
    }
    None
}

/// [`Packet::name`] finds an address by where the payload begins: without one, before the address's end.
const _: () = assert!(ADDRESS_AT + CONTROL_LEN < ADDRESS_AT + ADDRESS_LEN && PAYLOAD_AT >= ADDRESS_AT + ADDRESS_LEN);

/// The layout of what a `recvmsg` multishot writes: its header, the address, control messages, the payload. The
/// offsets follow from the lengths that were requested, whatever was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) name: usize,
    pub(crate) control: usize,
}

impl Layout {
    pub(crate) fn new(config: &Config) -> Self {
        let name = if config.addressing == Addressing::Unconnected { ADDRESS_LEN } else { 0 };
        Self { name, control: if config.variant.has(Mode::GRO) { CONTROL_LEN } else { 0 } }
    }

    pub(crate) fn payload_at(self) -> usize {
        ADDRESS_AT + self.name + self.control
    }

    /// The message in a buffer to which the kernel reports to have `written` this many bytes. `None` if that makes
    /// no sense.
    #[inline(always)]
    pub(crate) fn place(self, buffer: &[u8], written: usize) -> Option<Placed> {
        self.read(&buffer[..written.min(buffer.len())])
    }

    /// Reads a buffer that the kernel reports to have written in full. `None` if its content makes no sense:
    /// nothing in it is trusted.
    #[inline(always)]
    pub(crate) fn read(self, buffer: &[u8]) -> Option<Placed> {
        let (header, _) = buffer.split_first_chunk::<ADDRESS_AT>()?;
        let [_, control, payload, _] = *header.as_chunks::<4>().0 else { return None };
        let [control, payload] = [control, payload].map(|word| u32::from_ne_bytes(word) as usize);
        let offset = self.payload_at();
        let len = payload.min(buffer.len().checked_sub(offset)?);
        let segment = match self.control {
            0 => None,
            most => {
                let at = ADDRESS_AT + self.name;
                segment_in(&buffer[at..at + control.min(most)])
            }
        };
        Some(Placed { offset, len, segment: segment.unwrap_or(len), truncated: payload > len })
    }
}

/// Headers of messages to receive: one for each slot of a batch.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) headers: Box<[Header]>,
    iovecs: Box<[libc::iovec]>,
    controls: Box<[Control]>,
    addressed: bool,
    gro: bool,
}

// SAFETY: the pointers in the headers are to the slices beside them and to frames that the owner holds.
unsafe impl Send for Messages {}

impl Messages {
    /// `None` if a receive returns only the payload.
    pub(crate) fn wanted(config: &Config) -> Option<Self> {
        let wanted = config.addressing == Addressing::Unconnected || config.variant.has(Mode::GRO);
        wanted.then(|| Self::new(config))
    }

    pub(crate) fn new(config: &Config) -> Self {
        let (addressed, gro) = (config.addressing == Addressing::Unconnected, config.variant.has(Mode::GRO));
        let (iovecs, controls) = (empty_iovecs(config.batch), vec![Control([0; CONTROL_LEN]); config.batch]);
        let mut messages = Self {
            headers: empty_headers(config.batch),
            iovecs,
            controls: controls.into_boxed_slice(),
            addressed,
            gro,
        };
        for (index, header) in messages.headers.iter_mut().enumerate() {
            header.msg_hdr.msg_iov = messages.iovecs.as_mut_ptr().wrapping_add(index);
            header.msg_hdr.msg_iovlen = 1;
            if gro {
                header.msg_hdr.msg_control = messages.controls.as_mut_ptr().wrapping_add(index).cast();
            }
        }
        messages
    }

    /// Where payloads begin in their frames.
    fn payload_at(&self) -> usize {
        if self.addressed { PAYLOAD_AT } else { 0 }
    }

    /// Points a slot to the frame that it receives into.
    #[inline(always)]
    pub(crate) fn prepare(&mut self, slot: usize, frame: &Frame<'_>) {
        let offset = self.payload_at();
        let (base, size) = (frame.as_ptr(), frame.size());
        self.iovecs[slot] =
            libc::iovec { iov_base: base.wrapping_add(offset).cast(), iov_len: size.saturating_sub(offset) };
        let header = &mut self.headers[slot].msg_hdr;
        if self.addressed {
            header.msg_name = base.wrapping_add(ADDRESS_AT).cast();
            header.msg_namelen = ADDRESS_LEN as libc::socklen_t;
        }
        if self.gro {
            header.msg_controllen = CONTROL_LEN;
        }
    }

    /// What was received into a slot's frame: `len` bytes, as the kernel says (with `MSG_TRUNC`: the real length).
    /// A message that was longer than the frame is counted in `truncated`.
    #[inline(always)]
    pub(crate) fn packet<'p>(&self, slot: usize, frame: Frame<'p>, len: usize, truncated: &mut u64) -> Packet<'p> {
        let offset = self.payload_at();
        let room = frame.size().saturating_sub(offset);
        *truncated += u64::from(len > room);
        let len = len.min(room);
        let segment = if self.gro {
            let control = &self.controls[slot].0;
            segment_in(&control[..self.headers[slot].msg_hdr.msg_controllen.min(CONTROL_LEN)])
        } else {
            None
        };
        Packet::train(frame, offset, len, segment.unwrap_or(len))
    }

    /// Delivers the `frames` of the slots from `first` on. Returns how many datagrams are in them.
    #[inline(always)]
    pub(crate) fn deliver<'p>(
        &self,
        first: usize,
        frames: impl Iterator<Item = Frame<'p>>,
        truncated: &mut u64,
        (rx, free): (&mut RxRing<'p>, &mut FreeList<'p>),
    ) -> usize {
        let mut datagrams = 0;
        for (slot, frame) in (first..).zip(frames) {
            let packet = self.packet(slot, frame, self.headers[slot].msg_len as usize, truncated);
            datagrams += packet.count();
            rx.deliver(packet, free);
        }
        datagrams
    }
}

/// The control message that gives the kernel the segment size of a train (`UDP_SEGMENT`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segmentation(Control);

impl Segmentation {
    pub(crate) const NONE: Self = Self(Control([0; CONTROL_LEN]));

    /// A control message: `struct cmsghdr`, then 16 bits.
    pub(crate) fn set(&mut self, segment: u16) {
        let word = mem::size_of::<usize>();
        let bytes = &mut self.0.0;
        bytes[..word].copy_from_slice(&(CONTROL_HEADER + mem::size_of::<u16>()).to_ne_bytes());
        bytes[word..word + 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        bytes[word + 4..word + 8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        bytes[CONTROL_HEADER..CONTROL_HEADER + 2].copy_from_slice(&segment.to_ne_bytes());
    }

    pub(crate) const LEN: usize = CONTROL_LEN;
}

/// Message headers and the iovecs that they point to, one each per datagram.
#[derive(Debug)]
pub(crate) struct Headers {
    pub(crate) messages: Box<[Header]>,
    pub(crate) iovecs: Box<[libc::iovec]>,
}

impl Headers {
    pub(crate) fn new(count: usize) -> Self {
        let mut iovecs = empty_iovecs(count);
        Self { messages: headers(iovecs.as_mut_ptr(), count), iovecs }
    }

    /// Points a header to a packet, and to its address if it has one.
    #[inline(always)]
    pub(crate) fn point_to(&mut self, index: usize, packet: &Packet<'_>) -> *const libc::msghdr {
        self.iovecs[index] = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        let header = &mut self.messages[index].msg_hdr;
        let name = packet.name();
        header.msg_name = name.map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut().cast());
        header.msg_namelen = name.map_or(0, Address::len);
        header
    }
}

/// Message headers that point to one of `count` iovecs each, which must not move.
pub(crate) fn headers(iovecs: *mut libc::iovec, count: usize) -> Box<[Header]> {
    let mut headers = empty_headers(count);
    for (index, header) in headers.iter_mut().enumerate() {
        header.msg_hdr.msg_iov = iovecs.wrapping_add(index);
        header.msg_hdr.msg_iovlen = 1;
    }
    headers
}

/// A message header on a cache line of its own. The kernel reads and writes it in each call. When it straddled two
/// lines, as the allocator had placed it, a `drain` of batch 1 took 1% longer.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Header(libc::mmsghdr);

// An array of them has the kernel's layout.
const _: () = assert!(mem::size_of::<Header>() == mem::size_of::<libc::mmsghdr>());

impl Deref for Header {
    type Target = libc::mmsghdr;

    #[inline(always)]
    fn deref(&self) -> &libc::mmsghdr {
        &self.0
    }
}

impl DerefMut for Header {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut libc::mmsghdr {
        &mut self.0
    }
}

/// Message headers of zeroes: null pointers with lengths of zero.
pub(crate) fn empty_headers(count: usize) -> Box<[Header]> {
    // SAFETY: a message header of zeroes is valid.
    (0..count).map(|_| Header(unsafe { mem::zeroed() })).collect()
}

pub(crate) fn empty_iovecs(count: usize) -> Box<[libc::iovec]> {
    (0..count).map(|_| libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A control message as the kernel writes it.
    fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let len = CONTROL_HEADER + data.len();
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(len.next_multiple_of(mem::size_of::<usize>()), 0);
        bytes
    }

    fn gro(segment: i32) -> Vec<u8> {
        control(libc::SOL_UDP, libc::UDP_GRO, &segment.to_ne_bytes())
    }

    /// What a `recvmsg` multishot writes: header, name, control, payload.
    fn buffer(layout: Layout, lens: [u32; 4], control: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = lens.iter().flat_map(|len| len.to_ne_bytes()).collect();
        bytes.resize(ADDRESS_AT + layout.name, 7);
        bytes.extend(control);
        bytes.resize(layout.payload_at(), 0);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_segment_size_is_found_behind_other_messages() {
        assert_eq!(segment_in(&gro(1200)), Some(1200));
        let other = control(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[1; 13]);
        assert_eq!(segment_in(&[other.clone(), gro(64)].concat()), Some(64));
        assert_eq!(segment_in(&other), None);
        assert_eq!(segment_in(&[]), None);
    }

    #[test]
    fn sizes_that_make_no_sense_are_none() {
        for segment in [0, -1, 65_536, i32::MIN, i32::MAX] {
            assert_eq!(segment_in(&gro(segment)), None, "{segment}");
        }
        assert_eq!(segment_in(&control(libc::SOL_UDP, libc::UDP_GRO, &[64, 0])), None, "too short for an int");
    }

    #[test]
    fn a_message_is_found_where_the_lengths_that_were_asked_for_put_it() {
        let layout = Layout { name: ADDRESS_LEN, control: CONTROL_LEN };
        let bytes = buffer(layout, [16, 20, 130, 0], &gro(64), &[9; 130]);
        let placed = layout.read(&bytes).expect("a good message");
        assert_eq!(placed, Placed { offset: 68, len: 130, segment: 64, truncated: false });
        let bare = Layout { name: 0, control: 0 };
        let bytes = buffer(bare, [0, 0, 300, 0], &[], &[9; 200]);
        let placed = bare.read(&bytes).expect("a good message");
        assert_eq!(placed, Placed { offset: 16, len: 200, segment: 200, truncated: true });
    }

    #[test]
    fn what_is_behind_the_written_bytes_is_not_looked_at() {
        for name in [0, ADDRESS_LEN] {
            let layout = Layout { name, control: 0 };
            for payload in [0, 1, 100, 300] {
                let mut bytes = buffer(layout, [name as u32, 0, payload as u32, 0], &[], &vec![3; payload]);
                let written = bytes.len();
                bytes.resize(400, 0);
                let placed = layout.read(&bytes[..written]);
                assert!(placed.is_some() && layout.place(&bytes, written) == placed);
            }
            assert_eq!(layout.place(&[0; 400], layout.payload_at() - 1), None);
        }
    }

    proptest! {
        #[test]
        fn any_control_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            if let Some(segment) = segment_in(&bytes) {
                prop_assert!((1..=65_535).contains(&segment));
            }
        }

        #[test]
        fn a_true_control_message_with_a_lying_length_is_read_without_harm(
            len in any::<usize>(), segment in any::<i32>(), cut in 0_usize..48,
        ) {
            let mut bytes = [gro(segment), gro(segment)].concat();
            bytes[..mem::size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
            bytes.truncate(cut);
            if let Some(found) = segment_in(&bytes) {
                prop_assert_eq!(found as i32, segment);
            }
        }

        #[test]
        fn any_buffer_is_read_within_its_bounds(
            bytes in prop::collection::vec(any::<u8>(), 0..300), unconnected in any::<bool>(), trains in any::<bool>(),
        ) {
            let layout = Layout {
                name: if unconnected { ADDRESS_LEN } else { 0 },
                control: if trains { CONTROL_LEN } else { 0 },
            };
            match layout.read(&bytes) {
                None => prop_assert!(bytes.len() < layout.payload_at()),
                Some(placed) => {
                    prop_assert_eq!(placed.offset, layout.payload_at());
                    prop_assert!(placed.offset + placed.len <= bytes.len());
                    prop_assert!(placed.segment > 0 || placed.len == 0);
                }
            }
        }

        #[test]
        fn lying_lengths_in_a_true_header_are_cut_to_the_buffer(
            lens in any::<[u32; 4]>(), segment in any::<i32>(), payload in 0_usize..200, cut in 0_usize..300,
        ) {
            let layout = Layout { name: ADDRESS_LEN, control: CONTROL_LEN };
            let mut bytes = buffer(layout, lens, &gro(segment), &vec![1; payload]);
            bytes.truncate(cut);
            if let Some(placed) = layout.read(&bytes) {
                prop_assert!(placed.offset + placed.len <= bytes.len());
                prop_assert_eq!(placed.truncated, lens[2] as usize > placed.len);
            }
        }
    }
}
