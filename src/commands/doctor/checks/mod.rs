//! What would spoil measurements: the state of each thing, how it should be, and how to fix it.

mod cores;
pub(super) mod given;
mod network;
mod processor;
mod rights;
mod sample;

use hpbench_backends::features::Feature;

use super::files::Files;
use super::report::Check;
use crate::commands::doctor::advice;
use crate::record::environment::Environment;
use given::Chosen;
use sample::Sample;

/// Checks everything. Watches the worker's core for 0.6 s.
pub(crate) fn all(
    files: &Files,
    chosen: &Result<Chosen, String>,
    environment: &Environment,
    features: &[Feature],
) -> Vec<Check> {
    let sample = chosen.clone().and_then(|chosen| Sample::take(files, chosen.worker));
    let mut checks = Vec::new();
    match chosen {
        Ok(chosen) => checks.extend(cores::all(files, chosen, sample.as_ref())),
        Err(reason) => checks.push(cores::topic().unknown(reason)),
    }
    checks.extend(processor::all(files, chosen.as_ref().ok(), environment));
    checks.extend(sample::all(files, chosen.as_ref().ok(), sample.as_ref(), environment));
    checks.extend(network::all(files, features));
    checks.extend(rights::all(files, features));
    for check in checks.iter_mut().filter(|check| check.is_bad() && !check.is_apart) {
        check.measure = check.remedy.as_ref().and_then(|remedy| advice::alternation(files, &remedy.way));
    }
    checks
}

/// The check with this name.
#[cfg(test)]
#[track_caller]
fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}
