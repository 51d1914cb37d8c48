//! A lock-free ring for one producer and one consumer.
//!
//! Both halves work on an index of their own and on a cached copy of the other's, so that a batch
//! costs one atomic store on each side and, at most, one atomic load:
//!
//! - the producer [stages](Producer::stage) items and [publishes](Producer::publish) them together;
//! - the consumer [pops](Consumer::pop) items and [releases](Consumer::release) their slots together, or
//!   [consumes](Consumer::consume) all items.
//!
//! Head and tail count upwards without bound (they wrap with `usize`); a power-of-two capacity makes
//! `index & mask` the slot. Within a run of neighbouring slots, a half only advances a pointer and compares it
//! with the run's end. `tests/loom_ring.rs` checks the orderings under the loom model checker;
//! `benches/ring.rs` measures this ring beside `rtrb` and `crossbeam`'s `ArrayQueue`.

use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// Creates a ring of at least `capacity` slots, rounded up to a power of two (at least 1).
///
/// # Panics
///
/// If the rounded capacity overflows `usize`, or memory runs out.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    const { assert!(size_of::<T>() > 0, "a run measures its slots in bytes") };
    let capacity = capacity.max(1).next_power_of_two();
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(START)),
        tail: CachePadded::new(AtomicUsize::new(START)),
        slots,
    });
    let producer = Producer { run: Run::new(&shared.slots, START, 0), shared: Arc::clone(&shared) };
    (producer, Consumer { shared, head: START, tail: START })
}

/// The first index. Tests begin just before the indices wrap, so that they cover that point.
const START: usize = if cfg!(any(test, loom)) { usize::MAX - 1 } else { 0 };

type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// What both halves share. Slots from `head` to `tail` hold items; the others are empty.
struct Shared<T> {
    /// First slot that holds an item; stored by the consumer only.
    head: CachePadded<AtomicUsize>,
    /// First slot after the items; stored by the producer only.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[Slot<T>]>,
}

// SAFETY: an item goes from one thread to another, which `T: Send` allows. Each slot is accessed by
// one side at a time: the producer writes slots in [tail, head + capacity), the consumer reads slots
// in [head, tail), and each side moves its bound with Release after its access, while the other
// side loads that bound with Acquire before its own.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: the shared part owns items of type `T` and nothing that is tied to a thread.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, index: usize) -> &Slot<T> {
        // SAFETY: the capacity is a power of two and at least 1, so the masked index is within it.
        unsafe { self.slots.get_unchecked(index & (self.slots.len() - 1)) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        let mut index = head;
        while index != tail {
            // SAFETY: both halves are gone (their drops published and released), so this is the only
            // access, and the slots from head to tail hold items.
            self.slot(index).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            index = index.wrapping_add(1);
        }
    }
}

/// Neighbouring slots that the producer may write to before it has to load the consumer's index, or to
/// continue at the first slot.
///
/// Both pointers lie within the slots of the ring, or one past them, and `next <= end`.
struct Run<T> {
    next: *const Slot<T>,
    end: *const Slot<T>,
    /// The index of the slot at `end`.
    end_index: usize,
}

// SAFETY: the pointers are to slots of the `Shared` that the producer holds, which is `Send`.
unsafe impl<T: Send> Send for Run<T> {}

impl<T> Run<T> {
    /// Begins at an index, and ends after `count` slots or at the last one.
    #[inline(always)]
    fn new(slots: &[Slot<T>], index: usize, count: usize) -> Self {
        let first = index & (slots.len() - 1);
        let slots = &slots[first..][..count.min(slots.len() - first)];
        let std::ops::Range { start, end } = slots.as_ptr_range();
        Self { next: start, end, end_index: index.wrapping_add(slots.len()) }
    }

    /// The index of the next slot.
    #[inline(always)]
    fn index(&self) -> usize {
        // SAFETY: both pointers are to the same slots, and `next` is not past `end`.
        self.end_index.wrapping_sub(unsafe { self.end.offset_from(self.next) } as usize)
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// The next slot.
    ///
    /// # Safety
    ///
    /// The run is not empty.
    #[inline(always)]
    unsafe fn slot(&self) -> &Slot<T> {
        // SAFETY: the caller's promise: `next` is before `end`, and hence at a slot.
        unsafe { &*self.next }
    }

    /// Moves past the next slot.
    ///
    /// # Safety
    ///
    /// The run is not empty.
    #[inline(always)]
    unsafe fn advance(&mut self) {
        // SAFETY: the caller's promise: `next` is before `end`, and at most reaches it.
        self.next = unsafe { self.next.add(1) };
    }
}

/// The half that puts items in.
pub struct Producer<T> {
    /// The slots to stage items in. Its index is ahead of the shared tail by the staged items.
    run: Run<T>,
    shared: Arc<Shared<T>>,
}

impl<T> Producer<T> {
    /// Writes an item to the next slot, unseen by the consumer until [`Producer::publish`].
    ///
    /// # Errors
    ///
    /// Gives the item back when the ring is full.
    #[inline(always)]
    pub fn stage(&mut self, item: T) -> Result<(), T> {
        if self.run.is_empty() && self.free() == 0 {
            return Err(item);
        }
        // SAFETY: `free` has renewed the run, which is not empty now.
        unsafe { self.put(item) };
        Ok(())
    }

