//! Whether so many files may be open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides those of the workers' sockets: rings, generators, files.
const REST: u64 = 256;

/// Raises the limit of open files as far as `sockets` need it. Each thread's table may hold all of them.
///
/// # Errors
///
/// Up to where it may be raised, and what to do.
pub(crate) fn allow(sockets: usize) -> anyhow::Result<()> {
    let needed = sockets as u64 + REST;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A few sockets are no reason to change what a user has set.
    if sockets == 1 || current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = maximum.filter(|&maximum| maximum < needed) {
        anyhow::bail!(
            "{sockets} sockets and the rest need {needed} open files, and the limit is {maximum}; raise it (`ulimit -Hn \
             {needed}`, as root), or use fewer --sockets, --flows or --workers"
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| anyhow::anyhow!("cannot raise the limit of open files to {needed}: {error}; use `ulimit -n`"))
}

/// Raises the limit of open files as far as that may be: for an agent, which does not know what it will be asked for.
pub(crate) fn raise() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If it cannot, opening a socket says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_sockets_than_files_are_refused() {
        assert!(allow(1).is_ok());
        if getrlimit(Resource::Nofile).maximum.is_none() {
            return eprintln!("SKIPPED: there is no limit of open files");
        }
        let error = allow(usize::MAX / 2).expect_err("nobody has that many").to_string();
        assert!(error.contains("ulimit"), "{error}");
    }
}
