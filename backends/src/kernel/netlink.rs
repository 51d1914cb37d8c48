//! Questions to the kernel over rtnetlink(7), and how its answers are read.

use std::io::{self, Read};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::frames::address::array;

/// Bytes of a `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// Bytes of an attribute before its value.
const ATTRIBUTE: usize = 4;

/// The most that the kernel puts into one answer, in bytes.
const ANSWER_MAX: usize = 1 << 16;

/// A message of this kind; `flags` are added to `NLM_F_REQUEST`.
pub(super) fn message(kind: u16, flags: libc::c_int, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The kernel's answer to a question: one message, or all messages of a dump.
///
/// # Errors
///
/// The kernel's.
pub(super) fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(question)?;
    let (mut answer, mut bytes) = (Vec::new(), vec![0; ANSWER_MAX]);
    loop {
        let len = (&socket).read(&mut bytes)?;
        answer.extend(&bytes[..len]);
        if is_whole(&bytes[..len])? {
            return Ok(answer);
        }
    }
}

/// Whether nothing follows these messages.
fn is_whole(bytes: &[u8]) -> io::Result<bool> {
    let mut is_whole = true;
    for Message { kind, flags, body } in messages(bytes) {
        let is_end = i32::from(kind) == libc::NLMSG_DONE;
        // A list that breaks off ends with the error.
        let breaks_off = is_end && array(body, 0).map(i32::from_ne_bytes).is_some_and(|errno| errno < 0);
        if i32::from(kind) == libc::NLMSG_ERROR || breaks_off {
            return Err(refusal(body));
        }
        is_whole = is_end || i32::from(flags) & libc::NLM_F_MULTI == 0;
    }
    Ok(is_whole)
}

/// What a `struct nlmsgerr` says.
fn refusal(body: &[u8]) -> io::Error {
    match array(body, 0).map(i32::from_ne_bytes) {
        Some(errno) => io::Error::from_raw_os_error(errno.saturating_neg()),
        None => io::ErrorKind::InvalidData.into(),
    }
}

/// A message without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u16,
    pub(super) body: &'a [u8],
}

/// The messages in an answer, as far as they are whole.
pub(super) fn messages(answer: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = answer;
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(array(rest, 0)?) as usize;
        let message = Message {
            kind: u16::from_ne_bytes(array(rest, 4)?),
            flags: u16::from_ne_bytes(array(rest, 6)?),
            body: rest.get(HEADER..len)?,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a part of a message: the name of each, and its value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// The upper two bits say how a value is to be read (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
    const NAME: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(array(rest, 0)?));
        let name = u16::from_ne_bytes(array(rest, 2)?) & NAME;
        // One that is shorter than its own head is none, and ends the list.
        let value = rest.get(ATTRIBUTE..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((name, value))
    })
}

/// The value of an attribute, if it is there.
pub(super) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_made_and_as_far_as_they_are_whole() {
        let mut both = message(7, libc::NLM_F_MULTI, &[1, 2, 3, 4]);
        both.extend(message(libc::NLMSG_DONE as u16, 0, &[]));
        let kinds =
            |bytes: &[u8]| messages(bytes).map(|message| (message.kind, message.body.len())).collect::<Vec<_>>();
        assert_eq!(kinds(&both), [(7, 4), (libc::NLMSG_DONE as u16, 0)]);
        assert_eq!((is_whole(&both).ok(), is_whole(&both[..HEADER + 4]).ok()), (Some(true), Some(false)));
        for len in 0..both.len() {
            assert_eq!(kinds(&both[..len]).len(), usize::from(len >= HEADER + 4), "{len}");
        }
        // A length that is less than a header's, or more than there is.
        for len in [0_u32, 15, u32::MAX] {
            both[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(kinds(&both), []);
        }
    }

    #[test]
    fn a_refusal_is_the_kernels_error() {
        let refused = message(libc::NLMSG_ERROR as u16, 0, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(is_whole(&refused).expect_err("an error").raw_os_error(), Some(libc::ENODEV));
        let broken = message(libc::NLMSG_DONE as u16, 0, &(-libc::EINTR).to_ne_bytes());
        assert_eq!(is_whole(&broken).expect_err("an error").raw_os_error(), Some(libc::EINTR));
        let done = message(libc::NLMSG_DONE as u16, 0, &0_i32.to_ne_bytes());
        assert_eq!(is_whole(&done).ok(), Some(true));
        let empty = message(libc::NLMSG_ERROR as u16, 0, &[]);
        assert_eq!(is_whole(&empty).expect_err("an error").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn attributes_end_where_one_is_malformed() {
        let mut bytes = Vec::new();
        for (name, value) in [(1_u16, &[9_u8, 9][..]), (2 | 1 << 15, &[1, 2, 3, 4])] {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(name.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(1, &[9, 9][..]), (2, &[1, 2, 3, 4])]);
        assert_eq!((attribute(&bytes, 2), attribute(&bytes, 3)), (Some(&[1, 2, 3, 4][..]), None));
        bytes.extend([0; 8]);
        assert_eq!(attributes(&bytes).count(), 2, "a length of 0 does not hold it up");
        assert_eq!(attributes(&bytes[..bytes.len() - 9]).count(), 1, "one that is cut is none");
    }
}
