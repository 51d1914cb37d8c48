//! Checks the ring under the loom model checker: every interleaving of its two sides, within a bound
//! on preemptions, and every value that the memory model lets an atomic load return.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p hpbench-backends --release --test loom_ring
//! ```
//!
//! Loom tracks each slot of the ring as a cell of its own: an access that does not happen after the
//! other side's last one fails as a causality violation, even if the values come out right. Models
//! are small, because their cost grows exponentially: one or two slots, a handful of items, and no
//! side that spins. `LOOM_MAX_PREEMPTIONS` raises the bound.

#![cfg(loom)]

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hpbench_backends::frames::ring::{Consumer, Producer, ring};
use loom::thread;

/// Preemptions per execution: two make any race between an index and a slot, a third is for luck.
const PREEMPTIONS: usize = 3;

/// Runs a model under every interleaving, and returns all its outcomes.
///
/// A model that sees only one outcome of a race did not race, and its test would prove nothing.
fn outcomes<T: Ord + Send + 'static>(model: impl Fn() -> T + Sync + Send + 'static) -> BTreeSet<T> {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    // A lock of `std`, not of loom: the notes are not part of the model.
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let notes = Arc::clone(&seen);
    builder.check(move || {
        let outcome = model();
        notes.lock().expect("no panic while noting").insert(outcome);
    });
    let mut seen = seen.lock().expect("no panic while noting");
    std::mem::take(&mut *seen)
}

/// Puts the items numbered by a range into the ring, as many as fit; returns how many.
type Put = fn(&mut Producer<usize>, Range<usize>) -> usize;
/// Takes the items numbered by a range, as many as there are, and checks their order; returns how many.
type Take = fn(&mut Consumer<usize>, Range<usize>) -> usize;

fn put_one(producer: &mut Producer<usize>, items: Range<usize>) -> usize {
    match producer.push(items.start) {
        Ok(()) => 1,
        Err(refused) => {
            assert_eq!(refused, items.start, "a full ring gives back what it was given");
            0
        }
    }
}

/// As a backend receives: stages until the ring is full, publishes once.
fn put_batch(producer: &mut Producer<usize>, items: Range<usize>) -> usize {
    let staged = items.take_while(|&item| producer.stage(item).is_ok()).count();
    producer.publish();
    staged
}

/// Stages as many as [`Producer::free`] has counted, which relies on its load alone.
fn put_counted(producer: &mut Producer<usize>, items: Range<usize>) -> usize {
    let count = producer.free().min(items.len());
    for item in items.take(count) {
        producer.stage(item).expect("a slot that was counted as free");
    }
    producer.publish();
    count
}

fn take_one(consumer: &mut Consumer<usize>, items: Range<usize>) -> usize {
    let Some(item) = consumer.pop() else { return 0 };
    consumer.release();
    assert_eq!(item, items.start, "items come in order, none lost or doubled");
    1
}

/// Pops all there is, releases once.
fn take_batch(consumer: &mut Consumer<usize>, items: Range<usize>) -> usize {
    let mut taken = 0;
    for expected in items {
        let Some(item) = consumer.pop() else { break };
        assert_eq!(item, expected, "items come in order, none lost or doubled");
        taken += 1;
    }
    consumer.release();
    taken
}

/// As an app receives: consumes what is there.
fn take_consumed(consumer: &mut Consumer<usize>, mut items: Range<usize>) -> usize {
    let before = items.len();
    consumer.consume(before, |item| assert_eq!(Some(item), items.next(), "items come in order, none lost or doubled"));
    before - items.len()
}

/// As a backend sends: reads the items in their slots first, and pops those that were sent.
fn take_peeked(consumer: &mut Consumer<usize>, items: Range<usize>) -> usize {
    let count = consumer.available();
    assert!(count <= items.len(), "no more items than were published");
    for (index, item) in items.clone().take(count).enumerate() {
        assert_eq!(consumer.peek(index), Some(&item), "the items lie in order");
    }
    assert_eq!(consumer.peek(count), None);
    take_batch(consumer, items.start..items.start + count)
}

/// A ring through which some items have already passed, so that its indices are past its first slots.
fn turned_ring(capacity: usize, turned: usize) -> (Producer<usize>, Consumer<usize>) {
    let (mut producer, mut consumer) = ring(capacity);
    for item in 0..turned {
        assert_eq!((producer.push(item), consumer.pop()), (Ok(()), Some(item)));
        consumer.release();
    }
    (producer, consumer)
}

/// Calls one side once per item; returns how many items it moved.
fn run(items: usize, mut step: impl FnMut(Range<usize>) -> usize) -> usize {
    let mut next = 0;
    for _ in 0..items {
        if next < items {
            next += step(next..items);
        }
    }
    next
}

/// Lets the two sides of a ring race, passes what is left by turns, and returns how many items the
/// consumer took in the race.
fn pass((mut producer, mut consumer): (Producer<usize>, Consumer<usize>), items: usize, put: Put, take: Take) -> usize {
    let side = thread::spawn(move || (run(items, |left| put(&mut producer, left)), producer));
    let raced = run(items, |left| take(&mut consumer, left));
    let (mut put_items, mut producer) = side.join().expect("the producer does not panic");
    let mut taken = raced;
    // The join ordered the sides, so each turn moves an item: no ring is full and empty at once.
    for _ in raced..items {
        if put_items < items {
            put_items += put(&mut producer, put_items..items);
        }
        if taken < items {
            taken += take(&mut consumer, taken..items);
        }
    }
    assert_eq!((put_items, taken, consumer.pop()), (items, items, None), "all items passed, and no other");
    raced
}

