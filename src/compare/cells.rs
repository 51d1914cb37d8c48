//! Pairs the trials to compare: the same cell on two sides, under the same conditions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::compare::axes::{self, By};
use crate::compare::counts;
use crate::compare::trials::Trials;
use crate::compare::warnings::{Reason, Refusal, or_empty};
use crate::plan::cells::Scenario;
use crate::record::cell::{AXES, CellKey, MUST_BE_EQUAL};
use crate::record::columns::Column;
use crate::record::row::State;

/// A cell on two sides.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The cell, without what distinguishes the sides.
    pub cell: CellKey,
    /// The accelerator under which the trials ran, e.g. `icount`.
    pub accel: String,
    /// What else was equal on both sides: the conditions that are not axes, with their values.
    pub conditions: Vec<(Column, String)>,
    /// The base.
    pub base: Half,
    /// The side compared with it.
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
    /// The indices of its trials that ran, invalid ones included.
    pub trials: Vec<usize>,
    /// How many of its trials failed.
    pub failed: usize,
}

/// The trials of a cell on one side, by conditions.
#[derive(Debug, Default)]
struct Found {
    ran: BTreeMap<u32, Vec<usize>>,
    failed: BTreeMap<u32, usize>,
}

/// Trials of a cell on one side that have no counterpart on the other.
#[derive(Debug)]
pub(crate) struct Alone {
    /// The cell, as in [`Pair::cell`]. Failed trials have no values on axes that must be equal.
    pub cell: CellKey,
    /// The host that they were measured on, unless hosts are compared.
    pub host: String,
    /// The sides that were matched; none if the cell is on one side only.
    pub sides: Option<[u32; 2]>,
    /// Why they have none.
    pub reason: Reason,
    /// The numbers of the cell and of the conditions.
    key: (u32, Option<u32>),
}

/// The result of matching.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// The pairs, including those whose comparison means nothing.
    pub pairs: Vec<Pair>,
    /// Trials without a counterpart.
    pub alone: Vec<Alone>,
    /// Where the nearest cells differ, if cells are on one side only.
    pub nearest: Option<String>,
    /// The cells and conditions that are in a pair.
    paired: HashSet<(u32, Option<u32>)>,
}

impl Matched {
    /// Why cells are not compared: a reason for each cell, under its conditions, that is in no pair.
    pub(crate) fn uncompared(&self) -> impl Iterator<Item = &Reason> {
        let mut known = self.paired.clone();
        self.alone.iter().filter(move |alone| known.insert(alone.key)).map(|alone| &alone.reason)
    }
}

/// The sides that have trials, in order.
pub(crate) fn sides(trials: &Trials<'_>) -> Vec<u32> {
    let sides: BTreeSet<u32> = trials.list.iter().map(|placed| placed.side).collect();
    let mut sides: Vec<u32> = sides.into_iter().collect();
    sides.sort_by(|a, b| trials.by.order(trials.side(*a), trials.side(*b)));
    sides
}

/// Matches the cells of `sides`: all with `base`, or each with the side before it. If each host is compared with
/// itself, cells are matched host by host.
pub(crate) fn matched(trials: &Trials<'_>, sides: &[u32], base: Option<u32>, across_hosts: bool) -> Matched {
    let mut found: BTreeMap<u32, BTreeMap<u32, Found>> = BTreeMap::new();
    for (index, placed) in trials.list.iter().enumerate() {
        let found = found.entry(placed.cell).or_default().entry(placed.side).or_default();
        match trials.attempt(index).state {
            State::Failed => *found.failed.entry(placed.conditions).or_default() += 1,
            _ => found.ran.entry(placed.conditions).or_default().push(index),
        }
    }
    let mut keys: Vec<(u32, CellKey)> = found.keys().map(|&cell| (cell, trials.cell(cell))).collect();
    keys.sort_by(|(_, a), (_, b)| order(a, b));
    let cells: Vec<u32> = keys.into_iter().map(|(cell, _)| cell).collect();
    let mut matched = Matched::default();
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
            let all = here.values().flat_map(|found| found.ran.keys().chain(found.failed.keys()));
            matched.alone.extend(all.map(|&key| alone(trials, (cell, Some(key)), None, Reason::OneSided)));
        }
        for (base, new) in partners {
            pair_up(trials, cell, [(base, &here[&base]), (new, &here[&new])], across_hosts, &mut matched);
        }
    }
    matched.nearest = nearest(trials, &cells, &found, base.unwrap_or(sides[0]));
    matched
}

