//! `hpbench`, the command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hpbench::cli::run()
}
