//! A coloured table of changes: a row for each name, a column for each value in order.

use maud::{Markup, html};

use crate::commands::report::svg::axis;
use crate::commands::report::svg::marks::{WIDTH, shortened, tenths};

const TOP: f64 = 22.0;
const ROW: f64 = 19.0;
const BOTTOM: f64 = 4.0;

/// The narrowest column that fits a change and the mark of a step.
const COLUMN_MIN: f64 = 58.0;

/// The longest name of a row that is shown whole.
const NAME_MAX: usize = 26;

/// The changes, in percent, from which on a cell has the next darker colour.
const SHADES_PCT: [f64; 4] = [1.0, 3.0, 10.0, 30.0];

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    /// What it shows.
    pub title: String,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows: a name, and a cell for each column.
    pub rows: Vec<(String, Vec<Cell>)>,
    /// The characters of the longest name, here and in the maps beside it, so that all of them line up.
    pub longest: usize,
}

/// A cell of the table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// The change against the first column, in percent, if known.
    pub change_pct: Option<f64>,
    /// Its text.
    pub text: String,
    /// Its step up or down from the cell before it, if it is one.
    pub step: Option<Step>,
    /// Its tooltip.
    pub tip: String,
}

/// The direction of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To a higher value.
    Up,
    /// To a lower one.
    Down,
}

/// The class of a change: the larger, the darker.
fn shade(change_pct: Option<f64>) -> String {
    let Some(change) = change_pct else { return "none".into() };
    match SHADES_PCT.iter().filter(|least| change.abs() >= **least).count() {
        0 => "level0".into(),
        dark if change > 0.0 => format!("up{dark}"),
        dark => format!("down{dark}"),
    }
}

impl Heat {
    fn left(&self) -> f64 {
        axis::CHARACTER * self.longest.min(NAME_MAX) as f64 + 12.0
    }

    fn column(&self) -> f64 {
        let count = self.columns.len().max(1) as f64;
        ((WIDTH - self.left()) / count).max(COLUMN_MIN)
    }

    /// Its width.
    pub(crate) fn width(&self) -> f64 {
        self.left() + self.column() * self.columns.len() as f64
    }

    /// Its height.
    pub(crate) fn height(&self) -> f64 {
        TOP + ROW * self.rows.len() as f64 + BOTTOM
    }

    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let (left, column) = (self.left(), self.column());
        let x = |at: usize| left + column * at as f64;
        let fits = (column / axis::width("0")) as usize;
        html! {
            @for (at, name) in self.columns.iter().enumerate() {
                text class="label middle" x=(tenths(x(at) + column / 2.0)) y="14" { (shortened(name, fits)) }
            }
            @for (number, (name, cells)) in self.rows.iter().enumerate() {
                @let y = TOP + ROW * number as f64;
                g {
                    text class="name end" x=(tenths(left - 8.0)) y=(tenths(y + 13.0)) { (shortened(name, NAME_MAX)) }
                    @for (at, cell) in cells.iter().enumerate() {
                        g {
                            title { (cell.tip) }
                            rect class=(format!("heat {}", shade(cell.change_pct))) x=(tenths(x(at) + 1.0)) y=(tenths(y + 1.0))
                                width=(tenths(column - 2.0)) height=(tenths(ROW - 2.0)) {}
                            @if let Some(step) = cell.step {
                                text class="strong" x=(tenths(x(at) + 4.0)) y=(tenths(y + 13.0)) {
                                    (if step == Step::Up { "▲" } else { "▽" })
                                }
                            }
                            text class=(if cell.step.is_some() { "strong end" } else { "label end" })
                                x=(tenths(x(at) + column - 5.0)) y=(tenths(y + 13.0)) { (cell.text) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_a_cell_changed_the_darker_it_is() {
        let shades = [None, Some(0.9), Some(-1.0), Some(9.9), Some(10.0), Some(-37.5)].map(shade);
        assert_eq!(shades, ["none", "level0", "down1", "up2", "up3", "down4"]);
    }

    #[test]
    fn many_columns_make_it_wider_and_few_fill_it() {
        let heat = |columns: usize| Heat {
            title: String::new(),
            columns: vec!["6.1".into(); columns],
            rows: vec![("uring".into(), Vec::new())],
            longest: 5,
        };
        assert!((heat(2).width() - WIDTH).abs() < 1e-9);
        assert!(heat(12).width() > 12.0 * COLUMN_MIN);
    }
}
