//! A file that rows or lines are added to, by one process at a time and at its end only.
//!
//! To open it changes nothing that is there, so that a command that is refused later has spoiled nothing; the file is
//! locked from then on. It is replaced or given its header by a second step, the last one before anything is measured.
//! From then on it is watched: when something else removes it, replaces it or writes to it, all that was added goes to
//! another file beside it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::console::{printable_path, tell};
use crate::place::Place;

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
        "cannot write to {0}: {error}; make room or name a file elsewhere; what was written before is whole",
        printable_path(path)
    )]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A file under way.
#[derive(Debug)]
pub(crate) struct AppendFile {
    path: PathBuf,
    file: File,
    replace: bool,
    /// What is known of it; nothing of a device or a pipe, which is neither locked nor watched.
    content: Option<Content>,
    /// Whether [`AppendFile::begin`] was called.
    is_begun: bool,
    /// Whether what was added had to go to another file.
    is_diverted: bool,
}

#[derive(Debug)]
struct Content {
    /// Its device and inode.
    identity: (u64, u64),
    /// Its length, as far as this process knows.
    len: u64,
    /// What a file of this kind begins with.
    header: Vec<u8>,
    /// What was added to it.
    added: Vec<u8>,
    /// Whether it was made by [`AppendFile::open`].
    is_new: bool,
}

/// What happened to a file while it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Gone,
    Replaced,
    Shorter,
    Longer,
}

/// How often a file is opened that is replaced by another one meanwhile.
const OPENINGS_MAX: usize = 100;

/// How many names are tried for a file that stands in for one that was lost.
const NAMES_MAX: usize = 1000;

impl AppendFile {
    /// Opens and locks a file; makes it if it is not there. Nothing in it is changed.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub(crate) fn open(path: &Path, existing: Existing) -> Result<Self, FileError> {
        let failed = |error| FileError::Open { path: path.into(), error };
        for _ in 0..OPENINGS_MAX {
            let place = Place::of(path).map_err(failed)?;
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
                return Ok(Self::of(path, file, None, existing));
            }
            lock(&file, path)?;
            let found = file.metadata().map_err(failed)?;
            let (identity, len) = ((found.dev(), found.ino()), found.len());
            // Between opening and locking, another process may have removed it or written to it.
            if identity_at(path) != Some(identity) {
                continue;
            }
            if len > 0 && existing == Existing::Refuse {
                return Err(FileError::Exists { path: path.into() });
            }
            let is_new = place == Place::Vacant && len == 0;
            let content = Content { identity, len, header: Vec::new(), added: Vec::new(), is_new };
            return Ok(Self::of(path, file, Some(content), existing));
        }
        Err(failed(io::Error::other("it is replaced by another file again and again")))
    }

    fn of(path: &Path, file: File, content: Option<Content>, existing: Existing) -> Self {
        let replace = existing == Existing::Replace;
        Self { path: path.into(), file, replace, content, is_begun: false, is_diverted: false }
    }

    /// Where what is added is: another file than the one that was opened, if that was lost.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What will be before that which is added, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.content.as_ref().filter(|_| !self.replace || self.is_begun).map_or(0, |content| content.len)
    }

    /// The file, to be read from its beginning.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn reader(&mut self) -> io::Result<&mut File> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }

    /// Removes what is behind `len` bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn cut(&mut self, len: u64) -> Result<(), FileError> {
        let Some(content) = self.content.as_mut().filter(|content| content.len > len) else { return Ok(()) };
        self.file.set_len(len).map_err(|error| FileError::Write { path: self.path.clone(), error })?;
        content.len = len;
        Ok(())
    }

    /// Empties the file if it is to be replaced, and writes what it begins with if it is empty.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn begin(&mut self, header: &[u8]) -> Result<(), FileError> {
        if self.replace {
            self.cut(0)?;
        }
        if self.content.as_ref().is_none_or(|content| content.len == 0) {
            self.put(header)?;
        }
        self.is_begun = true;
        if let Some(content) = &mut self.content {
            content.header = header.to_vec();
            content.added.clear();
        }
        Ok(())
    }

    /// Adds whole lines with one system call, or none of them.
    ///
    /// # Errors
    ///
    /// If they cannot be written, neither here nor in a file beside this one.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), FileError> {
        self.divert_if_lost()?;
        self.put(lines)
    }

    /// Makes sure that all that was added is in the file. Returns whether it is the one that was opened.
    ///
    /// # Errors
    ///
    /// If the file was lost, and no other one can be written.
    pub(crate) fn finish(&mut self) -> Result<bool, FileError> {
        self.divert_if_lost()?;
        Ok(!self.is_diverted)
    }

    fn put(&mut self, lines: &[u8]) -> Result<(), FileError> {
        if let Err(error) = self.file.write_all(lines) {
            self.take_back();
            return Err(FileError::Write { path: self.path.clone(), error });
        }
        if let Some(content) = &mut self.content {
            content.len += lines.len() as u64;
            content.added.extend_from_slice(lines);
        }
        Ok(())
    }

    /// Removes the part of a line that a full disk may have taken: readers fail at half a line. A device or a pipe keeps
    /// it, and there is nothing to be done about that.
    pub(crate) fn take_back(&mut self) {
        if let Some(content) = self.content.as_ref().filter(|_| self.loss() == Some(Loss::Longer)) {
            let _ = self.file.set_len(content.len);
        }
    }

    fn loss(&self) -> Option<Loss> {
        let content = self.content.as_ref()?;
        let Ok(found) = self.path.metadata() else { return Some(Loss::Gone) };
        if (found.dev(), found.ino()) != content.identity {
            return Some(Loss::Replaced);
        }
        match found.len().cmp(&content.len) {
            std::cmp::Ordering::Less => Some(Loss::Shorter),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Loss::Longer),
        }
    }

    /// Goes on in another file if something has happened to this one; tells so.
    fn divert_if_lost(&mut self) -> Result<(), FileError> {
        let (Some(loss), true) = (self.loss(), self.is_begun) else { return Ok(()) };
        let Some(content) = &mut self.content else { return Ok(()) };
        let what = match loss {
            Loss::Gone => "was removed or renamed",
            Loss::Replaced => "was replaced by another file",
            Loss::Shorter => "was cut",
            Loss::Longer => "was written to by another program",
        };
        let lost = self.path.clone();
        let mut all = [content.header.as_slice(), &content.added].concat();
        if self.file.metadata().is_ok_and(|found| found.len() == content.len) {
            // It has lost its name only: what was there before this run is there still.
            let mut whole = Vec::new();
            if self.file.rewind().and_then(|()| self.file.read_to_end(&mut whole)).is_ok() {
                all = whole;
            }
        }
        let (path, mut file, identity) = stand_in(&lost)?;
        file.write_all(&all).map_err(|error| FileError::Write { path: path.clone(), error })?;
        tell!(
            "hpbench: {} {what} while this run wrote to it; all that this run has written and will write is in {}",
            printable_path(&lost),
            printable_path(&path)
        );
        (content.identity, content.len) = (identity, all.len() as u64);
        (self.path, self.file, self.is_diverted) = (path, file, true);
        Ok(())
    }
}

