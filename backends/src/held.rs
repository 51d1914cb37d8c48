//! Frames that wait for the next receive, kept from one call to the next.

use crate::pool::{Frame, FreeList};

/// Slots with a frame each, as far as there are frames.
#[derive(Debug)]
pub(crate) struct Held<'p> {
    slots: Box<[Option<Frame<'p>>]>,
}

impl<'p> Held<'p> {
    pub(crate) fn new(count: usize) -> Self {
        Self { slots: (0..count).map(|_| None).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Sees that each of the first slots has a frame; returns how many slots in a row have one. When no
    /// frame is free, those held behind move to the front. `moved` is told of every new frame.
    #[inline(always)]
    pub(crate) fn fill(&mut self, free: &mut FreeList<'p>, mut moved: impl FnMut(usize, &Frame<'p>)) -> usize {
        for index in 0..self.slots.len() {
            if self.slots[index].is_none() {
                let frame = free.take().or_else(|| self.slots[index + 1..].iter_mut().rev().find_map(Option::take));
                let Some(frame) = frame else { return index };
                moved(index, &frame);
                self.slots[index] = Some(frame);
            }
        }
        self.slots.len()
    }

    /// The slots, to take frames out of.
    #[inline(always)]
    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Option<Frame<'p>>> {
        self.slots.iter_mut()
    }

    /// Gives all frames back.
    pub(crate) fn empty(self, free: &mut FreeList<'p>) {
        self.slots.into_iter().flatten().for_each(|frame| free.give(frame));
    }
}
