//! `hpbench lab`: the same cells under other kernels, each booted in QEMU with hpbench as its first process.
//!
//! - [`args`], [`kernels`], [`guest_binary`]: what is requested, and what is booted;
//! - [`accel`]: how, and what a guest's clock can measure;
//! - [`initramfs`], [`qemu`], [`boot`], [`stream`]: one visit to one kernel;
//! - [`guest`]: what happens inside;
//! - `visits`, `results`, `conformance`: several kernels, and their results.

pub mod accel;
pub mod args;
pub mod boot;
mod conformance;
pub mod guest;
pub mod guest_binary;
pub mod initramfs;
pub mod kernels;
pub mod qemu;
mod results;
pub mod stream;
mod visits;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;

use crate::commands::bench;
use crate::compare::releases;
use crate::console::{Failure, broken, print, printable_path, usage};
use crate::measure::control::Interrupt;
use crate::place;
use crate::record::environment;
use accel::Accel;
use args::LabArgs;
use boot::Boot;
use guest::plan::{GuestPlan, Task};
use kernels::Kernel;
use visits::{Visits, console_log, tests_log};

/// How long a kernel may take to start if KVM works.
const KVM_TEST: Duration = Duration::from_secs(10);

/// Plans, boots, and prints.
pub(crate) fn run(args: &LabArgs, matches: &ArgMatches) -> Result<u8, Failure> {
    args::check(args).map_err(Failure::Usage)?;
    let cells = args::cells(&args.run).map_err(Failure::Usage)?;
    let checkout = guest_binary::checkout();
    let kernels = find_kernels(&args.kernel, checkout.as_deref())?;
    if args.run.dry_run {
        let trials = cells.len() * args.run.trials;
        let each = bench::dry_run(&args.run, &cells, trials);
        let names: Vec<&str> = kernels.iter().map(|kernel| kernel.release.as_str()).collect();
        return print(&format!("{each}under each of {} kernels: {}\n", kernels.len(), names.join(", "))).map(|()| 0);
    }
    let host = args.run.label.clone().unwrap_or_else(environment::host_name);
    let logs = logs_folder(args, &host);
    check_outputs(args, &kernels, &logs)?;
    let plan = GuestPlan {
        accel: args.accel(),
        qemu: qemu::version().map_err(usage)?,
        host,
        run_id: format!("{:016x}", rand::random::<u64>()),
        task: Task::Hello,
    };
    let guest = guest_binary::hpbench(args.guest.as_deref(), checkout.as_deref()).map_err(usage)?;
    // From here on, a signal ends guests; before, it ends us and the build.
    let interrupt = Interrupt::install().map_err(broken)?;
    let home = tempfile::tempdir().map_err(broken)?;
    if args.accel == Accel::Kvm {
        test_kvm(&kernels[0], &guest, &plan, home.path(), &interrupt)?;
    }
    let visits = Visits { args, kernels: &kernels, plan, guest, home: home.path(), logs: &logs, interrupt: &interrupt };
    if args.conformance {
        return conformance::run(&visits, checkout.as_deref());
    }
    results::run(&visits, &cells, args::guest_args(matches))
}

/// All requested kernels, oldest first, none twice.
fn find_kernels(wanted: &[String], checkout: Option<&Path>) -> Result<Vec<Kernel>, Failure> {
    let cache = checkout.unwrap_or(Path::new("")).join("kernels");
    let mut kernels: Vec<Kernel> = Vec::new();
    for wanted in wanted {
        let kernel = kernels::find(wanted, &cache).map_err(usage)?;
        if let Some(same) = kernels.iter().find(|other| other.release == kernel.release) {
            let error = anyhow::anyhow!(
                "--kernel: {} and {} are the same release, {}, so their rows could not be told apart; name one",
                printable_path(&same.path),
                printable_path(&kernel.path),
                kernel.release
            );
            return Err(Failure::Usage(error));
        }
        kernels.push(kernel);
    }
    kernels.sort_by(|a, b| releases::compare(&a.release, &b.release));
    Ok(kernels)
}

/// Starts a kernel that has nothing to do: only a trial shows whether KVM works.
fn test_kvm(
    kernel: &Kernel,
    hpbench: &Path,
    plan: &GuestPlan,
    home: &Path,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let initramfs = home.join("hello");
    boot::write_initramfs(&initramfs, hpbench, plan, None).map_err(broken)?;
    let log = home.join("hello.log");
    let boot =
        Boot { accel: Accel::Kvm, cores: 1, kernel, initramfs: &initramfs, log, time_limit: KVM_TEST, frames_max: 2 };
    let visit = boot.visit(interrupt, |_| ());
    match visit.failure {
        None => Ok(()),
        Some(failure) => Err(Failure::Usage(anyhow::anyhow!(
            "--accel kvm: KVM does not work here, a kernel did not start in {} s ({failure}); use --accel icount, which \
             counts instructions and needs no KVM",
            KVM_TEST.as_secs()
        ))),
    }
}

/// Refuses an output that is an input or another output.
fn check_outputs(args: &LabArgs, kernels: &[Kernel], logs: &Path) -> Result<(), Failure> {
    let logs: Vec<PathBuf> =
        kernels.iter().flat_map(|kernel| [console_log(logs, kernel), tests_log(logs, kernel)]).collect();
    let out = args.run.out.iter().map(|path| ("-o", path.as_path()));
    let outputs: Vec<_> = out.chain(logs.iter().map(|path| ("the console", path.as_path()))).collect();
    let kernels = kernels.iter().map(|kernel| ("--kernel", kernel.path.as_path()));
    let others = [("--guest", &args.guest), ("--plan", &args.run.plan)];
    let others = others.iter().filter_map(|(flag, path)| Some((*flag, path.as_deref()?)));
    let inputs: Vec<_> = kernels.chain(others).collect();
    place::check_outputs(&outputs, &inputs).map_err(usage)
}

/// Where the consoles are kept: beside the CSV.
fn logs_folder(args: &LabArgs, host: &str) -> PathBuf {
    let out = args.run.out.clone().filter(|path| !args.conformance && path != Path::new("-"));
    out.unwrap_or_else(|| bench::default_path(host)).with_extension("consoles")
}
