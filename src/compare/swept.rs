//! The axis that a scenario was swept along: comparisons that differ only in it are grouped.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::cell::CellKey;
use crate::record::columns::Column;

/// The axes that may be swept; of those with equally many values, the first is taken.
const SWEEPABLE: [Column; 4] = [Column::batch, Column::rate_pps, Column::window, Column::payload];

/// The axis that each scenario was swept along: the one with the most values.
#[derive(Debug)]
pub(crate) struct Swept<'a>(BTreeMap<&'a str, Column>);

impl<'a> Swept<'a> {
    /// From cells, each with the values of all axes.
    pub(crate) fn of(cells: impl Iterator<Item = &'a CellKey>) -> Self {
        let mut values: BTreeMap<&str, [BTreeSet<&str>; SWEEPABLE.len()]> = BTreeMap::new();
        for cell in cells {
            let known = values.entry(cell.get(Column::scenario)).or_default();
            for (axis, known) in SWEEPABLE.iter().zip(known) {
                known.insert(cell.get(*axis));
            }
        }
        let longest = |values: [BTreeSet<&str>; SWEEPABLE.len()]| {
            let axes = SWEEPABLE.into_iter().zip(values.map(|values| values.len()));
            axes.rev().max_by_key(|(_, count)| *count).map_or(SWEEPABLE[0], |(axis, _)| axis)
        };
        Self(values.into_iter().map(|(scenario, values)| (scenario, longest(values))).collect())
    }

    /// The axis of a scenario.
    pub(crate) fn axis(&self, scenario: &str) -> Column {
        self.0.get(scenario).copied().unwrap_or(SWEEPABLE[0])
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
        let column = |scenario| swept.axis(scenario);
        let expected = [Column::rate_pps, Column::batch, Column::batch, Column::batch];
        assert_eq!(["pace", "drain", "echo", "send"].map(column), expected);
    }
}
