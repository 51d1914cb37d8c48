//! What unit tests share: a tree of files, and a skip that is seen.

use std::fs;
use std::io::{self, Write};

use tempfile::TempDir;

/// A directory with these files in it, e.g. the `/proc` and `/sys` of a machine that is not this one.
pub(crate) fn tree<P: AsRef<str>>(files: &[(P, &str)]) -> TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = home.path().join(path.as_ref().trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    home
}

/// Says aloud that something is skipped (past the test runner's capture), or fails if `HPBENCH_REQUIRE` has `name`.
pub(crate) fn skip(name: &str, reason: &str) {
    let required = std::env::var("HPBENCH_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|required| required.trim() == name), "HPBENCH_REQUIRE={required}, but {reason}");
    let test = std::thread::current();
    writeln!(io::stderr(), "SKIPPED: {reason} [{}]", test.name().unwrap_or("?")).expect("standard error is open");
}
