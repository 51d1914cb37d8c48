//! Tells the program its git revision and compiler.

use std::path::Path;
use std::process::Command;

/// Filled in by `git archive`, see `.gitattributes`.
const ARCHIVED: &str = include_str!(".git_archival.txt");

fn main() {
    let revision = from_git().or_else(from_archive).unwrap_or_default();
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"])).unwrap_or_default();
    println!("cargo:rustc-env=HPBENCH_GIT_REV={revision}");
    println!("cargo:rustc-env=HPBENCH_RUSTC={}", rustc.trim_start_matches("rustc "));
    for path in [".git/HEAD", ".git/index", ".git/refs", "src", "backends", "Cargo.toml", "Cargo.lock", "build.rs"] {
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}

/// The revision of the checkout, with `-dirty` if tracked files were changed.
fn from_git() -> Option<String> {
    // A source archive unpacked inside of another repository has nothing to do with that one's revision.
    Path::new(".git")
        .exists()
        .then(|| output("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]))?
}

/// The revision that a source archive was made from.
fn from_archive() -> Option<String> {
    let revision = ARCHIVED.trim();
    let is_hash = revision.len() >= 12 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| revision[..12].to_owned())
}

fn output(command: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(command).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