    /// The same in less code: the rare case is out of line.
    ///
    /// For loops around system calls. There the code has to be fetched anew each time, so its size
    /// matters more than the registers that the call takes.
    #[inline(always)]
    pub(crate) fn stage_compact(&mut self, item: T) -> Result<(), T> {
        if self.run.is_empty() && self.free_compact() == 0 {
            return Err(item);
        }
        // SAFETY: `free` has renewed the run, which is not empty now.
        unsafe { self.put(item) };
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn free_compact(&mut self) -> usize {
        self.free()
    }

    /// Writes an item to the next slot of the run.
    ///
    /// # Safety
    ///
    /// The run is not empty.
    #[inline(always)]
    unsafe fn put(&mut self, item: T) {
        // SAFETY: the caller's promise. `free` has counted the slots of the run: they lie in [tail, head + capacity),
        // with a head that was loaded with Acquire. The consumer is done with them, and reads them again only after
        // the next publish.
        unsafe {
            self.run.slot().with_mut(|slot| (*slot).write(item));
            self.run.advance();
        }
    }

    /// Makes all staged items visible to the consumer.
    #[inline(always)]
    pub fn publish(&mut self) {
        self.shared.tail.store(self.run.index(), Ordering::Release);
    }

    /// Stages and publishes one item.
    ///
    /// # Errors
    ///
    /// Gives the item back when the ring is full.
    #[inline(always)]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        self.stage(item)?;
        self.publish();
        Ok(())
    }

    /// Loads the consumer's index. Returns how many items can be staged now.
    #[inline(always)]
    pub fn free(&mut self) -> usize {
        let tail = self.run.index();
        let free = self.capacity() - tail.wrapping_sub(self.shared.head.load(Ordering::Acquire));
        self.run = Run::new(&self.shared.slots, tail, free);
        free
    }

    /// Continues at the first slot if the ring is empty: a ring whose halves share a thread then stays within the
    /// slots that are in the cache, as a stack does. Walking through all of 1,024 slots instead costs a `drain`
    /// 3 ns per datagram, because the kernel has evicted each of them since its last use.
    ///
    /// # Panics
    ///
    /// If the consumer belongs to another ring.
    #[inline(always)]
    pub fn rewind(&mut self, consumer: &mut Consumer<T>) {
        assert!(Arc::ptr_eq(&self.shared, &consumer.shared), "the other half of another ring");
        if self.run.index() == consumer.head {
            self.run = Run::new(&self.shared.slots, 0, self.capacity());
            (consumer.head, consumer.tail) = (0, 0);
            self.publish();
            consumer.release();
        }
    }

    /// Slots in the ring.
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // Staged items now belong to the ring, which drops them with the rest.
        self.publish();
    }
}

/// The half that takes items out.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The oldest item's index: ahead of the shared head by the popped, unreleased slots.
    head: usize,
    /// The producer's tail as last seen: at most the true one.
    tail: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest item. Its slot is free for the producer after [`Consumer::release`].
    #[inline(always)]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail && self.available() == 0 {
            return None;
        }
        let slot = self.shared.slot(self.head);
        // SAFETY: the slot lies in [head, tail) with a tail that was loaded with Acquire: it holds an item,
        // which is moved out once, because the head advances.
        let item = slot.with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        Some(item)
    }

    /// Takes at most `most` items, oldest first: those seen when the tail was last loaded or, if all of them are
    /// taken, those seen by loading it again. Hands their slots back to the producer. If `take` panics, later items
    /// may be lost.
    #[inline(always)]
    pub fn consume(&mut self, most: usize, mut take: impl FnMut(T)) {
        let seen = self.tail.wrapping_sub(self.head);
        let mut left = if seen > 0 { seen } else { self.available() }.min(most);
        let slots = &*self.shared.slots;
        while left > 0 {
            let first = self.head & (slots.len() - 1);
            let run = &slots[first..][..left.min(slots.len() - first)];
            // Even if `take` panics, an item is taken out once.
            self.head = self.head.wrapping_add(run.len());
            left -= run.len();
            for slot in run {
                // SAFETY: as in `pop`: the slots from the old head on hold items, and the head is already past
                // them.
                take(slot.with(|slot| unsafe { (*slot).assume_init_read() }));
            }
        }
        self.release();
    }

    /// The `index`-th oldest item that [`Consumer::available`] has seen; it stays in the ring.
    #[inline(always)]
    pub fn peek(&self, index: usize) -> Option<&T> {
        if index >= self.tail.wrapping_sub(self.head) {
            return None;
        }
        let slot = self.shared.slot(self.head.wrapping_add(index));
        // SAFETY: as in `pop`: the slot holds an item. The reference borrows the consumer, which alone
        // could move the item out.
        Some(slot.with(|slot| unsafe { (*slot).assume_init_ref() }))
    }

    /// Loads the producer's index. Returns how many items can be popped now.
    #[inline(always)]
    pub fn available(&mut self) -> usize {
        self.tail = self.shared.tail.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head)
    }

    /// Hands the slots of all popped items back to the producer.
    #[inline(always)]
    pub fn release(&mut self) {
        self.shared.head.store(self.head, Ordering::Release);
    }

    /// Slots in the ring.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Popped items are gone; the ring must not drop them again.
        self.release();
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("tail", &self.run.index()).field("capacity", &self.capacity()).finish()
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("head", &self.head).field("capacity", &self.capacity()).finish()
    }
}

