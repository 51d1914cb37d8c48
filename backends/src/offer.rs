//! The sender that offers load: the same code whatever backend is under test.

use std::io;
use std::sync::Arc;

use crate::frames::address::Address;
use crate::kernel::errno::{self, Verdict};
use crate::kernel::socket::{GSO_SEGMENTS_MAX, PAYLOAD_MAX, Socket};
use crate::kernel::sys;
use crate::message::Headers;

/// Sends trains of equal datagrams as fast as the kernel takes them, to one peer or to many, from one socket or from several.
///
/// With GSO a train is one send that the kernel cuts (at a fifth of the cost of separate datagrams),
/// else one `sendmmsg`. The bytes of a train are written in place before each send; those that the writer
/// leaves alone are those of the previous train.
#[derive(Debug)]
pub struct Offer {
    /// Used in rotation, one train each.
    sockets: Arc<[Arc<Socket>]>,
    /// Which of them sends next.
    at: usize,
    payload: usize,
    train: usize,
    gso: bool,
    refused: u64,
    bytes: Box<[u8]>,
    headers: Headers,
    /// Where each datagram goes, if the socket is not connected.
    many: Option<Many>,
}

/// Addresses, used in rotation.
#[derive(Debug)]
struct Many {
    addresses: Arc<[Address]>,
    turns: Arc<[u16]>,
    /// The turn of the next datagram.
    next: usize,
}

impl Offer {
    /// A sender of datagrams of `payload` bytes. `gso` requests segmentation by the kernel. Payloads of
    /// which no two fit into a send are sent without it, as are those that the path has to fragment.
    ///
    /// # Errors
    ///
    /// The kernel's error if it has no GSO, see [`Socket::set_segment`].
    pub fn new(socket: Arc<Socket>, payload: usize, gso: bool) -> io::Result<Self> {
        Self::from_many([socket].into(), payload, gso)
    }

    /// As [`Offer::new`], from several sockets that are connected with one peer: each sends a train, then the next one
    /// does.
    ///
    /// # Errors
    ///
    /// As [`Offer::new`], and `InvalidInput` if there is no socket.
    pub fn from_many(sockets: Arc<[Arc<Socket>]>, payload: usize, gso: bool) -> io::Result<Self> {
        let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
        let gso = gso && PAYLOAD_MAX / payload.max(1) > 1 && first.sends_whole(payload);
        let train = Self::longest(payload, gso);
        if gso {
            sockets.iter().try_for_each(|socket| socket.set_segment(payload))?;
        }
        let mut bytes = vec![0; train * payload].into_boxed_slice();
        let mut headers = Headers::new(train);
        for (chunk, iovec) in bytes.chunks_exact_mut(payload).zip(&mut headers.iovecs) {
            *iovec = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: payload };
        }
        Ok(Self { sockets, at: 0, payload, train, gso, refused: 0, bytes, headers, many: None })
    }

    /// A sender of datagrams of `payload` bytes from a socket that is not connected: each goes to the address whose turn
    /// it is, and after the last turn comes the first again. The kernel cannot cut such sends.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there is no turn, or one without an address.
    pub fn to_many(socket: Arc<Socket>, payload: usize, to: (Arc<[Address]>, Arc<[u16]>)) -> io::Result<Self> {
        let (addresses, turns) = to;
        if turns.is_empty() || turns.iter().any(|&turn| usize::from(turn) >= addresses.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "each turn is that of an address"));
        }
        Ok(Self { many: Some(Many { addresses, turns, next: 0 }), ..Self::new(socket, payload, false)? })
    }

    /// The most datagrams of `payload` bytes in one train, with or without GSO.
    pub fn longest(payload: usize, gso: bool) -> usize {
        let fitting = PAYLOAD_MAX / payload.max(1);
        if gso && fitting > 1 { fitting.min(GSO_SEGMENTS_MAX) } else { GSO_SEGMENTS_MAX.min(fitting.max(4)) }
    }

    /// How the datagrams are sent: `gso` or `sendmmsg`.
    pub fn method(&self) -> &'static str {
        if self.gso { "gso" } else { "sendmmsg" }
    }

    /// The most datagrams in one train.
    pub fn train(&self) -> usize {
        self.train
    }

    /// Which of the sockets sends the next train.
    #[inline]
    pub fn sender(&self) -> usize {
        self.at
    }

    /// How often the kernel took nothing: it had no room, or a queueing discipline dropped all.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Sends one train of at most `count` datagrams, each written by `write`, and returns how many the
    /// kernel took: with GSO all or none, else the first ones. The others must be written again.
    ///
    /// # Errors
    ///
    /// An error that makes continuing pointless; a transient one is `Ok(0)`.
    #[inline]
    pub fn send(&mut self, count: usize, mut write: impl FnMut(&mut [u8])) -> io::Result<usize> {
        let count = count.min(self.train);
        for datagram in self.bytes.chunks_exact_mut(self.payload).take(count) {
            write(datagram);
        }
        let fd = self.sockets[self.at].raw();
        self.at = if self.at + 1 == self.sockets.len() { 0 } else { self.at + 1 };
        // One datagram needs no message around it.
        let outcome = if self.gso || (count == 1 && self.many.is_none()) {
            let (at, len) = (self.bytes.as_ptr(), count * self.payload);
            // SAFETY: the bytes are ours and at least `len` long; the kernel only reads them.
            unsafe { sys::send(&mut 0, fd, at, len) }.map(|_| count)
        } else {
            if let Some(many) = &self.many {
                let turns = many.turns[many.next..].iter().chain(many.turns.iter().cycle());
                for (header, &turn) in self.headers.messages.iter_mut().zip(turns).take(count) {
                    (header.msg_hdr.msg_name, header.msg_hdr.msg_namelen) = many.addresses[usize::from(turn)].as_name();
                }
            }
            let headers = self.headers.messages.as_mut_ptr().cast();
            // SAFETY: the first `count` headers point to chunks of `bytes` and to addresses, which the kernel only reads.
            unsafe { sys::send_many(&mut 0, fd, headers, count) }
        };
        match outcome {
            Ok(sent) => {
                if let Some(many) = &mut self.many {
                    many.next = (many.next + sent) % many.turns.len();
                }
                return Ok(sent);
            }
            Err((Verdict::Fatal, error)) => return Err(error),
            Err((Verdict::Passing, _)) => errno::empty_queue(fd),
            Err(_) => {}
        }
        self.refused += 1;
        Ok(0)
    }
}
