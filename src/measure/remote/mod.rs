//! The peer of a worker in another process, for `--peer`.
//!
//! `hpbench agent` does there what a peer's thread does here, with the same functions. The two processes speak over the
//! agent's standard input and output; the agent listens on no port that anybody else may use.
//!
//! - [`frame`]: bounded frames, and the line that they begin with;
//! - [`message`]: what is in them;
//! - [`consent`]: how an agent makes sure that whoever gets its load has asked for it;
//! - [`link`]: the coordinator's end of the pipe, and the process behind it; [`error`]: why it is of no use;
//! - [`session`]: one trial over the link;
//! - [`agent`]: the other end; `shared`: what its threads share; `work`: one trial there.

pub mod agent;
pub mod consent;
pub mod error;
pub mod frame;
pub mod link;
pub mod message;
pub mod session;
mod shared;
mod work;
