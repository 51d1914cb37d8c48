//! Which descriptor table the worker uses: that of the process, or its own.

mod common;

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use common::filters::filtered;
use common::wrapped::{self, After, Wrapped};
use common::{Bench, assert_balanced, assert_sound, needs};
use hpbench::plan::cells::{Cell, FdTable, Scenario};
use hpbench_backends::plain::Plain;
use hpbench_backends::{Kind, Pool};

/// What the worker found when it asked: [`SHARED`] if it shares the table of the process's first thread, or [`OWN`].
static ANSWER: AtomicU8 = AtomicU8::new(UNASKED);
const UNASKED: u8 = 0;
const SHARED: u8 = 1;
const OWN: u8 = 2;

/// Whether the calling thread looks up files in the table of the process's first thread: what it opens is then in
/// both.
fn is_shared() -> io::Result<bool> {
    let file = File::open(std::env::current_exe()?)?;
    let number = file.as_raw_fd();
    let own = fs::read_link(format!("/proc/thread-self/fd/{number}"))?;
    Ok(fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|first| first == own))
}

struct Ask;

impl After for Ask {
    fn received(datagrams: usize) {
        if datagrams > 0 && ANSWER.load(Ordering::Relaxed) == UNASKED {
            ANSWER.store(if is_shared().expect("it was asked before") { SHARED } else { OWN }, Ordering::Relaxed);
        }
    }
}

#[test]
fn workers_share_the_table_of_the_process_or_have_their_own() {
    if let Err(error) = is_shared() {
        return needs::skip("proc", &format!("/proc does not list descriptors ({error})"));
    }
    if needs::two_cores().is_none() {
        return;
    }
    let pool = Pool::new(1024, 2048).expect("a pool");
    let mut free = pool.frames();
    for scenario in [Scenario::Drain, Scenario::Flood, Scenario::Pace, Scenario::Echo] {
        for fd_table in FdTable::ALL {
            let cell = Cell { fd_table: Some(fd_table), window: Some(1), ..wrapped::cell(scenario, Kind::PLAIN, 8) };
            let options = wrapped::options(Duration::from_millis(100), Duration::ZERO);
            ANSWER.store(UNASKED, Ordering::Relaxed);
            wrapped::run::<Wrapped<Plain<'_>, Ask>>(&cell, &options, &pool, &mut free);
            let shares = ANSWER.load(Ordering::Relaxed) == SHARED;
            assert_ne!(ANSWER.load(Ordering::Relaxed), UNASKED, "nothing came in {scenario}");
            assert_eq!(shares, fd_table == FdTable::Shared, "{scenario} {fd_table:?}");
        }
    }
}

#[test]
fn a_table_that_cannot_be_had_is_an_error_row_with_the_way_out() {
    let scenarios = if needs::two_cores().is_some() { "drain,send,flood,echo" } else { "drain,send" };
    let args = format!("--backend plain --scenario {scenarios} --fd-table own,shared");
    let done = filtered(&[libc::SYS_unshare], libc::EPERM, || Bench::new().tiny(&args)).expect(1);
    let (own, shared): (Vec<_>, Vec<_>) = done.rows().into_iter().partition(|row| row.text("fd_table") == "own");
    assert_sound(&shared);
    assert_eq!(own.len(), shared.len());
    for row in own {
        let error = row.text("error");
        assert!(["unshare", "seccomp", "--fd-table shared"].iter().all(|word| error.contains(word)), "{error}");
        assert_eq!((row.text("valid"), row.text("sent")), ("0", ""), "no numbers");
    }
}

/// Copies of a socket in the worker's own table must not keep its port.
#[test]
fn workers_with_their_own_tables_take_turns_on_one_port() {
    if needs::two_cores().is_none() {
        return;
    }
    let port = (20_000..30_000).find(|&port| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let port = port.expect("a free port that the kernel does not choose by itself");
    let args = format!("--backend plain,null --scenario drain,send --fd-table own --port {port} --trials 2");
    let rounds = Bench::new().tiny(&args).expect(0).rows();
    let args = format!("--backend plain --scenario flood,echo --fd-table own --port {port} --trials 20 -t 0.005");
    let rows = Bench::new().tiny(&args).expect(0).rows();
    for row in rounds.iter().chain(&rows) {
        assert_balanced(row);
        assert_eq!(row.text("fd_table"), if row.text("backend") == "null" { "" } else { "own" });
    }
}

#[test]
fn an_app_on_its_own_thread_leaves_the_table_of_its_worker() {
    let Some([first, second]) = needs::two_cores() else { return };
    let args = format!("--backend plain --scenario drain --fd-table own,shared --handoff --cpu {first} --trials 2");
    for row in Bench::new().tiny(&format!("{args} --generator-cpu {second}")).expect(0).rows() {
        assert_balanced(&row);
    }
}
