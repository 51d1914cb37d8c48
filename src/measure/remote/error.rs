//! Why a peer in another process is of no use.

use std::io;
use std::sync::Arc;

use crate::console::printable;

/// How the message of [`LinkError::Lost`] begins, by which it is found in a file.
const LOST: &str = "--peer: the agent is lost";

/// Why the peer's process is of no use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// The command is none.
    #[error("--peer '{}' cannot be split into words; check its quotes", printable(.0))]
    NoWords(String),
    /// It cannot be started.
    #[error("--peer: cannot start '{}': {}; name a command that runs `hpbench agent`", printable(command), error)]
    Start {
        /// The program.
        command: String,
        /// Why.
        error: Arc<io::Error>,
    },
    /// Its version is another one.
    #[error(
        "--peer: the agent is hpbench {}, and this is {ours}; install the same build on both hosts",
        printable(theirs)
    )]
    OtherVersion {
        /// The agent's.
        theirs: String,
        /// Ours.
        ours: &'static str,
    },
    /// It has ended, or is of no more use.
    #[error("{lost}: {0}", lost = LOST)]
    Lost(String),
    /// It is alive, but an answer is overdue.
    #[error("--peer: the agent is too slow: {0}; another program may have its core, see --peer-cpu")]
    Slow(String),
    /// It says why it cannot go on.
    #[error("--peer: the agent says: {}", printable(.0))]
    Failed(String),
    /// It sent something else than what was asked for.
    #[error("--peer: the agent did not answer as agents do; it may be another program")]
    Unexpected,
}

impl LinkError {
    /// Whether the error in a row is that the peer was lost, which says nothing of the trial.
    pub(crate) fn is_lost(error: &str) -> bool {
        error.starts_with(LOST)
    }
}
