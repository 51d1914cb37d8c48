//! What a guest sends over its second serial port: frames with a length and a checksum, and an end frame.
//!
//! A frame is a line `hpbench-lab KIND LENGTH CHECKSUM`, then that many bytes and a line end. The checksum is the
//! CRC-32 of kind and bytes. The last frame has the kind `end` and holds the number of those before it, so a cut
//! stream is distinguished from a whole one wherever it was cut.

use std::fmt;

/// The beginning of each frame.
const MARK: &str = "hpbench-lab";

/// The longest first line of a frame, and the most bytes in one.
const HEAD_MAX: usize = 80;
const LENGTH_MAX: usize = 1 << 20;

/// The most bytes of a stream: those of 200,000 rows.
const TOTAL_MAX: usize = 256 << 20;

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The guest has started: its kernel's release.
    Hello,
    /// A row of the CSV, without the header.
    Row,
    /// A line that a test binary wrote.
    Line,
    /// Why the guest could not do its task.
    Failure,
    /// The end: how many frames there were before.
    End,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Hello, Self::Row, Self::Line, Self::Failure, Self::End];

    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Row => "row",
            Self::Line => "line",
            Self::Failure => "failure",
            Self::End => "end",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a stream cannot be trusted from some point on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Something else stands where a frame should start.
    #[error("the serial stream of rows holds something that is not a frame: {0:?}")]
    Garbage(String),
    /// The bytes differ from those that were sent.
    #[error("a frame of the kind {0} in the serial stream is damaged: its checksum does not fit")]
    Damaged(Kind),
    /// The end marker is missing.
    #[error("the serial stream ends without its end marker, after {frames} whole frames and {rest} bytes of the next")]
    Cut {
        /// Frames that came.
        frames: usize,
        /// Bytes of an incomplete one.
        rest: usize,
    },
    /// It does not end.
    #[error("the serial stream continues after {frames} frames and {bytes} bytes, more than a guest has to send")]
    Endless {
        /// Frames that came.
        frames: usize,
        /// Bytes that came.
        bytes: usize,
    },
    /// Frames are missing.
    #[error("the serial stream should hold {told} frames and holds {frames}")]
    Count {
        /// Frames that came.
        frames: usize,
        /// What the end marker says.
        told: String,
    },
}

/// The bytes of one frame.
pub fn encode(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let mut frame = format!("{MARK} {kind} {} {:08x}\n", bytes.len(), checksum(kind, bytes)).into_bytes();
    frame.extend_from_slice(bytes);
    frame.push(b'\n');
    frame
}

fn checksum(kind: Kind, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind.name().as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Splits a stream into frames as it arrives; buffers at most one frame.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
    frames: usize,
    frames_max: usize,
    bytes: usize,
    ended: bool,
    broken: Option<StreamError>,
}

impl Decoder {
    /// For a new stream of at most this many frames, not counting its end.
    pub fn new(frames_max: usize) -> Self {
        Self { frames_max, ..Self::default() }
    }

    /// Takes new bytes, and returns the frames that they complete. After an error nothing more is taken.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut whole = Vec::new();
        if self.broken.is_some() {
            return whole;
        }
        self.bytes += bytes.len();
        self.pending.extend_from_slice(bytes);
        while self.broken.is_none() {
            match self.next() {
                Ok(None) => break,
                Ok(Some(frame)) if frame.kind == Kind::End => self.end(&frame),
                Ok(Some(frame)) => {
                    self.frames += 1;
                    whole.push(frame);
                }
                Err(error) => self.broken = Some(error),
            }
            if self.frames > self.frames_max || self.bytes > TOTAL_MAX {
                self.broken = Some(StreamError::Endless { frames: self.frames, bytes: self.bytes });
            }
        }
        whole
    }

    /// Whether nothing more is taken, because of an error.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether the end marker has arrived.
    pub fn is_whole(&self) -> bool {
        self.ended && self.broken.is_none()
    }

    /// Ends the stream.
    ///
    /// # Errors
    ///
    /// What was wrong with it.
    pub fn finish(self) -> Result<(), StreamError> {
        match self.broken {
            Some(error) => Err(error),
            None if self.ended => Ok(()),
            None => Err(StreamError::Cut { frames: self.frames, rest: self.pending.len() }),
        }
    }

    fn end(&mut self, frame: &Frame) {
        let told = String::from_utf8_lossy(&frame.bytes).into_owned();
        if self.ended || told != self.frames.to_string() {
            self.broken = Some(StreamError::Count { frames: self.frames, told });
        }
        self.ended = true;
    }

    /// Takes the next frame from the pending bytes; none if it is incomplete.
    fn next(&mut self) -> Result<Option<Frame>, StreamError> {
        let garbage = |bytes: &[u8]| StreamError::Garbage(String::from_utf8_lossy(bytes).into_owned());
        let Some(end) = self.pending.iter().take(HEAD_MAX).position(|&byte| byte == b'\n') else {
            // Do not wait for bytes that can no longer become a first line.
            let start = &self.pending[..self.pending.len().min(MARK.len())];
            let is_bad = self.pending.len() >= HEAD_MAX || !MARK.as_bytes().starts_with(start);
            return if is_bad { Err(garbage(&self.pending[..self.pending.len().min(HEAD_MAX)])) } else { Ok(None) };
        };
        let (kind, length, sum) = head(&self.pending[..end]).ok_or_else(|| garbage(&self.pending[..end]))?;
        let (start, whole) = (end + 1, end + 1 + length + 1);
        if self.pending.len() < whole {
            return Ok(None);
        }
        let bytes = self.pending[start..start + length].to_vec();
        if self.pending[whole - 1] != b'\n' || checksum(kind, &bytes) != sum {
            return Err(StreamError::Damaged(kind));
        }
        self.pending.drain(..whole);
        Ok(Some(Frame { kind, bytes }))
    }
}

