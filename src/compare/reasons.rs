//! Why trials say nothing: reasons that differ in their numbers only are told together, by the first of them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use crate::record::row::Row;

/// The most kinds that are told apart: a file may have as many as it has rows.
const KINDS_MAX: usize = 50;

/// What a trial says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It counts.
    Valid,
    /// It ran, but says nothing.
    Invalid,
    /// It did not run to its end.
    Failed,
}

impl State {
    /// What a row says, and why it says nothing.
    pub(crate) fn of(row: &Row) -> (Self, &str) {
        match row {
            _ if row.is_failed() => (Self::Failed, row.error.as_str()),
            _ if row.valid == 0 => (Self::Invalid, row.invalid_reason.as_str()),
            _ => (Self::Valid, ""),
        }
    }
}

/// Texts of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind<'t, G> {
    /// What they are of.
    pub of: G,
    /// The first of them.
    pub first: &'t str,
    /// How many there are.
    pub count: usize,
    /// Whether their numbers differ.
    pub differ: bool,
}

impl<G> Kind<'_, G> {
    /// The first text, and that it is an example where it is one.
    pub(crate) fn told(&self) -> String {
        if self.differ { format!("such as: {}", self.first) } else { self.first.to_owned() }
    }
}

/// Texts by kind.
#[derive(Debug)]
pub(crate) struct Tally<'t, G> {
    /// The kinds that are told.
    pub kinds: Vec<Kind<'t, G>>,
    /// How many texts are of other kinds.
    pub untold: usize,
}

impl<G> Tally<'_, G> {
    /// Leaves at most so many kinds.
    pub(crate) fn cut(&mut self, most: usize) {
        self.untold += self.kinds.iter().skip(most).map(|kind| kind.count).sum::<usize>();
        self.kinds.truncate(most);
    }
}

/// Tallies texts, those of one thing apart from those of another: the most frequent kind comes first, and of equally
/// frequent ones the one that was found first. A kind is a text without its digits and dots.
pub(crate) fn tally<'t, G: Copy + Eq + Hash>(texts: impl Iterator<Item = (G, &'t str)>) -> Tally<'t, G> {
    let (mut found, mut untold): (Vec<Kind<'t, G>>, usize) = (Vec::new(), 0);
    let mut known: HashMap<G, HashMap<String, usize>> = HashMap::new();
    let mut kind = String::new();
    for (of, first) in texts {
        kind.clear();
        kind.extend(first.chars().filter(|c| !c.is_ascii_digit() && *c != '.'));
        let places = known.entry(of).or_default();
        match places.get(&kind) {
            Some(&at) => {
                found[at].count += 1;
                found[at].differ |= found[at].first != first;
            }
            None if places.len() < KINDS_MAX => {
                places.insert(kind.clone(), found.len());
                found.push(Kind { of, first, count: 1, differ: false });
            }
            None => untold += 1,
        }
    }
    found.sort_by_key(|kind| Reverse(kind.count));
    Tally { kinds: found, untold }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'t>(texts: &[(char, &'t str)]) -> Vec<(char, usize, &'t str, bool)> {
        tally(texts.iter().copied())
            .kinds
            .into_iter()
            .map(|kind| (kind.of, kind.count, kind.first, kind.differ))
            .collect()
    }

    #[test]
    fn texts_that_differ_in_numbers_only_are_one_kind() {
        let texts = [('a', "refused"), ('a', "1.5 ms late"), ('a', "10 ms late"), ('b', "3 ms late"), ('a', "refused")];
        assert_eq!(
            told(&texts),
            [('a', 2, "refused", false), ('a', 2, "1.5 ms late", true), ('b', 1, "3 ms late", false)]
        );
        assert_eq!(told(&texts[2..]).first(), Some(&('a', 1, "10 ms late", false)), "of equals, the first one");
        assert_eq!(told(&[]), []);
    }

    #[test]
    fn the_most_frequent_kind_is_told_first_and_an_example_as_one() {
        let kinds = tally(["seldom", "often 1", "often 2"].into_iter().map(|text| ((), text)));
        assert_eq!(kinds.kinds.iter().map(Kind::told).collect::<Vec<_>>(), ["such as: often 1", "seldom"]);
    }

    #[test]
    fn kinds_without_end_are_not_all_kept() {
        let texts: Vec<String> = (1..=2 * KINDS_MAX).map(|length| "x".repeat(length)).collect();
        let mut tally = tally(texts.iter().chain(&texts[..1]).map(|text| ((), text.as_str())));
        let kinds = &tally.kinds;
        assert_eq!((kinds.len(), kinds[0].count), (KINDS_MAX, 2), "those that are kept are still counted");
        assert_eq!(tally.untold, KINDS_MAX, "and so are the others");
        tally.cut(10);
        assert_eq!((tally.kinds.len(), tally.untold), (10, 2 * KINDS_MAX - 10));
    }
}
