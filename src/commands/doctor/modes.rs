//! Which backends run here, and in which variants.

use std::thread;
use std::time::Duration;

use hpbench_backends::{Addressing, Caps, Choice, Config, Kind, OpenError, Variant};

use super::report::Mode;

/// How often a backend that runs out of memory is tried, and after which pause: rings that were closed a moment ago
/// still count against the limit of locked memory.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(80);
/// How many of these pauses all backends together may take.
const PAUSES_MAX: usize = 6;

/// Tries every backend in every variant of interest.
pub(crate) fn probe_all() -> Vec<Mode> {
    let choices = Kind::all().flat_map(Choice::alternatives);
    let variants = choices.filter_map(|choice| choice.resolve(Addressing::Connected).ok());
    let mut modes = Vec::new();
    let mut pauses = PAUSES_MAX;
    for variant in variants {
        let result = probe(variant, &mut pauses);
        modes.push(Mode {
            backend: variant.kind().name(),
            variant: variant.to_string(),
            available: result.is_ok(),
            why: result.as_ref().err().map(OpenError::to_string),
            in_effect: result.ok().map(|caps| caps.in_effect).filter(|text| !text.is_empty()),
        });
    }
    modes
}

fn probe(variant: Variant, pauses: &mut usize) -> Result<Caps, OpenError> {
    let config = Config::of(variant, 32);
    let mut result = config.probe();
    for _ in 1..TRIES {
        if *pauses == 0 || !result.as_ref().is_err_and(is_memory) {
            break;
        }
        *pauses -= 1;
        thread::sleep(PAUSE);
        result = config.probe();
    }
    result
}

fn is_memory(error: &OpenError) -> bool {
    let (OpenError::Refused { error, .. } | OpenError::Denied { error, .. } | OpenError::Failed { error, .. }) = error
    else {
        return false;
    };
    error.kind() == std::io::ErrorKind::OutOfMemory
}
