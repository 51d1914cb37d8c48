//! Measures the ring beside `rtrb`'s chunks and `crossbeam`'s `ArrayQueue`, in one thread and in two.
//!
//! ```text
//! cargo bench -p hpbench-backends --bench ring
//! ```
//!
//! The contenders take turns in many short rounds, in rotating order, so that a change in the machine's
//! speed affects them all. Each round's times are compared with `rtrb`'s of the same round.
//! Every item is checked, by the same code for all. It reports, and gates nothing. Without `--bench`
//! (as `cargo test --benches` runs it) or with `--test` it only checks, in a few milliseconds.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use rtrb::chunks::ChunkError;

/// Three words, where a packet has two: not a power of two, so that a slot's address has to be computed.
type Item = [u64; 3];

const BATCH: u64 = 32;
/// As many slots as a round of datagrams has. Its 24 KiB fit into any first-level cache.
const CAPACITY: usize = 1024;
/// The contender that the others are compared with: its place in [`contenders`].
const REFERENCE: usize = 2;
/// Fruitless looks, most of them with a yield, after which the other thread must be gone: a minute or so.
const LOOKS_MAX: u32 = 100_000_000;

/// The half of a ring that puts items in.
trait Put: Send {
    /// Makes items of at most a batch of numbers, puts in those that fit, and returns how many.
    fn put(&mut self, numbers: Range<u64>) -> u64;
}

/// The half of a ring that takes items out.
trait Take: Send {
    /// Takes at most a batch, and passes each item to the check. By value, to keep it in registers.
    fn take(&mut self, check: Check) -> Check;
}

/// Checks that all items arrive, and in order. Its result depends on every word of every item.
#[derive(Clone, Copy, Default)]
struct Check {
    next: u64,
    faults: u64,
}

impl Check {
    #[inline(always)]
    fn see(&mut self, got: Item) {
        let want = item(self.next);
        self.faults |= (got[0] ^ want[0]) | (got[1] ^ want[1]) | (got[2] ^ want[2]);
        self.next += 1;
    }
}

#[inline(always)]
fn item(number: u64) -> Item {
    [number, number.wrapping_mul(0x9e37_79b9_7f4a_7c15), !number]
}

impl Put for CachePadded<hpbench_backends::Producer<Item>> {
    fn put(&mut self, numbers: Range<u64>) -> u64 {
        let count = numbers.take_while(|&number| self.stage(item(number)).is_ok()).count();
        self.publish();
        count as u64
    }
}

impl Take for CachePadded<hpbench_backends::Consumer<Item>> {
    fn take(&mut self, mut check: Check) -> Check {
        (0..BATCH).map_while(|_| self.pop()).for_each(|item| check.see(item));
        self.release();
        check
    }
}

/// Our consumer again, as the app uses it.
struct Consumed(hpbench_backends::Consumer<Item>);

impl Take for CachePadded<Consumed> {
    fn take(&mut self, mut check: Check) -> Check {
        self.0.consume(BATCH as usize, |item| check.see(item));
        check
    }
}

impl Put for CachePadded<rtrb::Producer<Item>> {
    fn put(&mut self, numbers: Range<u64>) -> u64 {
        let chunk = match self.write_chunk_uninit((numbers.end - numbers.start) as usize) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(0)) => return 0,
            Err(ChunkError::TooFewSlots(slots)) => self.write_chunk_uninit(slots).expect("slots just counted"),
        };
        chunk.fill_from_iter(numbers.map(item)) as u64
    }
}

impl Take for CachePadded<rtrb::Consumer<Item>> {
    fn take(&mut self, mut check: Check) -> Check {
        let chunk = match self.read_chunk(BATCH as usize) {
            Ok(chunk) => chunk,
            Err(ChunkError::TooFewSlots(0)) => return check,
            Err(ChunkError::TooFewSlots(slots)) => self.read_chunk(slots).expect("items just counted"),
        };
        // Not a `for` loop: `rtrb` has a faster path for this.
        chunk.into_iter().for_each(|item| check.see(item));
        check
    }
}

impl Put for CachePadded<Arc<ArrayQueue<Item>>> {
    fn put(&mut self, numbers: Range<u64>) -> u64 {
        numbers.take_while(|&number| self.push(item(number)).is_ok()).count() as u64
    }
}

impl Take for CachePadded<Arc<ArrayQueue<Item>>> {
    fn take(&mut self, mut check: Check) -> Check {
        (0..BATCH).map_while(|_| self.pop()).for_each(|item| check.see(item));
        check
    }
}

/// A ring under measurement. Its halves are behind `dyn`, so that they are not inlined into one loop, and
/// padded, so that their own fields do not share a cache line.
struct Contender {
    name: &'static str,
    put: Box<dyn Put>,
    take: Box<dyn Take>,
}

fn contender<P, T>(name: &'static str, (put, take): (P, T)) -> Contender
where
    CachePadded<P>: Put + 'static,
    CachePadded<T>: Take + 'static,
{
    Contender { name, put: Box::new(CachePadded::new(put)), take: Box::new(CachePadded::new(take)) }
}

fn contenders() -> Vec<Contender> {
    let (put, take) = hpbench_backends::ring(CAPACITY);
    let queue = Arc::new(ArrayQueue::new(CAPACITY));
    vec![
        contender("hpbench stage, pop", hpbench_backends::ring(CAPACITY)),
        contender("hpbench stage, consume", (put, Consumed(take))),
        contender("rtrb chunks", rtrb::RingBuffer::new(CAPACITY)),
        contender("ArrayQueue", (Arc::clone(&queue), queue)),
    ]
}

/// How much to measure: rounds, and items per contender and round.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    items: u64,
}

