//! Lines with bands, or points alone, over two axes.

use std::ops::Range;

use maud::{Markup, html};

use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::marks::{Key, Look, WIDTH, classes, marker, tenths};

/// The height of such a chart.
pub(crate) const HEIGHT: f64 = 240.0;

const TOP: f64 = 30.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 42.0;

/// The bands of more lines than this would cover each other: their intervals are drawn as strokes.
const BANDS_MAX: usize = 4;

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical one.
    pub y: Axis,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// Where something begins, along the horizontal axis, and what.
    pub rules: Vec<(f64, String)>,
    /// A value that others are seen against.
    pub level: Option<f64>,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its name and look.
    pub key: Key,
    /// Its points, from left to right.
    pub points: Vec<Point>,
    /// Whether they are joined.
    pub is_joined: bool,
}

/// One point.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical one.
    pub y: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// What kind of trial it is of.
    pub look: Look,
    /// What is told of it.
    pub tip: String,
}

impl Lines {
    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let left = self.y.widest() + 14.0;
        let frame = Frame { left, right: WIDTH - RIGHT, chart: self };
        let bottom = HEIGHT - BOTTOM;
        html! {
            text class="label" x="4" y="14" { (self.y.label) }
            g class="grid" {
                @for (value, _) in &self.y.ticks {
                    path d=(format!("M{left:.1} {:.1}H{:.1}", frame.y(*value), frame.right)) {}
                }
                @if let Some(level) = self.level {
                    path class="level" d=(format!("M{left:.1} {:.1}H{:.1}", frame.y(level), frame.right)) {}
                }
            }
            @for (value, text) in &self.y.ticks {
                text class="end" x=(tenths(left - 6.0)) y=(tenths(frame.y(*value) + 3.8)) { (text) }
            }
            path class="axis" d=(format!("M{left:.1} {bottom:.1}H{:.1}", frame.right)) {}
            @for (value, text) in self.x.spaced(frame.right - left) {
                path class="axis" d=(format!("M{:.1} {bottom:.1}v4", frame.x(value))) {}
                @if let Some(text) = text {
                    text class="middle" x=(tenths(frame.x(value))) y=(tenths(bottom + 16.0)) { (text) }
                }
            }
            text class="label middle" x=(tenths((left + frame.right) / 2.0)) y=(tenths(HEIGHT - 8.0)) {
                (self.x.label)
            }
            @for (value, text) in &self.rules {
                path class="rule" d=(format!("M{:.1} {TOP:.1}V{bottom:.1}", frame.x(*value))) { title { (text) } }
            }
            @for line in &self.lines { (frame.line(line)) }
        }
    }
}

/// Where values are in the drawing.
struct Frame<'a> {
    left: f64,
    right: f64,
    chart: &'a Lines,
}

impl Frame<'_> {
    fn x(&self, value: f64) -> f64 {
        // A little room, so that markers at the ends do not stand on the axis.
        self.left + 8.0 + (self.right - self.left - 16.0) * self.chart.x.scale.at(value)
    }

    fn y(&self, value: f64) -> f64 {
        let bottom = HEIGHT - BOTTOM;
        bottom - (bottom - TOP) * self.chart.y.scale.at(value)
    }

    fn line(&self, line: &Line) -> Markup {
        let joined = line.is_joined && line.points.len() > 1;
        let bands = if joined && self.chart.lines.len() <= BANDS_MAX { banded(&line.points) } else { Vec::new() };
        let has_band = |at: usize| bands.iter().any(|band| band.contains(&at));
        html! {
            g class=(classes(line.key.style)) {
                @if joined {
                    @for band in &bands { path class="band" d=(self.band(&line.points[band.clone()])) {} }
                    path class="line" d=(self.path(line.points.iter().map(|point| (point.x, point.y)))) {}
                }
                @for (at, point) in line.points.iter().enumerate() {
                    g {
                        title { (point.tip) }
                        @if let Some((low, high)) = point.interval.filter(|_| !has_band(at)) {
                            path class="whisker"
                                d=(format!("M{:.1} {:.1}V{:.1}", self.x(point.x), self.y(low), self.y(high))) {}
                        }
                        (marker(line.key.style, point.look, self.x(point.x), self.y(point.y)))
                    }
                }
            }
        }
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            path += &format!("{}{:.1} {:.1}", if path.is_empty() { "M" } else { "L" }, self.x(x), self.y(y));
        }
        path
    }

    /// Around the intervals of points that have one.
    fn band(&self, points: &[Point]) -> String {
        let ends = |point: &Point| point.interval.map(|(low, high)| (point.x, low, high));
        let all: Vec<(f64, f64, f64)> = points.iter().filter_map(ends).collect();
        let upper = all.iter().map(|&(x, _, high)| (x, high));
        let lower = all.iter().rev().map(|&(x, low, _)| (x, low));
        self.path(upper.chain(lower)) + "Z"
    }
}

/// The neighbours that have intervals, two at least.
fn banded(points: &[Point]) -> Vec<Range<usize>> {
    let mut bands: Vec<Range<usize>> = Vec::new();
    for (at, _) in points.iter().enumerate().filter(|(_, point)| point.interval.is_some()) {
        match bands.last_mut().filter(|band| band.end == at) {
            Some(band) => band.end += 1,
            None => bands.push(at..at + 1),
        }
    }
    bands.retain(|band| band.len() > 1);
    bands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_without_an_interval_parts_the_band() {
        let point = |has: bool| Point {
            x: 1.0,
            y: 1.0,
            interval: has.then_some((0.0, 2.0)),
            look: Look::Plain,
            tip: String::new(),
        };
        let bands = |all: &[bool]| banded(&all.iter().map(|&has| point(has)).collect::<Vec<_>>());
        assert_eq!(bands(&[true, true, false, true, true, true]), [0..2, 3..6]);
        assert_eq!(bands(&[true, false, true]), []);
        assert_eq!(bands(&[]), []);
    }
}
