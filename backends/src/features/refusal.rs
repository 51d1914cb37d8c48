//! Why a trial failed, and what that says about the feature.

use std::fs;
use std::io;

use super::State;

/// Why a trial failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The kernel's answer to the call or request that *is* the feature.
    Refused {
        /// Which one.
        call: &'static str,
        error: io::Error,
    },
    /// The kernel says that it does not have it.
    Missing,
    /// The kernel took it, and did something else.
    Inert(String),
    /// It takes this capability, which the process lacks.
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

    /// Whether memory was what it lacked.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error.raw_os_error() == Some(libc::ENOMEM))
    }

    /// What it says about a feature that came with the release `since`.
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
            // What a smaller limit keeps from being tried may well be there.
            Some(libc::ENOMEM) => State::Unknown {
                why: format!("not enough memory may be locked to try it ({call}: {error}); {MEMLOCK_REMEDY}"),
            },
            _ => State::Unknown { why: format!("{call} failed: {error}") },
        }
    }
}

/// Older kernels answer `EINVAL` to what they do not know.
fn missing(since: &str) -> State {
    no("this kernel does not have it".into(), format!("use Linux {since} or newer"))
}

fn no(why: String, remedy: String) -> State {
    State::No { why, remedy }
}

const SECCOMP_REMEDY: &str = "let the container's seccomp filter pass io_uring_setup, io_uring_enter and \
                              io_uring_register (Docker: `--security-opt seccomp=FILE`)";
const FILTER_REMEDY: &str = "let the container's seccomp filter, or the security module, pass this call (Docker: `--security-opt seccomp=FILE`)";
const MEMLOCK_REMEDY: &str = "raise the limit of locked memory: `ulimit -l unlimited`, as root";
const SYSCTL_REMEDY: &str = "`sudo sysctl kernel.io_uring_disabled=0`";

/// What a refused `io_uring_setup` without any flags says.
pub(super) fn no_io_uring(refusal: Refusal) -> State {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    match refusal {
        Refusal::Refused { call: SETUP, error } => explain(error, disabled.as_deref(), is_filtered(&status)),
        refusal => refusal.state("5.1"),
    }
}

/// The name of the call that makes a ring.
pub(super) const SETUP: &str = "io_uring_setup";

/// Whether a seccomp filter is in force, from `/proc/self/status`; `None` if it does not tell.
fn is_filtered(status: &str) -> Option<bool> {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(mode.trim() == "2")
}

