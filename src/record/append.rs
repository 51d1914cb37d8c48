//! A file that rows or lines are added to, by one process at a time and at its end only.
//!
//! Opening it changes nothing that is there, so a command that is refused later has destroyed nothing; the file is
//! locked from then on. It is replaced or given its header by a second step, the last one before anything is measured.
//! From then on it is watched: when something else removes it, replaces it or writes to it, all that was added goes to
//! another file beside it. Something that overwrites a part of it is noticed at the end.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::console::{printable_path, tell};
use crate::place::{Identity, identity};
use crate::record::locked::{self, Existing, FileError, Opened};

/// A file that is being written.
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
    identity: Identity,
    /// Its length, as far as this process knows.
    len: u64,
    /// How a file that stands in for it begins: with the header, or with all that was there.
    start: Vec<u8>,
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
    /// It has the length that it should have, but not the content.
    Overwritten,
}

/// How much of a file is compared at once, in bytes.
const PIECE: usize = 1 << 16;

impl AppendFile {
    /// Opens and locks a file; creates it if it does not exist. Nothing in it is changed.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub(crate) fn open(path: &Path, existing: Existing) -> Result<Self, FileError> {
        let (file, content) = match locked::open(path, existing)? {
            Opened::Stream(file) => (file, None),
            Opened::File { file, identity, len, is_new } => {
                (file, Some(Content { identity, len, start: Vec::new(), added: Vec::new(), is_new }))
            }
        };
        let replace = existing == Existing::Replace;
        Ok(Self { path: path.into(), file, replace, content, is_begun: false, is_diverted: false })
    }

    /// A file with `all`, which goes on instead of one that was lost.
    ///
    /// # Errors
    ///
    /// If none can be created.
    pub(crate) fn stand_in(lost: &Path, all: Vec<u8>) -> Result<Self, FileError> {
        let (path, file, identity) = locked::stand_in(lost, &all)?;
        let len = all.len() as u64;
        let content = Content { identity, len, start: all, added: Vec::new(), is_new: true };
        Ok(Self { path, file, replace: false, content: Some(content), is_begun: true, is_diverted: true })
    }

    /// Where the added lines are: in another file than the one that was opened, if that was lost.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of what precedes the next lines, in bytes.
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

    /// Removes what follows the first `len` bytes.
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

    /// Empties the file if it is replaced, and writes `header` if it is empty. With `remember`, what is there already
    /// is kept in memory as well.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn begin(&mut self, header: &[u8], remember: bool) -> Result<(), FileError> {
        if self.replace {
            self.cut(0)?;
        }
        if self.content.as_ref().is_none_or(|content| content.len == 0) {
            self.put(header)?;
        }
        self.is_begun = true;
        let there = if remember { self.read() } else { None };
        if let Some(content) = &mut self.content {
            content.start = there.unwrap_or_else(|| header.to_vec());
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
        self.divert(self.loss())?;
        self.put(lines)
    }

    /// Makes sure that all that was added is in the file. Returns whether it is the one that was opened.
    ///
    /// # Errors
    ///
    /// If the file was lost, and no other one can be written.
    pub(crate) fn finish(&mut self) -> Result<bool, FileError> {
        self.divert(self.loss_at_end())?;
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
    /// it, and nothing can be done about that.
    fn take_back(&mut self) {
        if let Some(content) = self.content.as_ref().filter(|_| self.loss() == Some(Loss::Longer)) {
            let _ = self.file.set_len(content.len);
        }
    }

    fn loss(&self) -> Option<Loss> {
        let content = self.content.as_ref()?;
        let Ok(found) = self.path.metadata() else { return Some(Loss::Gone) };
        if identity(&found) != content.identity {
            return Some(Loss::Replaced);
        }
        match found.len().cmp(&content.len) {
            Ordering::Less => Some(Loss::Shorter),
            Ordering::Equal => None,
            Ordering::Greater => Some(Loss::Longer),
        }
    }

    /// The same, with a look at the content.
    fn loss_at_end(&self) -> Option<Loss> {
        let is_overwritten = || self.content.as_ref().is_some_and(|content| !self.has(content));
        self.loss().or_else(|| is_overwritten().then_some(Loss::Overwritten))
    }

    /// Whether the file begins as it should, and ends with what was added.
    fn has(&self, content: &Content) -> bool {
        let mut found = vec![0; PIECE];
        let mut has = |mut at: u64, bytes: &[u8]| {
            bytes.chunks(PIECE).all(|piece| {
                let found = &mut found[..piece.len()];
                let is_there = self.file.read_exact_at(found, at).is_ok() && found == piece;
                at += piece.len() as u64;
                is_there
            })
        };
        let end = content.len.checked_sub(content.added.len() as u64);
        has(0, &content.start) && end.is_some_and(|at| has(at, &content.added))
    }

    /// What is in the file, up to the length that it has as far as this process knows.
    fn read(&mut self) -> Option<Vec<u8>> {
        let len = self.content.as_ref()?.len;
        let mut text = Vec::new();
        self.file.rewind().and_then(|()| (&self.file).take(len).read_to_end(&mut text)).ok()?;
        (text.len() as u64 == len).then_some(text)
    }

    /// Continues in another file if something has happened to this one, and says so.
    fn divert(&mut self, loss: Option<Loss>) -> Result<(), FileError> {
        let (Some(loss), true) = (loss, self.is_begun) else { return Ok(()) };
        let there = self.read();
        let Some(content) = &mut self.content else { return Ok(()) };
        let what = match loss {
            Loss::Gone => "was removed or renamed",
            Loss::Replaced => "was replaced by another file",
            Loss::Shorter => "was truncated",
            Loss::Longer => "was written to by another program",
            Loss::Overwritten => "was overwritten in part",
        };
        // A file that has lost its name only, or has more now, has what was there before this run.
        let is_ours = |text: &Vec<u8>| text.starts_with(&content.start) && text.ends_with(&content.added);
        let all = there.filter(is_ours).unwrap_or_else(|| [content.start.as_slice(), &content.added].concat());
        let (path, file, identity) = locked::stand_in(&self.path, &all)?;
        tell!(
            "hpbench: {} {what} while this run wrote to it; all that this run has written and will write is in {}",
            printable_path(&self.path),
            printable_path(&path)
        );
        (content.identity, content.len) = (identity, all.len() as u64);
        (content.start, content.added) = (all, Vec::new());
        (self.path, self.file, self.is_diverted) = (path, file, true);
        Ok(())
    }
}

impl Drop for AppendFile {
    fn drop(&mut self) {
        if self.is_begun {
            // A run that ends early leaves its rows, too.
            let _ = self.divert(self.loss_at_end());
        } else if self.content.as_ref().is_some_and(|content| content.is_new) && self.loss().is_none() {
            // A command that was refused leaves nothing behind. What a link leads to was made, not the link.
            let _ = self.path.canonicalize().and_then(std::fs::remove_file);
        }
    }
}
