//! A backend is a file, a line in `dispatch.rs` and a line in the conformance list: here one is added to a copy.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{needs, read};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Always the same place, so that it is built once.
const COPY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/toy");
const MANIFEST: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/toy/Cargo.toml");
const TARGET: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/toy/target");

/// Where this test was built: what the copy depends on is there.
const BUILT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/..");

#[test]
fn a_new_backend_is_a_file_and_a_line_and_is_refused_without_its_suite() {
    if !Path::new(ROOT).join("backends/src").is_dir() {
        return needs::skip("sources", &format!("{ROOT} has no sources any more"));
    }
    let mut files = sources();
    add(&mut files, "backends/src/lib.rs", "\nmod outbox;\n", "pub mod toy;\n");
    add(&mut files, "backends/src/dispatch.rs", "\nbackends! {\n", "    TOY = toy::Toy;\n");
    let toy = files.remove(Path::new("backends/tests/toy/toy.rs")).expect("the toy is there");
    files.insert("backends/src/toy.rs".into(), toy);
    write(&files);
    if !needs::works("cargo", &[env!("CARGO"), "tree", "--offline", "--manifest-path", MANIFEST]) {
        return;
    }

    let (succeeds, text) = conformance("has_its_suite");
    assert!(!succeeds && text.contains("no suite for toy"), "{text}");

    add(
        &mut files,
        "backends/tests/conformance.rs",
        "\n    hpbench_backends:\n",
        "    toy: toy::Toy through sockets;\n",
    );
    write(&files);
    let (succeeds, text) = conformance("has_its_suite");
    assert!(succeeds, "{text}");
    let (succeeds, text) = conformance("toy::");
    assert!(succeeds && text.contains("test toy::short_datagrams_arrive_once_in_order_intact ... ok"), "{text}");
}

/// The files of a workspace with only the crate `backends`.
fn sources() -> BTreeMap<PathBuf, String> {
    let text = |path: &Path| read(&Path::new(ROOT).join(path));
    let mut files: BTreeMap<_, _> = list(ROOT).into_iter().map(|path| (path.clone(), text(&path))).collect();
    files.retain(|path, _| !path.starts_with("backends/example"));
    let manifest = text("Cargo.toml".as_ref());
    let (workspace, _) = manifest.split_once("\n[package]\n").expect("the workspace comes first");
    files.insert("Cargo.toml".into(), workspace.replace(", \"backends/example\"", ""));
    files.insert("Cargo.lock".into(), text("Cargo.lock".as_ref()));
    files
}

/// The files of the crate under `root`; none if it is not there.
fn list(root: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("backends")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(root).join(&folder)).into_iter().flatten() {
            let entry = entry.expect("an entry");
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder { &mut folders } else { &mut files }.push(folder.join(entry.file_name()));
        }
    }
    files
}

/// Adds a line to a file, after an existing one.
fn add(files: &mut BTreeMap<PathBuf, String>, path: &str, behind: &str, line: &str) {
    let text = files.get_mut(Path::new(path)).expect("a source file");
    let (before, after) = text.split_once(behind).unwrap_or_else(|| panic!("{path} has no {behind:?}"));
    *text = [before, behind, line, after].concat();
}

/// Makes the copy consist of `files`. What is right already is left alone, so that it is not built again.
fn write(files: &BTreeMap<PathBuf, String>) {
    let copy = Path::new(COPY);
    for stale in list(COPY).into_iter().filter(|path| !files.contains_key(path)) {
        fs::remove_file(copy.join(stale)).expect("a file of the copy");
    }
    for (path, text) in files {
        let path = copy.join(path);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder of the copy");
            fs::write(path, text).expect("a file of the copy");
        }
    }
}

/// Runs the copy's conformance tests whose names contain `filter`. Returns whether they passed, and what they
/// printed.
fn conformance(filter: &str) -> (bool, String) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--offline", "--manifest-path", MANIFEST, "--target-dir", TARGET]);
    cargo.args(["--test", "conformance", filter]).env("CARGO_BUILD_BUILD_DIR", BUILT);
    // As in Cargo.toml, of which the copy has the first part only.
    if std::env::var_os("CARGO_PROFILE_DEV_DEBUG").is_none() {
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    }
    let output = cargo.output().expect("cargo runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