/// `disabled` is the sysctl `kernel.io_uring_disabled`, which there is since 6.6 where io_uring is.
fn explain(error: io::Error, disabled: Option<&str>, filtered: Option<bool>) -> State {
    let disabled = disabled.map(str::trim);
    let is_disabled = disabled.is_some_and(|value| value != "0");
    match error.raw_os_error() {
        Some(libc::ENOSYS) => match (disabled, filtered) {
            (None, Some(false)) => no(
                format!("this kernel has no io_uring ({error})"),
                "use Linux 5.1 or newer, built with CONFIG_IO_URING".into(),
            ),
            (Some(_), _) => no(format!("a seccomp filter hides io_uring_setup ({error})"), SECCOMP_REMEDY.into()),
            (None, _) => no(
                format!("a seccomp filter hides io_uring_setup, or this kernel has none ({error})"),
                format!("use Linux 5.1 or newer, and {SECCOMP_REMEDY}"),
            ),
        },
        Some(libc::EPERM | libc::EACCES) if is_disabled => {
            let value = disabled.unwrap_or_default();
            let (why, remedy) = match (value, filtered) {
                (_, Some(true)) => (
                    format!("kernel.io_uring_disabled is {value}, and a seccomp filter is in force ({error})"),
                    format!("{SYSCTL_REMEDY}; and {SECCOMP_REMEDY}"),
                ),
                ("1", _) => (
                    format!(
                        "kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN and the group kernel.io_uring_group may ({error})"
                    ),
                    format!("run as root, or {SYSCTL_REMEDY}"),
                ),
                _ => (format!("kernel.io_uring_disabled is {value}: nobody may ({error})"), SYSCTL_REMEDY.into()),
            };
            no(why, remedy)
        }
        Some(libc::EPERM | libc::EACCES) => match filtered {
            Some(true) => no(format!("a seccomp filter refuses io_uring_setup ({error})"), SECCOMP_REMEDY.into()),
            _ => no(
                format!("io_uring_setup is refused, though no sysctl disables it ({error})"),
                "look for a security module (SELinux, AppArmor) or a seccomp filter that refuses it".into(),
            ),
        },
        Some(libc::ENOMEM) => no(format!("not enough memory may be locked for it ({error})"), MEMLOCK_REMEDY.into()),
        _ => Refusal::Refused { call: SETUP, error }.state("5.1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(state: State) -> (String, String) {
        match state {
            State::No { why, remedy } => (why, remedy),
            other => panic!("{other:?}"),
        }
    }

    fn refused(errno: i32, disabled: Option<&str>, filtered: Option<bool>) -> (String, String) {
        parts(explain(io::Error::from_raw_os_error(errno), disabled, filtered))
    }

    #[test]
    fn a_refused_io_uring_names_who_refuses_it() {
        let (why, remedy) = refused(libc::EPERM, Some("2\n"), Some(false));
        assert!(why.contains("io_uring_disabled is 2") && remedy.contains("sysctl"), "{why}; {remedy}");
        let (why, remedy) = refused(libc::EPERM, Some("1\n"), Some(false));
        assert!(why.contains("CAP_SYS_ADMIN") && remedy.contains("root"), "{why}; {remedy}");
        let (why, remedy) = refused(libc::EPERM, Some("0\n"), Some(true));
        assert!(why.contains("seccomp filter refuses") && !remedy.contains("sysctl"), "{why}; {remedy}");
        let (why, _) = refused(libc::EPERM, Some("0\n"), Some(false));
        assert!(!why.contains("seccomp"), "there is no filter: {why}");
        let (why, remedy) = refused(libc::EPERM, Some("2\n"), Some(true));
        assert!(
            why.contains("is 2") && why.contains("seccomp") && remedy.contains("sysctl"),
            "either may be it: {why}"
        );
    }

    #[test]
    fn a_missing_io_uring_is_told_from_a_hidden_one() {
        let (why, remedy) = refused(libc::ENOSYS, Some("0\n"), Some(true));
        assert!(why.contains("hides") && !remedy.contains("5.1"), "the sysctl shows that the kernel has it: {why}");
        let (why, remedy) = refused(libc::ENOSYS, None, Some(false));
        assert!(why.contains("no io_uring") && !remedy.contains("seccomp"), "{why}; {remedy}");
        let (why, _) = refused(libc::ENOSYS, None, Some(true));
        assert!(why.contains("or this kernel"), "{why}");
        let (why, remedy) = refused(libc::ENOMEM, Some("0\n"), Some(false));
        assert!(why.contains("locked") && remedy.contains("ulimit -l"), "{why}; {remedy}");
    }

    #[test]
    fn what_could_not_be_tried_is_not_a_no() {
        let state = |errno| Refusal::Refused { call: "x", error: io::Error::from_raw_os_error(errno) }.state("6.0");
        assert!(matches!(state(libc::EMFILE), State::Unknown { .. }));
        assert!(matches!(state(libc::ENOMEM), State::Unknown { why } if why.contains("ulimit -l")));
        let (why, remedy) = parts(state(libc::EINVAL));
        assert!(why.contains("does not have it") && remedy.contains("6.0"), "{why}; {remedy}");
        assert!(matches!(Refusal::Untried("x".into()).state("6.0"), State::Unknown { .. }));
    }

    #[test]
    fn the_filter_is_read_from_the_status() {
        assert_eq!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"), Some(true));
        assert_eq!(is_filtered("Seccomp:\t0\n"), Some(false));
        assert_eq!(is_filtered("Name:\tx\n"), None);
    }
}
