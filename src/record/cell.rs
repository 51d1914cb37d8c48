//! Which cell a row belongs to, and under which circumstances it was measured: the texts of columns, as the file has
//! them, whatever version of hpbench wrote it.

use std::fmt;
use std::sync::Arc;

use csv::StringRecord;

use crate::console::printable;
use crate::record::column::Role;
use crate::record::columns::{Column, DECLARATIONS};

/// The columns that satisfy a condition, in the order of the file.
macro_rules! columns_that {
    ($wanted:path) => {{
        const COUNT: usize = {
            let (mut at, mut count) = (0, 0);
            while at < Column::COUNT {
                count += $wanted(at) as usize;
                at += 1;
            }
            count
        };
        const COLUMNS: [Column; COUNT] = {
            let (mut at, mut count, mut columns) = (0, 0, [DECLARATIONS[0].column; COUNT]);
            while at < Column::COUNT {
                if $wanted(at) {
                    columns[count] = DECLARATIONS[at].column;
                    count += 1;
                }
                at += 1;
            }
            columns
        };
        &COLUMNS
    }};
}

/// The columns that make a cell.
pub const AXES: &[Column] = columns_that!(is_axis);

/// The columns that make the circumstances of a trial.
pub const CIRCUMSTANCES: &[Column] = columns_that!(is_circumstance);

/// The columns that must be equal on both sides of a comparison, or it means nothing.
pub const MUST_BE_EQUAL: &[Column] = columns_that!(must_be_equal);

/// The columns that may differ between the sides, and are named where they do.
pub const MAY_DIFFER: &[Column] = columns_that!(may_differ);

const fn must_be_equal(at: usize) -> bool {
    DECLARATIONS[at].role.must_be_equal()
}

const fn may_differ(at: usize) -> bool {
    matches!(DECLARATIONS[at].role, Role::Circumstance)
}

const fn is_axis(at: usize) -> bool {
    DECLARATIONS[at].role.is_axis()
}

const fn is_circumstance(at: usize) -> bool {
    let declaration = &DECLARATIONS[at];
    declaration.role.is_of_circumstances() || declaration.label.is_some()
}

/// The place of each column in a list; none for the others.
const fn places(columns: &[Column]) -> [u8; Column::COUNT] {
    let (mut at, mut places) = (0, [u8::MAX; Column::COUNT]);
    while at < columns.len() {
        places[columns[at] as usize] = at as u8;
        at += 1;
    }
    places
}

/// A list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Texts {
    /// Where each ends.
    ends: Vec<u32>,
    joined: String,
}

impl Texts {
    /// Replaces the texts by others, without control characters: they may come from any file.
    pub(crate) fn fill<'t>(&mut self, texts: impl Iterator<Item = &'t str>) {
        self.ends.clear();
        self.joined.clear();
        for text in texts {
            self.joined.push_str(&printable(text));
            // No row is that long.
            self.ends.push(u32::try_from(self.joined.len()).unwrap_or(u32::MAX));
        }
    }

    /// The text at a place; empty where there is none.
    pub(crate) fn get(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).map(|&end| end as usize);
        let start = at.checked_sub(1).map_or(Some(0), end);
        start.zip(end(at)).and_then(|(start, end)| self.joined.get(start..end)).unwrap_or_default()
    }
}

impl<'t> FromIterator<&'t str> for Texts {
    fn from_iter<T: IntoIterator<Item = &'t str>>(texts: T) -> Self {
        let mut list = Self::default();
        list.fill(texts.into_iter());
        list
    }
}

/// A cell: the text of each of [`AXES`]. A copy of it costs nothing, and two are compared at once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CellKey(Arc<Texts>);

