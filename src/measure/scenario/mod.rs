//! The scenarios: what is measured, and how. Each trial is given to its own here.

pub mod drain;
pub mod echo;
pub mod flood;
pub mod pace;
pub mod rounds;
pub mod send;
pub mod stream;

use hpbench_backends::{AsyncBackend, FreeList, OpenError};

use crate::gates;
use crate::measure::host::{BothHosts, HostWatch};
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::shards::Shards;
use crate::measure::threads;
use crate::measure::trial::{LeaveAtEnd, Part, Rendezvous, Trial};
use crate::plan::cells::Scenario;

impl<'p> Trial<'_, 'p> {
    /// Runs the trial with `B`, whatever the cell's backend is, on threads of its own; `free` has all frames again when it
    /// returns.
    ///
    /// # Errors
    ///
    /// Why there is no result.
    pub fn run_as<B: AsyncBackend<'p>>(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        self.run_parts(free, |part, free| part.run::<B>(free))
    }

    /// As [`Trial::run_as`], for scenarios that work in rounds. Code for these alone takes half as long to build.
    ///
    /// # Errors
    ///
    /// Why there is no result, or that the scenario is another one.
    pub fn run_rounds_as<B: AsyncBackend<'p>>(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        self.run_parts(free, |part, free| {
            let _leave = LeaveAtEnd(part.together);
            part.run_rounds::<B>(free)
        })
    }

    fn run_parts(
        &self,
        free: &mut FreeList<'p>,
        run: impl Fn(&Part<'_, 'p>, &mut FreeList<'p>) -> Result<Outcome, TrialError> + Sync,
    ) -> Result<Outcome, TrialError> {
        self.check_cores()?;
        self.check_batch()?;
        let watch = self.watch_host();
        let outcome = self.run_all_parts(free, run)?;
        let own = watch.and_then(|watch| watch.end());
        Ok(Outcome { hosts: BothHosts { own, ..outcome.hosts }, ..outcome })
    }

    /// Watches what this host drops, if the trial has sockets. In an emulated guest that counts instructions, only the
    /// trial is run.
    fn watch_host(&self) -> Option<HostWatch> {
        if !self.cell.variant.kind().has_socket() || self.options.at_ticks {
            return None;
        }
        let local = self.options.bind.at(0);
        HostWatch::begin(local, self.peer.map_or(local, |peer| peer.bind.seen_from(local, 0)))
    }

    fn run_all_parts(
        &self,
        free: &mut FreeList<'p>,
        run: impl Fn(&Part<'_, 'p>, &mut FreeList<'p>) -> Result<Outcome, TrialError> + Sync,
    ) -> Result<Outcome, TrialError> {
        let places = &self.options.cores.places;
        let together = Rendezvous::new(places.len());
        let shards = Shards::open(self.cell.sharding, self.options)?;
        let shards = shards.as_ref();
        let part = |index| Part { trial: self, place: &places[index], index, together: &together, shards };
        if places.len() == 1 {
            return run(&part(0), free);
        }
        let share = free.len() / places.len();
        let mut shares: Vec<FreeList<'p>> = places.iter().map(|_| free.split_off(share)).collect();
        let mut outcomes: Vec<_> = std::thread::scope(|scope| {
            let (part, run, together) = (&part, &run, &together);
            let start = |(index, share)| {
                let started = threads::spawn(scope, move || run(&part(index), share));
                // The others would wait for a worker that never comes.
                started.inspect_err(|_| drop(LeaveAtEnd(together)))
            };
            let threads: Vec<_> = shares.iter_mut().enumerate().map(start).collect();
            threads.into_iter().map(|thread| thread.and_then(threads::join)).collect()
        });
        shares.into_iter().for_each(|share| free.absorb(share));
        // If one fails, the others fail because of it: its error is the one that is reported.
        outcomes.sort_by_key(|outcome| matches!(outcome, Err(TrialError::OtherWorker)));
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let balance = (!self.cell.scenario.has_rounds())
            .then(|| balance(&outcomes, shards.is_some() && self.cell.scenario.is_answered()))
            .flatten();
        let merge = if shards.is_some() { Outcome::merge_sharing } else { Outcome::merge };
        let mut outcome = outcomes.into_iter().reduce(merge).ok_or(TrialError::Panicked)?;
        if shards.is_some() {
            outcome.account();
        }
        Ok(Outcome { balance, ..outcome })
    }

    /// Whether the batch means anything to the variant.
    fn check_batch(&self) -> Result<(), TrialError> {
        let is_single = self.cell.variant.is_one_at_a_time() && self.cell.sockets() == 1;
        if is_single && self.cell.backend_config().batch > 1 {
            let reason = "this variant moves one datagram per await, so a batch means nothing to it; use --batch 1";
            return Err(OpenError::Impossible(reason).into());
        }
        Ok(())
    }

    /// Whether there are cores for all threads that spin.
    fn check_cores(&self) -> Result<(), TrialError> {
        let (scenario, cores) = (self.cell.scenario, &self.options.cores);
        let workers = cores.places.len();
        let has_others = cores.places.iter().all(|place| !place.generators.is_empty());
        if !has_others && self.peer.is_none() && self.cell.has_two_threads() {
            return Err(TrialError::TooFewCores {
                what: format!("{scenario}, with a core for each worker and one for a generator,"),
                needed: workers + 1,
                allowed: workers,
                instead: if scenario.has_rounds() { "use --fill-core same" } else { "measure drain and send" },
            });
        }
        if !has_others && self.cell.has_kernel_thread() {
            return Err(TrialError::TooFewCores {
                what: "the setup sqpoll, with a core for the worker and one for the kernel's thread,".into(),
                needed: workers + 1,
                allowed: workers,
                instead: "use another setup",
            });
        }
        if self.options.handoff && cores.places.iter().any(|place| place.app.is_none()) {
            return Err(TrialError::TooFewCores {
                what: "--handoff, with a core for each worker and one for the app,".into(),
                needed: workers + 1,
                allowed: workers,
                instead: "leave it out",
            });
        }
        Ok(())
    }
}

impl<'p> Part<'_, 'p> {
    fn run<B: AsyncBackend<'p>>(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        let _leave = LeaveAtEnd(self.together);
        let outcome = match self.cell.scenario {
            Scenario::Drain | Scenario::Send => self.run_rounds::<B>(free),
            Scenario::Flood => flood::run::<B>(self, free),
            Scenario::Pace => pace::run::<B>(self, free),
            Scenario::Echo | Scenario::Serve | Scenario::Relay => echo::run::<B>(self, free),
        }?;
        Ok(Outcome { limited: self.is_limited(&outcome), ..outcome })
    }

    fn run_rounds<B: AsyncBackend<'p>>(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        match self.cell.scenario {
            Scenario::Drain => self.on_one_thread(|| drain::run::<B>(self, free)),
            Scenario::Send => self.on_one_thread(|| send::run::<B>(self, free)),
            _ => Err(TrialError::Stalled("this scenario does not work in rounds")),
        }
    }

    /// Whether the generators were the bottleneck: in `flood`, if they left the worker idle; where they have a
    /// rate, if they sent less.
    fn is_limited(&self, outcome: &Outcome) -> Option<bool> {
        let measured_ns = outcome.measured_ns as f64;
        match self.cell.scenario {
            // A worker that waits in the kernel is busy while it is on its core.
            Scenario::Flood => {
                let busy_ns = outcome.busy_ns.unwrap_or(outcome.usage.cpu_ns) as f64;
                Some(!gates::is_busy_enough(busy_ns, measured_ns))
            }
            // Datagrams come in ticks, one of which may have fallen on either side of an edge.
            Scenario::Pace | Scenario::Serve | Scenario::Relay => {
                let offered_ns = outcome.offered_ns.map_or(measured_ns, |ns| ns as f64);
                let offered = self.cell.rate.unwrap_or(0) as f64 * offered_ns / 1e9;
                let sent = outcome.measured_sent / self.cell.copies() + self.cell.burst.unwrap_or(1);
                Some(!gates::keeps_rate(sent as f64, offered))
            }
            _ => None,
        }
    }

    fn on_one_thread(&self, work: impl FnOnce() -> Result<Outcome, TrialError> + Send) -> Result<Outcome, TrialError> {
        std::thread::scope(|scope| threads::join(threads::spawn(scope, || self.on_worker_core(work))?))
    }
}

/// What the worker that received most received, relative to an equal share. If they answer the clients of all workers, what a
/// client received says nothing of its own worker.
fn balance(outcomes: &[Outcome], answers_all: bool) -> Option<f64> {
    let received = outcomes.iter().map(|outcome| match answers_all {
        true => outcome.polls.datagrams,
        false => outcome.measured_received,
    });
    let (most, sum) = (received.clone().max()?, received.sum::<u64>());
    (sum > 0).then(|| most as f64 * outcomes.len() as f64 / sum as f64)
}
