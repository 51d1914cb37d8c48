//! Trials of the library with a backend that does something after each receive.

use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hpbench::measure::control::Interrupt;
use hpbench::measure::outcome::Outcome;
use hpbench::measure::trial::Trial;
use hpbench::measure::truesizes::Truesizes;
use hpbench::plan::cells::{Cell, FdTable, Options, Scenario, Until, Wait};
use hpbench::plan::cores::{Cores, Wanted};
use hpbench::traffic::wire::{Tag, Verify};
use hpbench_backends::{
    Addressing, Backend, Caps, Config, Consumer, Counters, FreeList, Kind, OpenError, Packet, Pool, Port, RxRing,
    Variant,
};

/// Something to do after a receive.
pub(crate) trait After {
    /// It returned this many datagrams, which the app has not seen yet.
    fn received(datagrams: usize);
}

/// A backend with something to do after each receive.
pub(crate) struct Wrapped<B, A>(B, PhantomData<A>);

impl<'p, B: Backend<'p>, A: After> Backend<'p> for Wrapped<B, A> {
    const KIND: Kind = B::KIND;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        B::probe(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        B::open(config, port, pool).map(|backend| Self(backend, PhantomData))
    }

    fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.0.rx(free, rx).inspect(|&datagrams| A::received(datagrams))
    }

    fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.0.rx_wait(free, rx).inspect(|&datagrams| A::received(datagrams))
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

/// A cell of small datagrams, with a value for every axis.
pub(crate) fn cell(scenario: Scenario, kind: Kind, batch: usize) -> Cell {
    Cell {
        scenario,
        variant: Variant::default_of(kind),
        batch,
        payload: 64,
        round: Some(64),
        rate: Some(1000),
        burst: Some(1),
        window: None,
        wait: Wait::Spin,
        addressing: Addressing::Connected,
        buffers: (kind == Kind::URING).then_some(64),
        fd_table: Some(FdTable::Shared),
        fill_core: None,
        spread: Some(hpbench::plan::spread::Spread::ONE),
        work: None,
        flows: None,
        fanout: None,
        min_wait: None,
        sharding: None,
    }
}

/// Options of short trials on loopback, without GSO.
pub(crate) fn options(duration: Duration, warmup: Duration) -> Options {
    Options {
        until: Some(Until::Elapsed(duration)),
        warmup: Some(warmup),
        verify: Verify::Full,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        port: 0,
        ring: 64,
        rcvbuf: 1 << 20,
        sndbuf: 1 << 20,
        generators: 1,
        gso: false,
        handoff: false,
        fifo: None,
        at_ticks: false,
        added_ns: None,
        cores: Cores::choose(Wanted::default()).expect("the kernel tells the affinity mask"),
    }
}

/// Runs a trial with `B`; all frames must be returned to the pool.
pub(crate) fn run<'p, B: Backend<'p>>(
    cell: &Cell,
    options: &Options,
    pool: &'p Pool,
    free: &mut FreeList<'p>,
) -> Outcome {
    let interrupt = Interrupt::default();
    let trial = Trial {
        cell,
        options,
        pool,
        interrupt: &interrupt,
        truesizes: &Truesizes::default(),
        tag: Tag::new(7),
        peer: None,
    };
    let outcome = trial.run_as::<B>(free).expect("the trial runs");
    assert!(free.is_whole(), "{}: frames were not returned to the pool", B::KIND);
    outcome
}
