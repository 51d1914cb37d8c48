//! The guest: hpbench as the first process of a kernel that was booted to be measured.

pub mod plan;
mod report;
mod system;
mod tests;
mod trials;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::commands::lab::accel::Accel;
use plan::{GuestPlan, PLAN_PATH, Task};
use report::Report;

/// A pause for the work that a kernel still has to do when its first process starts, which would be counted: late
/// initialisation of memory, workers that free what the start needed. If the emulator skips idle time, it is free.
const SETTLE: Duration = Duration::from_secs(30);

/// The same if time passes as it does outside.
const SETTLE_REAL: Duration = Duration::from_secs(1);

/// Whether this process is the first one of a guest of the lab: its file system has a plan in the root.
pub fn is_guest() -> bool {
    std::process::id() == 1 && Path::new(PLAN_PATH).is_file()
}

/// Does what the plan says, reports to the host, and powers off.
pub fn run() -> ExitCode {
    if let Err(error) = visit() {
        // Only the console is left.
        eprintln!("hpbench: the guest failed: {error:#}");
    }
    system::power_off();
    ExitCode::FAILURE
}

fn visit() -> anyhow::Result<()> {
    system::mount_all()?;
    let plan = GuestPlan::read(Path::new(PLAN_PATH))?;
    let mut report = Report::open()?;
    let done = system::raise_loopback().and_then(|()| {
        report.hello()?;
        std::thread::sleep(if plan.accel == Accel::Icount { SETTLE } else { SETTLE_REAL });
        match &plan.task {
            Task::Hello => Ok(()),
            Task::Trials(args) => trials::run(&plan, args, &mut report),
            Task::Tests(args) => tests::run(args, &mut report),
        }
    });
    if let Err(error) = done {
        report.failure(&format!("{error:#}"))?;
    }
    report.end()
}
