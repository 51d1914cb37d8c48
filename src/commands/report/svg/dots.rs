//! A row for each name, with a point and its interval: for cells that have no axis to be drawn along.

use maud::{Markup, html};

use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::marks::{Key, Look, WIDTH, marker, shortened, tenths};

const TOP: f64 = 6.0;
const ROW: f64 = 34.0;
const BOTTOM: f64 = 42.0;
const LEFT: f64 = 14.0;
const RIGHT: f64 = 20.0;

/// The longest name, and the longest name together with the value in words, in characters.
const NAME_MAX: usize = 40;
const TEXT_MAX: usize = 60;

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Dots {
    /// What it shows.
    pub title: String,
    /// The axis, which is horizontal.
    pub x: Axis,
    /// Its rows.
    pub rows: Vec<Row>,
    /// The range in which changes do not matter.
    pub zone: Option<(f64, f64)>,
    /// A reference value.
    pub level: Option<f64>,
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name and look.
    pub key: Key,
    /// The value, if it has one.
    pub x: Option<f64>,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// The value as text, or why there is none.
    pub text: String,
    /// The kind of trials that it shows.
    pub look: Look,
    /// Its tooltip.
    pub tip: String,
}

impl Dots {
    /// Its height.
    pub(crate) fn height(&self) -> f64 {
        TOP + ROW * self.rows.len() as f64 + BOTTOM
    }

    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let length = WIDTH - LEFT - RIGHT;
        let x = |value: f64| LEFT + length * self.x.scale.at(value);
        let bottom = self.height() - BOTTOM;
        html! {
            @if let Some((low, high)) = self.zone {
                @let height = bottom - TOP;
                rect class="zone" x=(tenths(x(low))) y=(tenths(TOP)) width=(tenths(x(high) - x(low))) height=(tenths(height)) {}
            }
            g class="grid" {
                @for (value, _) in &self.x.ticks { path d=(format!("M{:.1} {TOP:.1}V{bottom:.1}", x(*value))) {} }
                @if let Some(level) = self.level { path class="level" d=(format!("M{:.1} {TOP:.1}V{bottom:.1}", x(level))) {} }
            }
            @for (value, text) in self.x.spaced(length) {
                path class="axis" d=(format!("M{:.1} {bottom:.1}v4", x(value))) {}
                @if let Some(text) = text {
                    text class="middle" x=(tenths(x(value))) y=(tenths(bottom + 16.0)) { (text) }
                }
            }
            path class="axis" d=(format!("M{LEFT:.1} {bottom:.1}H{:.1}", LEFT + length)) {}
            text class="label middle" x=(tenths(LEFT + length / 2.0)) y=(tenths(self.height() - 8.0)) { (self.x.label) }
            @for (index, row) in self.rows.iter().enumerate() {
                @let y = TOP + ROW * (index as f64 + 0.5);
                g class=(row.key.classes()) {
                    title { (row.tip) }
                    text class="name halo" x=(tenths(LEFT)) y=(tenths(y - 4.0)) { (shortened(&row.key.name, NAME_MAX)) }
                    text class="end strong halo" x=(tenths(WIDTH - RIGHT)) y=(tenths(y - 4.0)) {
                        (shortened(&row.text, TEXT_MAX.saturating_sub(row.key.name.chars().count())))
                    }
                    @if let Some((low, high)) = row.interval {
                        path class="whisker" d=(format!("M{:.1} {:.1}H{:.1}", x(low), y + 7.0, x(high))) {}
                    }
                    @if let Some(value) = row.x { (marker(row.key.style, row.look, x(value), y + 7.0)) }
                }
            }
        }
    }
}
