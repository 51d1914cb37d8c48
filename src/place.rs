//! What is at a path that is to be written to: whether there is something to lose.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// What is at a path; links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing yet.
    Vacant,
    /// A file, which has something to lose.
    Taken,
    /// A device or a pipe: it is written to as it is, and never replaced.
    Stream,
}

impl Place {
    /// Looks at a path, without opening it: to open a pipe waits for somebody at its other end.
    ///
    /// # Errors
    ///
    /// The kernel's, e.g. for a path through something that is no directory; `IsADirectory` for a directory.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        match path.metadata() {
            Ok(metadata) if is_stream(metadata.file_type()) => Ok(Self::Stream),
            Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(Self::Taken),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Vacant),
            Err(error) => Err(error),
        }
    }
}

fn is_stream(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_can_be_lost_and_streams_cannot() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let file = home.path().join("file");
        assert_eq!(Place::of(&file).expect("a path"), Place::Vacant);
        std::fs::write(&file, "rows").expect("a file");
        assert_eq!(Place::of(&file).expect("a path"), Place::Taken);
        assert_eq!(Place::of(home.path()).map_err(|error| error.kind()), Err(io::ErrorKind::IsADirectory));
        assert_eq!(Place::of(Path::new("/dev/null")).expect("a device"), Place::Stream);
        assert!(Place::of(&file.join("below")).is_err(), "no directory");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(Place::of(&link).expect("a path"), Place::Taken, "what it leads to");
    }
}