/// Pairs each side with the nearest usable one before it: sides that failed or were disturbed are skipped.
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

/// Makes pairs of the trials of a cell that ran under the same conditions. If trials are left on both sides and nothing
/// fits, they become pairs whose comparison means nothing.
fn pair_up(trials: &Trials<'_>, cell: u32, both: [(u32, &Found); 2], across_hosts: bool, matched: &mut Matched) {
    let [(base, of_base), (new, of_new)] = both;
    let is_common = |key: &u32| of_base.ran.contains_key(key) && of_new.ran.contains_key(key);
    let left = |found: &Found| found.ran.keys().copied().filter(|key| !is_common(key)).collect::<Vec<u32>>();
    let mut left = [left(of_base), left(of_new)];
    let mut common: Vec<u32> = of_base.ran.keys().copied().filter(is_common).collect();
    // Payloads and rounds by size, not in the order in which they were first run.
    let sizes = || MUST_BE_EQUAL.iter().filter(|column| column.role().is_axis());
    common.sort_by(|a, b| {
        let size = |conditions: &u32, column: &Column| trials.condition(*conditions, *column);
        let order = sizes().map(|column| axes::natural(size(a, column), size(b, column)));
        order.fold(Ordering::Equal, Ordering::then)
    });
    let mut pairs: Vec<[Option<u32>; 2]> = common.into_iter().map(|key| [Some(key); 2]).collect();
    if pairs.is_empty() {
        pairs = unlike(trials, [of_base, of_new], &mut left, across_hosts);
    }
    for pair in pairs {
        let half = |(side, found): (u32, &Found), conditions: Option<u32>| Half {
            side,
            trials: conditions.map_or_else(Vec::new, |conditions| found.ran[&conditions].clone()),
            failed: found.failed.values().sum(),
        };
        matched.paired.extend(pair.iter().filter(|key| key.is_some()).map(|key| (cell, *key)));
        matched.pairs.push(made(trials, cell, pair, [half(both[0], pair[0]), half(both[1], pair[1])]));
    }
    let mut add = |key: u32, reason: Reason| {
        matched.alone.push(alone(trials, (cell, Some(key)), Some([base, new]), reason));
    };
    for (side, key) in (0..2).flat_map(|side| left[side].iter().map(move |&key| (side, key))) {
        add(key, why_alone(trials, (side, key), &left, both[1 - side].1));
    }
    // Hosts on which no trial ran.
    let host = |key: u32| trials.condition(key, Column::host);
    let ran: BTreeSet<&str> = both.iter().flat_map(|(_, found)| found.ran.keys()).map(|key| host(*key)).collect();
    let failed = both.iter().flat_map(|(_, found)| found.failed.keys().copied());
    failed.filter(|key| !ran.contains(host(*key))).for_each(|key| add(key, Reason::NothingRan));
}

/// Pairs trials under conditions that differ: each with the most similar ones of the other side, of the same host if
/// there are any. If each host is compared with itself, trials of other hosts are left over. A side that failed
/// altogether is empty.
fn unlike(
    trials: &Trials<'_>,
    [base, new]: [&Found; 2],
    left: &mut [Vec<u32>; 2],
    across_hosts: bool,
) -> Vec<[Option<u32>; 2]> {
    let [bases, news] = left;
    if bases.is_empty() && !base.failed.is_empty() {
        return news.drain(..).map(|new| [None, Some(new)]).collect();
    }
    if news.is_empty() && !new.failed.is_empty() {
        return bases.drain(..).map(|base| [Some(base), None]).collect();
    }
    let mut pairs = Vec::new();
    bases.retain(|&base| {
        let differs = |new: u32, column| trials.condition(base, column) != trials.condition(new, column);
        let distance = |new: u32| {
            (differs(new, Column::host), MUST_BE_EQUAL.iter().filter(|column| differs(new, **column)).count())
        };
        let nearest = (0..news.len()).min_by_key(|&at| distance(news[at]));
        let nearest = nearest.filter(|&at| !across_hosts || !distance(news[at]).0);
        pairs.extend(nearest.map(|at| [Some(base), Some(news.remove(at))]));
        nearest.is_none()
    });
    pairs
}

