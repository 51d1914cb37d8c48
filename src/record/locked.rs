//! Files that one process writes to at a time.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::console::{printable_path, tell};
use crate::place::{Identity, Place, identity};

/// What to do with a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// Add to it.
    Append,
    /// Replace it.
    Replace,
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is a file.
    #[error("{0} exists; use --append to add to it, --force to replace it, or name another file", printable_path(path))]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "another run of hpbench writes to {0}; wait until it has ended, or name another file",
        printable_path(path)
    )]
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open {0}: {error}; is its directory there, and may you write to it?", printable_path(path))]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be written.
    #[error(
        "cannot write to {0}: {error}; make room or name a file elsewhere; what was written before is intact",
        printable_path(path)
    )]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A file that is open.
pub(crate) enum Opened {
    /// A device or a pipe, which is not locked.
    Stream(File),
    /// A file, which is locked until it is closed.
    File {
        /// To read, and to write at its end.
        file: File,
        /// Which one it is.
        identity: Identity,
        /// Its length in bytes.
        len: u64,
        /// Whether it was made for this.
        is_new: bool,
    },
}

/// How often opening is tried if another file replaces this one meanwhile.
const OPENINGS_MAX: usize = 100;

/// How many names are tried for a file that stands in for one that was lost.
const NAMES_MAX: usize = 1000;

/// Opens and locks a file; creates it if it does not exist. Nothing in it is changed.
///
/// # Errors
///
/// Why it cannot be used.
pub(crate) fn open(path: &Path, existing: Existing) -> Result<Opened, FileError> {
    let failed = |error| FileError::Open { path: path.into(), error };
    for _ in 0..OPENINGS_MAX {
        let place = Place::of(path).map_err(failed)?;
        if place == Place::Directory {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if place == Place::Taken && existing == Existing::Refuse {
            return Err(FileError::Exists { path: path.into() });
        }
        let is_stream = place == Place::Stream;
        let opened = OpenOptions::new().read(!is_stream).append(true).create(place == Place::Vacant).open(path);
        let file = match opened {
            Err(error) if place == Place::Taken && error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed)?,
        };
        if is_stream {
            return Ok(Opened::Stream(file));
        }
        lock(&file, path)?;
        let found = file.metadata().map_err(failed)?;
        let (opened, len) = (identity(&found), found.len());
        // Between opening and locking, another process may have removed it or written to it.
        if path.metadata().map(|found| identity(&found)).ok() != Some(opened) {
            continue;
        }
        if len > 0 && existing == Existing::Refuse {
            return Err(FileError::Exists { path: path.into() });
        }
        let is_new = place == Place::Vacant && len == 0;
        return Ok(Opened::File { file, identity: opened, len, is_new });
    }
    Err(failed(io::Error::other("another file replaces it again and again")))
}

/// Keeps runs from writing to a file that another command is about to replace, until the result is dropped. Nothing if
/// there is no such file, or if it cannot be opened.
///
/// # Errors
///
/// If a run writes to it.
pub(crate) fn hold(path: &Path) -> Result<Option<File>, FileError> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(FileError::Busy { path: path.into() }),
        _ => Ok(Some(file)),
    }
}

/// Locks a file until it is closed.
fn lock(file: &File, path: &Path) -> Result<(), FileError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(FileError::Busy { path: path.into() }),
        Err(error) => {
            // Some network file systems have no locks.
            tell!(
                "warning: {} cannot be locked ({error}); make sure that no other run writes to it",
                printable_path(path)
            );
            Ok(())
        }
    }
}

/// A new file with what belongs in `lost`: beside it, else in the current directory, else in the one for temporary
/// files.
///
/// # Errors
///
/// If none can be created.
pub(crate) fn stand_in(lost: &Path, all: &[u8]) -> Result<(PathBuf, File, Identity), FileError> {
    let beside = lost.parent().unwrap_or(Path::new("")).to_owned();
    let mut last = io::Error::other("no name is free");
    for folder in [beside, PathBuf::new(), std::env::temp_dir()] {
        for number in 1..=NAMES_MAX {
            let path = folder.join(stand_in_name(lost, number));
            match OpenOptions::new().read(true).append(true).create_new(true).open(&path) {
                Ok(file) => match fill(&file, &path, all) {
                    Ok(identity) => return Ok((path, file, identity)),
                    Err(error) => {
                        let _ = std::fs::remove_file(&path);
                        last = error;
                        break;
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
    }
    Err(FileError::Write { path: lost.into(), error: last })
}

/// `run.rescued.csv`, `run.rescued-2.csv`, … for `run.csv`.
fn stand_in_name(lost: &Path, number: usize) -> OsString {
    let mut name = OsString::from(lost.file_stem().unwrap_or_default());
    name.push(if number == 1 { ".rescued".to_owned() } else { format!(".rescued-{number}") });
    if let Some(extension) = lost.extension() {
        name.push(".");
        name.push(extension);
    }
    name
}

fn fill(mut file: &File, path: &Path, all: &[u8]) -> io::Result<Identity> {
    lock(file, path).map_err(io::Error::other)?;
    file.write_all(all)?;
    Ok(identity(&file.metadata()?))
}
