//! What is at the path of an output: whether there is something to lose, and whether another path leads to it.

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::console::printable_path;

/// What is at a path; links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing yet.
    Vacant,
    /// A file, which has something to lose.
    Taken,
    /// A device or a pipe: it is written to as it is, and never replaced.
    Stream,
    /// A directory, which cannot be written to.
    Directory,
}

impl Place {
    /// Looks at a path, without opening it: opening a pipe waits for somebody at its other end.
    ///
    /// # Errors
    ///
    /// The kernel's, e.g. for a path through something that is not a directory.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        match path.metadata() {
            Ok(metadata) if is_stream(metadata.file_type()) => Ok(Self::Stream),
            Ok(metadata) if metadata.is_dir() => Ok(Self::Directory),
            Ok(_) => Ok(Self::Taken),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Vacant),
            Err(error) => Err(error),
        }
    }
}

fn is_stream(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket()
}

/// Two paths of a command lead to one file, which it would destroy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} and {1} are one file, which would be destroyed; name another file")]
pub(crate) struct SameFile(String, String);

/// A file that a command uses: the flag that names it, or nothing, and its path; `-` is standard output.
pub(crate) type Used<'a> = (&'static str, &'a Path);

/// Refuses an output that is an input, another output or a standard stream, under whatever names. Devices and pipes are
/// exempt, and what cannot be inspected is refused when it is opened.
///
/// # Errors
///
/// The first two that are the same file.
pub(crate) fn check_outputs(outputs: &[Used<'_>], inputs: &[Used<'_>]) -> Result<(), SameFile> {
    let streams = [("standard output", target_of(io::stdout())), ("standard error", target_of(io::stderr()))];
    let mut written: Vec<(Target, String)> =
        streams.into_iter().filter_map(|(name, target)| Some((target?, name.to_owned()))).collect();
    let is_file = |(_, path): &&Used<'_>| *path != Path::new("-");
    let outputs = outputs.iter().filter(is_file).map(|used| (used, true));
    for ((flag, path), is_output) in outputs.chain(inputs.iter().map(|used| (used, false))) {
        let Some(target) = Target::of(path) else { continue };
        let name = format!("{flag} {}", printable_path(path)).trim_start().to_owned();
        if let Some((_, other)) = written.iter().find(|(other, _)| *other == target) {
            return Err(SameFile(other.clone(), name));
        }
        if is_output {
            written.push((target, name));
        }
    }
    Ok(())
}

/// Device and inode of a file.
pub(crate) type Identity = (u64, u64);

/// Which file this is, whatever paths lead to it.
pub(crate) fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

/// A file that is written or read, whatever paths lead to it.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// One that exists.
    There(Identity),
    /// One that does not exist yet: its directory, and its name.
    ToBe(Identity, OsString),
}

impl Target {
    fn of(path: &Path) -> Option<Self> {
        match path.metadata() {
            Ok(found) => found.is_file().then(|| Self::There(identity(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let target = link_target(path);
                let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
                let found = folder.unwrap_or(Path::new(".")).metadata().ok()?;
                Some(Self::ToBe(identity(&found), target.file_name()?.to_owned()))
            }
            Err(_) => None,
        }
    }
}

fn target_of(stream: impl AsFd) -> Option<Target> {
    let found = File::from(stream.as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
    found.is_file().then(|| Target::There(identity(&found)))
}

/// Where a link leads, even if nothing is there yet; any other path unchanged.
fn link_target(path: &Path) -> PathBuf {
    /// As many as the kernel follows.
    const LINKS_MAX: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(next) = target.read_link() else { break };
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_itself_under_all_its_names() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("file"), "rows").expect("a file");
        std::fs::create_dir(at("folder")).expect("a directory");
        std::fs::hard_link(at("file"), at("hard")).expect("a link");
        std::os::unix::fs::symlink("file", at("soft")).expect("a link");
        std::os::unix::fs::symlink("../new", at("folder/leads to new")).expect("a link");
        std::os::unix::fs::symlink("loop", at("loop")).expect("a link");
        let same = |one: &str, other: &str| {
            let [one, other] = [at(one), at(other)];
            let outputs = check_outputs(&[("a", &one), ("b", &other)], &[]);
            let input = check_outputs(&[("a", &one)], &[("b", &other)]);
            assert_eq!(outputs, input, "{one:?} {other:?}");
            outputs.is_err()
        };
        for (one, other) in [
            ("file", "folder/../file"),
            ("file", "hard"),
            ("soft", "hard"),
            ("new", "folder/../new"),
            ("new", "folder/leads to new"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [("file", "new"), ("new", "folder/new"), ("folder", "folder"), ("loop", "file")] {
            assert!(!same(one, other), "{one} {other}");
        }
        assert!(!same("nowhere/a", "nowhere/a"), "it cannot be made");
        let device = Path::new("/dev/null");
        assert_eq!(check_outputs(&[("a", device), ("b", device)], &[("c", device)]), Ok(()));
    }

    #[test]
    fn files_can_be_lost_and_streams_cannot() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let file = home.path().join("file");
        assert_eq!(Place::of(&file).expect("a path"), Place::Vacant);
        std::fs::write(&file, "rows").expect("a file");
        assert_eq!(Place::of(&file).expect("a path"), Place::Taken);
        assert_eq!(Place::of(home.path()).expect("a path"), Place::Directory);
        assert_eq!(Place::of(Path::new("/dev/null")).expect("a device"), Place::Stream);
        assert!(Place::of(&file.join("below")).is_err(), "no directory");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(Place::of(&link).expect("a path"), Place::Taken, "what it leads to");
    }
}
