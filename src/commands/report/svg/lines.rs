//! Lines, or only points, over two axes.

use maud::{Markup, html};

use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::marks::{Key, Look, marker, tenths};

/// The height of a chart of lines.
pub(crate) const HEIGHT: f64 = 240.0;

const TOP: f64 = 30.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 42.0;

/// Lines are moved apart along the horizontal axis, so that their intervals do not overlap: by at most this distance,
/// and within this share of the room between two places.
const APART_MAX: f64 = 6.0;
const APART_SHARE: f64 = 0.75;

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
    /// Vertical rules: places on the horizontal axis, each with its tooltip.
    pub rules: Vec<(f64, String)>,
    /// A reference value.
    pub level: Option<f64>,
    /// The range in which changes do not matter.
    pub zone: Option<(f64, f64)>,
    /// Its width.
    pub width: f64,
    /// Whether lines share places, and are moved apart there.
    pub is_dodged: bool,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its name and look.
    pub key: Key,
    /// Its points, from left to right.
    pub points: Vec<Point>,
    /// Whether the points are joined.
    pub is_joined: bool,
    /// Places on the horizontal axis without a value, and why.
    pub gaps: Vec<(f64, String)>,
}

/// One point.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Its place on the horizontal axis.
    pub x: f64,
    /// Its value.
    pub y: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// The kind of trial that it shows.
    pub look: Look,
    /// Its tooltip.
    pub tip: String,
}

impl Lines {
    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let left = self.y.widest() + 14.0;
        let frame = Frame::new(self, left);
        let (right, bottom) = (frame.right, BOTTOM_AT);
        html! {
            text class="label" x="4" y="14" { (self.y.label) }
            @if let Some((low, high)) = self.zone {
                @let (top, height) = (frame.y(high), frame.y(low) - frame.y(high));
                rect class="zone" x=(tenths(left)) y=(tenths(top)) width=(tenths(right - left)) height=(tenths(height)) {}
            }
            g class="grid" {
                @for (value, _) in &self.y.ticks {
                    path d=(format!("M{left:.1} {:.1}H{right:.1}", frame.y(*value))) {}
                }
                @if let Some(level) = self.level {
                    path class="level" d=(format!("M{left:.1} {:.1}H{right:.1}", frame.y(level))) {}
                }
            }
            @for (value, text) in &self.y.ticks {
                text class="end" x=(tenths(left - 6.0)) y=(tenths(frame.y(*value) + 3.8)) { (text) }
            }
            path class="axis" d=(format!("M{left:.1} {bottom:.1}H{right:.1}")) {}
            @for (value, text) in self.x.spaced(right - left) {
                path class="axis" d=(format!("M{:.1} {bottom:.1}v4", frame.x(value))) {}
                @if let Some(text) = text {
                    text class="middle" x=(tenths(frame.x(value))) y=(tenths(bottom + 16.0)) { (text) }
                }
            }
            text class="label middle" x=(tenths((left + right) / 2.0)) y=(tenths(HEIGHT - 8.0)) {
                (self.x.label)
            }
            @for (value, text) in &self.rules {
                path class="rule" d=(format!("M{:.1} {TOP:.1}V{bottom:.1}", frame.x(*value))) { title { (text) } }
            }
            @for (at, line) in self.lines.iter().enumerate() { (frame.line(at, line)) }
        }
    }
}

/// Where the horizontal axis is.
const BOTTOM_AT: f64 = HEIGHT - BOTTOM;

/// Where values are in the drawing.
struct Frame<'a> {
    left: f64,
    right: f64,
    /// The room at both ends of the horizontal axis, so that markers do not touch the vertical one.
    margin: f64,
    /// The distance between neighbouring lines.
    apart: f64,
    chart: &'a Lines,
}

impl<'a> Frame<'a> {
    fn new(chart: &'a Lines, left: f64) -> Self {
        const ROOM: f64 = 8.0;
        let mut frame = Self { left, right: chart.width - RIGHT, margin: ROOM, apart: 0.0, chart };
        let others = chart.lines.len().saturating_sub(1) as f64;
        if chart.is_dodged && others > 0.0 {
            let all = chart
                .lines
                .iter()
                .flat_map(|line| line.points.iter().map(|point| point.x).chain(line.gaps.iter().map(|(x, _)| *x)));
            let mut places: Vec<f64> = all.map(|x| frame.x(x)).collect();
            places.sort_unstable_by(f64::total_cmp);
            places.dedup();
            let least = places.windows(2).map(|two| two[1] - two[0]).fold(f64::INFINITY, f64::min);
            frame.apart = (APART_SHARE * least / (others + 1.0)).min(APART_MAX);
            frame.margin += frame.apart * others / 2.0;
        }
        frame
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.margin + (self.right - self.left - 2.0 * self.margin) * self.chart.x.scale.at(value)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM_AT - (BOTTOM_AT - TOP) * self.chart.y.scale.at(value)
    }

    fn line(&self, at: usize, line: &Line) -> Markup {
        let aside = self.apart * (at as f64 - (self.chart.lines.len() as f64 - 1.0) / 2.0);
        let x = |value: f64| self.x(value) + aside;
        let place = |(at, point): (usize, &Point)| {
            format!("{}{:.1} {:.1}", if at == 0 { "M" } else { "L" }, x(point.x), self.y(point.y))
        };
        html! {
            g class=(line.key.classes()) {
                @if line.is_joined && line.points.len() > 1 {
                    @let path: String = line.points.iter().enumerate().map(place).collect();
                    path class="hit" d=(path) {}
                    path class="line" d=(path) {}
                }
                @for point in &line.points {
                    g {
                        title { (point.tip) }
                        @if let Some((low, high)) = point.interval {
                            path class="whisker" d=(format!("M{:.1} {:.1}V{:.1}", x(point.x), self.y(low), self.y(high))) {}
                        }
                        (marker(line.key.style, point.look, x(point.x), self.y(point.y)))
                    }
                }
                @for (place, why) in &line.gaps {
                    g { title { (why) } (marker(line.key.style, Look::Repeated, x(*place), BOTTOM_AT - 6.0)) }
                }
            }
        }
    }
}
