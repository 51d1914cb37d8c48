//! What may be concluded from two or more sets of trials, cell by cell. Prints nothing.
//!
//! - [`axes`] and [`metrics`]: by what trials are told apart, and what is compared of them;
//! - `dataset`: what is in the files; `trials` and `cells`: which trials are compared with which;
//! - `messages`: why trials do not count, which [`crate::gates`] decides;
//! - [`verdict`], [`judge`], [`judged`] and `comparisons`: the figures of two sides, and what they are worth; [`counts`]: those
//!   without noise; [`warnings`] and `notes`: what a reader must know of them;
//! - `fleets`: a change on many hosts;
//! - `steps`, `matrix` and [`answer`]: what they come to, in words and figures.

pub mod answer;
pub mod axes;
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
pub(crate) mod trials;
pub mod verdict;
pub mod warnings;

#[cfg(test)]
mod tests;
