//! Which axis a scenario was swept along: comparisons that differ in nothing else are told together.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::cell::CellKey;
use crate::record::columns::Column;

/// An axis of numbers, and what its values are called in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Its column.
    pub column: Column,
    /// One value, at the start of a sentence.
    pub one: &'static str,
    /// Several values, at the start of a sentence.
    pub many: &'static str,
    /// Before values, within a sentence.
    pub within: &'static str,
}

/// The axes that may be swept; of those with equally many values, the first is.
const SWEEPABLE: [Axis; 4] = [
    Axis { column: Column::batch, one: "Batch", many: "Batches", within: "in batches of" },
    Axis { column: Column::rate_pps, one: "Rate", many: "Rates", within: "at rates of" },
    Axis { column: Column::window, one: "Window", many: "Windows", within: "with windows of" },
    Axis { column: Column::payload, one: "Payload", many: "Payloads", within: "with payloads of" },
];

/// The axis that each scenario was swept along: the one with the most values.
#[derive(Debug)]
pub(crate) struct Swept<'a>(BTreeMap<&'a str, Axis>);

impl<'a> Swept<'a> {
    /// Of cells, each with the values of all axes.
    pub(crate) fn of(cells: impl Iterator<Item = &'a CellKey>) -> Self {
        let mut values: BTreeMap<&str, [BTreeSet<&str>; SWEEPABLE.len()]> = BTreeMap::new();
        for cell in cells {
            let known = values.entry(cell.get(Column::scenario)).or_default();
            for (axis, known) in SWEEPABLE.iter().zip(known) {
                known.insert(cell.get(axis.column));
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
    pub(crate) fn others(&self, cell: &CellKey) -> CellKey {
        let swept = self.axis(cell.get(Column::scenario)).column;
        cell.without(|axis| axis == swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(scenario: &'static str, batch: &'static str, rate: &'static str, payload: &'static str) -> CellKey {
        CellKey::of(|axis| match axis {
            Column::scenario => scenario,
            Column::batch => batch,
            Column::rate_pps => rate,
            Column::payload => payload,
            _ => "",
        })
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
        let swept = Swept::of(cells.iter());
        let column = |scenario| swept.axis(scenario).column;
        let expected = [Column::rate_pps, Column::batch, Column::batch, Column::batch];
        assert_eq!(["pace", "drain", "echo", "send"].map(column), expected);
        assert_eq!(swept.others(&cells[1]), swept.others(&cells[2]));
        assert_ne!(swept.others(&cells[0]), swept.others(&cells[1]), "the batch is none that was swept");
    }
}
