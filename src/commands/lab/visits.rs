//! Visits to several kernels, some at the same time.

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

/// What all visits share.
#[derive(Debug)]
pub(super) struct Visits<'a> {
    pub(super) args: &'a LabArgs,
    pub(super) kernels: &'a [Kernel],
    /// The plan of the guests; the caller sets its task.
    pub(super) plan: GuestPlan,
    /// The statically linked hpbench.
    pub(super) guest: PathBuf,
    /// A folder for temporary files.
    pub(super) home: &'a Path,
    /// A folder for the consoles.
    pub(super) logs: &'a Path,
    pub(super) interrupt: &'a Interrupt,
}

impl Visits<'_> {
    /// Creates what the visits need. Returns the guests' archive.
    ///
    /// # Errors
    ///
    /// If a file or the folder for the consoles cannot be created.
    pub(super) fn prepare(&self, plan: &GuestPlan, tests: Option<&Path>) -> Result<PathBuf, Failure> {
        let initramfs = self.home.join("initramfs");
        boot::write_initramfs(&initramfs, &self.guest, plan, tests).map_err(broken)?;
        fs::create_dir_all(self.logs).map_err(|error| {
            let folder = printable_path(self.logs);
            broken(anyhow::Error::new(error).context(format!("cannot create {folder} for the consoles")))
        })?;
        Ok(initramfs)
    }

    /// Visits each kernel, and passes on each frame as it arrives, with the index of its kernel; at most `frames_max`
    /// of each. Returns the results of the visits, in the order of the kernels.
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
            // This thread is one of them. If the limits allow no others, it makes all visits.
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

/// The file for the output of tests under a kernel.
pub(super) fn tests_log(logs: &Path, kernel: &Kernel) -> PathBuf {
    logs.join(format!("{}.tests", kernel.release))
}
