//! The programs that run in a guest: statically linked, because a guest has no libraries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::console::printable_path;

/// The target for which the C library can be linked statically. Naming it keeps the flags away from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Static, without symbols: a smaller file unpacks faster.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=symbols";

/// The largest program that is read, in bytes.
const PROGRAM_MAX: u64 = 256 << 20;

/// A file that exists only in source checkouts.
const MARK: &str = "scripts/fetch-kernels";

/// Why there is no program for the guest.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// There are no sources to build it from.
    #[error(
        "there is no source checkout around this directory or around hpbench itself, so no statically linked \
        hpbench can be built for the guests; in a checkout, `RUSTFLAGS='{FLAGS}' cargo build --release --target \
         {TARGET}` builds one, and --guest PATH names it"
    )]
    NoCheckout,
    /// The conformance suite can only be built.
    #[error("--conformance builds its test binary from a source checkout, and this directory is not in one")]
    NoTests,
    /// Cargo does not run.
    #[error("cannot run cargo to build the guests' program: {0}; name one with --guest PATH")]
    NoCargo(std::io::Error),
    /// The build failed.
    #[error("the guests' program could not be built (`{command}`):\n{output}")]
    Failed {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// The file named cannot run in a guest.
    #[error(
        "{0} is not a statically linked program for x86-64; `RUSTFLAGS='{FLAGS}' cargo build --release --target {TARGET}` builds one",
        printable_path(path)
    )]
    NotStatic {
        /// Which.
        path: PathBuf,
    },
}

/// The root of the source checkout that holds the current directory, or this program.
pub fn checkout() -> Option<PathBuf> {
    let places = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let mut around = places.iter().flatten().flat_map(|place| place.ancestors());
    around.find(|folder| folder.join(MARK).is_file()).map(Path::to_owned)
}

/// The statically linked hpbench: the one that was `named`, else a new build.
///
/// # Errors
///
/// If it cannot be built, or the named one cannot run in a guest.
pub fn hpbench(named: Option<&Path>, checkout: Option<&Path>) -> Result<PathBuf, BinaryError> {
    let path = match (named, checkout) {
        (Some(path), _) => path.to_owned(),
        (None, Some(root)) => {
            cargo(root, &["build", "--release", "--bin", "hpbench"])?;
            target_dir(root).join(TARGET).join("release/hpbench")
        }
        (None, None) => return Err(BinaryError::NoCheckout),
    };
    if is_static(&program(&path)) { Ok(path) } else { Err(BinaryError::NotStatic { path }) }
}

/// The conformance suite of the backends as a statically linked test binary, built from `checkout`.
///
/// # Errors
///
/// If it cannot be built.
pub fn conformance(checkout: Option<&Path>) -> Result<PathBuf, BinaryError> {
    let root = checkout.ok_or(BinaryError::NoTests)?;
    let args = ["test", "-p", "hpbench-backends", "--test", "conformance", "--no-run", "--message-format=json"];
    let messages = cargo(root, &args)?;
    let path = messages.lines().rev().find_map(executable).map(PathBuf::from);
    path.ok_or_else(|| BinaryError::Failed { command: args.join(" "), output: "cargo names no test binary".into() })
}

/// The program that one of cargo's messages names. We create no paths with characters that JSON escapes.
fn executable(message: &str) -> Option<&str> {
    let rest = message.split_once("\"executable\":\"")?.1;
    rest.split_once('"').map(|(path, _)| path)
}

/// A folder of its own, so that builds with these flags and with others do not invalidate each other.
fn target_dir(root: &Path) -> PathBuf {
    root.join("target/guest")
}

/// Runs cargo, and returns what it printed.
fn cargo(root: &Path, args: &[&str]) -> Result<String, BinaryError> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).args(["--locked", "--target", TARGET]).current_dir(root).stdin(Stdio::null());
    // Flags from the environment would build a different program of the same name.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", target_dir(root));
    let output = command.output().map_err(BinaryError::NoCargo)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BinaryError::Failed { command: format!("cargo {}", args.join(" ")), output: text.trim_end().to_owned() })
}

/// The file of a program; empty if it is none, or is larger than a guest can unpack.
fn program(path: &Path) -> Vec<u8> {
    let is_program = path.metadata().is_ok_and(|found| found.is_file() && found.len() <= PROGRAM_MAX);
    if is_program { std::fs::read(path).unwrap_or_default() } else { Vec::new() }
}

/// Whether these are the bytes of a program for x86-64 that needs no dynamic linker.
fn is_static(bytes: &[u8]) -> bool {
    let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let interpreter = || {
        let (table, size, count) = (word(32)?, half(54)?, half(56)?);
        let kind = |index: u16| half(table.checked_add(u64::from(size) * u64::from(index))? as usize);
        (0..count).try_fold(false, |found, index| Some(found || kind(index)? == 3))
    };
    // ELF of 64 bits, little endian, for x86-64; PT_INTERP is 3.
    bytes.starts_with(b"\x7fELF\x02\x01") && half(18) == Some(62) && interpreter() == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_linked_dynamically_and_text_is_no_program() {
        let own = std::fs::read(std::env::current_exe().expect("it runs")).expect("it can be read");
        let expected = cfg!(all(target_arch = "x86_64", target_feature = "crt-static"));
        assert_eq!(is_static(&own), expected);
        assert!(!is_static(b"#!/bin/sh\n") && !is_static(b"\x7fELF\x02\x01"));
        let refused = hpbench(Some(Path::new("/etc/hostname")), None).expect_err("no program").to_string();
        assert!(refused.contains("crt-static") && refused.contains("/etc/hostname"), "{refused}");
        hpbench(Some(Path::new("/dev/zero")), None).expect_err("a file without end is not read");
        let mut damaged = b"\x7fELF\x02\x01".to_vec();
        damaged.resize(64, 0xff);
        (damaged[18], damaged[19]) = (62, 0);
        assert!(!is_static(&damaged), "its table is nowhere");
    }

    #[test]
    fn without_a_checkout_the_error_says_what_to_do() {
        let error = hpbench(None, None).expect_err("nothing to build from").to_string();
        assert!(error.contains("cargo build --release --target") && error.contains("--guest"), "{error}");
        assert!(checkout().is_some_and(|root| root.join("Cargo.toml").is_file()));
    }

    #[test]
    fn cargo_names_the_test_binary() {
        let message = r#"{"reason":"compiler-artifact","executable":"/x/conformance-1","fresh":true}"#;
        assert_eq!(executable(message), Some("/x/conformance-1"));
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }
}
