//! What would spoil measurements: how each thing is now, how it should be, and how to mend it.

mod cores;
mod network;
mod processor;
mod rights;
mod sample;

use hpbench_backends::features::Feature;

use super::files::Files;
use super::report::{Affects, Check};
use crate::plan::cores::{Cores, Wanted};
use crate::record::environment::Environment;
use sample::Sample;

const BOTH: &[Affects] = &[Affects::Rates, Affects::Latency];
const LATENCY: &[Affects] = &[Affects::Latency];
const RATES: &[Affects] = &[Affects::Rates];
/// Worth mending, but nothing is spoilt by it.
const NOTHING: &[Affects] = &[];

/// The cores that a run without flags would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) worker: usize,
    /// Those of the generators, in turn; empty if there is none to spare.
    pub(crate) generators: Vec<usize>,
    /// Those that this process may run on.
    pub(crate) allowed: Vec<usize>,
}

impl Chosen {
    pub(crate) fn now() -> Result<Self, String> {
        let cores = Cores::choose(Wanted::default()).map_err(|error| error.to_string())?;
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        let place = cores.places.into_iter().next().ok_or("no core was chosen")?;
        Ok(Self {
            worker: place.worker,
            generators: place.generators,
            allowed: allowed.iter().map(|core| core.id).collect(),
        })
    }

    /// The worker's core and the first generator's: those that every scenario of two threads uses.
    fn both(&self) -> Vec<usize> {
        [self.worker].into_iter().chain(self.generators.first().copied()).collect()
    }
}

/// Checks everything. Watches the worker's core for less than half a second.
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
    checks
}

/// Whether a feature is to be had.
fn has(features: &[Feature], name: &str) -> bool {
    use hpbench_backends::features::State;
    features.iter().any(|feature| feature.name == name && feature.state == State::Yes)
}

/// Cores in the kernel's list format, e.g. `0-3,8`.
fn list(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let part = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// What the check of a name says.
#[cfg(test)]
#[track_caller]
fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_are_as_the_kernel_writes_them() {
        assert_eq!(super::list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(super::list(&[]), "");
    }
}
