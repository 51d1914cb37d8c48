//! What is in a datagram: a header of 32 bytes, and a payload that is a function of the sequence number.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0–3 | magic, with the trial's tag | tells the trial's datagrams from all others |
//! | 4–5 | flow | which generator sent it |
//! | 6–7 | flags | the highest bit: sent in the measured phase (`flood`, `pace`, `echo`, `serve`); the others: the window slot of an `echo`; come back unchanged |
//! | 8–15 | sequence | counts up from 0 in each flow |
//! | 16–23 | intended send time | nanoseconds of `CLOCK_MONOTONIC`; 0 where no latency is measured |
//! | 24–27 | length | of the whole datagram |
//! | 28–31 | checksum | of the 28 bytes before |
//!
//! All numbers are little-endian. Each trial draws a [`Tag`]: what an earlier one left behind on the same port is foreign.

use serde::{Deserialize, Serialize};

/// Bytes of the header: the smallest payload that can be measured.
pub const HEADER_LEN: usize = 32;

const MAGIC: u32 = u32::from_le_bytes(*b"hpb1");

/// The flag of datagrams that were sent in the measured phase. Their sender knows when that is, so what is lost of them
/// is known exactly, wherever and whenever they arrive.
pub const MEASURED: u16 = 1 << 15;

/// Tells the datagrams of a trial from those of all other trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag(u32);

impl Tag {
    /// The tag of a number. Datagrams of two numbers are foreign to each other.
    pub fn new(number: u32) -> Self {
        Self(MAGIC ^ number)
    }

    /// A random one: two trials have the same in one of 2^32 cases.
    pub fn draw() -> Self {
        Self::new(rand::random())
    }
}

/// The fields of a header that vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Which generator sent the datagram.
    pub flow: u16,
    /// [`MEASURED`], and what comes back unchanged in an `echo`.
    pub flags: u16,
    /// Counts up from 0 in each flow.
    pub sequence: u64,
    /// When the datagram should have been sent, in nanoseconds of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
}

impl Header {
    /// 1 if the datagram was sent in the measured phase.
    #[inline(always)]
    pub fn measured(&self) -> u64 {
        u64::from(self.flags / MEASURED)
    }

    /// The flags that an `echo` brings back to the generator.
    #[inline]
    pub fn slot(&self) -> usize {
        usize::from(self.flags & !MEASURED)
    }
}

/// Why a datagram does not count as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not one of ours.
    Foreign,
    /// It is one of ours, but its bytes or its length are not what was sent.
    Corrupt,
}

/// How much of each datagram is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    /// The header and the length.
    Header,
    /// Every byte of the payload, too.
    Full,
}

impl Verify {
    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Full => "full",
        }
    }
}

/// How the datagrams of a trial are written and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Whose they are.
    pub tag: Tag,
    /// How much of them is checked.
    pub verify: Verify,
}

/// Writes a header, and with [`Verify::Full`] the payload behind it, to a datagram of `bytes.len()` bytes.
///
/// # Panics
///
/// If there is no room for the header.
#[inline(always)]
pub fn write(bytes: &mut [u8], header: Header, wire: Wire) {
    let len = bytes.len() as u32;
    let (head, payload) = bytes.split_first_chunk_mut::<HEADER_LEN>().expect("a datagram holds a header");
    let first = first_word(header, wire.tag);
    // Assigned as words: without link-time optimization, `copy_from_slice` is a call into the standard library for each field.
    let last = u64::from(len) | u64::from(checksum(first, header.sequence, header.intended_ns)) << 32;
    let words = [first, header.sequence, header.intended_ns, last];
    for (bytes, word) in head.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    if wire.verify == Verify::Full {
        write_payload(payload, header.sequence);
    }
}

// As `payload_is_intact`, not inlined.
#[inline(never)]
fn write_payload(payload: &mut [u8], sequence: u64) {
    let (words, rest) = payload.as_chunks_mut::<8>();
    let count = words.len();
    for (index, word) in words.iter_mut().enumerate() {
        *word = payload_word(sequence, index);
    }
    let last = payload_word(sequence, count);
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Reads and checks a datagram.
///
/// # Errors
///
/// [`Fault::Foreign`] if it is too short or has another magic number or tag, [`Fault::Corrupt`] if the
/// checksum, the length or (with [`Verify::Full`]) the payload is wrong.
#[inline(always)]
pub fn read(bytes: &[u8], wire: Wire) -> Result<Header, Fault> {
    let (head, payload) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Fault::Foreign)?;
    let words = head.as_chunks::<8>().0;
    let (first, sequence) = (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]));
    let (intended_ns, last) = (u64::from_le_bytes(words[2]), u64::from_le_bytes(words[3]));
    if first as u32 != wire.tag.0 {
        return Err(Fault::Foreign);
    }
    let (len, sum) = (last as u32, (last >> 32) as u32);
    if len as usize != bytes.len() || sum != checksum(first, sequence, intended_ns) {
        return Err(Fault::Corrupt);
    }
    if wire.verify == Verify::Full && !payload_is_intact(payload, sequence) {
        return Err(Fault::Corrupt);
    }
    Ok(Header { flow: (first >> 32) as u16, flags: (first >> 48) as u16, sequence, intended_ns })
}

