//! What the command says, and why it ends.

use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};

/// Writes a line to standard error; that nobody reads it is no reason to fail.
macro_rules! tell {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}

pub(crate) use tell;

/// Why the command ends with a status other than that of its trials.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bad usage, or an impossible request: nothing was run.
    Usage(anyhow::Error),
    /// Something broke.
    Broken(anyhow::Error),
    /// Standard output was closed.
    Closed,
}

/// Bad usage.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

/// Something broke.
pub(crate) fn broken(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Broken(error.into())
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(error) => Err(Failure::Broken(anyhow::Error::new(error).context("cannot write to standard output"))),
    }
}

/// Whether standard output takes colours: it is a terminal, and nobody has asked for none (`NO_COLOR`, `TERM=dumb`).
pub(crate) fn is_coloured() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// A text without its colours, where standard output takes none.
pub(crate) fn for_stdout(text: &str) -> String {
    if is_coloured() { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() }
}
