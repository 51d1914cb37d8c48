//! Tells the program its git revision and compiler.

use std::path::Path;
use std::process::Command;

/// Filled in by `git archive`, see `.gitattributes`.
const ARCHIVED: &str = ".git_archival.txt";

/// What the program is made of.
const SOURCES: [&str; 5] = ["src", "backends", "Cargo.toml", "Cargo.lock", "build.rs"];

fn main() {
    let revision = from_git().or_else(from_archive).unwrap_or_default();
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"])).unwrap_or_default();
    println!("cargo:rustc-env=HPBENCH_GIT_REV={revision}");
    println!("cargo:rustc-env=HPBENCH_RUSTC={}", rustc.trim_start_matches("rustc "));
    if std::env::var_os("CARGO_FEATURE_RUNTIMES").is_some() {
        println!("cargo:rustc-env=HPBENCH_CRATES={}", crates());
    }
    println!("cargo:rustc-env=HPBENCH_LTO={}", link_time_optimisation());
    println!("cargo:rerun-if-env-changed={LTO}");
    let places = places_of_revision();
    for path in SOURCES.into_iter().chain([ARCHIVED]).chain(places.iter().map(String::as_str)) {
        // Cargo would run this script each time if a path was not there.
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}

/// Overrides the manifest.
const LTO: &str = "CARGO_PROFILE_RELEASE_LTO";

/// The names and versions of all crates that the program may be made of, as `tokio 1.54.1,mio 1.2.5`.
fn crates() -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let mut crates = Vec::new();
    let mut name = "";
    for line in lock.lines() {
        match line.split_once(" = ").map(|(key, value)| (key, value.trim_matches('"'))) {
            Some(("name", value)) => name = value,
            Some(("version", version)) if !name.is_empty() => crates.push(format!("{name} {version}")),
            _ => {}
        }
    }
    crates.join(",")
}

/// The link-time optimisation of a release build, as the manifest says it; `debug` for other builds.
fn link_time_optimisation() -> String {
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return "debug".into();
    }
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap_or_default();
    let of_manifest = manifest.lines().find_map(|line| Some(line.strip_prefix("lto = ")?.trim_matches('"').to_owned()));
    std::env::var(LTO).ok().or(of_manifest).unwrap_or_default()
}

/// The revision of the checkout, with `-dirty` if tracked files that the program is made of were changed.
fn from_git() -> Option<String> {
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(SOURCES);
    let dirty = if git(&status)?.is_empty() { "" } else { "-dirty" };
    Some(revision + dirty)
}

/// The files that change with the revision. In a work tree beside the main one, they are not in `.git`.
fn places_of_revision() -> Vec<String> {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD".to_owned(), "logs/HEAD".to_owned(), "packed-refs".to_owned()];
    names.into_iter().chain(branch).filter_map(|name| git(&["rev-parse", "--git-path", &name])).collect()
}

/// The revision that a source archive was made from.
fn from_archive() -> Option<String> {
    let archived = std::fs::read_to_string(ARCHIVED).ok()?;
    let revision = archived.trim();
    let is_hash = revision.len() >= 12 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| revision[..12].to_owned())
}

/// What git says about this checkout.
fn git(args: &[&str]) -> Option<String> {
    // A source archive unpacked inside of another repository has nothing to do with that one's revision.
    let is_checkout = Path::new(".git").exists();
    // A build must not write to the repository, as `git status` does to remember what it looked at.
    is_checkout.then(|| output("git", &[&["--no-optional-locks"], args].concat()))?
}

fn output(command: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(command);
    // In a hook, or under `git rebase --exec`, these would name a repository from outside.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let output = command.args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