#[inline(always)]
fn first_word(header: Header, tag: Tag) -> u64 {
    u64::from(tag.0) | u64::from(header.flow) << 32 | u64::from(header.flags) << 48
}

/// A folded multiplication (the mixing step of wyhash): every bit that is not compared by itself reaches
/// the sum, for a few cycles.
#[inline(always)]
fn checksum(first: u64, sequence: u64, intended_ns: u64) -> u32 {
    let (a, b) = (first ^ intended_ns.rotate_left(32), sequence ^ 0xe703_7ed1_a0b4_28db);
    let product = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b);
    (product as u64 ^ (product >> 64) as u64) as u32
}

/// The `index`-th eight bytes of the payload. Both multipliers are odd, so neighbouring words and
/// neighbouring datagrams differ.
#[inline]
fn payload_word(sequence: u64, index: usize) -> [u8; 8] {
    let seed = sequence.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    seed.wrapping_add((index as u64).wrapping_mul(0xd134_2543_de82_ef95)).to_le_bytes()
}

// Not inlined: few runs ask for it, and the loop around has better use for the registers.
#[inline(never)]
fn payload_is_intact(payload: &[u8], sequence: u64) -> bool {
    let (words, rest) = payload.as_chunks::<8>();
    let whole = words.iter().enumerate().all(|(index, word)| *word == payload_word(sequence, index));
    whole && *rest == payload_word(sequence, words.len())[..rest.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { flow: 3, flags: 517, sequence: 0x1234_5678_9abc, intended_ns: 987_654_321 };

    fn wire(verify: Verify) -> Wire {
        Wire { tag: Tag::new(1), verify }
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [32, 33, 39, 40, 41, 64, 1472, 65_507] {
            for verify in [Verify::Header, Verify::Full] {
                let mut bytes = vec![0xee; len];
                write(&mut bytes, HEADER, wire(verify));
                assert_eq!(read(&bytes, wire(verify)), Ok(HEADER), "{len} bytes");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut bytes = vec![0; 77];
        write(&mut bytes, HEADER, wire(Verify::Full));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let fault = if bit < 32 { Fault::Foreign } else { Fault::Corrupt };
            assert_eq!(read(&bytes, wire(Verify::Full)), Err(fault), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_cut_or_padded_datagram_is_corrupt_and_a_scrap_is_foreign() {
        let mut bytes = vec![0; 100];
        write(&mut bytes, HEADER, wire(Verify::Header));
        assert_eq!(read(&bytes[..99], wire(Verify::Header)), Err(Fault::Corrupt));
        bytes.push(0);
        assert_eq!(read(&bytes, wire(Verify::Header)), Err(Fault::Corrupt));
        for len in 0..HEADER_LEN {
            assert_eq!(read(&bytes[..len], wire(Verify::Header)), Err(Fault::Foreign), "{len} bytes");
        }
    }

    #[test]
    fn the_payload_of_another_sequence_number_is_corrupt() {
        let (mut one, mut two) = (vec![0; 64], vec![0; 64]);
        write(&mut one, HEADER, wire(Verify::Full));
        write(&mut two, Header { sequence: HEADER.sequence + 1, ..HEADER }, wire(Verify::Full));
        one[HEADER_LEN..].copy_from_slice(&two[HEADER_LEN..]);
        assert_eq!(read(&one, wire(Verify::Full)), Err(Fault::Corrupt));
        assert_eq!(read(&one, wire(Verify::Header)), Ok(HEADER));
    }

    #[test]
    fn datagrams_of_another_trial_are_foreign() {
        let (mut bytes, mut others) = (vec![0; 64], vec![0; 64]);
        for verify in [Verify::Header, Verify::Full] {
            for number in [0, 2, u32::MAX] {
                let other = Wire { tag: Tag::new(number), verify };
                write(&mut bytes, HEADER, wire(verify));
                write(&mut others, HEADER, other);
                assert_eq!([read(&bytes, other), read(&others, wire(verify))], [Err(Fault::Foreign); 2], "{number}");
                // A tag that was exchanged does not make it ours: the checksum covers it.
                others[..4].copy_from_slice(&bytes[..4]);
                assert_eq!(read(&others, wire(verify)), Err(Fault::Corrupt), "{number}");
            }
        }
    }

    #[test]
    fn the_last_sequence_number_is_written_and_read() {
        let header = Header { sequence: u64::MAX, intended_ns: u64::MAX, ..HEADER };
        let mut bytes = vec![0; 100];
        write(&mut bytes, header, wire(Verify::Full));
        assert_eq!(read(&bytes, wire(Verify::Full)), Ok(header));
    }
}
