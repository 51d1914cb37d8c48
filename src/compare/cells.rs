//! Which trials are compared with which: the same cell on two sides, under the same conditions.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::compare::axes::{self, AXES, By, CONDITIONAL, CONDITIONS};
use crate::compare::counts;
use crate::compare::trials::Trials;
use crate::gates::{self, TRIALS_MIN};
use crate::plan::cells::Scenario;
use crate::record::row::State;

/// A cell on two sides.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The fields of [`AXES`]; empty where they are what is compared by.
    pub axes: Vec<String>,
    /// Where the trials were counted, e.g. `icount`.
    pub accel: String,
    /// The base.
    pub base: Half,
    /// What is compared with it.
    pub new: Half,
    /// Why the comparison means nothing.
    pub refused: Vec<String>,
    /// Whether the sides share blocks.
    pub interleaved: bool,
}

/// One side of a cell.
#[derive(Debug)]
pub(crate) struct Half {
    /// Which side.
    pub side: usize,
    /// Its trials that ran, invalid ones included: indices.
    pub trials: Vec<usize>,
    /// How many others failed.
    pub failed: usize,
}

/// The trials of a cell on one side, by conditions.
#[derive(Debug, Default)]
struct Found {
    ran: BTreeMap<usize, Vec<usize>>,
    failed: usize,
}

/// What comes of matching.
#[derive(Debug)]
pub(crate) struct Matched {
    /// What can be compared, or could if it meant something.
    pub pairs: Vec<Pair>,
    /// How many cells are on one side only.
    pub alone: usize,
    /// Why cells that are on one side only have no partner: where the nearest ones differ.
    pub nearest: Option<String>,
}

/// The order of sides, by what they are told apart by.
pub(crate) fn sides(trials: &Trials) -> Vec<usize> {
    let mut sides: Vec<usize> = (0..trials.sides.fields.len()).collect();
    sides.sort_by(|a, b| trials.by.order(trials.sides.first(*a), trials.sides.first(*b)));
    sides
}

/// Matches the cells of `sides`: all with `base`, or each with the one before it.
pub(crate) fn matched(trials: &Trials, sides: &[usize], base: Option<usize>) -> Matched {
    let mut found: BTreeMap<usize, BTreeMap<usize, Found>> = BTreeMap::new();
    for (index, trial) in trials.list.iter().enumerate() {
        let found = found.entry(trial.cell).or_default().entry(trial.side).or_default();
        match trial.state {
            State::Failed => found.failed += 1,
            _ => found.ran.entry(trial.conditions).or_default().push(index),
        }
    }
    let mut cells: Vec<usize> = found.keys().copied().collect();
    cells.sort_by(|a, b| order(&trials.cells.fields[*a], &trials.cells.fields[*b]));
    let mut matched = Matched { pairs: Vec::new(), alone: 0, nearest: None };
    for &cell in &cells {
        let here = &found[&cell];
        let present: Vec<usize> = sides.iter().copied().filter(|side| here.contains_key(side)).collect();
        let partners: Vec<(usize, usize)> = match base {
            Some(base) if here.contains_key(&base) => {
                present.iter().filter(|side| **side != base).map(|side| (base, *side)).collect()
            }
            Some(_) => Vec::new(),
            None => neighbours(&present, |side| says_something(trials, &here[&side])),
        };
        if partners.is_empty() {
            matched.alone += 1;
        }
        for (base, new) in partners {
            pair_up(trials, cell, (base, &here[&base]), (new, &here[&new]), &mut matched);
        }
    }
    matched.nearest = nearest(trials, &cells, &found, base.unwrap_or(sides[0]));
    matched
}

/// Each side with the nearest one before it that says something: what failed or was disturbed is stepped over.
fn neighbours(sides: &[usize], says_something: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut partners = Vec::new();
    let mut before = None;
    for &side in sides {
        partners.extend(before.map(|before| (before, side)));
        before = if says_something(side) { Some(side) } else { before };
    }
    partners
}

fn says_something(trials: &Trials, found: &Found) -> bool {
    found.ran.values().flatten().any(|&trial| trials.list[trial].state == State::Valid)
}

