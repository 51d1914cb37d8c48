//! Which trials are compared with which: the same cell on two sides, under the same conditions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::compare::axes::{self, By};
use crate::compare::counts;
use crate::compare::trials::Trials;
use crate::compare::warnings::{Refusal, or_empty};
use crate::plan::cells::Scenario;
use crate::record::cell::{AXES, CellKey, MUST_BE_EQUAL};
use crate::record::columns::Column;
use crate::record::row::State;

/// A cell on two sides.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The cell; without what is compared by.
    pub cell: CellKey,
    /// Where the trials were counted, e.g. `icount`.
    pub accel: String,
    /// What else was equal on both sides: the conditions that are no axes, with their values.
    pub conditions: Vec<(Column, String)>,
    /// The base.
    pub base: Half,
    /// What is compared with it.
    pub new: Half,
    /// Why the comparison means nothing.
    pub refused: Vec<Refusal>,
    /// Whether the sides share blocks.
    pub interleaved: bool,
}

/// One side of a cell.
#[derive(Debug)]
pub(crate) struct Half {
    /// Which side.
    pub side: u32,
    /// Its trials that ran, invalid ones included: indices.
    pub trials: Vec<usize>,
    /// How many others failed.
    pub failed: usize,
}

/// The trials of a cell on one side, by conditions.
#[derive(Debug, Default)]
struct Found {
    ran: BTreeMap<u32, Vec<usize>>,
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

/// The sides that have trials, in their order, by what they are told apart by.
pub(crate) fn sides(trials: &Trials<'_>) -> Vec<u32> {
    let sides: BTreeSet<u32> = trials.list.iter().map(|placed| placed.side).collect();
    let mut sides: Vec<u32> = sides.into_iter().collect();
    sides.sort_by(|a, b| trials.by.order(trials.side(*a), trials.side(*b)));
    sides
}

/// Matches the cells of `sides`: all with `base`, or each with the one before it.
pub(crate) fn matched(trials: &Trials<'_>, sides: &[u32], base: Option<u32>) -> Matched {
    let mut found: BTreeMap<u32, BTreeMap<u32, Found>> = BTreeMap::new();
    for (index, placed) in trials.list.iter().enumerate() {
        let found = found.entry(placed.cell).or_default().entry(placed.side).or_default();
        match trials.attempt(index).state {
            State::Failed => found.failed += 1,
            _ => found.ran.entry(placed.conditions).or_default().push(index),
        }
    }
    let mut keys: Vec<(u32, CellKey)> = found.keys().map(|&cell| (cell, trials.cell(cell))).collect();
    keys.sort_by(|(_, a), (_, b)| order(a, b));
    let cells: Vec<u32> = keys.into_iter().map(|(cell, _)| cell).collect();
    let mut matched = Matched { pairs: Vec::new(), alone: 0, nearest: None };
    for &cell in &cells {
        let here = &found[&cell];
        let present: Vec<u32> = sides.iter().copied().filter(|side| here.contains_key(side)).collect();
        let partners: Vec<(u32, u32)> = match base {
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
fn neighbours(sides: &[u32], says_something: impl Fn(u32) -> bool) -> Vec<(u32, u32)> {
    let mut partners = Vec::new();
    let mut before = None;
    for &side in sides {
        partners.extend(before.map(|before| (before, side)));
        before = if says_something(side) { Some(side) } else { before };
    }
    partners
}

fn says_something(trials: &Trials<'_>, found: &Found) -> bool {
    found.ran.values().flatten().any(|&trial| trials.attempt(trial).state == State::Valid)
}

/// Makes pairs of the trials of a cell that ran under the same conditions. What is left over on both sides, where
/// nothing fits, becomes pairs that mean nothing.
fn pair_up(trials: &Trials<'_>, cell: u32, base: (u32, &Found), new: (u32, &Found), matched: &mut Matched) {
    let mut common: Vec<u32> = base.1.ran.keys().copied().filter(|key| new.1.ran.contains_key(key)).collect();
    // Payloads and rounds by size, not in the order in which they were run first.
    let sizes = || MUST_BE_EQUAL.iter().filter(|column| column.role().is_axis());
    common.sort_by(|a, b| {
        let size = |conditions: &u32, column: &Column| trials.condition(*conditions, *column);
        let order = sizes().map(|column| axes::natural(size(a, column), size(b, column)));
        order.fold(Ordering::Equal, Ordering::then)
    });
    let mut pairs: Vec<(Option<u32>, Option<u32>)> = common.iter().map(|key| (Some(*key), Some(*key))).collect();
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
        let half = |(side, found): (u32, &Found), conditions: Option<u32>| Half {
            side,
            trials: conditions.map_or_else(Vec::new, |conditions| found.ran[&conditions].clone()),
            failed: found.failed,
        };
        let (base, new) = (half(base, of_base), half(new, of_new));
        let conditions = of_new.or(of_base);
        let accel = conditions.map_or("", |conditions| trials.condition(conditions, Column::accel)).to_owned();
        let text = |column: Column| conditions.map_or("", |conditions| trials.condition(conditions, column)).to_owned();
        let others = MUST_BE_EQUAL.iter().filter(|column| !column.role().is_axis() && !trials.by.frees(**column));
        let texts = others.map(|&column| (column, text(column))).collect();
        let cell = trials.full_cell(cell, conditions);
        let interleaved = shares_blocks(trials, &base, &new);
        let mut pair = Pair { cell, accel, conditions: texts, base, new, refused: Vec::new(), interleaved };
        pair.refused = refusals(trials, &pair, of_base.zip(of_new));
        matched.pairs.push(pair);
    }
}

fn shares_blocks(trials: &Trials<'_>, base: &Half, new: &Half) -> bool {
    let blocks = |half: &Half| -> BTreeSet<u32> { half.trials.iter().map(|&at| trials.attempt(at).block).collect() };
    !blocks(base).is_disjoint(&blocks(new))
}

/// Why a comparison means nothing.
fn refusals(trials: &Trials<'_>, pair: &Pair, conditions: Option<(u32, u32)>) -> Vec<Refusal> {
    let mut reasons = Vec::new();
    if let Some((base, new)) = conditions {
        for column in axes::in_order_of_naming(MUST_BE_EQUAL) {
            let [base, new] = [base, new].map(|conditions| trials.condition(conditions, column));
            if base != new {
                reasons.push(Refusal::Differs { column, base: base.to_owned(), new: new.to_owned() });
            }
        }
    }
    let is_counted = counts::is_counted(&pair.accel);
    reasons.extend(counts::misleading(&trials.by).filter(|_| is_counted).map(|by| Refusal::Counted { by }));
    reasons
}

/// In which columns the most similar cells of two sides differ that have no partner.
fn nearest(
    trials: &Trials<'_>,
    cells: &[u32],
    found: &BTreeMap<u32, BTreeMap<u32, Found>>,
    base: u32,
) -> Option<String> {
    // A few of each side tell enough.
    const LOOKED_AT: usize = 100;
    let on = |is_base: bool| -> Vec<CellKey> {
        let alone = cells.iter().filter(|cell| {
            let sides = &found[*cell];
            sides.len() == 1 && sides.contains_key(&base) == is_base
        });
        alone.take(LOOKED_AT).map(|&cell| trials.cell(cell)).collect()
    };
    let (bases, news) = (on(true), on(false));
    let pairs = bases.iter().flat_map(|a| news.iter().map(move |b| (a, b)));
    let (a, b) = pairs.min_by_key(|(a, b)| a.differing(b).len())?;
    let told: Vec<String> = a
        .differing(b)
        .into_iter()
        .map(|axis| format!("{} is {} and {}", axis.name(), or_empty(a.get(axis)), or_empty(b.get(axis))))
        .collect();
    Some(told.join(", "))
}

/// The order of cells: by scenario, then column by column.
pub(crate) fn order(a: &CellKey, b: &CellKey) -> Ordering {
    let scenario = |name: &str| Scenario::ALL.iter().position(|scenario| scenario.name() == name);
    let name = |cell: &CellKey| axes::name(cell.get(Column::backend), cell.get(Column::variant));
    let column = |axis: Column| {
        let (of_a, of_b) = (a.get(axis), b.get(axis));
        match axis {
            Column::scenario => scenario(of_a).cmp(&scenario(of_b)),
            Column::backend => By::Column(Column::backend).order(of_a, of_b),
            // The default variant has no name of its own, and comes first.
            Column::variant => name(a).cmp(&name(b)),
            _ if of_a == of_b => Ordering::Equal,
            _ => axes::natural(of_a, of_b),
        }
    };
    AXES.iter().map(|&axis| column(axis)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
