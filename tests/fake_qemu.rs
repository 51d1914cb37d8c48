//! A QEMU and guests that write too much or never end. Needs no QEMU: a script replaces it.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Bench, Done, needs};

/// Far less than a flood would use within its time, and more than hpbench uses.
const MEMORY: &str = "--as=600000000";

fn executable(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// Runs the lab with a QEMU that does `version` when it is asked for its version, and `boot` otherwise.
fn lab(version: &str, boot: &str, args: &str) -> Option<Done> {
    if !needs::works("prlimit", &["prlimit", MEMORY, "true"]) {
        return None;
    }
    let bench = Bench::new();
    let home = bench.beside("bin");
    fs::create_dir(&home).expect("a directory");
    let script = format!("#!/bin/sh\nif [ \"$1\" = --version ]; then\n{version}\nelse\n{boot}\nfi\n");
    executable(&home.join("qemu-system-x86_64"), script);
    let mut image = vec![0; 0x1000];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
    image[0x500..0x50f].copy_from_slice(b"6.9.1-x (us) #1");
    fs::write(bench.path("kernel"), image).expect("a file");
    // The header of a statically linked program is enough.
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(64, 0);
    for (at, value) in [(16, 2), (18, 62), (20, 1), (52, 64), (54, 56)] {
        program[at] = value;
    }
    executable(&bench.path("guest"), program);
    let path = format!("PATH={}:{}", home.display(), std::env::var("PATH").unwrap_or_default());
    let plan = "--backend plain --scenario drain --trials 2 -o out.csv";
    let words =
        format!("env {path} prlimit {MEMORY} {} lab --kernel kernel --guest guest {plan} {args}", common::HPBENCH);
    let words: Vec<&str> = words.split_whitespace().collect();
    Some(bench.start_command(&words).wait_at_most(Duration::from_secs(100)))
}

const GOOD: &str = "echo QEMU emulator version 7.2.22";

#[test]
fn a_program_that_does_not_tell_its_version_is_not_waited_for() {
    let start = Instant::now();
    let Some(done) = lab("sleep 1000", "exit 1", "") else { return };
    let done = done.expect(2);
    assert!(done.stderr.contains("did not end within 10 s"), "{}", done.stderr);
    let done = lab("exec cat /dev/zero", "exit 1", "").expect("prlimit works").expect(2);
    assert!(done.stderr.contains("--version` printed no version") && done.stderr.len() < 1000, "{}", done.stderr);
    assert!(start.elapsed() < Duration::from_secs(90), "{:?}", start.elapsed());
}

#[test]
fn a_guest_that_says_too_much_is_ended_and_its_trials_are_error_rows() {
    for (boot, expected) in [
        ("exec cat /dev/zero", "not a frame"),
        ("exec yes 'hpbench-lab line 0 00000000'", "is damaged"),
        // Each of them is a valid frame.
        ("exec yes 'hpbench-lab row 0 SUM\n'", "continues after"),
        ("yes > \"$(echo \"$*\" | sed 's/.*append=on,path=\\([^ ]*\\).*/\\1/')\"", "console is larger than 64 MiB"),
    ] {
        let sum = format!("{:08x}", crc32fast::hash(b"row"));
        let Some(done) = lab(GOOD, &boot.replace("SUM", &sum), "--timeout 60") else { return };
        let rows = done.expect(1).rows();
        assert_eq!(rows.len(), 2, "a row for each trial");
        rows.iter().for_each(|row| assert!(row.text("error").contains(expected), "{boot}: {}", row.text("error")));
    }
}
