//! Charts as SVG, written with the templates of the page (`maud`), which escape every label.
//!
//! No library draws these: colours are CSS classes, for light and dark backgrounds; batches have an axis to base 2, and
//! percentiles one of nines. Lines, points and their axes are all that the page needs.

pub(crate) mod axis;
pub(crate) mod dots;
pub(crate) mod heat;
pub(crate) mod lines;
pub(crate) mod marks;
pub(crate) mod scale;

use maud::{Markup, PreEscaped, html};

use marks::{Key, WIDTH, shortened};

/// The style of charts, on the page and in separate files.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// A chart without its frame.
#[derive(Clone, Debug)]
pub(crate) enum Chart {
    /// Lines, or points, over two axes.
    Lines(lines::Lines),
    /// A row for each name, with a point and its interval.
    Dots(dots::Dots),
    /// Changes by row and column.
    Heat(heat::Heat),
}

impl Chart {
    /// Its title.
    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Lines(chart) => &chart.title,
            Self::Dots(chart) => &chart.title,
            Self::Heat(chart) => &chart.title,
        }
    }

    fn height(&self) -> f64 {
        match self {
            Self::Lines(_) => lines::HEIGHT,
            Self::Dots(chart) => chart.height(),
            Self::Heat(chart) => chart.height(),
        }
    }

    fn width(&self) -> f64 {
        match self {
            Self::Lines(chart) => chart.width,
            Self::Dots(_) => WIDTH,
            Self::Heat(chart) => chart.width(),
        }
    }

    /// Whether it takes the whole width of the page.
    pub(crate) fn is_wide(&self) -> bool {
        self.width() > 1.6 * WIDTH
    }

    fn body(&self) -> Markup {
        match self {
            Self::Lines(chart) => chart.draw(),
            Self::Dots(chart) => chart.draw(),
            Self::Heat(chart) => chart.draw(),
        }
    }

    fn keys(&self) -> Vec<Key> {
        match self {
            Self::Lines(chart) => chart.lines.iter().map(|line| line.key.clone()).collect(),
            Self::Dots(_) | Self::Heat(_) => Vec::new(),
        }
    }

    /// The chart for a page that has the style and a legend.
    pub(crate) fn inline(&self, what: &str) -> Markup {
        let (width, height) = (self.width(), self.height());
        let class = if self.is_wide() { "chart wide" } else { "chart" };
        html! {
            svg class=(class) viewBox=(format!("0 0 {width} {height}")) role="img"
                aria-label=(format!("{what}: {}", self.title())) {
                (self.body())
            }
        }
    }

    /// The chart as a file of its own, with the style, a heading and a legend.
    pub(crate) fn alone(&self, heading: &str) -> String {
        const TOP: f64 = 24.0;
        const LINE: f64 = 18.0;
        let keys = self.keys();
        let (chart, legend) = (self.height(), LINE * keys.len() as f64);
        let (width, height) = (self.width(), TOP + chart + legend + 8.0);
        let markup = html! {
            svg xmlns="http://www.w3.org/2000/svg" class="chart alone" viewBox=(format!("0 0 {width} {height}"))
                width=(2.0 * width) height=(2.0 * height) {
                title { (heading) ": " (self.title()) }
                style { (PreEscaped(STYLE)) }
                rect class="paper" width=(width) height=(height) {}
                text class="heading" x="8" y="17" { (heading) }
                g transform=(format!("translate(0 {TOP})")) { (self.body()) }
                @for (index, key) in keys.iter().enumerate() {
                    g transform=(format!("translate(12 {})", TOP + chart + LINE * index as f64)) {
                        (marks::sample(key))
                        text x="40" y="10" { (shortened(&key.name, 58)) }
                    }
                }
            }
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", markup.into_string())
    }
}
