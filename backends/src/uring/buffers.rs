//! A registered buffer ring, filled with frames.
//!
//! The kernel uses buffers in the order in which they were provided (first in, first out). The ring's
//! memory is an array of 16-byte entries; the reserved field of entry 0 *is* the ring's tail
//! (`struct io_uring_buf_ring` in `include/uapi/linux/io_uring.h`).
//!
//! A buffer's id is the number of its entry. One request uses all buffers, so they come back in the order in which
//! they were provided. An entry then still holds the address of its frame, and no table is needed beside the ring.

use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::frames::pool::{Frame, FreeList, LINE, Pool, Region};

/// Entries, and the frames that the kernel may write to: all but those of the `vacant` entries before `head`.
#[derive(Debug)]
pub(super) struct BufferRing<'p> {
    memory: Region,
    mask: usize,
    /// Counts the buffers that were taken back: masked, the entry of the one that comes back next. Each number has a
    /// word of its own: two of 16 bits were loaded as one right after one of them was stored, and the processor then
    /// waited for the store, which cost a `drain` 1.5% here.
    head: usize,
    /// Entries without a frame; the next frame goes to the first of them.
    vacant: usize,
    /// The `head` at the last publish of the tail.
    shown: usize,
    /// Size of a frame in cache lines.
    lines: usize,
    /// Where the frames' memory begins.
    start: usize,
    /// Keeps the frames' memory mapped for as long as the kernel knows their addresses.
    region: Arc<Region>,
    frames: PhantomData<Frame<'p>>,
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
        let ring = Self {
            memory: Region::map(entries * size_of::<BufRingEntry>())?,
            mask: entries - 1,
            head: 0,
            vacant: entries,
            shown: 0,
            lines: pool.frame_size() / LINE,
            start: pool.region().as_ptr() as usize,
            region: pool.region(),
            frames: PhantomData,
        };
        for id in 0..entries {
            // SAFETY: the ring is not registered before this is done. Entry 0 also holds the tail, so
            // entries are set field by field.
            let entry = unsafe { &mut *ring.entry(id) };
            entry.set_len(pool.frame_size() as u32);
            entry.set_bid(id as u16);
        }
        Ok(ring)
    }

    pub(super) fn entries(&self) -> u16 {
        (self.mask + 1) as u16
    }

    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// Bytes of each buffer.
    #[inline(always)]
    pub(super) fn frame_size(&self) -> usize {
        self.lines * LINE
    }

    #[inline(always)]
    fn entry(&self, number: usize) -> *mut BufRingEntry {
        // SAFETY: the masked number is below the number of entries.
        unsafe { self.memory.as_ptr().cast::<BufRingEntry>().add(number & self.mask) }
    }

    /// Panics if the list belongs to another pool: a backend relies on the memory of its own.
    #[inline(always)]
    pub(super) fn assert_same_pool(&self, free: &FreeList<'p>) {
        assert!(free.begins_at(self.start), "a frame of another pool");
    }

    /// Where the next buffer goes: past `head` and the buffers that the kernel has not used.
    #[inline(always)]
    fn tail(&self) -> usize {
        self.head.wrapping_add(self.mask + 1 - self.vacant)
    }

    /// How many frames it holds.
    pub(super) fn parked(&self) -> usize {
        self.mask + 1 - self.vacant
    }

    /// Whether the kernel has no buffer to receive into.
    pub(super) fn is_dry(&self) -> bool {
        self.vacant > self.mask
    }

    /// Whether [`BufferRing::refill`] has something to do.
    #[inline]
    pub(super) fn has_vacant(&self) -> bool {
        self.vacant > 0
    }

    /// Takes the frame of a buffer id that the kernel has used. `None` if it is not that buffer's turn.
    #[inline(always)]
    pub(super) fn take(&mut self, id: u16) -> Option<Frame<'p>> {
        if usize::from(id) != self.head & self.mask || self.is_dry() {
            return None;
        }
        let frame = self.frame(self.head);
        self.head = self.head.wrapping_add(1);
        self.vacant += 1;
        Some(frame)
    }

    /// As [`BufferRing::take`], and provides a free frame in its place, unseen by the kernel until
    /// [`BufferRing::publish`]. `None`, and nothing done, also if no frame is free, or a buffer is already vacant. The
    /// list must belong to the same pool.
    #[inline(always)]
    pub(super) fn swap(&mut self, id: u16, free: &mut FreeList<'p>) -> Option<Frame<'p>> {
        // In a full ring the next frame goes to the entry of the frame that is taken.
        let number = self.head & self.mask;
        if self.has_vacant() || usize::from(id) != number {
            return None;
        }
        let empty = free.take()?;
        let filled = self.frame(number);
        self.place(number, empty);
        self.head = self.head.wrapping_add(1);
        Some(filled)
    }

    /// The frame of an entry that holds one. The caller must take it out.
    #[inline(always)]
    fn frame(&self, number: usize) -> Frame<'p> {
        // SAFETY: an entry from `head` up to the tail has the address of a frame of this pool, which was parked there
        // and is used once: the caller moves `head` or the tail past it. All frames of a pool have the same size.
        unsafe {
            let base = NonNull::new_unchecked((*self.entry(number)).addr() as *mut u8);
            Frame::from_parts((base, self.lines))
        }
    }

    /// Puts a frame of the same pool after the others. There must be a vacancy.
    #[inline(always)]
    fn park(&mut self, frame: Frame<'p>) {
        self.place(self.tail(), frame);
        self.vacant -= 1;
    }

    /// Puts a frame of the same pool into an entry that the kernel does not read before the tail past it is
    /// published.
    #[inline(always)]
    fn place(&mut self, number: usize, frame: Frame<'p>) {
        let (base, _) = frame.into_parts();
        // SAFETY: the entry is within the ring, and nobody reads its address now.
        unsafe { (*self.entry(number)).set_addr(base.as_ptr() as u64) };
    }

    /// Fills the vacancies with free frames, and publishes them.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&mut self, free: &mut FreeList<'p>) {
        self.assert_same_pool(free);
        while self.has_vacant() {
            let Some(frame) = free.take() else { break };
            self.park(frame);
        }
        self.publish();
    }

    /// Takes back the buffer that was provided last, if the kernel has not used it, unseen by the kernel
    /// until [`BufferRing::publish`]. No request may be armed: the kernel must not be reading the ring.
    pub(super) fn retract(&mut self) -> Option<Frame<'p>> {
        if self.is_dry() {
            return None;
        }
        self.vacant += 1;
        Some(self.frame(self.tail()))
    }

    /// How many buffers were taken back since the last publish.
    #[inline(always)]
    pub(super) fn unshown(&self) -> usize {
        self.head.wrapping_sub(self.shown)
    }

    /// Makes all parked frames available to the kernel.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.shown = self.head;
        // SAFETY: the address is that of entry 0, in a mapping that is page-aligned and zeroed.
        let tail = unsafe { BufRingEntry::tail(self.memory.as_ptr().cast()) };
        // SAFETY: the tail is a u16 that we alone write and the kernel reads; it is aligned to two.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // The entries must be there before the kernel sees the tail past them.
        tail.store(self.tail() as u16, Ordering::Release);
    }

    /// Keeps the frames' memory mapped for good.
    pub(super) fn leak(&self) {
        std::mem::forget(Arc::clone(&self.region));
    }

    /// Returns all parked frames to the free list. The kernel must be done with the ring.
    pub(super) fn empty(&mut self, free: &mut FreeList<'p>) {
        while let Some(frame) = self.retract() {
            free.give(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_the_order_in_which_they_were_given() {
        let pool = Pool::new(7, 64).expect("a pool");
        let mut free = pool.frames();
        let mut ring = BufferRing::new(4, &pool).expect("a ring");
        assert!(ring.is_dry() && ring.take(0).is_none(), "the kernel was given nothing");
        ring.refill(&mut free);
        assert!(!ring.has_vacant() && free.len() == 3);
        for lap in 0..3_u16 {
            for id in 0..4 {
                assert!(ring.take((id + 1) % 4).is_none(), "not its turn");
                // SAFETY: the entry is within the ring, and nobody else looks at it.
                let expected = unsafe { (*ring.entry(id.into())).addr() };
                let frame = ring.swap(id, &mut free).expect("its turn");
                assert_eq!(frame.as_ptr() as u64, expected, "lap {lap}");
                free.give(frame);
            }
        }
        // Without a free frame a buffer stays vacant, until there is one.
        let held: Vec<_> = std::iter::from_fn(|| free.take()).collect();
        assert!(ring.swap(0, &mut free).is_none());
        let frame = ring.take(0).expect("its turn");
        assert!(ring.has_vacant() && !ring.is_dry());
        free.give(frame);
        assert!(ring.swap(1, &mut free).is_none() && free.len() == 1, "first the vacant one");
        ring.refill(&mut free);
        assert!(!ring.has_vacant() && free.is_empty());
        held.into_iter().for_each(|frame| free.give(frame));
        ring.empty(&mut free);
        assert!(free.is_whole());
    }
    /// The kernel's tail has 16 bits.
    #[test]
    fn a_ring_goes_on_beyond_65536_buffers() {
        let pool = Pool::new(5, 64).expect("a pool");
        let mut free = pool.frames();
        let mut ring = BufferRing::new(4, &pool).expect("a ring");
        ring.refill(&mut free);
        for count in 0..70_000_u32 {
            let frame = ring.swap((count % 4) as u16, &mut free).expect("its turn");
            free.give(frame);
            ring.publish();
            // SAFETY: entry 0 of a mapping that is the ring's; nobody writes to it now.
            let tail = unsafe { *BufRingEntry::tail(ring.memory.as_ptr().cast()) };
            assert_eq!(tail, (count + 5) as u16, "four buffers beyond the next one");
        }
        ring.empty(&mut free);
        assert!(free.is_whole());
    }
}
