//! Frames that wait for the next receive, kept from one call to the next.

use std::mem::{MaybeUninit, offset_of};

use crate::frames::pool::{Frame, FreeList};

/// A row of slots. The first ones are vacant, the others hold a frame each.
///
/// A slot with a frame *is* the iovec of that frame: system calls with many headers read the slots
/// themselves, so a frame gets from the free list to the kernel by one copy of two words.
#[derive(Debug)]
pub(crate) struct Held<'p> {
    slots: Box<[MaybeUninit<Frame<'p>>]>,
    vacant: usize,
}

const _: () = assert!(
    size_of::<Frame<'_>>() == size_of::<libc::iovec>()
        && Frame::BASE_OFFSET == offset_of!(libc::iovec, iov_base)
        && Frame::SIZE_OFFSET == offset_of!(libc::iovec, iov_len)
);

impl<'p> Held<'p> {
    pub(crate) fn new(count: usize) -> Self {
        Self { slots: (0..count).map(|_| MaybeUninit::uninit()).collect(), vacant: count }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many slots hold no frame; these come first.
    pub(crate) fn vacant(&self) -> usize {
        self.vacant
    }

    /// The slots, for headers that point to them. A slot is an iovec while it holds a frame.
    pub(crate) fn as_iovecs(&mut self) -> *mut libc::iovec {
        self.slots.as_mut_ptr().cast()
    }

    /// Puts free frames into the vacant slots, as far as there are any. Returns the first slot that holds
    /// a frame; all later ones do, too.
    #[inline(always)]
    pub(crate) fn fill(&mut self, free: &mut FreeList<'p>) -> usize {
        self.vacant -= free.take_last(&mut self.slots[..self.vacant]);
        self.vacant
    }

    /// As [`Held::fill`], for a row of one slot. Returns whether the slot holds a frame.
    #[inline(always)]
    pub(crate) fn fill_one(&mut self, free: &mut FreeList<'p>) -> bool {
        if self.vacant > 0 {
            let Some(frame) = free.take() else { return false };
            self.vacant -= 1;
            self.slots[self.vacant].write(frame);
        }
        true
    }

    /// Takes the first frame out, if a slot holds one.
    #[inline(always)]
    pub(crate) fn take_one(&mut self) -> Option<Frame<'p>> {
        let slot = self.slots.get(self.vacant)?;
        self.vacant += 1;
        // SAFETY: the slot held a frame, as do all from `vacant` on, and counts as vacant from here on.
        Some(unsafe { slot.assume_init_read() })
    }

    /// The frames, first to last.
    #[inline(always)]
    pub(crate) fn frames(&self) -> &[Frame<'p>] {
        // SAFETY: the slots from `vacant` on hold frames, and `MaybeUninit` has the layout of what it holds.
        unsafe { &*(&raw const self.slots[self.vacant..] as *const [Frame<'p>]) }
    }

    /// Takes the first `count` frames out, or all if there are fewer.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: usize) -> impl ExactSizeIterator<Item = Frame<'p>> {
        let first = self.vacant;
        self.vacant = (first + count).min(self.slots.len());
        // SAFETY: these slots held frames and count as vacant from here on, so each frame is read once.
        self.slots[first..self.vacant].iter().map(|slot| unsafe { slot.assume_init_read() })
    }

    /// Gives all frames back.
    pub(crate) fn empty(mut self, free: &mut FreeList<'p>) {
        self.take(usize::MAX - self.vacant).for_each(|frame| free.give(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::pool::Pool;

    #[test]
    fn frames_are_conserved_also_where_they_are_scarce() {
        let pool = Pool::new(5, 64).expect("a pool");
        let mut free = pool.frames();
        let mut held = Held::new(8);
        assert_eq!((held.fill(&mut free), free.len()), (3, 0));
        let out: Vec<_> = held.take(2).collect();
        assert_eq!(held.fill(&mut free), 5, "none is free");
        out.into_iter().for_each(|frame| free.give(frame));
        assert_eq!((held.fill(&mut free), free.len()), (3, 0));
        held.empty(&mut free);
        assert!(free.is_whole());
    }

    #[test]
    fn a_slot_is_the_iovec_of_its_frame() {
        let pool = Pool::new(2, 128).expect("a pool");
        let mut free = pool.frames();
        let mut held = Held::new(2);
        let iovecs = held.as_iovecs();
        assert_eq!(held.fill(&mut free), 0);
        // SAFETY: the slots hold frames, whose layout is that of an iovec.
        let seen =
            [0, 1].map(|index| unsafe { *iovecs.add(index) }).map(|iovec| (iovec.iov_base.cast(), iovec.iov_len));
        let frames: Vec<_> = held.take(2).collect();
        assert_eq!(seen.to_vec(), frames.iter().map(|frame| (frame.as_ptr(), frame.size())).collect::<Vec<_>>());
        frames.into_iter().for_each(|frame| free.give(frame));
        held.empty(&mut free);
    }
}
