//! A backend that takes longer by a known time, and otherwise works as another one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use hpbench_backends::kernel::order::wait_for_instructions;
use hpbench_backends::{
    AsyncBackend, Caps, Config, Consumer, Counters, FreeList, Kind, OpenError, Packet, Pool, Port, RxRing,
};

use crate::measure::cost;

/// How much longer a datagram takes, in picoseconds. It is set before the trials begin, because opening a backend
/// passes only what all backends need.
static DELAY_PS: AtomicU64 = AtomicU64::new(0);

/// Sets how much longer a datagram takes, in nanoseconds.
pub(crate) fn set_delay(ns: f64) {
    DELAY_PS.store((ns * 1e3).round() as u64, Ordering::Relaxed);
}

/// How much longer a datagram takes, in nanoseconds.
fn delay_ns() -> f64 {
    DELAY_PS.load(Ordering::Relaxed) as f64 / 1e3
}

/// `B` with work that takes a known time after each call that moved datagrams. The work touches no memory, and is
/// calibrated on the worker's core when the backend is opened.
#[derive(Debug)]
pub(crate) struct Slowed<B> {
    backend: B,
    /// Steps of work for each datagram.
    steps: f64,
    /// The fraction of a step that is still to be done.
    owed: f64,
}

impl<B> Slowed<B> {
    #[inline]
    fn work(&mut self, datagrams: usize) {
        self.owed += self.steps * datagrams as f64;
        let whole = self.owed as u64;
        self.owed -= whole as f64;
        // Otherwise a part of the work overlaps with what is before and after it, and does not take its time.
        wait_for_instructions();
        cost::work(whole);
        wait_for_instructions();
    }
}

impl<'p, B: AsyncBackend<'p>> AsyncBackend<'p> for Slowed<B> {
    const KIND: Kind = B::KIND;

    type Runtime = B::Runtime;

    fn probe(config: &Config) -> Result<Caps, OpenError> {
        B::probe(config)
    }

    fn open(config: &Config, port: Port<'p>, pool: &'p Pool) -> Result<Self, OpenError> {
        let backend = B::open(config, port, pool)?;
        let step_ns = cost::canary_ns() as f64 / cost::CANARY_STEPS as f64;
        Ok(Self { backend, steps: delay_ns() / step_ns.max(1e-3), owed: 0.0 })
    }

    fn runtime(&self) -> B::Runtime {
        self.backend.runtime()
    }

    async fn rx(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let datagrams = self.backend.rx(free, rx).await?;
        self.work(datagrams);
        Ok(datagrams)
    }

    async fn rx_wait(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        let datagrams = self.backend.rx_wait(free, rx).await?;
        self.work(datagrams);
        Ok(datagrams)
    }

    async fn tx(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) -> io::Result<usize> {
        let datagrams = self.backend.tx(tx, free).await?;
        self.work(datagrams);
        Ok(datagrams)
    }

    fn quiesce(&mut self, free: &mut FreeList<'p>, rx: &mut RxRing<'p>) -> io::Result<usize> {
        self.backend.quiesce(free, rx)
    }

    fn counters(&self) -> Counters {
        self.backend.counters()
    }

    fn in_effect(&self) -> String {
        self.backend.in_effect()
    }

    fn close(self, free: &mut FreeList<'p>) -> io::Result<()> {
        self.backend.close(free)
    }
}
