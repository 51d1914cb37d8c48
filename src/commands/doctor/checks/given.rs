//! The input of the checks: the cores that a run would use, and what the kernel offers.

use hpbench_backends::features::{Feature, State};

use crate::plan::cores::{self, Cores, Wanted};

/// The cores that a run without flags would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) worker: usize,
    /// Those of the generators, in order; empty if none can be spared.
    pub(crate) generators: Vec<usize>,
    /// Those that this process may run on.
    pub(crate) allowed: Vec<usize>,
}

impl Chosen {
    pub(crate) fn now() -> Result<Self, String> {
        let chosen = Cores::choose(Wanted::default()).map_err(|error| error.to_string())?;
        let allowed = cores::allowed().map_err(|error| error.to_string())?;
        let place = chosen.places.into_iter().next().ok_or("no core was chosen")?;
        Ok(Self { worker: place.worker, generators: place.generators, allowed })
    }

    /// The worker's core and the first generator's, which every scenario of two threads uses.
    pub(super) fn both(&self) -> Vec<usize> {
        [self.worker].into_iter().chain(self.generators.first().copied()).collect()
    }
}

/// Whether a feature is available.
pub(super) fn has(features: &[Feature], name: &str) -> bool {
    features.iter().any(|feature| feature.name == name && feature.state == State::Yes)
}

/// Cores in the kernel's list format, e.g. `0-3,8`.
pub(super) fn list(cores: &[usize]) -> String {
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

#[cfg(test)]
mod tests {
    #[test]
    fn lists_are_as_the_kernel_writes_them() {
        assert_eq!(super::list(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(super::list(&[]), "");
    }
}
