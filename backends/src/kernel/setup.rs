//! Why io_uring is not available here: the error of `io_uring_setup` without any flags, and what causes it.

use std::fs;
use std::io;

/// Why a call is refused, and what can be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: String,
    pub(crate) remedy: String,
}

const SECCOMP_REMEDY: &str = "let the container's seccomp filter pass io_uring_setup, io_uring_enter and \
                              io_uring_register (Docker: `--security-opt seccomp=FILE`)";
pub(crate) const MEMLOCK_REMEDY: &str = "raise the limit of locked memory: `ulimit -l unlimited`, as root";
const SYSCTL_REMEDY: &str = "`sudo sysctl kernel.io_uring_disabled=0`";

/// Explains an error of `io_uring_setup` by the sysctl and the seccomp filter in force. `None` if neither explains it.
pub(crate) fn refused(error: &io::Error) -> Option<Refused> {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    explain(error, disabled.as_deref(), is_filtered(&status))
}

/// Whether a seccomp filter is in force, from `/proc/self/status`; `None` if that does not say.
fn is_filtered(status: &str) -> Option<bool> {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(mode.trim() == "2")
}

/// `disabled` is the sysctl `kernel.io_uring_disabled`; since 6.6, every kernel with io_uring has it.
fn explain(error: &io::Error, disabled: Option<&str>, filtered: Option<bool>) -> Option<Refused> {
    let disabled = disabled.map(str::trim);
    let is_disabled = disabled.is_some_and(|value| value != "0");
    let refused_by = |why, remedy| Refused { why, remedy };
    Some(match error.raw_os_error() {
        Some(libc::ENOSYS) => match (disabled, filtered) {
            (None, Some(false)) => refused_by(
                format!("this kernel has no io_uring ({error})"),
                "use Linux 5.1 or newer, built with CONFIG_IO_URING".into(),
            ),
            (Some(_), _) => {
                refused_by(format!("a seccomp filter hides io_uring_setup ({error})"), SECCOMP_REMEDY.into())
            }
            (None, _) => refused_by(
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
                    format!("kernel.io_uring_disabled is 1: it needs CAP_SYS_ADMIN or kernel.io_uring_group ({error})"),
                    format!("run as root, or {SYSCTL_REMEDY}"),
                ),
                _ => {
                    (format!("kernel.io_uring_disabled is {value}: nobody may use it ({error})"), SYSCTL_REMEDY.into())
                }
            };
            refused_by(why, remedy)
        }
        Some(libc::EPERM | libc::EACCES) => match filtered {
            Some(true) => {
                refused_by(format!("a seccomp filter refuses io_uring_setup ({error})"), SECCOMP_REMEDY.into())
            }
            _ => refused_by(
                format!("io_uring_setup is refused, though no sysctl disables it ({error})"),
                "look for a security module (SELinux, AppArmor) or a seccomp filter that refuses it".into(),
            ),
        },
        Some(libc::ENOMEM) => {
            refused_by(format!("the limit of locked memory is too low for it ({error})"), MEMLOCK_REMEDY.into())
        }
        Some(libc::EMFILE | libc::ENFILE) => refused_by(
            format!("too many files are open ({error})"),
            "raise the limit of open files: `ulimit -n`".into(),
        ),
        Some(libc::EAGAIN) => refused_by(
            format!("it needs a thread, and the limit of threads is reached ({error})"),
            "raise the limit of processes and threads: `ulimit -u`, pids.max of the cgroup".into(),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, disabled: Option<&str>, filtered: Option<bool>) -> (String, String) {
        let refused = explain(&io::Error::from_raw_os_error(errno), disabled, filtered).expect("it is explained");
        (refused.why, refused.remedy)
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
        let (why, remedy) = refused(libc::EMFILE, Some("0\n"), Some(false));
        assert!(why.contains("files") && remedy.contains("ulimit -n"), "{why}; {remedy}");
        let (why, remedy) = refused(libc::EAGAIN, Some("0\n"), Some(false));
        assert!(why.contains("threads") && remedy.contains("pids.max"), "{why}; {remedy}");
    }

    #[test]
    fn the_filter_is_read_from_the_status() {
        assert_eq!(is_filtered("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"), Some(true));
        assert_eq!(is_filtered("Seccomp:\t0\n"), Some(false));
        assert_eq!(is_filtered("Name:\tx\n"), None);
    }
}
