//! hpbench with one more backend, that of this crate.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use hpbench::Contestant;

fn main() -> ExitCode {
    hpbench::cli::run_with(&[Contestant::of::<hpbench_example::Std>()])
}