/// Kind, length and checksum of a first line.
fn head(line: &[u8]) -> Option<(Kind, usize, u32)> {
    let words: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let [MARK, kind, length, sum] = words[..] else { return None };
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    let length = length.parse().ok().filter(|&length| length <= LENGTH_MAX)?;
    Some((kind, length, u32::from_str_radix(sum, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [&[u8]; 3] = [b"one,row\n", b"", b"hpbench-lab end 1 0\n"];

    fn stream() -> Vec<u8> {
        let mut bytes: Vec<u8> = ROWS.iter().flat_map(|row| encode(Kind::Row, row)).collect();
        bytes.extend(encode(Kind::End, b"3"));
        bytes
    }

    fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), StreamError>) {
        let mut decoder = Decoder::new(3);
        let frames: Vec<Frame> = parts.into_iter().flat_map(|part| decoder.push(part)).collect();
        (frames.into_iter().map(|frame| frame.bytes).collect(), decoder.finish())
    }

    #[test]
    fn a_whole_stream_arrives_in_pieces_of_any_size() {
        let stream = stream();
        for size in 1..stream.len() {
            assert_eq!(decode(stream.chunks(size)), (ROWS.map(<[u8]>::to_vec).to_vec(), Ok(())));
        }
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_noticed_and_its_whole_frames_are_kept() {
        let stream = stream();
        for cut in 0..stream.len() {
            let (frames, end) = decode([&stream[..cut]]);
            assert!(matches!(end, Err(StreamError::Cut { .. })), "cut at {cut}: {end:?}");
            assert!(frames.iter().zip(ROWS).all(|(frame, row)| frame == row));
        }
    }

    #[test]
    fn a_byte_that_is_changed_anywhere_is_noticed() {
        let stream = stream();
        for at in 0..stream.len() {
            let mut bad = stream.clone();
            bad[at] ^= 0x04;
            let (frames, end) = decode([bad.as_slice()]);
            assert!(end.is_err(), "byte {at}: {}", String::from_utf8_lossy(&bad));
            assert!(frames.iter().zip(ROWS).all(|(frame, row)| frame == row), "a damaged frame is not passed on");
        }
    }

    #[test]
    fn a_stream_without_end_takes_no_memory_and_is_noticed() {
        let garbage = vec![b'x'; 1 << 16];
        let mut decoder = Decoder::new(3);
        (0..1000).for_each(|_| assert!(decoder.push(&garbage).is_empty()));
        assert!(decoder.is_broken() && decoder.pending.len() <= garbage.len());
        let mut decoder = Decoder::new(3);
        let came: usize = (0..10).map(|_| decoder.push(&encode(Kind::Row, b"row")).len()).sum();
        assert_eq!((came, decoder.is_broken()), (4, true), "a row without a trial is one too many");
        assert!(matches!(decoder.finish(), Err(StreamError::Endless { frames: 4, .. })));
        let (mut decoder, large) = (Decoder::new(1000), encode(Kind::Row, &vec![b'x'; LENGTH_MAX]));
        let came: usize = (0..1000).map(|_| decoder.push(&large).len()).sum();
        assert!(came <= TOTAL_MAX / LENGTH_MAX && decoder.is_broken(), "{came}");
    }

    #[test]
    fn garbage_is_shown() {
        let kernel = b"[    1.0] Kernel panic - not syncing\n".as_slice();
        let (_, end) = decode([&encode(Kind::Row, b"good")[..], kernel]);
        assert!(matches!(&end, Err(StreamError::Garbage(text)) if text.contains("panic")), "{end:?}");
        assert!(matches!(decode([&[0xff; 200][..]]).1, Err(StreamError::Garbage(_))));
        assert!(matches!(decode([&b"hpbench-lab row 99999999999 0\n"[..]]).1, Err(StreamError::Garbage(_))));
        let twice = [&stream()[..], &encode(Kind::End, b"3")].concat();
        assert!(matches!(decode([twice.as_slice()]).1, Err(StreamError::Count { .. })));
    }

    #[test]
    fn a_frame_that_is_missing_is_noticed() {
        let stream = [encode(Kind::Row, b"a"), encode(Kind::End, b"2")].concat();
        assert_eq!(decode([stream.as_slice()]).1, Err(StreamError::Count { frames: 1, told: "2".into() }));
    }
}
