//! What comes and goes with a datagram in a message: an address, and the segment size of a train.
//!
//! An address travels in the frame of its datagram, in front of the payload, so that an answer finds it there and
//! nothing is copied: at [`ADDRESS_AT`], where a `recvmsg` multishot puts it, too.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{mem, ptr};

use crate::backend::Config;
use crate::packet::{Packet, RxRing};
use crate::pool::{Frame, FreeList};
use crate::variant::{Addressing, Mode};

/// Where in a frame the address is: behind the header that a `recvmsg` multishot writes there
/// (`struct io_uring_recvmsg_out` in `include/uapi/linux/io_uring.h`: four words of 32 bits).
pub(crate) const ADDRESS_AT: usize = 16;
/// Bytes of the longest address, a `struct sockaddr_in6`.
pub(crate) const ADDRESS_LEN: usize = 28;
/// Where the payload begins in frames that have an address, unless the kernel decides where.
pub(crate) const PAYLOAD_AT: usize = 64;
/// The most bytes in front of a payload.
pub(crate) const HEADROOM: usize = 128;

/// Room for one control message with an `int`: the segment size.
const CONTROL_LEN: usize = 24;
const CONTROL_HEADER: usize = mem::size_of::<libc::cmsghdr>();

#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// An address as the kernel reads and writes it: a `struct sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address([u8; ADDRESS_LEN]);

impl Address {
    /// The address in the kernel's form.
    pub fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; ADDRESS_LEN];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let family = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                libc::AF_INET6
            }
        };
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        Self(bytes)
    }

    /// Reads what the kernel has written. `None` if it is no address of IP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes(array(bytes, 0)?));
        let port = u16::from_be_bytes(array(bytes, 2)?);
        match family {
            libc::AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(array::<4>(bytes, 4)?), port).into()),
            libc::AF_INET6 => {
                let flow = u32::from_be_bytes(array(bytes, 4)?);
                let scope = u32::from_ne_bytes(array(bytes, 24)?);
                Some(SocketAddrV6::new(Ipv6Addr::from(array::<16>(bytes, 8)?), port, flow, scope).into())
            }
            _ => None,
        }
    }

    /// Writes the address into the frame of a datagram that is going to be sent there.
    #[inline]
    pub(crate) fn write(&self, frame: &mut Frame<'_>) {
        frame.bytes_mut()[ADDRESS_AT..ADDRESS_AT + ADDRESS_LEN].copy_from_slice(&self.0);
    }

    /// How long the address in `bytes` is, by its family.
    pub(crate) fn len(bytes: &[u8]) -> libc::socklen_t {
        let family = array(bytes, 0).map_or(0, u16::from_ne_bytes);
        if i32::from(family) == libc::AF_INET { 16 } else { ADDRESS_LEN as libc::socklen_t }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The segment size of a train, from the control messages that came with it (`UDP_GRO`). `None` if they tell of
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

/// Where a `recvmsg` multishot puts what: its header, the address, control messages, the payload. The offsets
/// follow from the lengths that were asked for, whatever was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) name: usize,
    pub(crate) control: usize,
}

/// A message found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Where the payload begins, and how much of it is there.
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// The segment size of a train; of a single datagram, its length.
    pub(crate) segment: usize,
    /// Whether the payload was longer than the buffer.
    pub(crate) truncated: bool,
}

impl Layout {
    pub(crate) fn new(config: &Config) -> Self {
        let name = if config.addressing == Addressing::Unconnected { ADDRESS_LEN } else { 0 };
        Self { name, control: if config.variant.has(Mode::Gro) { CONTROL_LEN } else { 0 } }
    }

    pub(crate) fn payload_at(self) -> usize {
        ADDRESS_AT + self.name + self.control
    }

    /// Reads a buffer of which the kernel says that it has written all of it. `None` if what stands there makes
    /// no sense: nothing in it is taken at its word.
    #[inline(always)]
    pub(crate) fn read(self, buffer: &[u8]) -> Option<Placed> {
        let word = |index: usize| array(buffer, 4 * index).map(u32::from_ne_bytes);
        let (control, payload) = (word(1)? as usize, word(2)? as usize);
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

/// Headers of messages to be received: one for each slot of a batch.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    controls: Box<[Control]>,
    addressed: bool,
    gro: bool,
}

// SAFETY: the pointers in the headers lead to the slices beside them and to frames that the owner holds.
unsafe impl Send for Messages {}

impl Messages {
    /// `None` where a receive brings the payload only.
    pub(crate) fn wanted(config: &Config) -> Option<Self> {
        let (addressed, gro) = (config.addressing == Addressing::Unconnected, config.variant.has(Mode::Gro));
        (addressed || gro).then(|| Self::new(config))
    }

    pub(crate) fn new(config: &Config) -> Self {
        let (addressed, gro) = (config.addressing == Addressing::Unconnected, config.variant.has(Mode::Gro));
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

    /// Makes a slot receive into a frame.
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
    /// What was longer than the frame is counted in `truncated`.
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
}

impl Messages {
    /// The length that `recvmmsg` has noted for a slot.
    #[inline(always)]
    pub(crate) fn len(&self, slot: usize) -> usize {
        self.headers[slot].msg_len as usize
    }

    /// Delivers the `frames` of the slots from `first` on. Returns how many datagrams are in them.
    #[inline(always)]
    pub(crate) fn deliver<'p>(
        &self,
        first: usize,
        frames: impl Iterator<Item = Frame<'p>>,
        len: impl Fn(usize) -> usize,
        truncated: &mut u64,
        (rx, free): (&mut RxRing<'p>, &mut FreeList<'p>),
    ) -> usize {
        let mut datagrams = 0;
        for (slot, frame) in (first..).zip(frames) {
            let packet = self.packet(slot, frame, len(slot), truncated);
            datagrams += packet.count();
            rx.deliver(packet, free);
        }
        datagrams
    }
}

/// Where the segment size of a train is told to the kernel (`UDP_SEGMENT`).
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

/// Message headers of zeroes: null pointers with lengths of zero.
pub(crate) fn empty_headers(count: usize) -> Box<[libc::mmsghdr]> {
    // SAFETY: a message header of zeroes is valid.
    (0..count).map(|_| unsafe { mem::zeroed() }).collect()
}

pub(crate) fn empty_iovecs(count: usize) -> Box<[libc::iovec]> {
    (0..count).map(|_| libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }).collect()
}
