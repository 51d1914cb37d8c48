//! hpbench with one more backend: the sockets of Rust's standard library, which most programs begin with.
//!
//! All of hpbench's flags, scenarios, columns and commands work: `cargo run --release -p hpbench-example -- --backend plain,std`.
#![forbid(unsafe_code)]

use std::io;
use std::net::UdpSocket;

use hpbench::Contest;
use hpbench::backends::declaration::{Declaration, Dimension};
use hpbench::backends::{
    Addressing, Backend, Caps, Config, Consumer, Copies, Counters, FreeList, Kind, Mode, OpenError, Packet, Pool, Port,
    RxRing,
};

/// The family of types that hpbench compiles its loops for.
#[derive(Debug)]
pub struct Std;

impl Contest for Std {
    type Backend<'p> = StdSocket<'p>;
}

/// What flags, help and columns say about it.
const DECLARATION: Declaration =
    Declaration { owns_many_sockets: false, ..Declaration::new("std", "std::net::UdpSocket, an example", &[CALLS]) };

const CALLS: Dimension = Dimension::both("calls", &[Mode::new("recv", "recv and send, one datagram per call")]);

/// The backend.
#[derive(Debug)]
pub struct StdSocket<'p> {
    socket: UdpSocket,
    /// A frame that waits for the next receive.
    held: Option<hpbench::backends::Frame<'p>>,
    batch: usize,
    copies: Copies,
    /// Whether receives wait. A receive that must not is then an exception.
    waits: bool,
    counters: Counters,
}

impl<'p> Backend<'p> for StdSocket<'p> {
    const KIND: Kind = Kind::of(&DECLARATION);

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        match config.addressing {
            Addressing::Connected => Ok(Caps::default()),
            Addressing::Unconnected => Err(OpenError::Impossible("the example is for connected sockets")),
        }
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        Self::probe(config)?;
        let failed = |error| OpenError::Failed { call: "setting up a socket of std", error };
        let original = port.socket(config, pool)?;
        let socket = match config.block {
            None => original.duplicate(),
            Some(timeout) => {
                original.duplicate_blocking().and_then(|socket| socket.set_read_timeout(Some(timeout)).map(|()| socket))
            }
        };
        Ok(Self {
            socket: socket.map_err(failed)?,
            held: None,
            batch: config.batch,
            copies: Copies::new(config.copies),
            waits: config.block.is_some(),
            counters: Counters::default(),
        })
    }

    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        if !self.waits {
            return self.receive(self.batch, free, rx);
        }
        self.socket.set_nonblocking(true)?;
        let received = self.receive(self.batch, free, rx);
        self.socket.set_nonblocking(false)?;
        received
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        // A second receive might wait, while the first datagram is not yet handled.
        self.receive(1, free, rx)
    }

    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let _ = tx.available();
        let (mut sent, mut result) = (0, Ok(()));
        while sent < self.batch {
            let Some(packet) = tx.peek(0) else { break };
            self.counters.syscalls += 1;
            if let Err(error) = self.socket.send(packet.bytes()) {
                match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => self.counters.send_eagain += 1,
                    // The answer to an earlier datagram; this one stays queued.
                    io::ErrorKind::ConnectionRefused => self.counters.io_errors += 1,
                    _ => result = Err(error),
                }
                break;
            }
            self.copies.sent(tx, free);
            sent += 1;
        }
        tx.release();
        result.map(|()| sent)
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.held.into_iter().for_each(|frame| free.give(frame));
        Ok(())
    }
}

impl<'p> StdSocket<'p> {
    /// Receives at most so many datagrams.
    fn receive(&mut self, most: usize, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let (mut received, mut result) = (0, Ok(()));
        while received < most {
            let Some(mut frame) = self.held.take().or_else(|| free.take()) else { break };
            self.counters.syscalls += 1;
            match self.socket.recv(frame.bytes_mut()) {
                Ok(len) => rx.deliver(Packet::datagram(frame, len), free),
                Err(error) => {
                    self.held = Some(frame);
                    match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                        io::ErrorKind::ConnectionRefused => self.counters.io_errors += 1,
                        _ => result = Err(error),
                    }
                    break;
                }
            }
            received += 1;
        }
        self.counters.rx_syscalls += received as u64;
        // Also what came before an error.
        rx.publish();
        result.map(|()| received)
    }
}
