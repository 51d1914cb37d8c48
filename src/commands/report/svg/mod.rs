//! Charts as SVG, written with the templates of the page (`maud`), which escape every label.
//!
//! Drawn here, because colours are CSS classes, for light and dark grounds alike, batches have an axis to base 2, and
//! percentiles one of nines; lines, points and their axes are all that the page needs.

pub(crate) mod axis;
pub(crate) mod dots;
pub(crate) mod lines;
pub(crate) mod marks;
pub(crate) mod scale;

use maud::{Markup, PreEscaped, html};

use marks::{Key, WIDTH, shortened};

/// The style of charts: on the page, and in each file of its own.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// A chart without its frame.
#[derive(Clone, Debug)]
pub(crate) enum Chart {
    /// Lines, or points, over two axes.
    Lines(lines::Lines),
    /// A row for each name, with a point and its interval.
    Dots(dots::Dots),
}

impl Chart {
    /// What it shows, in words.
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Lines(chart) => &chart.title,
            Self::Dots(chart) => &chart.title,
        }
    }

    fn height(&self) -> f64 {
        match self {
            Self::Lines(_) => lines::HEIGHT,
            Self::Dots(chart) => chart.height(),
        }
    }

    fn body(&self) -> Markup {
        match self {
            Self::Lines(chart) => chart.draw(),
            Self::Dots(chart) => chart.draw(),
        }
    }

    fn keys(&self) -> Vec<Key> {
        match self {
            Self::Lines(chart) => chart.lines.iter().map(|line| line.key.clone()).collect(),
            Self::Dots(_) => Vec::new(),
        }
    }

    /// For a page that has the style and a legend.
    pub(crate) fn inline(&self, what: &str) -> Markup {
        let height = self.height();
        html! {
            svg class="chart" viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
                aria-label=(format!("{what}: {}", self.title())) {
                (self.body())
            }
        }
    }

    /// As a file of its own, with its style, a heading and a legend.
    pub(crate) fn alone(&self, heading: &str) -> String {
        const TOP: f64 = 24.0;
        const LINE: f64 = 18.0;
        let keys = self.keys();
        let (chart, legend) = (self.height(), LINE * keys.len() as f64);
        let height = TOP + chart + legend + 8.0;
        let markup = html! {
            svg xmlns="http://www.w3.org/2000/svg" class="chart alone" viewBox=(format!("0 0 {WIDTH} {height}"))
                width=(2.0 * WIDTH) height=(2.0 * height) {
                title { (heading) ": " (self.title()) }
                style { (PreEscaped(STYLE)) }
                rect class="paper" width=(WIDTH) height=(height) {}
                text class="heading" x="8" y="17" { (heading) }
                g transform=(format!("translate(0 {TOP})")) { (self.body()) }
                @for (index, key) in keys.iter().enumerate() {
                    g transform=(format!("translate(12 {})", TOP + chart + LINE * index as f64)) {
                        (marks::sample(key.style))
                        text x="40" y="10" { (shortened(&key.name, 58)) }
                    }
                }
            }
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", markup.into_string())
    }
}
