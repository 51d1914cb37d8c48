//! What can be said of each side over all that was swept, where neighbouring values differ too often to be told one by one.

use crate::compare::answer::span::{self, Span};
use crate::compare::judge::Comparison;
use crate::compare::swept::Axis;
use crate::compare::verdict::Verdict;
use crate::record::columns::Column;

/// The verdicts that are told with the values they were found at.
const TOLD: [Verdict; 3] = [Verdict::Better, Verdict::Same, Verdict::Worse];

/// Of each value of the swept axis, its comparisons.
type Values<'a> = [(u64, &'a [&'a Comparison])];

/// A sentence for each side and metric.
pub(super) fn sentences(axis: Axis, values: &Values<'_>, primary: Column) -> Vec<String> {
    let mut known: Vec<&Comparison> = Vec::new();
    for one in values.iter().flat_map(|(_, all)| all.iter().copied()) {
        if !known.iter().any(|known| is_alike(known, one)) {
            known.push(one);
        }
    }
    known.sort_by_key(|one| one.metric.column != primary);
    known.into_iter().filter_map(|one| sentence(axis, values, one, primary)).collect()
}

fn is_alike(a: &Comparison, b: &Comparison) -> bool {
    a.sides == b.sides && a.metric == b.metric
}

/// What is said of one side in one metric; nothing of a metric beside the one that the scenario is about, unless there is a
/// difference.
fn sentence(axis: Axis, values: &Values<'_>, one: &Comparison, primary: Column) -> Option<String> {
    let is_primary = one.metric.column == primary;
    let found =
        |(_, all): &(u64, &[&Comparison])| all.iter().find(|other| is_alike(one, other)).map(|other| other.verdict);
    let mut parts = Vec::new();
    for verdict in TOLD.into_iter().filter(|verdict| is_primary || span::is_difference(*verdict)) {
        let here: Vec<(u64, &[&Comparison])> =
            values.iter().copied().filter(|value| found(value) == Some(verdict)).collect();
        let Some(first) = here.first().and_then(|(_, all)| all.iter().copied().find(|other| is_alike(one, other)))
        else {
            continue;
        };
        let at = numbers(values, &here);
        let span = Span { axis, of_all: values.len(), is_last: false, values: here };
        parts.push(format!("{} {} {at}", span.words(&[first]), axis.within));
    }
    let name = span::name(one, 1);
    let all = Span { axis, of_all: values.len(), is_last: true, values: values.to_vec() };
    let calls = if is_primary { all.calls(&[one], true) } else { String::new() };
    let has = |verdict| values.iter().any(|value| found(value) == Some(verdict));
    let rest = match (has(Verdict::Unclear), has(Verdict::None)) {
        (true, true) => Some("unclear or without a verdict"),
        (true, false) => Some("unclear"),
        (false, true) => Some("without a verdict"),
        (false, false) => None,
    };
    let who =
        if is_primary { format!("{name}{calls}") } else { format!("With {name}, {}", span::what(one.metric.column)) };
    match (parts.is_empty(), rest) {
        (true, Some(rest)) if is_primary => Some(format!("{who}: {rest}.")),
        (true, _) => None,
        (false, Some(rest)) => Some(format!("{who}: {}; else {rest}.", parts.join(", "))),
        (false, None) => Some(format!("{who}: {}.", parts.join(", "))),
    }
}

/// Values as a list, neighbouring ones as a range.
fn numbers(all: &Values<'_>, here: &Values<'_>) -> String {
    let is_here = |value: u64| here.iter().any(|(other, _)| *other == value);
    let runs = all.chunk_by(|a, b| is_here(a.0) == is_here(b.0)).filter(|run| is_here(run[0].0));
    let mut texts: Vec<String> = runs
        .flat_map(|run| match run {
            [first, _, .., last] => vec![format!("{} to {}", first.0, last.0)],
            few => few.iter().map(|(value, _)| value.to_string()).collect(),
        })
        .collect();
    let last = texts.pop().unwrap_or_default();
    if texts.is_empty() { last } else { format!("{} and {last}", texts.join(", ")) }
}