impl Drop for AppendFile {
    fn drop(&mut self) {
        if self.is_begun {
            // A run that ends early leaves its rows, too.
            let _ = self.divert_if_lost();
        } else if self.content.as_ref().is_some_and(|content| content.is_new) && self.loss().is_none() {
            // A command that was refused leaves nothing behind. What a link leads to was made, not the link.
            let _ = self.path.canonicalize().and_then(std::fs::remove_file);
        }
    }
}

fn identity_at(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Locks a file until it is closed.
fn lock(file: &File, path: &Path) -> Result<(), FileError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(FileError::Busy { path: path.into() }),
        Err(error) => {
            // Some network file systems have no locks.
            tell!(
                "warning: {} cannot be locked ({error}); no other run may write to it meanwhile",
                printable_path(path)
            );
            Ok(())
        }
    }
}

/// A new file for what belongs into `lost`: beside it, else in the current directory, else in that for temporary files.
fn stand_in(lost: &Path) -> Result<(PathBuf, File, (u64, u64)), FileError> {
    let (stem, extension) = (lost.file_stem().unwrap_or_default(), lost.extension());
    let beside = lost.parent().unwrap_or(Path::new("")).to_owned();
    let mut last = io::Error::other("no name is free");
    for folder in [beside, PathBuf::new(), std::env::temp_dir()] {
        for number in 1..=NAMES_MAX {
            let mut name = OsString::from(stem);
            name.push(if number == 1 { ".rescued".to_owned() } else { format!(".rescued-{number}") });
            if let Some(extension) = extension {
                name.push(".");
                name.push(extension);
            }
            let path = folder.join(name);
            match OpenOptions::new().read(true).append(true).create_new(true).open(&path) {
                Ok(file) => {
                    lock(&file, &path)?;
                    let found = file.metadata().map_err(|error| FileError::Open { path: path.clone(), error })?;
                    return Ok((path, file, (found.dev(), found.ino())));
                }
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
