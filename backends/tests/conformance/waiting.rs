//! Waiting in the kernel: it ends when something arrives, or at the timeout, and it uses no core.

use std::thread;
use std::time::{Duration, Instant};

use hpbench_backends::kernel::thread::Usage;
use hpbench_backends::{Config, MinWait, OpenError, Port};

use crate::suite::harness::{Deadline, Lane, Link, Subject, skip};
use crate::suite::traffic::{check, datagram, send_all};

/// Longer than a busy machine keeps a thread from its core; a wait that times out takes twice as long.
const LONG: Duration = Duration::from_secs(20);

fn waiting(subject: Subject, block: Duration) -> Config {
    Config { block: Some(block), ..subject.config(16) }
}

/// Whether the subject never waits; then it must say so.
fn never_waits(subject: Subject) -> bool {
    let refused = (subject.probe)(&waiting(subject, Duration::from_secs(1)));
    assert_eq!(matches!(refused, Err(OpenError::Impossible(_))), subject.never_waits(), "{refused:?}");
    if subject.never_waits() {
        skip("waiting", &"this variant never waits");
    }
    subject.never_waits()
}

/// A datagram that is sent during the wait ends it, long before the timeout.
pub(crate) fn a_wait_ends_with_a_datagram(subject: Subject) {
    if never_waits(subject) {
        return;
    }
    const PAUSE: Duration = Duration::from_millis(30);
    let pool = subject.pool(512, 256);
    let (near, far) = subject.peer_pair();
    let config = waiting(subject, 2 * LONG);
    let mut near = Lane::open(subject, &config, Port::Socket(near), &pool, pool.frames());
    for seq in 0..3 {
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(PAUSE);
                far.send(&datagram(seq, 64)).expect("sent");
            });
            wait_for(&mut near, seq..seq + 1);
        });
        assert!((PAUSE..LONG).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
    assert!(near.close().is_whole());
}

/// If nothing arrives, the wait ends at its timeout, with nothing; the thread has slept, not spun.
pub(crate) fn a_wait_for_nothing_ends_in_time_and_uses_no_core(subject: Subject) {
    if never_waits(subject) {
        return;
    }
    let pool = subject.pool(512, 256);
    let mut link = Link::open(subject, &waiting(subject, Duration::from_millis(60)), &pool);
    let begin = Instant::now();
    for round in 0..4 {
        let (start, before) = (Instant::now(), Usage::now());
        assert_eq!(link.near.rx_wait().expect("no error"), 0);
        let (took, used) = (start.elapsed(), Usage::now().since(before));
        // The timer of a runtime is periodic: a wait may begin in the middle of a period.
        let least = Duration::from_millis(if subject.is_runtime() { 0 } else { 40 });
        assert!((least..LONG).contains(&took), "{took:?}");
        // The first wait may have to poll until a kernel thread gets a core to start on.
        assert!(round == 0 || used.cpu_ns < 20_000_000, "{used:?} in {took:?}");
    }
    assert!(begin.elapsed() > Duration::from_millis(150), "four waits end at four times");
    link.close();
}

/// A wait for more datagrams than come ends after its time, with all that are there.
pub(crate) fn a_wait_for_many_ends_after_its_time_with_what_is_there(subject: Subject) {
    let within = Duration::from_millis(40);
    let min_wait = Some(MinWait { count: 64, within_us: within.as_micros() as u32 });
    let config = Config { min_wait, ..waiting(subject, 2 * LONG) };
    if !subject.variant().waits_for_many() {
        return;
    }
    if let Err(error) = (subject.probe)(&config) {
        assert!(matches!(error, OpenError::Missing { since: "6.12", .. }), "{error}");
        return skip("min-wait", &error);
    }
    let pool = subject.pool(512, 256);
    let (near, far) = subject.peer_pair();
    let mut near = Lane::open(subject, &config, Port::Socket(near), &pool, pool.frames());
    for first in [0, 3, 6] {
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                for seq in first..first + 3 {
                    thread::sleep(within / 20);
                    far.send(&datagram(seq, 64)).expect("sent");
                }
            });
            wait_for(&mut near, first..first + 3);
        });
        assert!((within / 2..LONG).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
    // One that is there wakes nobody before the time.
    far.send(&datagram(9, 64)).expect("sent");
    let start = Instant::now();
    wait_for(&mut near, 9..10);
    assert!((within / 2..LONG).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(near.close().is_whole());
}

/// Datagrams that are already there are received without a wait, and receives that do not wait still work.
pub(crate) fn a_wait_brings_all_that_came_in_order(subject: Subject) {
    if never_waits(subject) {
        return;
    }
    const COUNT: u64 = 100;
    let pool = subject.pool(512, 256);
    let mut link = Link::open(subject, &waiting(subject, 2 * LONG), &pool);
    let start = Instant::now();
    send_all(&mut link.far, 0..COUNT, |_| 64);
    wait_for(&mut link.near, 0..COUNT);
    assert_eq!(link.near.rx().expect("no error"), 0, "nothing is left, and nothing waits");
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    link.close();
}

/// Waits until these datagrams have arrived, in order and intact.
fn wait_for(lane: &mut Lane<'_>, mut range: std::ops::Range<u64>) {
    let deadline = Deadline::new();
    while !range.is_empty() {
        let came = lane.rx_wait().expect("no error");
        deadline.check(came, "waiting for datagrams");
        while let Some(packet) = lane.pop() {
            check(range.next().expect("no more than were sent"), 64, packet.bytes());
            lane.free.give(packet.into_frame());
        }
    }
}
