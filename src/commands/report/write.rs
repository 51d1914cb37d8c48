//! The files of a report: each whole or not there.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::console::{Failure, print};
use crate::place::Place;

/// Why a file is not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// It is there.
    #[error("{0} exists; use --force to replace it, or write to another place", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// There is no such directory, and none can be made.
    #[error("cannot make the directory {0}: {error}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {0}: {error}; what was there before is as it was", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Write { .. } => Self::Broken(error.into()),
            error => Self::Usage(error.into()),
        }
    }
}

/// Whether this path means standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses a file that is there, unless it may be replaced.
pub(crate) fn check(path: &Path, force: bool) -> Result<(), WriteError> {
    // A link that leads nowhere is something to lose, too: it would be replaced.
    let is_taken = matches!(Place::of(path), Ok(Place::Taken)) || path.is_dir() || path.is_symlink() && !path.exists();
    if is_taken && !force && !is_stdout(path) { Err(WriteError::Exists { path: path.into() }) } else { Ok(()) }
}

/// Writes a file beside its place, and then puts it there: nobody ever sees half of it.
pub(crate) fn whole(path: &Path, text: &str) -> Result<(), Failure> {
    if is_stdout(path) {
        return print(text);
    }
    let failed = |error| WriteError::Write { path: path.into(), error };
    // A link stays one: what it points to is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if matches!(Place::of(&target), Ok(Place::Stream)) {
        return Ok(std::fs::write(&target, text).map_err(failed)?);
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut file =
        tempfile::Builder::new().prefix(".hpbench-").permissions(permissions).tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(&target).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Makes a directory, if it is not there.
pub(crate) fn folder(path: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(path).map_err(|error| WriteError::Directory { path: path.into(), error })
}
