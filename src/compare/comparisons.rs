//! All comparisons of some trials, with their notes.

use std::collections::HashMap;
use std::num::NonZero;

use crate::compare::axes::By;
use crate::compare::cells::{self, Matched, Pair};
use crate::compare::counts;
use crate::compare::judge::{self, Comparison};
use crate::compare::judged::{self, Judged};
use crate::compare::metrics::{self, Metric};
use crate::compare::notes;
use crate::compare::releases;
use crate::compare::trials::{NoReference, Trials};
use crate::compare::verdict::{self, Verdict};
use crate::compare::warnings::{Reason, Refusal, Warning};
use crate::console::Failure;
use crate::record::columns::Column;
use crate::record::row::State;
use crate::record::rows::ReadError;
use crate::stats::Summary;

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// Without `--by`, there must be two files.
    #[error("{0} files: give a base and a new one, or compare by a column with --by COLUMN")]
    NotTwoFiles(usize),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// All of them are of the null backend.
    #[error("all trials are of the null backend, which has no kernel and is not compared with others; use --by batch")]
    OnlyNull,
    /// There is nothing to compare with.
    #[error("all trials have the same {by}, '{value}'; compare by another column, or add a file with another {by}")]
    OneSide {
        /// The column.
        by: &'static str,
        /// The value.
        value: String,
    },
    /// The base is not one of the sides.
    #[error("--base {base}: no trial has this {by}; choose from {sides}")]
    NoSuchBase {
        /// The value asked for.
        base: String,
        /// The column.
        by: &'static str,
        /// The values that exist.
        sides: String,
    },
    /// The backend of `--relative-to` cannot be used.
    #[error(transparent)]
    Relative(#[from] NoReference),
    /// A backend has more than one variant.
    #[error("{side} has several variants here ({variants}); use --by variant, which compares each of them")]
    SeveralVariants {
        /// The backend.
        side: String,
        /// Its variants.
        variants: String,
    },
    /// A side has trials under more than one kernel, which would be mixed in one cell.
    #[error("{side} has trials under several kernels ({kernels}); use --by kernel, or files of one kernel each")]
    SeveralKernels {
        /// The side.
        side: String,
        /// Its kernels.
        kernels: String,
    },
    /// Hosts cannot be compared both with themselves and with each other.
    #[error(
        "--across host compares each host with itself, --by host hosts with each other; use --by state or --by kernel"
    )]
    AcrossSides,
    /// No cell is on two sides.
    #[error("no cell is on two sides{0}; measure the same cells on both")]
    NothingAlike(String),
    /// All possible comparisons mean nothing.
    #[error(
        "refused, because it would mean nothing:\n{0}\nMeasure again, or use --force to list these rows without verdict"
    )]
    Refused(String),
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        Self::Usage(error.into())
    }
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// The side that all others are compared with.
    pub base: Option<&'a str>,
    /// Whether every metric with values is compared, whatever the scenario.
    pub all_metrics: bool,
    /// The smallest change that matters, as a fraction.
    pub threshold: f64,
    /// Whether sides that share no blocks are refused.
    pub paired: bool,
    /// Whether comparisons that mean nothing are listed instead of refused.
    pub force: bool,
    /// Whether each host is compared with itself: each may have its own kernel.
    pub across_hosts: bool,
}

/// All comparisons.
#[derive(Debug)]
pub(crate) struct Comparisons {
    /// What distinguishes the sides.
    pub by: By,
    /// The smallest change that matters, as a fraction.
    pub threshold: f64,
    /// Whether each side is compared with the one before it.
    pub in_steps: bool,
    /// One for each cell, pair of sides and metric.
    pub comparisons: Vec<Comparison>,
    /// The notes.
    pub notes: Vec<String>,
    /// The short names of kernels.
    shorts: HashMap<String, String>,
}

/// A comparison to make: the index of the pair, and the metric.
pub(super) type Job = (usize, Metric);

impl Comparisons {
    /// Compares.
    ///
    /// # Errors
    ///
    /// If there is nothing to compare, or no comparison means anything.
    pub(crate) fn new(trials: &Trials<'_>, settings: &Settings<'_>) -> Result<Self, CompareError> {
        let Sides { sides, base, matched } = Sides::of(trials, settings)?;
        let jobs = jobs(trials, &matched.pairs, settings);
        let mut comparisons = compare(trials, &matched.pairs, &jobs, settings);
        judged::judge(comparisons.iter_mut().map(|one| &mut one.judged), settings.threshold);
        let notes = notes::of(trials, &sides, &matched, &comparisons);
        let (by, threshold) = (trials.by.clone(), settings.threshold);
        let shorts = short_names(trials, &sides);
        Ok(Self { by, threshold, in_steps: base.is_none(), comparisons, notes, shorts })
    }

    /// The name of a side for display: short for kernels.
    pub(crate) fn short<'a>(&'a self, side: &'a str) -> &'a str {
        self.shorts.get(side).map_or(side, String::as_str)
    }
}

