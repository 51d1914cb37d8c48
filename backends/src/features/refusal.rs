//! Why a trial failed, and what follows for the feature.

use std::io;

use crate::features::feature::State;
use crate::kernel::setup::{self, Refused};

/// Why a trial failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The kernel's answer to the call or request that *is* the feature.
    Refused {
        /// The call.
        call: &'static str,
        error: io::Error,
    },
    /// The kernel says that it does not have it.
    Missing,
    /// The kernel accepted it, and did something else.
    Inert(String),
    /// It needs this capability, which the process lacks.
    Privilege(&'static str),
    /// The trial could not be made.
    Untried(String),
}

impl Refusal {
    /// For an error of the call that is the feature.
    pub(super) fn of(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Refused { call, error }
    }

    /// For an error of a call that has nothing to do with the feature.
    pub(super) fn untried(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Untried(format!("{call} failed: {error}"))
    }

    /// Whether it failed for lack of memory.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error.raw_os_error() == Some(libc::ENOMEM))
    }

    /// What follows for a feature that came with the release `since`.
    pub(super) fn state(self, since: &str) -> State {
        let (call, error) = match self {
            Self::Refused { call, error } => (call, error),
            Self::Missing => return missing(since),
            Self::Inert(why) => return no(why, "use a newer kernel".into()),
            Self::Privilege(capability) => {
                let remedy = format!("run as root, or give the program {capability} (`setcap`)");
                return no(format!("this process lacks {capability}"), remedy);
            }
            Self::Untried(why) => return State::Unknown { why },
        };
        match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => missing(since),
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
                no(format!("{call} is refused ({error})"), FILTER_REMEDY.into())
            }
            // A feature that a limit keeps from being tried may well be there.
            Some(libc::ENOMEM) => State::Unknown {
                why: format!("the limit of locked memory is too low ({call}: {error}); {}", setup::MEMLOCK_REMEDY),
            },
            _ => State::Unknown { why: format!("{call} failed: {error}") },
        }
    }
}

/// Older kernels answer `EINVAL` to a request they do not know.
fn missing(since: &str) -> State {
    no("this kernel does not have it".into(), format!("use Linux {since} or newer"))
}

fn no(why: String, remedy: String) -> State {
    State::No { why, remedy }
}

const FILTER_REMEDY: &str = "let the container's seccomp filter, or the security module, pass this call (Docker: `--security-opt seccomp=FILE`)";

/// What a refused `io_uring_setup` without any flags means.
pub(super) fn no_io_uring(refusal: Refusal) -> State {
    match refusal {
        Refusal::Refused { call: SETUP, error } => match setup::refused(&error) {
            Some(Refused { why, remedy }) => no(why, remedy),
            None => Refusal::Refused { call: SETUP, error }.state("5.1"),
        },
        refusal => refusal.state("5.1"),
    }
}

/// The name of the call that creates a ring.
pub(super) const SETUP: &str = "io_uring_setup";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_tried_is_not_a_no() {
        let state = |errno| Refusal::Refused { call: "x", error: io::Error::from_raw_os_error(errno) }.state("6.0");
        assert!(matches!(state(libc::EMFILE), State::Unknown { .. }));
        assert!(matches!(state(libc::ENOMEM), State::Unknown { why } if why.contains("ulimit -l")));
        let State::No { why, remedy } = state(libc::EINVAL) else { panic!("it is missing") };
        assert!(why.contains("does not have it") && remedy.contains("6.0"), "{why}; {remedy}");
        assert!(matches!(Refusal::Untried("x".into()).state("6.0"), State::Unknown { .. }));
    }
}
