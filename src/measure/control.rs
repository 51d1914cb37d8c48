//! How the threads of a trial agree on its phases, and how a signal ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The phases of a trial with two threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Phase {
    /// Threads open what they need.
    Setup,
    /// Load is offered, nothing counts.
    Warmup,
    /// What happens now is the result.
    Measure,
    /// No more load; what is under way arrives.
    Settle,
    /// All threads end.
    Stop,
}

/// What the worker and the generators of a trial share.
#[derive(Debug)]
pub struct Control {
    phase: AtomicU8,
    ready: AtomicUsize,
    running: AtomicUsize,
    /// Datagrams sent by all generators; each adds once per train.
    sent: Padded<AtomicU64>,
    /// How many that may be.
    most: u64,
    /// When the measured phase begins and ends, in nanoseconds of [`now_ns`](crate::measure::clock::now_ns); far ahead until it is known.
    measured_ns: Padded<[AtomicU64; 2]>,
    /// What the kernel dropped at the worker's socket, as last reported by the worker.
    dropped: AtomicU64,
    interrupt: Interrupt,
}

/// On a cache line (and its neighbour, which the prefetcher brings along) of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl Control {
    /// For a trial with that many generators; `interrupt` ends it early.
    pub fn new(generators: usize, interrupt: &Interrupt) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Setup as u8),
            ready: AtomicUsize::new(0),
            running: AtomicUsize::new(generators),
            sent: Padded::default(),
            most: u64::MAX,
            measured_ns: Padded([AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)]),
            dropped: AtomicU64::new(0),
            interrupt: interrupt.clone(),
        }
    }

    /// The same for a trial that ends when more than that many datagrams were sent, whatever its phase.
    #[must_use]
    pub fn with_most(self, datagrams: u64) -> Self {
        Self { most: datagrams, ..self }
    }

    /// Whether more was sent than may be.
    pub fn is_exceeded(&self) -> bool {
        self.sent() > self.most
    }

    /// Ends the trial, whatever its phase.
    pub fn end(&self) {
        self.interrupt.raise();
        self.advance(Phase::Stop);
    }

    /// The measured phase begins now.
    pub fn begin_measuring(&self, now_ns: u64) {
        self.measured_ns.0[0].store(now_ns, Ordering::Release);
        self.advance(Phase::Measure);
    }

    /// It ends now.
    pub fn end_measuring(&self, now_ns: u64) {
        self.measured_ns.0[1].store(now_ns, Ordering::Release);
        self.advance(Phase::Settle);
    }

    /// The measured phase, as far as it is known.
    #[inline]
    pub fn measured_ns(&self) -> std::ops::Range<u64> {
        let [begin, end] = &self.measured_ns.0;
        begin.load(Ordering::Acquire)..end.load(Ordering::Acquire)
    }

    /// The phase now.
    #[inline]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Setup,
            1 => Phase::Warmup,
            2 => Phase::Measure,
            3 => Phase::Settle,
            _ => Phase::Stop,
        }
    }

    /// Moves on to `phase`, unless a later one was reached.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// A thread has opened what it needs.
    pub fn report_ready(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
    }

    /// How many threads are ready.
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Acquire)
    }

    /// Waits until that many threads are ready. `false` if the trial ended first, or 10 seconds passed.
    pub fn wait_ready(&self, threads: usize) -> bool {
        self.wait(|| self.ready.load(Ordering::Acquire) >= threads)
    }

    /// Waits for the phase after [`Phase::Setup`]. `false` if the trial ended first, or 10 seconds passed.
    pub fn wait_start(&self) -> bool {
        self.wait(|| self.phase() > Phase::Setup)
    }

    fn wait(&self, condition: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while !condition() {
            if self.phase() == Phase::Stop || start.elapsed() > Duration::from_secs(10) {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        self.phase() != Phase::Stop
    }

    /// A generator has sent datagrams.
    #[inline]
    pub fn add_sent(&self, datagrams: usize) {
        let before = self.sent.0.fetch_add(datagrams as u64, Ordering::Release);
        if before.saturating_add(datagrams as u64) > self.most {
            self.end();
        }
    }

    /// Datagrams sent so far.
    #[inline]
    pub fn sent(&self) -> u64 {
        self.sent.0.load(Ordering::Acquire)
    }

    /// Reports how many datagrams were dropped at the worker's socket so far.
    pub fn report_dropped(&self, datagrams: u64) {
        self.dropped.store(datagrams, Ordering::Release);
    }

    /// The drops reported last.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Acquire)
    }

    /// Whether the user wants the run to end.
    #[inline]
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_raised()
    }

    /// What ends the trial early.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// A generator will send no more.
    pub fn report_done(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether a generator may still send.
    #[inline]
    pub fn is_offering(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }
}

/// Ends the trial for all threads when the thread that holds it ends, for whatever reason.
#[derive(Debug)]
pub struct StopAtEnd<'a>(pub &'a Control);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.advance(Phase::Stop);
    }
}

/// Whether the user wants the run to end (SIGINT, SIGTERM).
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    /// Whether the process was stopped and continued.
    continued: Arc<AtomicBool>,
}

impl Interrupt {
    /// Notes SIGINT and SIGTERM from now on; a second one ends the process at once. Notes SIGCONT, too.
    ///
    /// # Errors
    ///
    /// The kernel's error from `sigaction`.
    pub fn install() -> std::io::Result<Self> {
        use signal_hook::{consts, flag};
        let interrupt = Self::default();
        for signal in [consts::SIGINT, consts::SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt.raised))?;
            flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize)?;
            flag::register(signal, Arc::clone(&interrupt.raised))?;
        }
        flag::register(consts::SIGCONT, Arc::clone(&interrupt.continued))?;
        Ok(interrupt)
    }

    /// Whether a signal came.
    #[inline]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// What is set when a signal comes.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.raised)
    }

    /// Ends what looks at it, as a signal would.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Notes a continuation, as SIGCONT does.
    #[cfg(test)]
    pub(crate) fn note_continued(&self) {
        self.continued.store(true, Ordering::Relaxed);
    }

    /// Whether the process was stopped and continued since the last call.
    pub(crate) fn take_continued(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }

    /// The exit status for the signal: 130 after SIGINT, 143 after SIGTERM.
    pub fn exit_status(&self) -> Option<u8> {
        self.is_raised().then(|| 128 + self.signal.load(Ordering::Relaxed) as u8)
    }
}
