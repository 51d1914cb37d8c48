//! Load is sent only to an address from which it was asked for.
//!
//! The worker sends a request from its socket, with a nonce that went through the pipe. The agent answers with a
//! challenge, which is shorter, at most once to an address. When the challenge has come back through the pipe, the
//! agent connects its socket to that address, and sends load to no other. Without the nonce nobody gets anything.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use hpbench_backends::Socket;
use serde::{Deserialize, Serialize};

/// 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(u64, u64);

impl Token {
    /// A new one.
    pub fn draw() -> Self {
        Self(rand::random(), rand::random())
    }

    fn bytes(self) -> [u8; 16] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_le_bytes()
    }
}

/// A secret is not printed.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What the datagrams of this conversation begin with.
pub const MARK: [u8; 4] = *b"hpbc";

/// Bytes of a request; a challenge is shorter.
const REQUEST_LEN: usize = 32;
const CHALLENGE_LEN: usize = 4 + 16;

/// Addresses that have asked, at most: there is one worker.
const ASKED_MAX: usize = 4;

/// The datagram that asks for load.
pub fn request(nonce: Token) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    bytes[..4].copy_from_slice(&MARK);
    bytes[4..20].copy_from_slice(&nonce.bytes());
    bytes
}

/// The challenge in a datagram.
pub fn challenge_in(bytes: &[u8]) -> Option<Token> {
    let rest = bytes.strip_prefix(&MARK)?;
    let number = u128::from_le_bytes(rest.try_into().ok()?);
    Some(Token((number >> 64) as u64, number as u64))
}

/// The agent's side.
#[derive(Debug)]
pub struct Door {
    nonce: Token,
    asked: Vec<(SocketAddr, Token)>,
}

impl Door {
    /// Opens to whoever knows the nonce.
    pub fn new(nonce: Token) -> Self {
        Self { nonce, asked: Vec::new() }
    }

    /// Answers what has come to `socket`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn answer(&mut self, socket: &Socket) -> io::Result<()> {
        let mut bytes = [0; REQUEST_LEN + 1];
        while let Some((length, from)) = socket.receive_from(&mut bytes)? {
            let is_known = self.asked.iter().any(|(asked, _)| *asked == from);
            if bytes[..length] != request(self.nonce) || is_known || self.asked.len() == ASKED_MAX {
                continue;
            }
            let challenge = Token::draw();
            self.asked.push((from, challenge));
            let mut bytes = [0; CHALLENGE_LEN];
            bytes[..4].copy_from_slice(&MARK);
            bytes[4..].copy_from_slice(&challenge.bytes());
            socket.send_to(&bytes, from)?;
        }
        Ok(())
    }

    /// The address to which this challenge was sent.
    pub fn consenting(&self, challenge: Token) -> Option<SocketAddr> {
        self.asked.iter().find(|(_, sent)| *sent == challenge).map(|(address, _)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn socket() -> Socket {
        Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback")
    }

    #[test]
    fn who_knows_the_nonce_gets_one_challenge_and_others_nothing() {
        let (agent, worker, stranger, nonce) = (socket(), socket(), socket(), Token::draw());
        let (mut door, address) = (Door::new(nonce), agent.local_addr().expect("bound"));
        let heard = |socket: &Socket| {
            let mut bytes = [0; 100];
            socket.receive_from(&mut bytes).expect("loopback").map(|(length, _)| bytes[..length].to_vec())
        };
        stranger.send_to(&request(Token::draw()), address).expect("loopback");
        stranger.send_to(b"hpbc", address).expect("loopback");
        stranger.send_to(&[0; 2000], address).expect("loopback");
        for _ in 0..3 {
            worker.send_to(&request(nonce), address).expect("loopback");
        }
        door.answer(&agent).expect("loopback");
        assert_eq!(heard(&stranger), None);
        let challenge = heard(&worker).expect("one challenge");
        assert!(challenge.len() <= REQUEST_LEN && heard(&worker).is_none(), "one, and no longer than a request");
        let challenge = challenge_in(&challenge).expect("a challenge");
        assert_eq!(door.consenting(challenge), Some(worker.local_addr().expect("bound")));
        assert_eq!((door.consenting(nonce), door.consenting(Token::draw())), (None, None));
    }
}
