//! A registered buffer ring, filled with frames.
//!
//! The kernel takes buffers in the order in which they were given (first in, first out). The ring's
//! memory is an array of 16-byte entries; the reserved field of entry 0 *is* the ring's tail
//! (`struct io_uring_buf_ring` in `include/uapi/linux/io_uring.h`).

use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::pool::{Frame, FreeList, LINE, Pool, Region};

/// Entries, and the frames that the kernel may write to.
#[derive(Debug)]
pub(super) struct BufferRing<'p> {
    memory: Region,
    mask: u16,
    /// Where the next buffer goes; published by [`BufferRing::publish`].
    tail: u16,
    /// The frames that the kernel may have.
    parked: Parked<'p>,
    /// The first `vacancies` are the buffer ids without a frame, in the order in which they lost it.
    vacant: Box<[u16]>,
    vacancies: usize,
}

impl<'p> BufferRing<'p> {
    /// A ring of `entries` buffers, all of them vacant. `entries` is a power of two up to 32,768.
    pub(super) fn new(entries: usize, pool: &'p Pool) -> io::Result<Self> {
        if !entries.is_power_of_two() || entries > 32_768 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a buffer ring has a power of two of entries, at most 32,768",
            ));
        }
        Ok(Self {
            memory: Region::map(entries * size_of::<BufRingEntry>())?,
            mask: (entries - 1) as u16,
            tail: 0,
            parked: Parked::new(entries, pool),
            vacant: (0..=(entries - 1) as u16).collect(),
            vacancies: entries,
        })
    }

    pub(super) fn entries(&self) -> u16 {
        self.mask + 1
    }

    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// Panics if the list is of another pool: backends rely on the memory of theirs.
    #[inline(always)]
    pub(super) fn assert_same_pool(&self, free: &FreeList<'p>) {
        self.parked.assert_same_pool(free);
    }

    /// Whether the kernel has no buffer to receive into.
    pub(super) fn is_dry(&self) -> bool {
        self.vacancies == self.vacant.len()
    }

    /// Takes the frame behind a buffer id that the kernel has used. `None` if the kernel never had that id.
    #[inline(always)]
    pub(super) fn take(&mut self, id: u16) -> Option<Frame<'p>> {
        let frame = self.parked.take(id)?;
        self.note_vacant(id);
        Some(frame)
    }

    /// As [`BufferRing::take`], and gives the buffer a free frame, unseen by the kernel until
    /// [`BufferRing::publish`]; without one it stays vacant. The list must be of the same pool.
    #[inline(always)]
    pub(super) fn swap(&mut self, id: u16, free: &mut FreeList<'p>) -> Option<Frame<'p>> {
        let filled = self.parked.take(id)?;
        match free.take() {
            Some(empty) => self.park(id, empty),
            None => self.note_vacant(id),
        }
        Some(filled)
    }

    #[cold]
    #[inline(never)]
    fn note_vacant(&mut self, id: u16) {
        // Each id is parked or vacant, so that there is room for one that was parked.
        self.vacant[self.vacancies] = id;
        self.vacancies += 1;
    }

    #[inline(always)]
    fn park(&mut self, id: u16, frame: Frame<'p>) {
        // SAFETY: the index is below the number of entries. The kernel does not read an entry before
        // the tail is published, and there are never more parked frames than entries.
        let entry =
            unsafe { &mut *self.memory.as_ptr().cast::<BufRingEntry>().add(usize::from(self.tail & self.mask)) };
        // Field by field: entry 0 holds the tail, too.
        entry.set_addr(frame.as_ptr() as u64);
        entry.set_len(frame.size() as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.parked.put(id, frame);
    }

    /// Gives every vacant buffer a free frame, as far as there are any, and publishes them.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&mut self, free: &mut FreeList<'p>) {
        self.parked.assert_same_pool(free);
        let count = self.vacancies.min(free.len());
        for index in 0..count {
            let (id, Some(frame)) = (self.vacant[index], free.take()) else { break };
            self.park(id, frame);
        }
        if count < self.vacancies {
            self.vacant.copy_within(count..self.vacancies, 0);
        }
        self.vacancies -= count;
        self.publish();
    }

    /// Takes back the buffer that was given last, if the kernel has not used it, unseen by the kernel
    /// until [`BufferRing::publish`]. No request may be armed: the kernel must not be looking at the ring.
    pub(super) fn retract(&mut self) -> Option<Frame<'p>> {
        let last = self.tail.wrapping_sub(1);
        // SAFETY: the index is below the number of entries, and nobody else accesses the ring now.
        let entry = unsafe { &*self.memory.as_ptr().cast::<BufRingEntry>().add(usize::from(last & self.mask)) };
        let id = entry.bid();
        let frame = self.take(id)?;
        self.tail = last;
        Some(frame)
    }

    /// Whether [`BufferRing::refill`] has something to do.
    #[inline]
    pub(super) fn has_vacant(&self) -> bool {
        self.vacancies > 0
    }

    /// Makes all parked frames available to the kernel.
    #[inline]
    pub(super) fn publish(&self) {
        // SAFETY: the address is that of entry 0, in a mapping that is page-aligned and zeroed.
        let tail = unsafe { BufRingEntry::tail(self.memory.as_ptr().cast()) };
        // SAFETY: the tail is a u16 that we alone write and the kernel reads; it is aligned to two.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // The entries must be there before the kernel sees the tail behind them.
        tail.store(self.tail, Ordering::Release);
    }

    /// Keeps the frames' memory mapped for good.
    pub(super) fn leak(&self) {
        std::mem::forget(Arc::clone(&self.parked.region));
    }

    /// Brings all parked frames home. The kernel must be done with the ring.
    pub(super) fn empty(&mut self, free: &mut FreeList<'p>) {
        for id in 0..=self.mask {
            if let Some(frame) = self.take(id) {
                free.give(frame);
            }
        }
    }
}

