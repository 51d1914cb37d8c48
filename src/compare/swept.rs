//! Which axis a scenario was swept along: comparisons that differ in nothing else are told together.

use std::collections::{BTreeMap, BTreeSet};

/// An axis of numbers, and what its values are called in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Where it is among the [`AXES`](crate::compare::axes::AXES).
    pub at: usize,
    /// One value, at the start of a sentence.
    pub one: &'static str,
    /// Several values, at the start of a sentence.
    pub many: &'static str,
    /// Before values, within a sentence.
    pub within: &'static str,
}

/// The axes that may be swept; of those with equally many values, the first is.
const SWEEPABLE: [Axis; 4] = [
    Axis { at: 6, one: "Batch", many: "Batches", within: "in batches of" },
    Axis { at: 9, one: "Rate", many: "Rates", within: "at rates of" },
    Axis { at: 11, one: "Window", many: "Windows", within: "with windows of" },
    Axis { at: 7, one: "Payload", many: "Payloads", within: "with payloads of" },
];

/// The axis that each scenario was swept along: the one with the most values.
#[derive(Debug)]
pub(crate) struct Swept<'a>(BTreeMap<&'a str, Axis>);

impl<'a> Swept<'a> {
    /// Of cells, each with the values of all axes.
    pub(crate) fn of(cells: impl Iterator<Item = &'a [String]>) -> Self {
        let mut values: BTreeMap<&str, [BTreeSet<&str>; SWEEPABLE.len()]> = BTreeMap::new();
        for axes in cells {
            let known = values.entry(&axes[0]).or_default();
            for (axis, known) in SWEEPABLE.iter().zip(known) {
                known.insert(&axes[axis.at]);
            }
        }
        let longest = |values: [BTreeSet<&str>; SWEEPABLE.len()]| {
            let axes = SWEEPABLE.into_iter().zip(values.map(|values| values.len()));
            axes.rev().max_by_key(|(_, count)| *count).map_or(SWEEPABLE[0], |(axis, _)| axis)
        };
        Self(values.into_iter().map(|(scenario, values)| (scenario, longest(values))).collect())
    }

    /// The axis of a scenario.
    pub(crate) fn axis(&self, scenario: &str) -> Axis {
        self.0.get(scenario).copied().unwrap_or(SWEEPABLE[0])
    }

    /// A cell without its value of the swept axis.
    pub(crate) fn others<'c>(&self, axes: &'c [String]) -> Vec<&'c str> {
        let swept = self.axis(&axes[0]).at;
        axes.iter().enumerate().filter(|(at, _)| *at != swept).map(|(_, value)| value.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::axes::AXES;

    fn cell(scenario: &str, batch: &str, rate: &str, payload: &str) -> Vec<String> {
        let value = |name: &&str| match *name {
            "scenario" => scenario,
            "batch" => batch,
            "rate_pps" => rate,
            "payload" => payload,
            _ => "",
        };
        AXES.iter().map(|name| value(name).to_owned()).collect()
    }

    #[test]
    fn the_axis_with_the_most_values_was_swept_and_of_equals_the_batch() {
        let cells = [
            cell("pace", "1", "10", "64"),
            cell("pace", "32", "20", "64"),
            cell("pace", "32", "30", "64"),
            cell("drain", "1", "", "64"),
            cell("drain", "32", "", "1472"),
            cell("echo", "32", "", "64"),
        ];
        let swept = Swept::of(cells.iter().map(Vec::as_slice));
        let name = |scenario| AXES[swept.axis(scenario).at];
        assert_eq!(["pace", "drain", "echo", "send"].map(name), ["rate_pps", "batch", "batch", "batch"]);
        assert_eq!(swept.others(&cells[1]), swept.others(&cells[2]));
        assert_ne!(swept.others(&cells[0]), swept.others(&cells[1]), "the batch is none that was swept");
    }

    #[test]
    fn the_axes_are_where_they_are_looked_for() {
        assert_eq!(SWEEPABLE.map(|axis| AXES[axis.at]), ["batch", "rate_pps", "window", "payload"]);
    }
}
