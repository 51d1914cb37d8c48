//! Messages about trials: those that differ only in numbers are one kind, and the first of them is shown.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use crate::console::printable;

/// The most kinds that are kept: a file may have as many as it has rows.
const KINDS_MAX: usize = 50;

/// Messages of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Similar<G> {
    /// Their group.
    pub of: G,
    /// The first of them.
    pub first: String,
    /// How many there are.
    pub count: usize,
    /// Whether their numbers differ.
    pub differ: bool,
}

impl<G> Similar<G> {
    /// The first message, marked as an example if the others differ.
    pub(crate) fn example(&self) -> String {
        if self.differ { format!("such as: {}", self.first) } else { self.first.clone() }
    }
}

/// The kind of a message.
pub(crate) fn kind(message: &str) -> String {
    digitless(message).collect()
}

fn digitless(message: &str) -> impl Iterator<Item = char> {
    message.chars().filter(|c| !c.is_ascii_digit() && *c != '.')
}

/// Messages by kind.
#[derive(Debug)]
pub(crate) struct Messages<G> {
    /// The kinds that are kept.
    pub kinds: Vec<Similar<G>>,
    /// The number of messages of other kinds.
    pub others: usize,
}

impl<G: Copy + Eq + Hash> Messages<G> {
    /// Sorts messages into kinds, within each group: the most frequent kind comes first, and of equally frequent ones
    /// the one found first. A kind is a message without its digits and dots.
    pub(crate) fn of<T: AsRef<str>>(messages: impl Iterator<Item = (G, T)>) -> Self {
        let (mut kinds, mut others): (Vec<Similar<G>>, usize) = (Vec::new(), 0);
        let mut known: HashMap<G, HashMap<String, usize>> = HashMap::new();
        let mut kind = String::new();
        for (of, message) in messages {
            let message = message.as_ref();
            kind.clear();
            kind.extend(digitless(message));
            let places = known.entry(of).or_default();
            match places.get(&kind) {
                Some(&at) => {
                    kinds[at].count += 1;
                    kinds[at].differ |= kinds[at].first != printable(message);
                }
                None if places.len() < KINDS_MAX => {
                    places.insert(kind.clone(), kinds.len());
                    kinds.push(Similar { of, first: printable(message).into_owned(), count: 1, differ: false });
                }
                None => others += 1,
            }
        }
        kinds.sort_by_key(|kind| Reverse(kind.count));
        Self { kinds, others }
    }

    /// Keeps at most so many kinds.
    pub(crate) fn cut(&mut self, most: usize) {
        self.others += self.kinds.iter().skip(most).map(|kind| kind.count).sum::<usize>();
        self.kinds.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(messages: &[(char, &'static str)]) -> Vec<(char, usize, String, bool)> {
        let kinds = Messages::of(messages.iter().copied()).kinds.into_iter();
        kinds.map(|kind| (kind.of, kind.count, kind.first, kind.differ)).collect()
    }

    #[test]
    fn messages_that_differ_in_numbers_only_are_one_kind() {
        let messages =
            [('a', "refused"), ('a', "1.5 ms late"), ('a', "10 ms late"), ('b', "3 ms late"), ('a', "refused")];
        let expected = [('a', 2, "refused", false), ('a', 2, "1.5 ms late", true), ('b', 1, "3 ms late", false)];
        assert_eq!(found(&messages), expected.map(|(of, count, first, differ)| (of, count, first.to_owned(), differ)));
        let first = found(&messages[2..]).swap_remove(0);
        assert_eq!(first, ('a', 1, "10 ms late".into(), false), "of equals, the first one");
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn the_most_frequent_kind_comes_first_and_an_example_says_that_it_is_one() {
        let messages = Messages::of(["seldom", "often 1", "often 2"].into_iter().map(|text| ((), text)));
        let examples: Vec<String> = messages.kinds.iter().map(Similar::example).collect();
        assert_eq!(examples, ["such as: often 1", "seldom"]);
    }

    #[test]
    fn kinds_without_end_are_not_all_kept() {
        let texts: Vec<String> = (1..=2 * KINDS_MAX).map(|length| "x".repeat(length)).collect();
        let mut messages = Messages::of(texts.iter().chain(&texts[..1]).map(|text| ((), text)));
        let kinds = &messages.kinds;
        assert_eq!((kinds.len(), kinds[0].count), (KINDS_MAX, 2), "those that are kept are still counted");
        assert_eq!(messages.others, KINDS_MAX, "and so are the others");
        messages.cut(10);
        assert_eq!((messages.kinds.len(), messages.others), (10, 2 * KINDS_MAX - 10));
    }
}
