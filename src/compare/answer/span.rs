//! What can be said of neighbouring values of what was swept at once: whoever has the same verdict is named together.

use crate::compare::axes;
use crate::compare::judge::Comparison;
use crate::compare::swept::Axis;
use crate::compare::verdict::Verdict;
use crate::record::column::Better;
use crate::record::columns::Column;
use crate::text::percent;

/// A change to this many times as much, or as little, is told as a factor.
const FACTOR_MIN: f64 = 2.0;

/// Sides whose changes are apart by this factor are not named together.
const APART: f64 = 2.0;

/// The order in which verdicts are told.
const TOLD: [Verdict; 5] = [Verdict::Better, Verdict::Same, Verdict::Worse, Verdict::Unclear, Verdict::None];

/// More modes of a backend than this are counted instead of named.
const MODES_MAX: usize = 2;

/// Values of the swept axis about which the same can be said.
pub(super) struct Span<'a> {
    /// What was swept.
    pub axis: Axis,
    /// Of how many values there are.
    pub of_all: usize,
    /// Whether no larger values follow.
    pub is_last: bool,
    /// Of each value, its comparisons.
    pub values: Vec<(u64, &'a [&'a Comparison])>,
}

/// How many times as much, or as little.
fn factor(ratio: f64) -> f64 {
    ratio.max(1.0 / ratio)
}

/// What a side is called: by the modes that were asked for.
pub(super) fn name(comparison: &Comparison, side: usize) -> String {
    let side = &comparison.sides[side];
    let Some((backend, variant)) = side.split_once(':') else { return side.clone() };
    axes::brief(backend, variant, comparison.cell.get(Column::addressing))
}

pub(super) fn is_difference(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Better | Verdict::Worse)
}

/// What a metric beside the one that a scenario is about is called.
pub(super) fn what(metric: Column) -> &'static str {
    match metric {
        Column::peer_ns_per_packet => "the other side",
        Column::lat_p99_ns => "99th percentile",
        other => other.name(),
    }
}

