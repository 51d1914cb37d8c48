//! Machines that lack something: a second core, io_uring, locked memory, privilege.

mod common;

use common::filters::filtered;
use common::{Bench, Done, assert_balanced, assert_sound, needs};

#[test]
fn one_core_runs_what_one_thread_can() {
    let core = needs::cores()[0].to_string();
    let backends = needs::backends();
    let done = Bench::under(["taskset", "-c", &core]).tiny(&format!("--backend {backends}")).expect(1);
    let rows = done.rows();
    assert_eq!(rows.len(), 4 * backends.split(',').count());
    let (alone, together): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| ["drain", "send"].contains(&row.text("scenario")));
    assert_sound(&alone);
    assert!(alone.iter().all(|row| row.text("worker_cpu") == core));
    for row in together {
        let error = row.text("error");
        assert!(error.contains(row.text("scenario")) && error.contains("2 cores"), "{error}");
        assert!(done.shows(error), "the table tells of it:\n{}", done.stdout);
        assert_eq!((row.text("sent"), row.text("lat_p50_ns"), row.text("generator_cpu")), ("", "", ""));
    }
}

/// Runs hpbench with an `io_uring_setup` that fails with `errno`.
fn without_io_uring(errno: i32, args: &str) -> Done {
    filtered(&[libc::SYS_io_uring_setup], errno, || Bench::new().tiny(args))
}

#[test]
fn a_refused_io_uring_is_an_error_row_with_the_way_out() {
    for (errno, remedies) in [
        (libc::EPERM, ["a seccomp filter refuses", "seccomp="]),
        (libc::ENOSYS, ["a seccomp filter hides", "seccomp="]),
    ] {
        let done = without_io_uring(errno, "--backend plain,uring,mmsg --scenario drain,send --trials 2").expect(1);
        let (refused, others): (Vec<_>, Vec<_>) =
            done.rows().into_iter().partition(|row| row.text("backend") == "uring");
        assert_eq!((refused.len(), others.len()), (4, 8));
        assert_sound(&others);
        for row in refused {
            let error = row.text("error");
            assert!(error.contains("io_uring is refused"), "{error}");
            assert!(remedies.iter().all(|remedy| error.contains(remedy)), "{error}");
            assert_eq!((row.text("valid"), row.text("sent"), row.text("ns_per_packet")), ("0", "", ""), "no numbers");
            assert!(done.shows(error), "the table tells of it:\n{}", done.stdout);
        }
    }
}

#[test]
fn a_refused_io_uring_ends_trials_of_two_threads_too() {
    if needs::two_cores().is_none() {
        return;
    }
    let done = without_io_uring(libc::EPERM, "--backend uring,plain --scenario flood,echo").expect(1);
    for row in done.rows() {
        assert_eq!(row.text("error").contains("io_uring is refused"), row.text("backend") == "uring", "{}", row.name());
    }
}

#[test]
fn a_preloaded_bypass_is_named_as_ignored() {
    let bench = Bench::under(["env", "LD_PRELOAD=/nonexistent/libvma.so.9"]);
    let done = bench.tiny("--backend null --scenario drain").expect(0);
    let told = done.stderr.lines().filter(|line| line.starts_with("warning: libvma.so.9 (LD_PRELOAD) is preloaded"));
    assert_eq!(told.count(), 1, "{}", done.stderr);
    let done = bench.run("doctor").expect(0);
    assert!(done.stdout.contains("libvma.so.9 (LD_PRELOAD)"), "{}", done.stdout);
}

#[test]
fn where_disturbances_cannot_be_seen_the_run_says_so_once_and_each_row_does() {
    let Some(wrapper) = needs::no_proc() else { return };
    let done = Bench::under(wrapper).tiny("--backend plain --scenario drain --trials 3").expect(0);
    assert_eq!(done.stderr.matches("warning: the kernel does not report").count(), 1, "{}", done.stderr);
    for row in done.rows() {
        assert_eq!((row.text("unknown"), row.text("valid")), ("run_delay steal", "1"), "{}", row.name());
        assert_eq!((row.text("run_delay_ns"), row.text("steal_pct")), ("", ""));
    }
    let done = Bench::new().tiny("--backend plain --scenario drain").expect(0);
    let is_told = done.stderr.contains("does not report");
    assert!(done.rows().iter().all(|row| row.text("unknown").is_empty() != is_told));
}

/// Runs hpbench without capabilities, and with a limit of locked memory, in bytes.
fn with_memlock(bytes: u64, args: &str) -> Option<Done> {
    let limit = format!("--memlock={bytes}:{bytes}");
    let wrapper = needs::no_capabilities()?.into_iter().chain(["prlimit", &limit]);
    Some(Bench::under(wrapper).tiny(args))
}

#[test]
fn memory_that_cannot_be_locked_is_a_warning() {
    let Some(done) = with_memlock(65_536, "--backend null,plain,mmsg --scenario drain,send") else { return };
    let done = done.expect(0);
    let warning = done.stderr.lines().find(|line| line.starts_with("warning: ")).expect("a warning");
    assert!(warning.contains("locked into memory") && warning.contains("ulimit -l"), "{warning}");
    assert_sound(&done.rows());
}

/// The kernel counts the rings' memory (all of it since 6.13), so some part of the backend hits the
/// limit.
#[test]
fn an_io_uring_without_memory_names_the_limit() {
    if !needs::uring() {
        return;
    }
    for pages in 1..=16 {
        let Some(done) = with_memlock(
            pages * rustix::param::page_size() as u64,
            "--backend uring --scenario drain -t 0.001 --warmup 0",
        ) else {
            return;
        };
        let row = done.rows().remove(0);
        let error = row.text("error");
        assert!(error.is_empty() || error.contains("ulimit -l"), "{pages} pages: {error}");
        assert_eq!(done.status, i32::from(!error.is_empty()));
    }
}

#[test]
fn without_privilege_the_queue_is_as_large_as_the_kernel_grants() {
    let Some(wrapper) = needs::no_capabilities() else { return };
    let Some(limit) = needs::rmem_max(50_000_000) else { return };
    let args = "--backend plain,mmsg --scenario drain,send --batch 8 --round 100000 --rcvbuf 1000000000";
    let done = Bench::under(wrapper).tiny(args).expect(0);
    let rows = done.rows();
    for row in &rows {
        assert_balanced(row);
        assert_eq!(row.count("rcvbuf"), 2 * limit as i64, "the kernel doubles what it grants");
        let round = row.count("round");
        assert!(round >= 8 && round % 8 == 0 && round < 100_000, "{round} datagrams fit");
        assert!(round * row.count("payload") < row.count("rcvbuf"), "{round} datagrams fit");
        let reason = row.text("invalid_reason");
        assert!(reason.is_empty() || reason.starts_with("disturbed:"), "{reason}");
    }
    assert_eq!(rows.len(), 4);
}
