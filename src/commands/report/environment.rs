//! The machines on which the trials ran, column by column.

use std::collections::HashSet;

use crate::compare::dataset::Dataset;
use crate::record::column::Group;
use crate::record::columns::{Column, Declaration};

/// The most values of a column that are kept.
const VALUES_MAX: usize = 8;

/// A column about machines.
#[derive(Debug)]
pub(crate) struct Feature {
    /// Which.
    pub column: Column,
    /// What it is.
    pub label: &'static str,
    /// Its values, each with the files that contain it.
    pub values: Vec<(String, Vec<usize>)>,
    /// Whether there are more values.
    pub has_more: bool,
}

/// All columns about machines.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The columns, in their order.
    pub features: Vec<Feature>,
}

impl Environment {
    /// Of all rows.
    pub(crate) fn of(data: &Dataset) -> Self {
        let mut features: Vec<Feature> = Column::declarations().iter().filter_map(Feature::of).collect();
        // The machine comes first, the program last.
        features.sort_by_key(|feature| match feature.column.declaration().group {
            Group::Environment => 0,
            Group::Program => 2,
            _ => 1,
        });
        let mut known = HashSet::new();
        for attempt in &data.attempts {
            if known.insert((attempt.circumstances, attempt.file)) {
                let circumstances = data.circumstances(attempt.circumstances);
                let file = attempt.file as usize;
                features.iter_mut().for_each(|feature| feature.add(circumstances.get(feature.column), file));
            }
        }
        Self { features }
    }
}

impl Feature {
    fn of(declaration: &Declaration) -> Option<Self> {
        let label = declaration.label?;
        Some(Self { column: declaration.column, label, values: Vec::new(), has_more: false })
    }

    /// Adds a value of a row of a file.
    fn add(&mut self, value: &str, file: usize) {
        if value.is_empty() {
            return;
        }
        match self.values.iter().position(|(known, _)| known == value) {
            Some(at) if self.values[at].1.last() == Some(&file) => {}
            Some(at) => self.values[at].1.push(file),
            None if self.values.len() < VALUES_MAX => self.values.push((value.to_owned(), vec![file])),
            None => self.has_more = true,
        }
    }
}
