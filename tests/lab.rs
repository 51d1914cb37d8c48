//! The kernel lab: real kernels, booted in QEMU. Needs QEMU and the kernels of `scripts/fetch-kernels 5.10 newest`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use common::{Bench, Done, Row, assert_balanced, needs};
use hpbench_backends::{Kind, Variant};
use rustix::process::{Pid, Signal};

const OLDEST: &str = "5.10";
const NEWEST: &str = "newest";

/// A visit takes seconds on a quiet machine; the first one waits for the build of the guests' program.
const LIMIT: Duration = Duration::from_secs(1800);

/// Columns that an instruction-counting clock cannot fill.
const TIMES: [&str; 14] = [
    "duration_s",
    "tx_pps",
    "rx_pps",
    "rx_mbps",
    "ns_per_packet",
    "ns_per_packet_p50",
    "ns_per_packet_min",
    "peer_ns_per_packet",
    "cpu_ns_per_packet",
    "user_ns_per_packet",
    "sys_ns_per_packet",
    "kthread_ns_per_packet",
    "run_delay_ns",
    "canary_ratio",
];

fn lab(bench: &Bench, args: &str) -> Done {
    bench.start(&format!("lab {args}")).wait_at_most(LIMIT)
}

fn of_backend<'r>(rows: &'r [Row], kernel: &str, backend: &str) -> Vec<&'r Row> {
    rows.iter().filter(|row| row.text("kernel").starts_with(kernel) && row.text("backend") == backend).collect()
}

#[test]
fn the_oldest_and_the_newest_kernel_run_the_same_cells() {
    if !needs::lab(OLDEST) || !needs::lab(NEWEST) {
        return;
    }
    let bench = Bench::new();
    let args = format!("--kernel {OLDEST} {NEWEST} --batch 8,32 --trials 2 -t 0.04 --warmup 0.01 -o out.csv");
    // The io_uring of 5.10 cannot run the default variant of uring.
    let done = lab(&bench, &args).expect(1);
    let rows = done.rows();
    assert_eq!(rows.len(), 2 * 3 * 2 * 2 * 2, "kernels, backends, scenarios, batches, trials");
    for row in &rows {
        assert_eq!(row.text("accel"), "icount");
        assert!(!row.text("qemu").is_empty() && !row.text("kernel").is_empty() && row.count("ncpu") == 1);
        TIMES.iter().for_each(|column| assert_eq!(row.text(column), "", "{column} of {}", row.name()));
    }
    let old = of_backend(&rows, OLDEST, "uring");
    assert!(old.iter().all(|row| row.text("error").contains("5.19")), "what is missing is named: {:?}", old[0]);
    let ran: Vec<&Row> = rows.iter().filter(|row| row.text("error").is_empty()).collect();
    assert_eq!(ran.len() + old.len(), rows.len());
    for row in ran {
        assert_balanced(row);
        assert!(row.count("measured_received") > 0 && row.text("valid") == "1", "{}", row.name());
        for column in ["instructions_per_packet", "peer_instructions_per_packet"] {
            let count = row.number(column);
            assert!((500.0..50_000.0).contains(&count), "{column} {count} of {}", row.name());
        }
    }
    assert!(done.shows("instructions per datagram") && done.shows("they do not rank backends"), "{}", done.stdout);
    assert!(done.stdout.contains("uring under 5.10"), "{}", done.stdout);
    let consoles = fs::read_dir(bench.path("out.consoles")).expect("the consoles are kept").count();
    assert_eq!(consoles, 2);
}

/// `uring:single` is the io_uring of old kernels: if that mode exists, it must run on 5.10.
#[test]
fn single_shot_io_uring_runs_on_the_oldest_kernel() {
    if Variant::parse(Kind::URING, "single").is_err() {
        return needs::skip("uring-single", &"this version has no variant uring:single");
    }
    if !needs::lab(OLDEST) {
        return;
    }
    let args = format!("--kernel {OLDEST} --backend uring:single --trials 1 -t 0.04 -o out.csv");
    let rows = lab(&Bench::new(), &args).expect(0).rows();
    rows.iter().for_each(assert_balanced);
    assert!(!rows.is_empty());
}

/// The same seed, the same kernel: the same counts.
#[test]
fn two_runs_of_the_same_plan_agree() {
    if !needs::lab(NEWEST) {
        return;
    }
    let counts = || {
        let args = format!("--kernel {NEWEST} --backend plain --scenario drain --trials 2 -t 0.04 -o out.csv");
        let rows = lab(&Bench::new(), &args).expect(0).rows();
        rows.iter().map(|row| row.number("instructions_per_packet")).collect::<Vec<_>>()
    };
    for (first, second) in counts().into_iter().zip(counts()) {
        assert!((first / second - 1.0).abs() < 0.002, "{first} and {second} instructions per datagram");
    }
}