impl Span<'_> {
    /// The verdict on each side: in the metric that the scenario is about any, in others a difference.
    pub(super) fn verdicts(&self, primary: Column) -> Vec<(&str, Column, Verdict)> {
        let comparisons = self.values[0].1.iter();
        comparisons
            .map(|one| (one.sides[1].as_str(), one.metric.column, one.verdict))
            .filter(|(_, metric, verdict)| *metric == primary || is_difference(*verdict))
            .collect()
    }

    /// What is said; `with_base` if of the base, too, how many datagrams its system calls moved.
    pub(super) fn text(&self, primary: Column, threshold: f64, with_base: bool) -> String {
        let base = self.per_call(&self.values[0].1[..1], 0).filter(|_| with_base);
        let base = base.map_or_else(String::new, |calls| format!(" ({}: {calls})", name(self.values[0].1[0], 0)));
        let all = self.of_metric(primary);
        let mut parts = Vec::new();
        for group in self.groups(&all) {
            let verdict = group[0].verdict;
            parts.push(match verdict {
                Verdict::Same if group.len() == all.len() => {
                    format!("no difference beyond {}{}", percent(threshold), self.calls(&group, false))
                }
                Verdict::Unclear if group.len() == all.len() => "unclear: the trials do not tell".into(),
                Verdict::None if group.len() == all.len() => self.words(&group),
                Verdict::Unclear | Verdict::None => format!("{} {}", names(&group), self.words(&group)),
                _ => format!("{}{} {}", names(&group), self.calls(&group, true), self.words(&group)),
            });
        }
        for metric in self.others(primary) {
            let what = what(metric);
            let told = self.groups(&self.of_metric(metric)).into_iter().filter(|group| is_difference(group[0].verdict));
            parts.extend(told.map(|group| format!("{what} {} with {}", self.words(&group), names(&group))));
        }
        format!("{}{base}: {}", self.label(), parts.join("; "))
    }

    /// Comparisons with the same verdict, and with changes of a similar size, in the order in which they are told.
    fn groups<'c>(&self, comparisons: &[&'c Comparison]) -> Vec<Vec<&'c Comparison>> {
        let mut groups: Vec<Vec<&Comparison>> = Vec::new();
        for verdict in TOLD {
            let of_verdict = comparisons.iter().copied().filter(|one| one.verdict == verdict);
            let mut sized: Vec<(f64, &Comparison)> = of_verdict.map(|one| (self.largest(one), one)).collect();
            if is_difference(verdict) {
                // The largest first; of equal ones, in the order of the sides.
                sized.sort_by(|a, b| b.0.total_cmp(&a.0));
            }
            let chunks = sized.chunk_by(|a, b| !is_difference(verdict) || a.0 / b.0 < APART);
            groups.extend(chunks.map(|chunk| {
                // Named in the order of the sides again.
                let is_here = |one: &&Comparison| chunk.iter().any(|(_, other)| std::ptr::eq(*one, *other));
                comparisons.iter().copied().filter(is_here).collect::<Vec<_>>()
            }));
        }
        groups
    }

    /// The largest change of a side, as a factor.
    fn largest(&self, comparison: &Comparison) -> f64 {
        let side = [comparison];
        let ratios = self.everywhere(&side).filter_map(|one| one.figures.ratio);
        ratios.map(|ratio| factor(ratio.value)).fold(1.0, f64::max)
    }

    fn label(&self) -> String {
        let numbers: Vec<String> = self.values.iter().map(|(value, _)| value.to_string()).collect();
        match &numbers[..] {
            [one] => format!("{} {one}", self.axis.one),
            [first, ..] if self.is_last && numbers.len() < self.of_all => format!("From {first} on"),
            [first, .., last] => format!("{} {first} to {last}", self.axis.many),
            [] => String::new(),
        }
    }

    /// The comparisons of the first value in a metric.
    fn of_metric(&self, metric: Column) -> Vec<&Comparison> {
        self.values[0].1.iter().copied().filter(|comparison| comparison.metric.column == metric).collect()
    }

    /// The metrics beside the one that the scenario is about.
    fn others(&self, primary: Column) -> Vec<Column> {
        let mut others: Vec<Column> = Vec::new();
        for comparison in self.values[0].1.iter().filter(|comparison| comparison.metric.column != primary) {
            if !others.contains(&comparison.metric.column) {
                others.push(comparison.metric.column);
            }
        }
        others
    }

    /// The same comparisons at all values.
    fn everywhere<'s>(&'s self, comparisons: &'s [&Comparison]) -> impl Iterator<Item = &'s Comparison> + Clone {
        let is_wanted = |one: &Comparison| {
            let mut wanted = comparisons.iter();
            wanted.any(|wanted| wanted.sides == one.sides && wanted.metric == one.metric)
        };
        self.values.iter().flat_map(|(_, all)| all.iter().copied()).filter(move |one| is_wanted(one))
    }

    /// What is said of these, with the least and the largest change among them.
    pub(super) fn words(&self, group: &[&Comparison]) -> String {
        let (verdict, better) = (group[0].verdict, group[0].metric.better);
        let ratios: Vec<f64> =
            self.everywhere(group).filter_map(|one| one.figures.ratio).map(|ratio| ratio.value).collect();
        let factors = || ratios.iter().copied().map(factor);
        let is_factor = factors().any(|factor| factor >= FACTOR_MIN);
        let times = || range(factors(), usize::from(factors().any(|factor| factor < 10.0)));
        let percents = || range(ratios.iter().map(|ratio| (100.0 * (ratio - 1.0)).abs()), 0);
        match (verdict, better) {
            (Verdict::Same, _) => "the same".into(),
            (Verdict::Unclear, _) => "unclear".into(),
            (Verdict::None, _) => format!("without a verdict{}", reason(group)),
            (Verdict::Better, Better::Lower) if is_factor => format!("{} times as fast", times()),
            (Verdict::Better, Better::Lower) => format!("{}% faster", percents()),
            (Verdict::Worse, Better::Lower) if is_factor => format!("{} times as slow", times()),
            (Verdict::Worse, Better::Lower) => format!("{}% slower", percents()),
            (Verdict::Better, Better::Higher) if is_factor => format!("{} times as many", times()),
            (Verdict::Better, Better::Higher) => format!("{}% more", percents()),
            (Verdict::Worse, Better::Higher) => format!("{}% fewer", percents()),
        }
    }

    /// What system calls really moved, of those sides where that is not the batch; their names are told unless that is
    /// so of all that were `named` just before.
    pub(super) fn calls(&self, comparisons: &[&Comparison], named: bool) -> String {
        let differs = |one: &&Comparison| self.per_call(&[*one], 1).is_some();
        let differing: Vec<&Comparison> = comparisons.iter().copied().filter(differs).collect();
        match self.per_call(&differing, 1) {
            None => String::new(),
            Some(calls) if named && differing.len() == comparisons.len() => format!(" ({calls})"),
            Some(calls) => format!(" ({}: {calls})", names(&differing)),
        }
    }

    /// How many datagrams a system call of a side really moved, where that is not the batch asked for, nor what those of
    /// the base moved, which is told of it.
    fn per_call(&self, comparisons: &[&Comparison], side: usize) -> Option<String> {
        let differ = |calls: f64, from: f64| (calls / from - 1.0).abs() > 0.1;
        let is_news = |one: &Comparison| {
            let batch: f64 = one.cell.get(Column::batch).parse().unwrap_or(0.0);
            let is_base = |calls| side == 1 && one.per_call[0].is_some_and(|base| !differ(calls, base));
            one.per_call[side].is_some_and(|calls| differ(calls, batch) && !is_base(calls))
        };
        let calls = || self.everywhere(comparisons).filter_map(|one| one.per_call[side]);
        let is_told = self.everywhere(comparisons).any(is_news);
        is_told.then(|| format!("{} per system call", range(calls(), 0)))
    }
}

/// Why there is no verdict, if all have the same reason.
fn reason(group: &[&Comparison]) -> String {
    let first = group[0].reason.as_ref();
    let is_like = |one: &&Comparison| one.reason.as_ref().zip(first).is_some_and(|(own, first)| own.is_like(first));
    first.filter(|_| group.iter().all(is_like)).map_or_else(String::new, |first| format!(" ({})", first.brief()))
}

/// The sides of comparisons; many modes of a backend are counted.
fn names(comparisons: &[&Comparison]) -> String {
    let mut backends: Vec<(String, Vec<String>)> = Vec::new();
    for comparison in comparisons {
        let name = name(comparison, 1);
        let backend = name.split(':').next().unwrap_or(&name).to_owned();
        match backends.iter_mut().find(|(known, _)| *known == backend) {
            Some((_, names)) => names.push(name),
            None => backends.push((backend, vec![name])),
        }
    }
    let mut told = Vec::new();
    for (backend, names) in backends {
        match names.len() {
            count if count <= MODES_MAX => told.extend(names),
            count if names.contains(&backend) => told.push(format!("{backend} in {count} modes")),
            count => told.push(format!("{count} modes of {backend}")),
        }
    }
    match told.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Numbers as a range, or as one number.
fn range(values: impl Iterator<Item = f64>, decimals: usize) -> String {
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let [low, high] = [low, high].map(|value| format!("{value:.decimals$}"));
    if low == high { high } else { format!("{low} to {high}") }
}