impl CellKey {
    /// Of the text that each axis has.
    pub fn of<'t>(text: impl FnMut(Column) -> &'t str) -> Self {
        Self(Arc::new(AXES.iter().copied().map(text).collect()))
    }

    /// Of texts that are those of the axes.
    pub(crate) fn of_texts(texts: Arc<Texts>) -> Self {
        Self(texts)
    }

    /// The texts of the axes of a row.
    pub(crate) fn texts(fields: &StringRecord) -> impl Iterator<Item = &str> {
        AXES.iter().map(|axis| axis.text(fields))
    }

    /// Its text on an axis; no other column has one.
    pub fn get(&self, axis: Column) -> &str {
        Self::text_of(&self.0, axis)
    }

    /// The text on an axis among those of all axes.
    pub(crate) fn text_of(texts: &Texts, axis: Column) -> &str {
        const PLACES: [u8; Column::COUNT] = places(AXES);
        debug_assert!(axis.role().is_axis(), "{} is no axis", axis.name());
        texts.get(usize::from(PLACES[axis as usize]))
    }

    /// Each axis with its text.
    pub fn iter(&self) -> impl Iterator<Item = (Column, &str)> {
        AXES.iter().enumerate().map(|(at, &axis)| (axis, self.0.get(at)))
    }

    /// The same cell with some axes left blank.
    pub fn without(&self, blank: impl Fn(Column) -> bool) -> Self {
        Self::of(|axis| if blank(axis) { "" } else { self.get(axis) })
    }

    /// The axes on which two cells differ.
    pub fn differing(&self, other: &Self) -> Vec<Column> {
        AXES.iter().copied().filter(|&axis| self.get(axis) != other.get(axis)).collect()
    }
}

impl fmt::Debug for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().filter(|(_, text)| !text.is_empty()).map(|(axis, text)| (axis.name(), text)))
            .finish()
    }
}

/// The circumstances of a trial: the text of each of [`CIRCUMSTANCES`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Circumstances(Arc<Texts>);

impl Circumstances {
    /// Of texts that are those of the columns.
    pub(crate) fn of_texts(texts: Arc<Texts>) -> Self {
        Self(texts)
    }

    /// The texts of the columns of a row.
    pub(crate) fn texts(fields: &StringRecord) -> impl Iterator<Item = &str> {
        CIRCUMSTANCES.iter().map(|column| column.text(fields))
    }

    /// The text of a column; those that are not among [`CIRCUMSTANCES`] have none.
    pub fn get(&self, column: Column) -> &str {
        Self::text_of(&self.0, column)
    }

    /// The text of a column among those of all columns of circumstances.
    pub(crate) fn text_of(texts: &Texts, column: Column) -> &str {
        const PLACES: [u8; Column::COUNT] = places(CIRCUMSTANCES);
        debug_assert!(CIRCUMSTANCES.contains(&column), "{} is no circumstance", column.name());
        texts.get(usize::from(PLACES[column as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::format;
    use crate::record::row::Row;

    fn cell(row: &Row) -> CellKey {
        let fields = format::fields(&format::encode(row, false)).expect("a row");
        CellKey::of_texts(Arc::new(CellKey::texts(&fields).collect()))
    }

    #[test]
    fn a_cell_has_what_the_file_has() {
        let row = Row { scenario: "walk".into(), batch: 7, round: Some(1024), warmup_s: 0.05, ..Row::default() };
        let one = cell(&row);
        let texts = [Column::scenario, Column::batch, Column::round, Column::window, Column::warmup_s];
        assert_eq!(texts.map(|axis| one.get(axis)), ["walk", "7", "1024", "", "0.05"]);
        assert_eq!(one, cell(&row));
        let other = cell(&Row { batch: 71, round: Some(24), ..row });
        assert_eq!(one.differing(&other), [Column::batch, Column::round]);
        let both = [&one, &other].map(|cell| cell.without(|axis| [Column::batch, Column::round].contains(&axis)));
        assert_eq!(both[0], both[1]);
        assert_eq!(both[0].get(Column::batch), "");
    }

    #[test]
    fn texts_whose_ends_differ_are_different() {
        let texts = |list: [&str; 2]| list.into_iter().collect::<Texts>();
        assert_ne!(texts(["ab", ""]), texts(["a", "b"]));
        assert_eq!((texts(["ab", "c"]).get(0), texts(["ab", "c"]).get(1), texts(["ab", "c"]).get(2)), ("ab", "c", ""));
    }
}
