//! `hpbench doctor`: what this machine and kernel offer, and what spoils measurements on them.

use clap::Args;

use crate::command::Failure;

/// Flags of `hpbench doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn run(_args: &DoctorArgs) -> Result<u8, Failure> {
    Ok(0)
}
