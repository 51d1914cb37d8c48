//! A worker that is too slow: drops must appear, and the ledger must balance all the same.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hpbench::control::{Clock, Interrupt};
use hpbench::cores::{Cores, Wanted};
use hpbench::plan::{Cell, Options, Scenario, Until, Wait};
use hpbench::trial::{Outcome, Trial};
use hpbench::wire::Verify;
use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::plain::Plain;
use hpbench_backends::uring::Uring;
use hpbench_backends::{
    Backend, Caps, Config, Consumer, Counters, FreeList, Kind, OpenError, Packet, Pool, Port, RxRing, Variant,
};

/// A backend that dawdles after each batch.
struct Slow<B>(B);

const DAWDLE: Duration = Duration::from_micros(200);

impl<'p, B: Backend<'p>> Backend<'p> for Slow<B> {
    const KIND: Kind = B::KIND;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        B::probe(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        B::open(config, port, pool).map(Self)
    }

    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let received = self.0.rx(free, rx)?;
        let start = Instant::now();
        while received > 0 && start.elapsed() < DAWDLE {
            std::hint::spin_loop();
        }
        Ok(received)
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.rx(free, rx)
    }

    fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        self.0.tx(tx, free)
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.0.close(free)
    }
}

/// One flood with a small receive buffer.
fn flood<'p, B: Backend<'p>>(pool: &'p Pool, free: &mut FreeList<'p>) -> Option<Outcome> {
    let cores = Cores::choose(Wanted::default()).expect("the kernel tells the affinity mask");
    if cores.places[0].generators.is_empty() {
        eprintln!("SKIPPED: flood needs two cores");
        return None;
    }
    let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let cell = Cell {
        scenario: Scenario::Flood,
        variant: Variant::default_of(B::KIND),
        batch: 16,
        payload: 64,
        round: None,
        window: None,
        rate: None,
        burst: None,
        wait: Wait::Spin,
    };
    let options = Options {
        until: Until::Elapsed(Duration::from_millis(100)),
        warmup: Duration::from_millis(10),
        verify: Verify::Full,
        bind,
        port: 0,
        ring: 1024,
        buffers: 64,
        rcvbuf: 65_536,
        sndbuf: 1 << 20,
        generators: 1,
        handoff: false,
        fifo: None,
        gso: hpbench_backends::socket::probe_gso(bind).is_ok(),
        cores,
    };
    let interrupt = Interrupt::default();
    let trial = Trial { cell: &cell, options: &options, pool, interrupt: &interrupt, clock: Clock::start() };
    Some(trial.run_as::<Slow<B>>(free).expect("the trial runs"))
}

fn check<'p, B: Backend<'p>>(pool: &'p Pool, free: &mut FreeList<'p>) {
    if let Some(outcome) = flood::<B>(pool, free) {
        let ledger = outcome.ledger;
        assert_eq!(ledger.unexplained(), 0, "{}: {ledger:?}", B::KIND);
        assert!(ledger.drop_socket > 1000, "{}: {ledger:?}", B::KIND);
        assert!(ledger.arrived.received > 100, "{}: {ledger:?}", B::KIND);
        assert_eq!(
            (ledger.arrived.corrupt, ledger.arrived.foreign, ledger.arrived.duplicate),
            (0, 0, 0),
            "{}",
            B::KIND
        );
    }
    assert!(free.is_whole(), "{}: frames did not come home", B::KIND);
}

// One test: the trials pin threads to the same two cores.
#[test]
fn a_slow_worker_loses_datagrams_and_accounts_for_them() {
    let pool = Pool::new(1024, 2048).expect("a pool");
    let mut free = pool.frames();
    check::<Plain<'_>>(&pool, &mut free);
    check::<Mmsg<'_>>(&pool, &mut free);
    match Uring::probe(&Config::new(Kind::Uring, 16)) {
        Ok(_) => check::<Uring<'_>>(&pool, &mut free),
        Err(error) => {
            let required = std::env::var("HPBENCH_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "uring"), "HPBENCH_REQUIRE=uring, but {error}");
            eprintln!("SKIPPED: {error}");
        }
    }
}
