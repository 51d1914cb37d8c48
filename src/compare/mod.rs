//! Conclusions from two or more sets of trials, cell by cell. Prints nothing.
//!
//! - [`axes`] and [`metrics`]: what distinguishes trials, and what is compared;
//! - `dataset`: what is in the files; `trials` and `cells`: which trials are compared with which;
//! - `messages`: why trials do not count, which [`crate::gates`] decides;
//! - [`verdict`], [`judge`], [`judged`] and `comparisons`: the figures of two sides, and the verdicts; [`counts`]:
//!   those without noise; [`warnings`] and `notes`: the caveats;
//! - `fleets`: a change on many hosts;
//! - `capacity`: what searches have found;
//! - `steps`, `matrix` and [`answer`]: the results, in words and figures.

pub mod answer;
pub mod axes;
pub(crate) mod capacity;
pub(crate) mod cells;
pub(crate) mod comparisons;
pub mod counts;
pub(crate) mod dataset;
pub(crate) mod fleets;
pub mod judge;
pub mod judged;
pub(crate) mod matrix;
pub(crate) mod merged;
pub(crate) mod messages;
pub mod metrics;
pub(crate) mod notes;
pub(crate) mod numbers;
pub mod releases;
pub(crate) mod sections;
pub(crate) mod steps;
pub(crate) mod summaries;
pub(crate) mod swept;
pub(crate) mod trials;
pub mod verdict;
pub mod warnings;

#[cfg(test)]
mod tests;
