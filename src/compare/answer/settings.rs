//! How trials are compared by default.

use crate::compare::comparisons::Settings;

/// The smallest change that matters by default.
pub(crate) const THRESHOLD: f64 = 0.03;

/// How trials are compared for an answer: a comparison that means nothing is listed, without a verdict.
pub(crate) const SETTINGS: Settings<'static> =
    Settings { base: None, all_metrics: false, threshold: THRESHOLD, paired: false, force: true, across_hosts: false };
