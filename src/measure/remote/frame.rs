//! Frames on a pipe: a line that says what follows, and then messages, each with its length before it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::console::printable;

/// The first line of an agent, before all frames.
pub const MAGIC: &str = "hpbench agent 1\n";

/// The longest message in bytes. The report of an `echo` with a very wide histogram has 540 KB.
pub const MESSAGE_MAX: usize = 1 << 20;

/// The most that is quoted of what is not an agent's first line, in bytes.
const QUOTED: usize = 200;

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Another program writes there.
    #[error("it wrote '{}' instead of an agent's first line", printable(.0))]
    NoMagic(String),
    /// The pipe ended between two frames.
    #[error("its output ended")]
    End,
    /// A frame announces too much.
    #[error("it announced a message of {0} bytes; the longest one has {MESSAGE_MAX}")]
    TooLong(usize),
    /// A message is none of ours.
    #[error("it sent a message that is none: {0}")]
    BadMessage(String),
    /// The pipe cannot be read.
    #[error("its output cannot be read: {0}")]
    Io(io::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::End,
            _ => Self::Io(error),
        }
    }
}

/// Reads the first line.
///
/// # Errors
///
/// [`FrameError::NoMagic`], with what was read, at the first byte that is another one.
pub fn read_magic(pipe: &mut impl Read) -> Result<(), FrameError> {
    let mut read = Vec::with_capacity(QUOTED);
    for expected in MAGIC.bytes() {
        let mut byte = [0];
        pipe.read_exact(&mut byte)?;
        read.push(byte[0]);
        if byte[0] != expected {
            // What else is on the line, as far as it is there at once, says who wrote it.
            let mut rest = [0; QUOTED];
            let more = if byte[0] == b'\n' { 0 } else { pipe.read(&mut rest).unwrap_or(0) };
            read.extend(&rest[..more]);
            let text = String::from_utf8_lossy(&read);
            return Err(FrameError::NoMagic(text.lines().next().unwrap_or_default().to_owned()));
        }
    }
    Ok(())
}

/// Reads the next message.
///
/// # Errors
///
/// If there is none, or it is too long, or not one of the type.
pub fn read<T: DeserializeOwned>(pipe: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0; 4];
    pipe.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX {
        return Err(FrameError::TooLong(length));
    }
    let mut bytes = Vec::new();
    // Not allocated before it is there: the length may be a lie.
    pipe.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(FrameError::End);
    }
    serde_json::from_slice(&bytes).map_err(|error| FrameError::BadMessage(error.to_string()))
}

/// Writes a message with one call.
///
/// # Errors
///
/// If it is too long, or the pipe cannot be written.
pub fn write(pipe: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MESSAGE_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    pipe.write_all(&bytes)?;
    pipe.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::remote::message::{FromAgent, ToAgent};
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut pipe = Vec::new();
        for count in [0, 7] {
            write(&mut pipe, &ToAgent::Fill { count }).expect("memory");
        }
        let mut rest = &pipe[..];
        assert_eq!(read::<ToAgent>(&mut rest).expect("the first"), ToAgent::Fill { count: 0 });
        assert_eq!(read::<ToAgent>(&mut rest).expect("the second"), ToAgent::Fill { count: 7 });
        assert!(matches!(read::<ToAgent>(&mut rest), Err(FrameError::End)));
        let mut cut = &pipe[..pipe.len() - 1];
        read::<ToAgent>(&mut cut).expect("the first");
        assert!(matches!(read::<ToAgent>(&mut cut), Err(FrameError::End)));
    }

    #[test]
    fn only_an_agent_has_the_first_line() {
        assert!(read_magic(&mut MAGIC.as_bytes()).is_ok());
        let told = |text: &str| read_magic(&mut text.as_bytes()).expect_err("no agent").to_string();
        assert!(told("Welcome to \u{1b}[31mlab2\nmore").contains("'Welcome to \\u001b[31mlab2'"));
        assert!(told("hpbench agent 2\n").contains("'hpbench agent 2'"));
        assert!(told("\n").contains("''"));
        assert_eq!(told("hpbench"), "its output ended");
        assert_eq!(told(""), "its output ended");
    }

    #[test]
    fn a_length_that_is_a_lie_is_refused() {
        let mut pipe = &u32::MAX.to_le_bytes()[..];
        assert!(matches!(read::<FromAgent>(&mut pipe), Err(FrameError::TooLong(_))));
        let mut pipe = &(MESSAGE_MAX as u32).to_le_bytes()[..];
        assert!(matches!(read::<FromAgent>(&mut pipe), Err(FrameError::End)));
        assert!(write(&mut Vec::new(), &"x".repeat(MESSAGE_MAX)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read_magic(&mut &bytes[..]);
            let mut pipe = &bytes[..];
            while read::<FromAgent>(&mut pipe).is_ok() {}
            let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
            framed.extend(&bytes);
            let _ = read::<ToAgent>(&mut &framed[..]);
        }
    }
}