/// The columns that must be equal but are not, in the order in which messages name them.
fn differing(trials: &Trials<'_>, a: u32, b: u32) -> impl Iterator<Item = Column> {
    let columns = axes::in_order_of_naming(MUST_BE_EQUAL).into_iter();
    columns.filter(move |column| trials.condition(a, *column) != trials.condition(b, *column))
}

/// Why trials left on a side have no counterpart on the other.
fn why_alone(trials: &Trials<'_>, (side, key): (usize, u32), left: &[Vec<u32>; 2], other: &Found) -> Reason {
    let host = |key: u32| trials.condition(key, Column::host);
    let mut others = left[1 - side].iter().copied().filter(|other| host(*other) == host(key));
    if let Some(other) = others.next() {
        let both = if side == 0 { (key, other) } else { (other, key) };
        if let Some(column) = differing(trials, key, other).next() {
            return Reason::Refused(refusal(trials, both, column));
        }
    }
    let has_failed = other.failed.keys().any(|other| host(*other) == host(key));
    if has_failed { Reason::NothingRan } else { Reason::OneSided }
}

fn alone(trials: &Trials<'_>, key: (u32, Option<u32>), sides: Option<[u32; 2]>, reason: Reason) -> Alone {
    let (cell, conditions) = key;
    let host = conditions.map_or("", |conditions| trials.condition(conditions, Column::host)).to_owned();
    let told = conditions.filter(|_| reason != Reason::NothingRan);
    Alone { cell: trials.full_cell(cell, told), host, sides, reason, key }
}

fn made(trials: &Trials<'_>, cell: u32, [of_base, of_new]: [Option<u32>; 2], [base, new]: [Half; 2]) -> Pair {
    let conditions = of_new.or(of_base);
    let text = |column: Column| conditions.map_or("", |conditions| trials.condition(conditions, column)).to_owned();
    let others = MUST_BE_EQUAL.iter().filter(|column| !column.role().is_axis() && !trials.by.frees(**column));
    let texts = others.map(|&column| (column, text(column))).collect();
    let (accel, cell) = (text(Column::accel), trials.full_cell(cell, conditions));
    let interleaved = shares_blocks(trials, &base, &new);
    let mut pair = Pair { cell, accel, conditions: texts, base, new, refused: Vec::new(), interleaved };
    pair.refused = refusals(trials, &pair, of_base.zip(of_new));
    pair
}

fn shares_blocks(trials: &Trials<'_>, base: &Half, new: &Half) -> bool {
    let blocks = |half: &Half| -> BTreeSet<u32> { half.trials.iter().map(|&at| trials.attempt(at).block).collect() };
    !blocks(base).is_disjoint(&blocks(new))
}

/// Why a comparison means nothing.
fn refusals(trials: &Trials<'_>, pair: &Pair, conditions: Option<(u32, u32)>) -> Vec<Refusal> {
    let mut reasons = Vec::new();
    if let Some((base, new)) = conditions {
        reasons.extend(differing(trials, base, new).map(|column| refusal(trials, (base, new), column)));
    }
    let is_counted = counts::is_counted(&pair.accel);
    reasons.extend(counts::misleading(&trials.by).filter(|_| is_counted).map(|by| Refusal::Counted { by }));
    reasons
}

fn refusal(trials: &Trials<'_>, (base, new): (u32, u32), column: Column) -> Refusal {
    let [base, new] = [base, new].map(|conditions| trials.condition(conditions, column).to_owned());
    Refusal::Differs { column, base, new }
}

/// The columns in which the most similar unpaired cells of two sides differ.
fn nearest(
    trials: &Trials<'_>,
    cells: &[u32],
    found: &BTreeMap<u32, BTreeMap<u32, Found>>,
    base: u32,
) -> Option<String> {
    // A few of each side are enough.
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
