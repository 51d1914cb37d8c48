//! Load is sent only to an address from which it was asked for.
//!
//! The worker sends a request from its socket, with a nonce that went through the pipe. The agent answers with a
//! challenge, which is shorter, at most [`ANSWERS_MAX`] times to an address. When the challenge has come back through the
//! pipe, the agent sends load to that address, and to no other. Of a worker with many sockets, each asks for itself. Without
//! the nonce nobody gets anything.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use hpbench_backends::Socket;
use serde::{Deserialize, Serialize};

/// 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Addresses besides the worker's that have asked, at most.
const STRANGERS_MAX: usize = 3;

/// How often an address is told its challenge at most: of many, one may be lost on the way.
pub const ANSWERS_MAX: usize = 3;

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
    most: usize,
    /// Who has asked: the challenge, and how often it was sent.
    asked: HashMap<SocketAddr, (Token, usize)>,
    challenges: HashMap<Token, SocketAddr>,
}

/// The most datagrams that are read at once.
const LOOK_MAX: usize = 1024;

impl Door {
    /// Opens to whoever knows the nonce: a worker with so many sockets.
    pub fn new(nonce: Token, sockets: usize) -> Self {
        Self { nonce, most: sockets + STRANGERS_MAX, asked: HashMap::new(), challenges: HashMap::new() }
    }

    /// Answers what has come to `socket`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn answer(&mut self, socket: &Socket) -> io::Result<()> {
        let mut bytes = [0; REQUEST_LEN + 1];
        // Strangers may go on; the caller has more to look at.
        for _ in 0..LOOK_MAX {
            let Some((length, from)) = socket.receive_from(&mut bytes)? else { break };
            let is_one_more = !self.asked.contains_key(&from) && self.asked.len() >= self.most;
            if bytes[..length] != request(self.nonce) || is_one_more {
                continue;
            }
            let (challenge, answers) = self.asked.entry(from).or_insert_with(|| (Token::draw(), 0));
            if *answers == ANSWERS_MAX {
                continue;
            }
            *answers += 1;
            self.challenges.insert(*challenge, from);
            let mut bytes = [0; CHALLENGE_LEN];
            bytes[..4].copy_from_slice(&MARK);
            bytes[4..].copy_from_slice(&challenge.bytes());
            socket.send_to(&bytes, from)?;
        }
        Ok(())
    }

    /// The address to which this challenge was sent.
    pub fn consenting(&self, challenge: Token) -> Option<SocketAddr> {
        self.challenges.get(&challenge).copied()
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
    fn who_knows_the_nonce_gets_a_challenge_and_others_nothing() {
        let (agent, worker, stranger, nonce) = (socket(), socket(), socket(), Token::draw());
        let (mut door, address) = (Door::new(nonce, 1), agent.local_addr().expect("bound"));
        let heard = |socket: &Socket| {
            let mut bytes = [0; 100];
            socket.receive_from(&mut bytes).expect("loopback").map(|(length, _)| bytes[..length].to_vec())
        };
        stranger.send_to(&request(Token::draw()), address).expect("loopback");
        stranger.send_to(b"hpbc", address).expect("loopback");
        stranger.send_to(&[0; 2000], address).expect("loopback");
        for _ in 0..2 * ANSWERS_MAX {
            worker.send_to(&request(nonce), address).expect("loopback");
        }
        door.answer(&agent).expect("loopback");
        assert_eq!(heard(&stranger), None);
        let challenge = heard(&worker).expect("a challenge");
        assert!(challenge.len() <= REQUEST_LEN, "no longer than a request");
        for _ in 1..ANSWERS_MAX {
            assert_eq!(heard(&worker).as_ref(), Some(&challenge), "it may have been lost");
        }
        assert_eq!(heard(&worker), None);
        let challenge = challenge_in(&challenge).expect("a challenge");
        assert_eq!(door.consenting(challenge), Some(worker.local_addr().expect("bound")));
        assert_eq!((door.consenting(nonce), door.consenting(Token::draw())), (None, None));
    }

    #[test]
    fn no_more_addresses_are_answered_than_a_worker_has_sockets_and_a_few() {
        let (agent, nonce) = (socket(), Token::draw());
        let (mut door, address) = (Door::new(nonce, 20), agent.local_addr().expect("bound"));
        let askers: Vec<Socket> = (0..30).map(|_| socket()).collect();
        for asker in &askers {
            asker.send_to(&request(nonce), address).expect("loopback");
        }
        door.answer(&agent).expect("loopback");
        let challenge = |asker: &Socket| {
            let mut bytes = [0; 100];
            let (length, _) = asker.receive_from(&mut bytes).expect("loopback")?;
            challenge_in(&bytes[..length])
        };
        let challenges: Vec<_> = askers.iter().filter_map(challenge).collect();
        assert_eq!(challenges.len(), 20 + STRANGERS_MAX);
        for (asker, challenge) in askers.iter().zip(challenges) {
            assert_eq!(door.consenting(challenge), asker.local_addr().ok());
        }
    }
}
