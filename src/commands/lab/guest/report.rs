//! The guest's reports to the host, over the second serial port.

use std::fs::{File, OpenOptions};
use std::io::Write;

use anyhow::Context;
use rustix::termios::{self, OptionalActions};

use crate::commands::lab::stream::{self, Kind};
use crate::record::format;
use crate::record::row::Row;

/// The second serial port; the first is the kernel's console.
const PORT: &str = "/dev/ttyS1";

/// The connection to the host.
#[derive(Debug)]
pub(super) struct Report {
    port: File,
    frames: usize,
}

impl Report {
    pub(super) fn open() -> anyhow::Result<Self> {
        let port = OpenOptions::new().read(true).write(true).open(PORT);
        let port = port.with_context(|| format!("cannot open {PORT}; the kernel needs CONFIG_SERIAL_8250"))?;
        // Bytes go out as they are, without a carriage return at each line end.
        let mut settings = termios::tcgetattr(&port).context("cannot read the serial port's settings")?;
        settings.make_raw();
        termios::tcsetattr(&port, OptionalActions::Now, &settings).context("cannot set the serial port to raw")?;
        Ok(Self { port, frames: 0 })
    }

    pub(super) fn hello(&mut self) -> anyhow::Result<()> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        self.send(Kind::Hello, release.as_bytes())
    }

    pub(super) fn row(&mut self, row: &Row) -> anyhow::Result<()> {
        self.send(Kind::Row, &format::encode(row, false))
    }

    pub(super) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.send(Kind::Line, line.as_bytes())
    }

    pub(super) fn failure(&mut self, why: &str) -> anyhow::Result<()> {
        self.send(Kind::Failure, why.as_bytes())
    }

    /// The last report.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        self.send(Kind::End, self.frames.to_string().as_bytes())
    }

    /// Returns when all of it is sent: its interrupts must not fall into the next measurement.
    fn send(&mut self, kind: Kind, bytes: &[u8]) -> anyhow::Result<()> {
        self.port.write_all(&stream::encode(kind, bytes)).context("cannot write to the serial port")?;
        termios::tcdrain(&self.port).context("cannot wait for the serial port")?;
        self.frames += 1;
        Ok(())
    }
}
