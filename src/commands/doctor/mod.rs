//! `hpbench doctor`: what this machine and kernel offer, and what spoils measurements on them.

mod advice;
mod checks;
mod files;
mod modes;
mod remedy;
mod report;
mod text;

use anyhow::Context;
use clap::Args;
use hpbench_backends::features;

use crate::console::{Failure, for_stdout, print};
use crate::record::environment::Environment;
use checks::given::Chosen;
use files::Files;
use report::{Machine, Report, Verdict};

/// Flags of `hpbench doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hpbench doctor --json | jq .verdict")]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The status is 0, whatever the doctor finds.
pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let report = examine();
    if args.json {
        let json = serde_json::to_string_pretty(&report).context("cannot write JSON").map_err(Failure::Broken)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&for_stdout(&text::render(&report)))?;
    }
    Ok(0)
}

/// Looks at everything, and changes nothing.
fn examine() -> Report {
    let chosen = Chosen::now();
    let environment = Environment::read(None, chosen.as_ref().map_or(0, |chosen| chosen.worker));
    let features = features::try_all();
    let modes = modes::probe_all();
    let checks = checks::all(&Files::new(), &chosen, &environment, &features);
    let Environment { kernel, arch, cpu_model, ncpu, .. } = environment;
    Report {
        machine: Machine { kernel, arch, cpu_model, ncpu },
        verdict: Verdict::of(&modes, &checks),
        features: features.into_iter().map(Into::into).collect(),
        modes,
        checks,
    }
}