#[cfg(loom)]
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering};
}

#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::Arc;
    pub(super) use std::sync::atomic::{AtomicUsize, Ordering};

    /// `std`'s cell with loom's interface.
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_rounded_up_to_a_power_of_two() {
        for (asked, got) in [(0, 1), (1, 1), (3, 4), (1024, 1024), (1025, 2048)] {
            assert_eq!(ring::<u8>(asked).0.capacity(), got);
        }
    }

    #[test]
    fn nothing_is_seen_before_it_is_published() {
        let (mut producer, mut consumer) = ring(4);
        producer.stage(1).expect("an empty ring");
        producer.stage(2).expect("an empty ring");
        assert_eq!(consumer.pop(), None);
        producer.publish();
        assert_eq!((consumer.available(), consumer.peek(1), consumer.peek(2)), (2, Some(&2), None));
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(1), Some(2), None));
    }

    fn consume(consumer: &mut Consumer<i32>, most: usize) -> Vec<i32> {
        let mut taken = Vec::new();
        consumer.consume(most, |item| taken.push(item));
        taken
    }

    #[test]
    fn consuming_takes_what_was_published_and_frees_its_slots() {
        let (mut producer, mut consumer) = ring(4);
        (1..=4).for_each(|item| producer.push(item).expect("four slots"));
        assert_eq!(consume(&mut consumer, 3), [1, 2, 3]);
        assert_eq!(producer.free(), 3);
        assert_eq!(consume(&mut consumer, 9), [4], "what was not taken is still there");
        assert_eq!(consume(&mut consumer, 9), []);
    }

    #[test]
    fn an_empty_ring_starts_over_and_a_filled_one_goes_on() {
        let (mut producer, mut consumer) = ring(4);
        for item in 0..10 {
            (0..3).for_each(|offset| producer.push(item + offset).expect("four slots"));
            assert_eq!(consumer.pop(), Some(item));
            producer.rewind(&mut consumer);
            assert_eq!(consume(&mut consumer, 9), [item + 1, item + 2], "nothing was lost");
            producer.rewind(&mut consumer);
            assert_eq!((producer.free(), consumer.available()), (4, 0));
        }
    }

    #[test]
    fn slots_are_free_again_only_after_release() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!((producer.push(1), producer.push(2), producer.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!(producer.push(3), Err(3));
        consumer.release();
        assert_eq!((producer.free(), producer.push(3)), (1, Ok(())));
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(2), Some(3), None));
    }

    #[test]
    fn items_left_behind_are_dropped_once() {
        let counter = std::rc::Rc::new(());
        let (mut producer, mut consumer) = ring(8);
        for _ in 0..5 {
            producer.stage(counter.clone()).expect("eight slots");
        }
        producer.publish();
        producer.stage(counter.clone()).expect("eight slots");
        drop(consumer.pop());
        drop((producer, consumer));
        assert_eq!(std::rc::Rc::strong_count(&counter), 1);
    }

    #[test]
    fn two_threads_pass_a_million_items_in_order() {
        let (mut producer, mut consumer) = ring(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0_u64;
                while next < 1_000_000 {
                    match producer.stage(next) {
                        Ok(()) => next += 1,
                        Err(_) => std::thread::yield_now(),
                    }
                    if next.is_multiple_of(7) {
                        producer.publish();
                    }
                }
            });
            let mut expected = 0_u64;
            while expected < 1_000_000 {
                while let Some(item) = consumer.pop() {
                    assert_eq!(item, expected);
                    expected += 1;
                }
                consumer.release();
                std::thread::yield_now();
            }
        });
    }
}