/// Frames by buffer id.
///
/// Buffers are used first in, first out, so that this table is walked from end to end: four bytes a
/// frame instead of sixteen keep it in the cache.
#[derive(Debug)]
struct Parked<'p> {
    /// Where in the pool the frame begins, in cache lines, counted from 1; 0 where there is none.
    places: Box<[u32]>,
    /// Size of a frame in cache lines.
    lines: usize,
    /// Keeps the frames' memory mapped for as long as the kernel knows their addresses.
    region: Arc<Region>,
    frames: PhantomData<Frame<'p>>,
}

impl<'p> Parked<'p> {
    fn new(entries: usize, pool: &'p Pool) -> Self {
        let lines = pool.frame_size() / LINE;
        Self { places: vec![0; entries].into_boxed_slice(), lines, region: pool.region(), frames: PhantomData }
    }

    /// All frames of a list are of one pool, so that this need not be asked for each of them.
    #[inline(always)]
    fn assert_same_pool(&self, free: &FreeList<'p>) {
        assert!(free.is_of(&self.region), "a frame of another pool");
    }

    /// Puts a frame of the same pool.
    #[inline(always)]
    fn put(&mut self, id: u16, frame: Frame<'p>) {
        let (base, _) = frame.into_parts();
        let offset = (base.as_ptr() as usize).wrapping_sub(self.region.as_ptr() as usize);
        self.places[usize::from(id)] = (offset / LINE + 1) as u32;
    }

    #[inline(always)]
    fn take(&mut self, id: u16) -> Option<Frame<'p>> {
        let place = std::mem::take(self.places.get_mut(usize::from(id))?);
        let offset = (place as usize).checked_sub(1)? * LINE;
        // SAFETY: a frame of this pool was put here: its address is so far from the start of the region, and
        // it has the size of all frames of the pool. It was not taken since, for its place was wiped.
        unsafe {
            let base = NonNull::new_unchecked(self.region.as_ptr().add(offset));
            Some(Frame::from_parts((base, self.lines)))
        }
    }
}
