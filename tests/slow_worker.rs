//! A worker that is too slow: drops must appear, and the ledger must still balance.

mod common;

use std::time::{Duration, Instant};

use common::needs;
use common::wrapped::{self, After, Wrapped};
use hpbench::plan::cells::{Options, Scenario};
use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::plain::Plain;
use hpbench_backends::uring::Uring;
use hpbench_backends::{Backend, FreeList, Pool};

const DAWDLE: Duration = Duration::from_micros(200);

/// Wastes time after each batch.
struct Slow;

impl After for Slow {
    fn received(datagrams: usize) {
        let start = Instant::now();
        while datagrams > 0 && start.elapsed() < DAWDLE {
            std::hint::spin_loop();
        }
    }
}

/// One flood with a small receive buffer.
fn check<'p, B: Backend<'p>>(pool: &'p Pool, free: &mut FreeList<'p>) {
    let options = wrapped::options(Duration::from_millis(100), Duration::from_millis(10));
    let gso = hpbench_backends::kernel::socket::probe_gso(options.bind.ip()).is_ok();
    let options = Options { gso, ring: 1024, rcvbuf: 65_536, ..options };
    let cell = wrapped::cell(Scenario::Flood, B::KIND, 16);
    let ledger = wrapped::run::<Wrapped<B, Slow>>(&cell, &options, pool, free).ledger;
    assert_eq!(ledger.unexplained(), 0, "{}: {ledger:?}", B::KIND);
    assert!(ledger.drop_socket > 1000, "{}: {ledger:?}", B::KIND);
    assert!(ledger.arrived.received > 100, "{}: {ledger:?}", B::KIND);
    assert_eq!((ledger.arrived.corrupt, ledger.arrived.foreign, ledger.arrived.duplicate), (0, 0, 0), "{}", B::KIND);
}

// One test: the trials pin threads to the same two cores.
#[test]
fn a_slow_worker_loses_datagrams_and_accounts_for_them() {
    if needs::two_cores().is_none() {
        return;
    }
    let pool = Pool::new(1024, 2048).expect("a pool");
    let mut free = pool.frames();
    check::<Plain<'_>>(&pool, &mut free);
    check::<Mmsg<'_>>(&pool, &mut free);
    if needs::uring() {
        check::<Uring<'_>>(&pool, &mut free);
    }
}