/// The sides of a comparison, and their pairs of cells.
pub(super) struct Sides {
    /// The sides, in order.
    pub sides: Vec<u32>,
    /// The side that all others are compared with, unless each is compared with the one before it.
    pub base: Option<u32>,
    /// The pairs; at least one.
    pub matched: Matched,
}

impl Sides {
    /// # Errors
    ///
    /// If there is nothing to compare, or no comparison means anything.
    pub(super) fn of(trials: &Trials<'_>, settings: &Settings<'_>) -> Result<Self, CompareError> {
        let sides = cells::sides(trials);
        if !settings.force {
            check_counts(trials)?;
        }
        check_variants(trials, &sides)?;
        if !settings.across_hosts {
            check_kernels(trials, &sides)?;
        }
        let base = base(trials, &sides, settings.base)?;
        let matched = cells::matched(trials, &sides, base, settings.across_hosts);
        if matched.pairs.is_empty() {
            let nearest =
                matched.nearest.map_or_else(String::new, |nearest| format!(": in the most similar ones, {nearest}"));
            return Err(CompareError::NothingAlike(nearest));
        }
        if settings.paired && !settings.force && !matched.pairs.iter().any(|pair| pair.interleaved) {
            return Err(CompareError::Refused(Refusal::NoCommonBlocks.to_string()));
        }
        if !settings.force {
            refuse(trials, &matched.pairs)?;
        }
        Ok(Self { sides, base, matched })
    }
}

/// The logarithms of the second of two sides / the first, for all pairs of runs that count, in the order of their
/// numbers.
pub(crate) fn run_differences(trials: &Trials<'_>, metric: Metric) -> Vec<f64> {
    let sides = cells::sides(trials);
    let [base, _] = sides[..] else { return Vec::new() };
    let matched = cells::matched(trials, &sides, Some(base), false);
    let of_pair = |pair: &Pair| {
        let [base, new] = judge::sides(trials, pair, metric);
        let is_refused = judge::refusal(pair, &base, &new).is_some();
        judge::run_pairs(trials, pair, &base, &new).filter(|_| !is_refused)?.ok()
    };
    matched.pairs.iter().filter_map(of_pair).flat_map(|found| found.differences).collect()
}

/// The side that the others are compared with; none if each is compared with the one before it.
fn base(trials: &Trials<'_>, sides: &[u32], wanted: Option<&str>) -> Result<Option<u32>, CompareError> {
    let by = trials.by.name();
    if sides.is_empty() {
        return Err(CompareError::OnlyNull);
    }
    if let [side] = sides {
        return Err(CompareError::OneSide { by, value: trials.side(*side).into() });
    }
    let Some(wanted) = wanted else { return Ok((!trials.by.is_in_steps()).then(|| sides[0])) };
    let found = sides.iter().copied().find(|side| trials.side(*side) == wanted);
    found.map(Some).ok_or_else(|| CompareError::NoSuchBase { base: wanted.into(), by, sides: named(trials, sides) })
}

/// The short names of kernels.
fn short_names(trials: &Trials<'_>, sides: &[u32]) -> HashMap<String, String> {
    if trials.by != By::Column(Column::kernel) {
        return HashMap::new();
    }
    let names: Vec<&str> = sides.iter().map(|side| trials.side(*side)).collect();
    names.iter().map(|&name| name.to_owned()).zip(releases::short_names(&names)).collect()
}

fn named(trials: &Trials<'_>, sides: &[u32]) -> String {
    sides.iter().map(|side| trials.side(*side)).collect::<Vec<_>>().join(", ")
}

/// If all trials are counts, a column that counts cannot be compared by is refused before any other problem is
/// reported.
fn check_counts(trials: &Trials<'_>) -> Result<(), CompareError> {
    let misleading = counts::misleading(&trials.by).filter(|_| trials.accels().all(counts::is_counted));
    misleading.map_or(Ok(()), |by| Err(CompareError::Refused(format!("- {}", Refusal::Counted { by }))))
}

/// Backends can be compared only if each has one variant.
fn check_variants(trials: &Trials<'_>, sides: &[u32]) -> Result<(), CompareError> {
    let several = sides.iter().find(|side| {
        let by_backend = trials.by == By::Column(Column::backend);
        by_backend && trials.variants(**side).len() > 1
    });
    several.map_or(Ok(()), |side| {
        let variants = trials.variants(*side).join(", ");
        Err(CompareError::SeveralVariants { side: trials.side(*side).into(), variants })
    })
}

/// The kernel is not part of a cell: trials under several kernels would be taken for trials of one cell.
fn check_kernels(trials: &Trials<'_>, sides: &[u32]) -> Result<(), CompareError> {
    let kernels = |side: u32| trials.circumstances(side, Column::kernel);
    let several = sides.iter().find(|side| kernels(**side).len() > 1);
    several.map_or(Ok(()), |side| {
        let side_name = trials.side(*side).to_owned();
        Err(CompareError::SeveralKernels { side: side_name, kernels: kernels(*side).join(", ") })
    })
}