impl Plan {
    /// The order of the contenders, round by round; each round starts with a different one.
    fn turns(self, contenders: usize) -> impl Iterator<Item = usize> {
        (0..self.rounds).flat_map(move |round| (0..contenders).map(move |turn| (round + turn) % contenders))
    }
}

/// Returns the nanoseconds per item of each contender, round by round.
fn one_thread(plan: Plan, mut contenders: Vec<Contender>) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(plan.rounds); contenders.len()];
    for turn in plan.turns(contenders.len()) {
        let Contender { put, take, .. } = &mut contenders[turn];
        let mut check = Check::default();
        let start = Instant::now();
        while check.next < plan.items {
            let next = check.next + put.put(check.next..plan.items.min(check.next + BATCH));
            check = take.take(check);
            assert_eq!(check.next, next, "what went in comes out");
        }
        times[turn].push(start.elapsed().as_nanos() as f64 / plan.items as f64);
        assert_eq!(check.faults, 0, "items come whole and in order");
    }
    times
}

/// The consumer runs here, the producer in a thread of its own; the clock starts when the consumer
/// calls for a round's items, and stops when it has them all.
fn two_threads(plan: Plan, contenders: Vec<Contender>, cpus: [usize; 2]) -> Vec<Vec<f64>> {
    let (mut puts, mut takes): (Vec<_>, Vec<_>) = contenders.into_iter().map(|c| (c.put, c.take)).unzip();
    let mut times = vec![Vec::with_capacity(plan.rounds); takes.len()];
    let called = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(cpus[0]);
            for (count, turn) in plan.turns(puts.len()).enumerate() {
                wait_until(|| called.load(Ordering::Acquire) > count);
                let mut next = 0;
                while next < plan.items {
                    wait_until(|| {
                        let put = puts[turn].put(next..plan.items.min(next + BATCH));
                        next += put;
                        put > 0
                    });
                }
            }
        });
        pin(cpus[1]);
        for (count, turn) in plan.turns(takes.len()).enumerate() {
            let mut check = Check::default();
            let start = Instant::now();
            called.store(count + 1, Ordering::Release);
            while check.next < plan.items {
                let before = check.next;
                wait_until(|| {
                    check = takes[turn].take(check);
                    check.next > before
                });
            }
            times[turn].push(start.elapsed().as_nanos() as f64 / plan.items as f64);
            assert_eq!(check.faults, 0, "items come whole and in order");
        }
    });
    times
}

/// Looks until there is something, with the pause of a polling loop.
fn wait_until(mut look: impl FnMut() -> bool) {
    for looks in 0..LOOKS_MAX {
        if look() {
            return;
        }
        // Yielding is for a machine whose CPUs are not free for both threads.
        if looks < 10_000 { std::hint::spin_loop() } else { thread::yield_now() }
    }
    panic!("the other thread is gone");
}

/// Binds the calling thread to one of the allowed CPUs.
fn pin(cpu: usize) {
    // SAFETY: `cpu_set_t` is an array of integers, for which zeros are a valid value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: it checks the number against the size of the set, and sets a bit in it.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is live for the call, which reads as many bytes as it has.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0;
    assert!(!failed, "CPU {cpu} was allowed: {}", io::Error::last_os_error());
}

/// The CPUs that this process may run on, in ascending order.
fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: as in `pin`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live for the call, which writes at most as many bytes as it has.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it checks the number against the size of the set, and reads a bit of it.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a row per contender: its median, and the median of its rounds' ratios to the reference's.
fn report(setting: &str, names: &[&str], times: &[Vec<f64>]) {
    println!("\n{setting:<28} {:>8} {:>14}", "ns/item", "ratio to rtrb");
    for (name, rounds) in names.iter().zip(times) {
        let ratios = rounds.iter().zip(&times[REFERENCE]).map(|(own, rtrb)| own / rtrb).collect();
        println!("{name:<28} {:>8.2} {:>14.3}", median(rounds.clone()), median(ratios));
    }
}

fn main() -> io::Result<()> {
    let asked = |name| std::env::args().any(|argument| argument == name);
    let tiny = asked("--test") || !asked("--bench");
    // Even tiny rounds go around the slots several times.
    let plan = if tiny { Plan { rounds: 3, items: 4_000 } } else { Plan { rounds: 300, items: 32_768 } };
    let (Plan { rounds, items }, size) = (plan, size_of::<Item>());
    let aim = if tiny { "too few to measure, only checked" } else { "all checked; median ns, median ratio of a round" };
    println!(
        "{rounds} rounds of {items} items, {size} bytes each, in batches of {BATCH} through {CAPACITY} slots; {aim}"
    );
    let names: Vec<_> = contenders().iter().map(|contender| contender.name).collect();
    let cpus = allowed_cpus()?;
    pin(cpus[0]);
    report(&format!("one thread, CPU {}", cpus[0]), &names, &one_thread(plan, contenders()));
    if let [first, second, ..] = cpus[..] {
        let times = two_threads(plan, contenders(), [first, second]);
        report(&format!("two threads, CPUs {first} and {second}"), &names, &times);
    } else {
        println!("\nSKIPPED two threads: this process may use one CPU only");
    }
    Ok(())
}
