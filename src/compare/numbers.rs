//! Lists of texts by number: what many rows share is kept once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::record::cell::Texts;

/// Lists of texts, numbered in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    known: HashMap<Arc<Texts>, u32>,
    all: Vec<Arc<Texts>>,
    /// The last number returned.
    last: u32,
    /// A buffer for building a list.
    list: Texts,
}

impl Numbers {
    /// The number of a list, and whether it is new.
    pub(crate) fn note<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> (u32, bool) {
        self.list.fill(texts);
        // Most rows equal the row before them.
        if self.all.get(self.last as usize).is_some_and(|last| **last == self.list) {
            return (self.last, false);
        }
        if let Some(&number) = self.known.get(&self.list) {
            self.last = number;
            return (number, false);
        }
        let (number, list) = (self.all.len() as u32, Arc::new(self.list.clone()));
        self.known.insert(Arc::clone(&list), number);
        self.all.push(list);
        self.last = number;
        (number, true)
    }

    /// The number of a list.
    pub(crate) fn number<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> u32 {
        self.note(texts).0
    }

    /// The number of a text.
    pub(crate) fn number_of(&mut self, text: &str) -> u32 {
        self.number(std::iter::once(text))
    }

    /// Forgets the lists from this number on.
    pub(crate) fn truncate(&mut self, len: usize) {
        for list in self.all.drain(len.min(self.all.len())..) {
            self.known.remove(&list);
        }
        self.last = 0;
    }

    /// How many lists there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// A list by its number.
    pub(crate) fn list(&self, number: u32) -> &Arc<Texts> {
        &self.all[number as usize]
    }

    /// A text by its number, if each list is one text.
    pub(crate) fn text(&self, number: u32) -> &str {
        self.list(number).get(0)
    }
}
