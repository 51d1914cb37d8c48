//! Visits to several kernels, some of them at the same time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::args::LabArgs;
use super::boot::{self, Boot, Visit};
use super::guest::plan::GuestPlan;
use super::kernels::Kernel;
use super::stream::Frame;
use crate::console::{Failure, broken, printable_path, tell};
use crate::measure::control::Interrupt;

/// What all visits have in common.
#[derive(Debug)]
pub(super) struct Visits<'a> {
    pub(super) args: &'a LabArgs,
    pub(super) kernels: &'a [Kernel],
    /// What the guests do; its task is set by who makes the visits.
    pub(super) plan: GuestPlan,
    /// The statically linked hpbench.
    pub(super) guest: PathBuf,
    /// A folder for what is not kept.
    pub(super) home: &'a Path,
    /// A folder for the consoles.
    pub(super) logs: &'a Path,
    pub(super) interrupt: &'a Interrupt,
}

impl Visits<'_> {
    /// Makes what the visits need. Returns what is in the guests besides the kernel.
    ///
    /// # Errors
    ///
    /// If a file or the folder for the consoles cannot be made.
    pub(super) fn prepare(&self, plan: &GuestPlan, tests: Option<&Path>) -> Result<PathBuf, Failure> {
        let initramfs = self.home.join("initramfs");
        boot::write_initramfs(&initramfs, &self.guest, plan, tests).map_err(broken)?;
        fs::create_dir_all(self.logs).map_err(|error| {
            let folder = printable_path(self.logs);
            broken(anyhow::Error::new(error).context(format!("cannot make {folder} for the consoles")))
        })?;
        Ok(initramfs)
    }

    /// Visits each kernel, and passes on each frame, of which there are at most `frames_max`, with the index of its kernel
    /// as it comes. Returns what came of the visits, in the order of the kernels.
    pub(super) fn make(
        &self,
        initramfs: &Path,
        frames_max: usize,
        on_frame: impl Fn(usize, &Frame) + Sync,
    ) -> Vec<Visit> {
        let (next, visits) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(kernel) = self.kernels.get(index) else { return };
                let boot = Boot {
                    accel: self.args.accel(),
                    cores: self.args.guest_cores(),
                    kernel,
                    initramfs,
                    log: console_log(self.logs, kernel),
                    time_limit: self.args.time_limit(),
                    frames_max,
                };
                let visit = boot.visit(self.interrupt, |frame| on_frame(index, frame));
                visits.lock().unwrap_or_else(PoisonError::into_inner).push((index, visit));
            }
        };
        std::thread::scope(|scope| {
            // This thread is one of them. Where the limits allow no others, it makes all visits.
            for _ in 1..self.jobs() {
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let mut visits = visits.into_inner().unwrap_or_else(PoisonError::into_inner);
        visits.sort_by_key(|(index, _)| *index);
        visits.into_iter().map(|(_, visit)| visit).collect()
    }

    fn jobs(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let at_once = (cores / self.args.guest_cores()).max(1);
        self.args.jobs.map_or(at_once, usize::from).min(self.kernels.len())
    }

    /// Says where the consoles are.
    pub(super) fn tell_logs(&self) {
        tell!("the consoles are in {}", printable_path(self.logs));
    }
}

/// The file for the console of a kernel.
pub(super) fn console_log(logs: &Path, kernel: &Kernel) -> PathBuf {
    logs.join(format!("{}.log", kernel.release))
}

/// The file for what tests under a kernel wrote.
pub(super) fn tests_log(logs: &Path, kernel: &Kernel) -> PathBuf {
    logs.join(format!("{}.tests", kernel.release))
}
