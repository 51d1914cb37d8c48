//! `--handoff`: the app on a pinned thread of its own, behind the same rings.
//!
//! ```text
//!  worker                          | app's thread
//!  Backend::rx ──► RX ring ────────┼──► app
//!   FreeList ◄──── recycling ring ─┼────┤ finished frames
//!  Backend::tx ◄── TX ring ◄───────┼────┘ answers
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_utils::CachePadded;
use hpbench_backends::{AsyncBackend, Consumer, Frame, FreeList, Packet, Producer, ring};

use crate::measure::cost::{Disturbance, Watch};
use crate::measure::driver::Lane;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::threads;
use crate::traffic::app::App;

/// The worker's side of a handoff: takes back the frames that the app has finished with.
#[derive(Debug)]
pub struct Handoff<'a, 'p> {
    recycled: Consumer<Frame<'p>>,
    shared: &'a Shared,
}

/// What both threads look at.
#[derive(Debug, Default)]
struct Shared {
    /// Unique, intact datagrams that the app has seen.
    received: CachePadded<AtomicU64>,
    /// The worker is done, and will put nothing more onto the ring.
    over: CachePadded<AtomicBool>,
}

/// Ends the app's thread when the worker is done, for whatever reason.
struct OverAtEnd<'a>(&'a Shared);

impl Drop for OverAtEnd<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl<'p> App<'p> for Handoff<'_, 'p> {
    const INLINE: bool = false;

    #[inline]
    fn run(&mut self, _rx: &mut Consumer<Packet<'p>>, _tx: &mut Producer<Packet<'p>>, free: &mut FreeList<'p>) {
        self.recycled.consume(usize::MAX, |frame| free.give(frame));
    }

    fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Acquire)
    }
}

/// The result of a handoff.
#[derive(Debug)]
pub struct Done<T, A> {
    /// What the worker returned.
    pub result: T,
    /// The app.
    pub app: A,
    /// What happened to the app's thread.
    pub disturbance: Disturbance,
}

impl<A> Done<Result<Outcome, TrialError>, A> {
    /// The outcome, with what happened to the app's thread, and the app.
    ///
    /// # Errors
    ///
    /// Those of the worker.
    pub fn outcome(self) -> Result<(Outcome, A), TrialError> {
        let outcome = self.result?;
        let disturbance = outcome.disturbance.merge(Disturbance { context_switches: 0, ..self.disturbance });
        Ok((Outcome { disturbance, ..outcome }, self.app))
    }
}

/// Runs `work` with an app that is at the other end of the rings, on a thread that `prepare` pins; what `prepare`
/// returns is dropped at the end of that thread.
///
/// # Errors
///
/// If the thread cannot be started or pinned, or panicked.
pub fn run<'p, B: AsyncBackend<'p>, A: App<'p> + Send, T, G>(
    lane: &mut Lane<'p, B>,
    app: A,
    free: &mut FreeList<'p>,
    prepare: impl FnOnce() -> Result<G, TrialError> + Send,
    work: impl FnOnce(&mut Lane<'p, B>, &mut Handoff<'_, 'p>, &mut FreeList<'p>) -> T,
) -> Result<Done<T, A>, TrialError> {
    let shared = Shared::default();
    let (recycle, recycled) = ring(free.total());
    let ends = lane.detach();
    let app_free = free.split_off(0);
    let mut handoff = Handoff { recycled, shared: &shared };
    let (result, other) = thread::scope(|scope| {
        let shared = &shared;
        // Nothing is on the rings yet: if the thread cannot be started, no frame is lost with them.
        let far = threads::spawn(scope, move || {
            let prepared = prepare();
            let watch = Watch::begin(&[]);
            let far = Far { app, ends, free: app_free, recycle }.run(shared);
            (far, watch.end(), prepared.map(drop))
        })?;
        let over = OverAtEnd(shared);
        let result = work(lane, &mut handoff, free);
        drop(over);
        far.join().map(|far| (result, far)).map_err(|_| TrialError::Panicked)
    })?;
    let (Far { app, ends, free: app_free, .. }, disturbance, prepared) = other;
    lane.attach(ends);
    free.absorb(app_free);
    handoff.recycled.consume(usize::MAX, |frame| free.give(frame));
    prepared?;
    Ok(Done { result, app, disturbance })
}

/// The app's side.
struct Far<'p, A> {
    app: A,
    ends: (Consumer<Packet<'p>>, Producer<Packet<'p>>),
    free: FreeList<'p>,
    recycle: Producer<Frame<'p>>,
}

impl<'p, A: App<'p>> Far<'p, A> {
    /// Runs the app until the worker is done and the ring is empty.
    fn run(mut self, shared: &Shared) -> Self {
        let mut idle = 0_u32;
        loop {
            // Looked at before the ring: what was put onto it before the end is seen below.
            let over = shared.over.load(Ordering::Acquire);
            let before = self.app.received();
            self.app.run(&mut self.ends.0, &mut self.ends.1, &mut self.free);
            let moved = self.recycle();
            let received = self.app.received();
            if received != before {
                shared.received.store(received, Ordering::Release);
            }
            if moved || received != before {
                idle = 0;
                continue;
            }
            if over {
                return self;
            }
            std::hint::spin_loop();
            idle += 1;
            // The core may have to be shared with a generator.
            if idle.is_multiple_of(64) {
                thread::yield_now();
            }
        }
    }

    /// Sends finished frames back. The ring has room for all frames.
    fn recycle(&mut self) -> bool {
        let mut moved = false;
        while let Some(frame) = self.free.take() {
            moved = true;
            if let Err(frame) = self.recycle.stage(frame) {
                self.free.give(frame);
                break;
            }
        }
        if moved {
            self.recycle.publish();
        }
        moved
    }
}
