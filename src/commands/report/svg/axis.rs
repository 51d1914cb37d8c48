//! Axes: a scale, its ticks with their labels, and its title.

use crate::commands::report::svg::scale::Scale;

/// The approximate width of a character of a label.
pub(crate) const CHARACTER: f64 = 6.1;

/// One axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// Maps values to places.
    pub scale: Scale,
    /// The values with a tick, and their labels.
    pub ticks: Vec<(f64, String)>,
    /// Its title.
    pub label: String,
}

impl Axis {
    /// An axis with labelled ticks. `text` makes a label from the tick's value and its distance to the nearest tick,
    /// which it must tell apart; the distance is infinite if there is no other tick.
    pub(crate) fn new(scale: Scale, ticks: Vec<f64>, label: &str, text: impl Fn(f64, f64) -> String) -> Self {
        let away = |at: usize, other: Option<&f64>| other.map_or(f64::INFINITY, |other| (ticks[at] - other).abs());
        let step = |at: usize| away(at, at.checked_sub(1).map(|at| &ticks[at])).min(away(at, ticks.get(at + 1)));
        let labelled = ticks.iter().enumerate().map(|(at, &tick)| (tick, text(tick, step(at)))).collect();
        Self { scale, ticks: labelled, label: label.to_owned() }
    }

    /// The width of its widest label.
    pub(crate) fn widest(&self) -> f64 {
        self.ticks.iter().map(|(_, text)| width(text)).fold(0.0, f64::max)
    }

    /// The ticks along a width whose labels do not overlap: those at both ends first, then from left to right.
    pub(crate) fn spaced(&self, length: f64) -> Vec<(f64, Option<&str>)> {
        const GAP: f64 = 8.0;
        let span = |at: usize| {
            let (value, text) = &self.ticks[at];
            let (middle, half) = (length * self.scale.at(*value), width(text) / 2.0);
            (middle - half, middle + half)
        };
        let mut shown: Vec<usize> = Vec::new();
        let last = self.ticks.len().checked_sub(1);
        for at in last.into_iter().chain(0..self.ticks.len()) {
            let (left, right) = span(at);
            let is_free = |other: &usize| right + GAP <= span(*other).0 || span(*other).1 + GAP <= left;
            if !shown.contains(&at) && shown.iter().all(is_free) {
                shown.push(at);
            }
        }
        let ticks = self.ticks.iter().enumerate();
        ticks.map(|(at, (value, text))| (*value, shown.contains(&at).then_some(text.as_str()))).collect()
    }
}

/// The approximate width of a text.
pub(crate) fn width(text: &str) -> f64 {
    CHARACTER * text.chars().count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::svg::scale::Spread;

    #[test]
    fn labels_do_not_overlap_and_the_ends_have_theirs() {
        let batches: Vec<f64> = (0..=10).map(|power| f64::from(1 << power)).collect();
        let scale = Scale::new(Spread::Log, 1.0, 1024.0);
        let axis = Axis::new(scale, batches, "batch", |batch, _| format!("{batch}"));
        let spaced = axis.spaced(200.0);
        assert_eq!(spaced.len(), 11, "every batch has a tick");
        let texts: Vec<&str> = spaced.iter().filter_map(|(_, text)| *text).collect();
        assert!(texts.len() > 4 && texts.first() == Some(&"1") && texts.last() == Some(&"1024"), "{texts:?}");
        let narrow: Vec<&str> = axis.spaced(30.0).iter().filter_map(|(_, text)| *text).collect();
        assert!(narrow.len() <= 2, "{narrow:?}");
        let empty = Axis::new(scale, Vec::new(), "batch", |batch, _| format!("{batch}"));
        assert!(empty.spaced(200.0).is_empty());
    }
}
