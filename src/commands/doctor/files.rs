//! Files of `/proc` and `/sys`, of this machine or, in tests, of another.

use std::fs;
use std::path::PathBuf;

use crate::plan::topology::{Topology, parse_cpu_list};

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    /// Those of this machine.
    pub(crate) fn new() -> Self {
        Self { root: "/".into() }
    }

    /// What they say about the cores.
    pub(crate) fn topology(&self) -> Topology {
        Topology::at(&self.root)
    }

    /// The text of a file, trimmed; else why it cannot be read.
    pub(crate) fn text(&self, path: &str) -> Result<String, String> {
        let text = fs::read(self.root.join(path.trim_start_matches('/')));
        match text {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!("there is no {path}")),
            Err(error) => Err(format!("{path} cannot be read: {error}")),
        }
    }

    /// The number in a file.
    pub(crate) fn number(&self, path: &str) -> Result<i64, String> {
        let text = self.text(path)?;
        text.parse().map_err(|_| format!("{path} does not hold a number: {text:?}"))
    }

    /// The cores that a file lists.
    pub(crate) fn cores(&self, path: &str) -> Result<Vec<usize>, String> {
        Ok(parse_cpu_list(&self.text(path)?))
    }

    /// The names in a directory, in order; none if it cannot be read.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path.trim_start_matches('/')));
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.into_iter().flatten().flatten().map(name).collect();
        names.sort();
        names
    }
}

/// The files of another machine.
#[cfg(test)]
pub(crate) struct Fixture {
    home: tempfile::TempDir,
}

#[cfg(test)]
impl Fixture {
    /// Files with these paths and texts.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        Self { home: crate::fixtures::tree(files) }
    }

    pub(crate) fn files(&self) -> Files {
        Files { root: self.home.path().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_so() {
        let fixture = Fixture::new(&[("/proc/a", "12\n"), ("/proc/b", "x\n"), ("/proc/c", "0-2,5\n")]);
        let files = fixture.files();
        assert_eq!(files.number("/proc/a"), Ok(12));
        assert!(files.number("/proc/b").is_err_and(|why| why.contains("not hold a number")));
        assert_eq!(files.cores("/proc/c"), Ok(vec![0, 1, 2, 5]));
        assert_eq!(files.text("/proc/d"), Err("there is no /proc/d".into()));
        assert!(files.text("/proc").is_err_and(|why| why.contains("cannot be read")));
        assert_eq!(files.names("/proc"), ["a", "b", "c"]);
        assert!(files.names("/sys").is_empty());
    }
}
