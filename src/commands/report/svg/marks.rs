//! The look of series: each has a colour, a marker and dashes, so that colour is never all that tells them apart.

use maud::{Markup, html};

/// How many colours, markers and kinds of dashes there are. No two numbers share a divisor, so 210 series differ.
const COLOURS: usize = 7;
const MARKERS: usize = 6;
const DASHES: usize = 5;

/// The usual width of a chart: small enough for a phone to show it in full size.
pub(crate) const WIDTH: f64 = 380.0;

/// The name and the look of a line, or of a row of dots.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// Its name.
    pub name: String,
    /// The number of its colour and marker.
    pub style: usize,
    /// The number of its dashes.
    pub dashes: usize,
}

impl Key {
    /// The key of a series that differs from others in colour, marker and dashes.
    pub(crate) fn new(name: impl Into<String>, style: usize) -> Self {
        Self { name: name.into(), style, dashes: style }
    }

    /// The CSS classes of its elements.
    pub(crate) fn classes(&self) -> String {
        format!("series s{} c{} d{}", self.style, self.style % COLOURS, self.dashes % DASHES)
    }
}

/// The kind of trial that a point shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A trial that counts.
    Plain,
    /// A trial that is unusable, or says less than it seems.
    Hollow,
    /// A trial that was repeated.
    Repeated,
    /// A trial under unusual conditions.
    Marked,
}

/// The width of charts for a wide page; on a narrow one they scroll.
pub(crate) const WIDE: f64 = 1180.0;

/// A marker at a place; its colour is that of the group around it.
pub(crate) fn marker(style: usize, look: Look, x: f64, y: f64) -> Markup {
    let class = match look {
        Look::Plain | Look::Marked => "mark",
        Look::Hollow => "mark hollow",
        Look::Repeated => {
            let path = format!("M{:.1} {:.1}l6 6m0 -6l-6 6", x - 3.0, y - 3.0);
            return html! { path class="repeated" d=(path) {} };
        }
    };
    html! {
        @if look == Look::Marked { circle class="ring" cx=(tenths(x)) cy=(tenths(y)) r="6" {} }
        path class=(class) d=(shape(style, x, y)) {}
    }
}

/// The outline of a marker.
fn shape(style: usize, x: f64, y: f64) -> String {
    let from = |dx: f64, dy: f64, rest: &str| format!("M{:.1} {:.1}{rest}", x + dx, y + dy);
    match style % MARKERS {
        0 => from(-3.5, 0.0, "a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z"),
        1 => from(-3.2, -3.2, "h6.4v6.4h-6.4z"),
        2 => from(0.0, -4.6, "l4.2 4.6l-4.2 4.6l-4.2 -4.6z"),
        3 => from(0.0, -4.2, "l4.2 7.4h-8.4z"),
        4 => from(0.0, 4.2, "l4.2 -7.4h-8.4z"),
        _ => from(-1.4, -4.2, "h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z"),
    }
}

/// A short piece of a line with its marker, 34 by 12, for a legend.
pub(crate) fn sample(key: &Key) -> Markup {
    html! {
        g class=(key.classes()) {
            path class="line" d="M1 6H33" {}
            (marker(key.style, Look::Plain, 17.0, 6.0))
        }
    }
}

/// A marker alone, in a neutral colour.
pub(crate) fn example(look: Look) -> Markup {
    html! { g class="neutral" { (marker(0, look, 8.0, 7.0)) } }
}

/// A number with one decimal, which is enough for a drawing.
pub(crate) fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

/// A text, cut off after at most so many characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn two_hundred_series_look_different_and_neighbours_differ_in_everything() {
        let look = |style: usize| {
            let classes = Key::new("", style).classes();
            let classes: Vec<&str> = classes.split(' ').collect();
            (classes[2].to_owned(), shape(style, 0.0, 0.0), classes[3].to_owned())
        };
        assert_eq!((0..210).map(look).collect::<BTreeSet<_>>().len(), 210);
        for style in 0..210 {
            let (a, b) = (look(style), look(style + 1));
            assert!(a.0 != b.0 && a.1 != b.1 && a.2 != b.2, "{style}");
        }
    }
}