/// The refusal of pairs that mean nothing, each reason once.
fn refuse(trials: &Trials<'_>, pairs: &[Pair]) -> Result<(), CompareError> {
    const TOLD_MAX: usize = 10;
    let mut reasons: Vec<(&Refusal, String, usize)> = Vec::new();
    for pair in pairs {
        for reason in &pair.refused {
            match reasons.iter().position(|(known, ..)| *known == reason) {
                Some(at) => reasons[at].2 += 1,
                None => reasons.push((reason, label(trials, pair), 1)),
            }
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let line = |(reason, first, count): &(&Refusal, String, usize)| match count - 1 {
        0 => format!("- {first}: {reason}"),
        others => format!("- {first} and {others} more: {reason}"),
    };
    let mut lines: Vec<String> = reasons.iter().take(TOLD_MAX).map(line).collect();
    match reasons.len().saturating_sub(TOLD_MAX) {
        0 => {}
        1 => lines.push("- and 1 more reason".into()),
        more => lines.push(format!("- and {more} more reasons")),
    }
    Err(CompareError::Refused(lines.join("\n")))
}

/// The name of a comparison in a message.
fn label(trials: &Trials<'_>, pair: &Pair) -> String {
    const SHOWN: [Column; 6] =
        [Column::scenario, Column::backend, Column::batch, Column::payload, Column::window, Column::rate_pps];
    let shown = pair.cell.iter().filter(|(axis, value)| SHOWN.contains(axis) && !value.is_empty());
    let words = |(axis, value): (Column, &str)| match axis {
        Column::scenario | Column::backend => value.to_owned(),
        _ => format!("{} {value}", axis.name()),
    };
    let cell: Vec<String> = shown.map(words).collect();
    let side = |side| trials.side(side);
    format!("{} ({} and {})", cell.join(" "), side(pair.base.side), side(pair.new.side))
}

/// The comparisons to make: pairs and metrics.
pub(super) fn jobs(trials: &Trials<'_>, pairs: &[Pair], settings: &Settings<'_>) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let wanted = metrics::defaults(pair.cell.get(Column::scenario), &pair.accel);
        let has = |metric: Metric| {
            let mut all = pair.base.trials.iter().chain(&pair.new.trials);
            all.any(|trial| trials.value(*trial, metric).is_some())
        };
        let metrics = trials.metrics.iter().copied();
        let metrics = metrics.filter(|metric| settings.all_metrics || wanted.contains(&metric.column));
        jobs.extend(metrics.filter(|metric| has(*metric)).map(|metric| (index, metric)));
    }
    jobs
}

/// Makes the comparisons, on all cores.
fn compare(trials: &Trials<'_>, pairs: &[Pair], jobs: &[Job], settings: &Settings<'_>) -> Vec<Comparison> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = jobs.len().div_ceil(threads).max(1);
    let work = |part: &[Job]| {
        let one = |job: &Job| one(trials, &pairs[job.0], job.1, settings.threshold);
        part.iter().map(one).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let start = |part| (part, std::thread::Builder::new().spawn_scoped(scope, move || work(part)));
        let parts: Vec<_> = jobs.chunks(share).map(start).collect();
        let results = parts.into_iter().map(|(part, thread)| match thread {
            Ok(thread) => thread.join().expect("no comparison panics"),
            // If the limits allow no more threads, this one does the work.
            Err(_) => work(part),
        });
        results.flatten().collect()
    })
}

fn one(trials: &Trials<'_>, pair: &Pair, metric: Metric, threshold: f64) -> Comparison {
    let [base, new] = judge::sides(trials, pair, metric);
    let mut warnings = judge::warnings((&base, &pair.base), (&new, &pair.new));
    let counted = counts::is_counted(&pair.accel);
    let sorted = [&base, &new].map(|side| verdict::sorted(&side.values));
    let (figures, missing) = if counted {
        let figures = counts::figures(&sorted[0], &sorted[1]);
        let missing = if figures.medians.iter().any(Option::is_none) { Reason::NoValues } else { Reason::NoRatio };
        (figures, figures.ratio.is_none().then_some(missing))
    } else {
        judge::figures(trials, pair, &base, &new)
    };
    let reason = judge::refusal(pair, &base, &new).or(missing);
    warnings.extend(judge::moved(&base, &new, reason.as_ref()));
    let unsettled = reason.is_none() && counted && !sorted.iter().all(|counts| counts::is_settled(counts));
    warnings.extend(unsettled.then_some(Warning::Unsettled));
    // Timed rows get their verdict once all rows are there.
    let verdict = if counted { counts::verdict(&figures, !unsettled, metric.better, threshold) } else { Verdict::None };
    let per_call = [&pair.base, &pair.new].map(|half| {
        let values = half.trials.iter().map(|&at| trials.attempt(at)).filter(|attempt| attempt.state == State::Valid);
        Summary::of(values.map(|attempt| attempt.per_call)).map(|summary| summary.median)
    });
    let sides = [pair.base.side, pair.new.side].map(|side| trials.side(side).to_owned());
    Comparison {
        judged: Judged { metric, cell: pair.cell.clone(), sides, figures, q: None, verdict, reason },
        conditions: pair.conditions.clone(),
        counts: [base.values.len(), new.values.len()],
        per_call,
        counted,
        unsettled,
        warnings,
    }
}