#[test]
fn an_empty_ring_yields_none() {
    let seen = outcomes(|| {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!((consumer.pop(), consumer.available(), consumer.peek(0)), (None, 0, None));
        let side = thread::spawn(move || producer.push(7).expect("an empty ring"));
        let early = consumer.pop();
        side.join().expect("the producer does not panic");
        // The join orders the push before this: the item is here, unless it was there.
        let late = consumer.pop();
        assert_eq!((early.xor(late), consumer.pop()), (Some(7), None));
        early
    });
    assert_eq!(seen, BTreeSet::from([None, Some(7)]));
}

#[test]
fn a_full_ring_refuses_and_gives_the_item_back() {
    let seen = outcomes(|| {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!((producer.push(0), producer.push(1), producer.push(2)), (Ok(()), Ok(()), Err(2)));
        let side = thread::spawn(move || {
            assert_eq!(take_one(&mut consumer, 0..1), 1);
            consumer
        });
        let early = producer.push(2);
        let mut consumer = side.join().expect("the consumer does not panic");
        let late = producer.push(3);
        // One slot was released, for one item: whichever came first after the release.
        assert_eq!(late, if early.is_ok() { Err(3) } else { Ok(()) });
        let last = if early.is_ok() { 2 } else { 3 };
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(1), Some(last), None));
        early
    });
    assert_eq!(seen, BTreeSet::from([Ok(()), Err(2)]));
}

#[test]
fn a_popped_slot_is_full_until_its_release() {
    let seen = outcomes(|| {
        let (mut producer, mut consumer) = ring(1);
        producer.push(0).expect("an empty ring");
        let side = thread::spawn(move || (producer.push(1), producer.free()));
        assert_eq!(consumer.pop(), Some(0));
        let outcome = side.join().expect("the producer does not panic");
        consumer.release();
        outcome
    });
    assert_eq!(seen, BTreeSet::from([(Err(1), 0)]));
}

#[test]
fn a_staged_item_is_not_seen_before_its_publication() {
    let seen = outcomes(|| {
        let (mut producer, mut consumer) = ring(2);
        let side = thread::spawn(move || put_batch(&mut producer, 0..2));
        let available = consumer.available();
        side.join().expect("the producer does not panic");
        available
    });
    // Never one: a single store makes both visible.
    assert_eq!(seen, BTreeSet::from([0, 2]));
}

#[test]
fn items_pass_one_by_one() {
    let seen = outcomes(|| pass(ring(1), 3, put_one, take_one));
    assert!(seen.is_superset(&BTreeSet::from([0, 1, 2])), "a race with outcomes {seen:?}");
    let seen = outcomes(|| pass(ring(2), 5, put_one, take_one));
    assert!(seen.is_superset(&BTreeSet::from([0, 1, 2, 3, 4])), "a race with outcomes {seen:?}");
}

#[test]
fn batches_pass_whole() {
    for take in [take_one, take_batch, take_consumed, take_peeked] as [Take; 4] {
        for put in [put_one, put_batch, put_counted] as [Put; 3] {
            assert_eq!(outcomes(move || pass(ring(1), 2, put, take)), BTreeSet::from([0, 1, 2]));
            let seen = outcomes(move || pass(ring(2), 3, put, take));
            assert!(seen.is_superset(&BTreeSet::from([0, 2, 3])), "a race with outcomes {seen:?}");
        }
    }
    // Twice around the slots. The consumer always takes whole batches.
    assert_eq!(outcomes(|| pass(ring(2), 4, put_batch, take_batch)), BTreeSet::from([0, 2, 4]));
}

#[test]
fn indices_go_round_many_times() {
    // After several turns around the ring, at each slot: full, empty and in between are distinguished by
    // the distance of the indices, which keep growing when the slots begin again.
    for turned in 4..8 {
        let seen = outcomes(move || {
            let (mut producer, mut consumer) = turned_ring(2, turned);
            for fill in 0..=2 {
                assert_eq!((put_batch(&mut producer, 0..fill), consumer.available()), (fill, fill));
                // One more fits into two slots, or does not.
                let total = fill + put_one(&mut producer, fill..3);
                assert_eq!((total, take_batch(&mut consumer, 0..3)), ((fill + 1).min(2), total));
            }
            pass((producer, consumer), 3, put_batch, take_batch)
        });
        assert_eq!(seen, BTreeSet::from([0, 2, 3]), "{turned} items before the race");
    }
}

/// An item that counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_left_in_the_ring_is_dropped_once() {
    let seen = outcomes(|| {
        let drops: Vec<_> = (0..4).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let mut items: Vec<_> = drops.iter().rev().cloned().map(Counted).collect();
        let mut item = move || items.pop().expect("four items");
        let (mut producer, mut consumer) = ring(2);
        assert!(producer.push(item()).is_ok());
        let side = thread::spawn(move || {
            // One published, and as many staged as fit. A refused item is dropped right here; the
            // others go with the ring, whichever half is the last to leave it.
            let pushed = producer.push(item()).is_ok();
            (pushed, producer.stage(item()).is_ok(), producer.stage(item()).is_ok())
        });
        assert!(consumer.pop().is_some());
        consumer.release();
        // The second one's slot is released by the drop of the consumer, if at all.
        let popped = 1 + usize::from(consumer.pop().is_some());
        drop(consumer);
        let staged = side.join().expect("the producer does not panic");
        let counts: Vec<_> = drops.iter().map(|drops| drops.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [1; 4], "each item is dropped exactly once");
        (popped, staged)
    });
    for popped in [1, 2] {
        for third in [false, true] {
            assert!(seen.contains(&(popped, (true, third, false))), "no {popped}, {third} among {seen:?}");
        }
    }
}