/// Makes pairs of the trials of a cell that ran under the same conditions. What is left over on both sides, where
/// nothing fits, becomes pairs that mean nothing.
fn pair_up(trials: &Trials, cell: usize, base: (usize, &Found), new: (usize, &Found), matched: &mut Matched) {
    let mut common: Vec<usize> = base.1.ran.keys().copied().filter(|key| new.1.ran.contains_key(key)).collect();
    // Payloads and rounds by size, not in the order in which they were run first.
    let sizes = |key: usize| trials.conditions.fields[key].iter().skip(CONDITIONS.len());
    common.sort_by(|a, b| {
        let order = sizes(*a).zip(sizes(*b)).map(|(a, b)| axes::natural(a, b));
        order.fold(Ordering::Equal, Ordering::then)
    });
    let mut pairs: Vec<(Option<usize>, Option<usize>)> = common.iter().map(|key| (Some(*key), Some(*key))).collect();
    if common.is_empty() {
        let [mut bases, mut news] =
            [&base.1.ran, &new.1.ran].map(|ran| ran.keys().copied().map(Some).collect::<Vec<_>>());
        if bases.is_empty() && base.1.failed > 0 {
            bases = vec![None; news.len()];
        }
        if news.is_empty() && new.1.failed > 0 {
            news = vec![None; bases.len()];
        }
        pairs = bases.into_iter().zip(news).collect();
    }
    matched.alone += usize::from(pairs.is_empty());
    for (of_base, of_new) in pairs {
        let half = |(side, found): (usize, &Found), conditions: Option<usize>| Half {
            side,
            trials: conditions.map_or_else(Vec::new, |conditions| found.ran[&conditions].clone()),
            failed: found.failed,
        };
        let (base, new) = (half(base, of_base), half(new, of_new));
        let conditions = of_new.or(of_base).map_or(&[][..], |known| &trials.conditions.fields[known]);
        let axes = full_axes(&trials.cells.fields[cell], conditions);
        let accel = conditions.first().cloned().unwrap_or_default();
        let interleaved = shares_blocks(trials, &base, &new);
        let mut pair = Pair { axes, accel, base, new, refused: Vec::new(), interleaved };
        pair.refused = refusals(trials, &pair, of_base.zip(of_new));
        matched.pairs.push(pair);
    }
}

/// The fields of a cell with those of its conditions that are among the axes.
pub(crate) fn full_axes(cell: &[String], conditions: &[String]) -> Vec<String> {
    let mut axes = cell.to_vec();
    for (name, value) in CONDITIONAL.iter().zip(conditions.iter().skip(CONDITIONS.len())) {
        if let Some(at) = AXES.iter().position(|axis| axis == name) {
            axes[at].clone_from(value);
        }
    }
    axes
}

fn shares_blocks(trials: &Trials, base: &Half, new: &Half) -> bool {
    let blocks = |half: &Half| -> std::collections::BTreeSet<usize> {
        half.trials.iter().map(|trial| trials.list[*trial].block).collect()
    };
    !blocks(base).is_disjoint(&blocks(new))
}

/// Why a comparison means nothing.
fn refusals(trials: &Trials, pair: &Pair, conditions: Option<(usize, usize)>) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some((base, new)) = conditions {
        let (base, new) = (&trials.conditions.fields[base], &trials.conditions.fields[new]);
        let names = CONDITIONS.iter().chain(&CONDITIONAL);
        for ((name, base), new) in names.zip(base).zip(new).filter(|((_, base), new)| base != new) {
            let remedy = if *name == "host" { "; --by host compares them" } else { "" };
            reasons.push(format!("{name} is {} and {}{remedy}", or_none(base), or_none(new)));
        }
    }
    if counts::is_counted(&pair.accel) {
        reasons.extend(counts::refusal(&trials.by));
    }
    let planned = |half: &Half| half.trials.len() + half.failed;
    let fewest = planned(&pair.base).min(planned(&pair.new));
    if fewest < gates::trials_min(counts::is_counted(&pair.accel)) {
        reasons.push(format!("{fewest} trials are too few: a verdict needs {TRIALS_MIN}, and 10 are better"));
    }
    reasons
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "empty" } else { value }
}

/// In which columns the most similar cells of two sides differ that have no partner.
fn nearest(
    trials: &Trials,
    cells: &[usize],
    found: &BTreeMap<usize, BTreeMap<usize, Found>>,
    base: usize,
) -> Option<String> {
    // A few of each side tell enough.
    const LOOKED_AT: usize = 100;
    let on = |is_base: bool| {
        let alone = cells.iter().filter(move |cell| {
            let sides = &found[*cell];
            sides.len() == 1 && sides.contains_key(&base) == is_base
        });
        alone.take(LOOKED_AT)
    };
    let fields = |cell: &usize| &trials.cells.fields[*cell];
    let differing =
        |a: &usize, b: &usize| -> Vec<usize> { (0..AXES.len()).filter(|&at| fields(a)[at] != fields(b)[at]).collect() };
    let pairs = on(true).flat_map(|a| on(false).map(move |b| (a, b)));
    let (a, b) = pairs.min_by_key(|(a, b)| differing(a, b).len())?;
    let told: Vec<String> = differing(a, b)
        .into_iter()
        .map(|at| format!("{} is {} and {}", AXES[at], or_none(&fields(a)[at]), or_none(&fields(b)[at])))
        .collect();
    Some(told.join(", "))
}

/// The order of cells: by scenario, then column by column.
pub(crate) fn order(a: &[String], b: &[String]) -> Ordering {
    let scenario = |name: &str| Scenario::ALL.iter().position(|scenario| scenario.name() == name);
    let column = |at: usize| match AXES[at] {
        "scenario" => scenario(&a[at]).cmp(&scenario(&b[at])),
        "backend" => By::Column("backend").order(&a[at], &b[at]),
        // The default variant has no name of its own, and comes first.
        "variant" => axes::name(&a[at - 1], &a[at]).cmp(&axes::name(&b[at - 1], &b[at])),
        _ => axes::natural(&a[at], &b[at]),
    };
    (0..AXES.len()).map(column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