#[test]
fn what_one_core_cannot_do_is_refused_with_the_reason() {
    let bench = Bench::new();
    for (flags, told) in [
        ("--scenario flood", "one core"),
        ("--scenario drain,echo", "one core"),
        ("--scenario pace", "one core"),
        ("--handoff", "one core"),
        ("-w 2", "one core"),
        ("--accel warp", "icount"),
        ("--jobs 0", "--jobs"),
        ("--resume -o out.csv", "--append"),
    ] {
        let done = lab(&bench, &format!("--kernel {OLDEST} {flags}")).expect(2);
        assert!(done.stderr.contains(told), "{flags}: {}", done.stderr);
    }
    let done = lab(&bench, "--kernel 0.99").expect(2);
    assert!(done.stderr.contains("fetch-kernels 0.99"), "{}", done.stderr);
    fs::write(bench.path("text"), "text").expect("a file");
    let done = lab(&bench, "--kernel text").expect(2);
    assert!(done.stderr.contains("not a bootable kernel image"), "{}", done.stderr);
    assert_eq!(bench.files().len(), 1, "nothing was run: {:?}", bench.files());
}

/// A program that ends at once with status 1, in 132 bytes: a header, one segment, three instructions.
fn program_that_ends(bench: &Bench) -> PathBuf {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    let (start, code) = (0x40_0000_u64, b"\xbf\x01\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05");
    let half = |value: u16| value.to_le_bytes().to_vec();
    let word = |value: u32| value.to_le_bytes().to_vec();
    let long = |value: u64| value.to_le_bytes().to_vec();
    bytes.extend([half(2), half(62), word(1), long(start + 120), long(64), long(0), word(0)].concat());
    bytes.extend([half(64), half(56), half(1), half(0), half(0), half(0)].concat());
    let size = 120 + code.len() as u64;
    bytes.extend([word(1), word(5), long(0), long(start), long(start), long(size), long(size), long(4096)].concat());
    bytes.extend(code);
    let path = bench.beside("ends");
    fs::write(&path, bytes).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[test]
fn a_panic_and_a_hang_are_error_rows_that_tell_what_the_console_said() {
    if !needs::lab(OLDEST) || !needs::lab(NEWEST) {
        return;
    }
    let bench = Bench::new();
    let program = program_that_ends(&bench);
    let plan = "--backend plain --scenario drain --trials 2 -o out.csv --force";
    let args = format!("--kernel {OLDEST} {NEWEST} --guest {} {plan}", program.display());
    let rows = lab(&bench, &args).expect(1).rows();
    assert_eq!(rows.len(), 4, "a row for each trial");
    for row in &rows {
        assert!(row.text("error").contains("Attempted to kill init"), "{}", row.text("error"));
        assert_eq!((row.text("accel"), row.text("valid")), ("icount", "0"));
    }
    let args = format!("--kernel {NEWEST} --timeout 1 --guest {} {plan}", program.display());
    let rows = lab(&bench, &args).expect(1).rows();
    assert!(rows.iter().all(|row| row.text("error").contains("did not end within 1 s")), "{:?}", rows[0]);
}

/// The processes whose parent is this one.
fn children(parent: i32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task");
    let tasks = fs::read_dir(path).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.map(of_task).collect::<String>().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether a process is QEMU with a guest, not just `--version`.
fn is_guest(pid: i32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = words.split(|&byte| byte == 0).collect();
    words[0].starts_with(b"qemu-system") && words.contains(&&b"-kernel"[..])
}

#[test]
fn a_signal_leaves_no_guest_behind() {
    if !needs::lab(NEWEST) {
        return;
    }
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -9)] {
        let bench = Bench::new();
        let args = format!("lab --kernel {NEWEST} --guest {} -o out.csv", program_that_ends(&bench).display());
        let mut running = bench.start(&args);
        let parent = running.id();
        running.wait_until("a guest runs", || children(parent).into_iter().any(is_guest));
        let guests: Vec<i32> = children(parent).into_iter().filter(|&pid| is_guest(pid)).collect();
        running.signal(signal);
        running.wait_at_most(Duration::from_secs(20)).expect(status);
        for guest in guests {
            let gone = || !Pid::from_raw(guest).is_some_and(|_| is_guest(guest));
            let end = std::time::Instant::now() + Duration::from_secs(10);
            while !gone() {
                assert!(std::time::Instant::now() < end, "the guest {guest} still runs after {signal:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn kvm_runs_or_is_refused_with_what_failed() {
    if !needs::lab(NEWEST) {
        return;
    }
    let bench = Bench::new();
    let args = format!("--kernel {NEWEST} --accel kvm --backend plain --scenario drain --trials 1 -t 0.04 -o out.csv");
    let done = lab(&bench, &args);
    if done.status == 2 {
        assert!(done.stderr.contains("KVM does not work here"), "{}", done.stderr);
        assert!(!bench.files().contains("out.csv"), "nothing was run");
        return needs::skip("kvm", &done.stderr.trim());
    }
    let rows = done.expect(0).rows();
    assert!(rows.iter().all(|row| row.number("ns_per_packet") > 1.0 && row.text("accel") == "kvm"));
}
