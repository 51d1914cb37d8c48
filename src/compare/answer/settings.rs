//! How trials are compared where nobody says.

use crate::compare::comparisons::Settings;

/// The least change that matters where nobody says.
pub(crate) const THRESHOLD: f64 = 0.03;

/// How trials are compared for an answer: what means nothing is marked, and gets no verdict.
pub(crate) const SETTINGS: Settings<'static> =
    Settings { base: None, all_metrics: false, threshold: THRESHOLD, paired: false, force: true, across_hosts: false };
