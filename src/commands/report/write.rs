//! The files of a report: each is written whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::console::{Failure, print, printable_path};
use crate::place::Place;
use crate::record::locked::{self, FileError};

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// It exists.
    #[error("{0} exists; use --force to replace it, or write to another place", printable_path(path))]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Its directory does not exist and cannot be created.
    #[error("cannot create the directory {0}: {error}", printable_path(path))]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A run writes to it.
    #[error(transparent)]
    Busy(#[from] FileError),
    /// It cannot be written.
    #[error("cannot write {0}: {error}; what was there before is unchanged", printable_path(path))]
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

/// Refuses an existing file, unless it may be replaced.
pub(crate) fn check(path: &Path, force: bool) -> Result<(), WriteError> {
    // A dangling link counts as existing: it would be replaced.
    let is_taken =
        matches!(Place::of(path), Ok(Place::Taken | Place::Directory)) || path.is_symlink() && !path.exists();
    if is_taken && !force && !is_stdout(path) { Err(WriteError::Exists { path: path.into() }) } else { Ok(()) }
}

/// A file that is written but not yet in place.
#[derive(Debug)]
pub(crate) enum Staged<'a> {
    /// Beside its final place, which still has its old content, and which no run may write to meanwhile.
    Beside(NamedTempFile, PathBuf, Option<File>),
    /// For standard output, a device or a pipe.
    Stream(&'a Path, &'a str),
}

/// Writes a file beside its final place: nobody ever sees half of it, and nothing is replaced until all files are
/// written.
///
/// # Errors
///
/// If it cannot be written, or a run writes to it.
pub(crate) fn stage<'a>(path: &'a Path, text: &'a str) -> Result<Staged<'a>, WriteError> {
    let failed = |error| WriteError::Write { path: path.into(), error };
    // A link stays a link: its target is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if is_stdout(path) || matches!(Place::of(&target), Ok(Place::Stream)) {
        return Ok(Staged::Stream(path, text));
    }
    let held = locked::hold(&target)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut file =
        tempfile::Builder::new().prefix(".hpbench-").permissions(permissions).tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(Staged::Beside(file, target, held))
}

impl Staged<'_> {
    /// Moves it into place.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(crate) fn put(self) -> Result<(), Failure> {
        match self {
            Self::Beside(file, path, _held) => match file.persist(&path) {
                Ok(_) => Ok(()),
                Err(error) => Err(WriteError::Write { path, error: error.error }.into()),
            },
            Self::Stream(path, text) if is_stdout(path) => print(text),
            Self::Stream(path, text) => {
                let written = std::fs::write(path, text);
                Ok(written.map_err(|error| WriteError::Write { path: path.into(), error })?)
            }
        }
    }
}

/// Creates a directory, if it does not exist.
pub(crate) fn folder(path: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(path).map_err(|error| WriteError::Directory { path: path.into(), error })
}
