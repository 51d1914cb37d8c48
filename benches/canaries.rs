//! Which fixed piece of work predicts how fast a trial will be: arithmetic, entering the kernel, or missing the caches.
//!
//! Trials of `drain` over plain, each 10 ms, with the three pieces of work before and after it. For each piece the
//! bench prints Spearman's rank correlation of its time with the trial's cost; the same for the changes from one trial
//! to the next, which contain no slow drift; and how much more the trials cost that the gate would mark (more than 5%
//! and 5 MAD off the median).
//! `cargo bench --bench canaries`; `… -- 2000` takes 2,000 trials instead of 1,000. It gates nothing.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hpbench::measure::cost;
use hpbench::measure::order::Order;
use hpbench::measure::peer::filler::Filler;
use hpbench::plan::cells::{Scenario, Until};
use hpbench::plan::cores::{self, Cores, Wanted};
use hpbench::stats::median_of_sorted;
use hpbench::traffic::wire::{Tag, Verify, Wire};
use hpbench_backends::bare::{BareLoop, BarePlain};
use hpbench_backends::{Pool, Socket};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ROUND: usize = 1024;
const BATCH: usize = 32;
const BUFFER: usize = 16 << 20;
const TRIAL: Duration = Duration::from_millis(10);
/// Larger than the second-level cache of any core, and than its share of the last level.
const MEMORY: usize = 32 << 20;
const LINE: usize = 64;
const NAMES: [&str; 3] = ["arithmetic", "kernel", "caches"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1000);
    let count = if words.iter().any(|word| word == "--test") { 20 } else { count };
    cores::pin(Cores::choose(Wanted::default())?.places[0].worker)?;
    let pool = Pool::new(4096, 2048)?;
    let mut free = pool.frames();
    let (near, far) = Socket::pair(SocketAddr::new(ADDRESS, 0))?;
    near.set_buffers(BUFFER, BUFFER)?;
    far.set_buffers(BUFFER, BUFFER)?;
    let near = Arc::new(near);
    let mut filler = Filler::socket(&order(), &Arc::new(far))?;
    let mut bare = BarePlain::open(Arc::clone(&near), BATCH)?;
    let chain = chain();

    let mut costs: Vec<f64> = Vec::new();
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..count {
        let before = canaries(&chain);
        let (start, mut rounds) = (Instant::now(), Vec::new());
        while start.elapsed() < TRIAL {
            filler.fill(&mut free, ROUND)?;
            near.meminfo()?;
            let begin = Instant::now();
            bare.receive(ROUND)?;
            rounds.push(begin.elapsed().as_nanos() as f64 / ROUND as f64);
        }
        let after = canaries(&chain);
        rounds.sort_unstable_by(f64::total_cmp);
        costs.push(median_of_sorted(&rounds).unwrap_or(f64::NAN).ln());
        for (at, times) in times.iter_mut().enumerate() {
            times.push(f64::midpoint(before[at], after[at]).ln());
        }
    }
    filler.close(&mut free)?;

    println!("{count} trials of plain, median {:.1} ns per datagram", median(&costs).exp());
    println!("{:<12}{:>10}{:>10}{:>12}{:>9}{:>12}", "", "time, µs", "spread", "correlation", "changes", "marked");
    for (name, times) in NAMES.iter().zip(&times) {
        let middle = median(times);
        let off: Vec<f64> = times.iter().map(|time| (time - middle).abs()).collect();
        let mad = median(&off);
        let marked: Vec<f64> = costs
            .iter()
            .zip(&off)
            .filter(|(_, off)| **off > 0.05 && **off > 5.0 * mad)
            .map(|(cost, _)| *cost)
            .collect();
        let excess = if marked.is_empty() {
            "none".to_owned()
        } else {
            format!("{} {:+.1}%", marked.len(), 100.0 * (median(&marked) - median(&costs)).exp_m1())
        };
        println!(
            "{name:<12}{:>10.1}{:>9.2}%{:>12.2}{:>9.2}{excess:>12}",
            middle.exp() / 1e3,
            100.0 * mad,
            correlation(times, &costs),
            correlation(&changes(times), &changes(&costs))
        );
    }
    Ok(())
}

/// The times of the three pieces of work, in ns: the least of three tries of each.
fn canaries(chain: &[u32]) -> [f64; 3] {
    let least = |work: &mut dyn FnMut()| {
        let one = |_| {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as f64
        };
        (0..3).map(one).fold(f64::INFINITY, f64::min)
    };
    let mut at = 0_u32;
    // Each load waits for the one before it. Each try continues where the last one ended, so nothing is cached yet.
    let miss = || (0..2000).for_each(|_| at = chain[at as usize * (LINE / 4)]);
    let times = [cost::canary_ns() as f64, cost::kernel_canary_ns() as f64, least(&mut { miss })];
    black_box(at);
    times
}

/// A cycle through all lines of the memory, in an order that no prefetcher guesses: each line names the next one.
fn chain() -> Vec<u32> {
    let lines = MEMORY / LINE;
    let mut order: Vec<u32> = (0..lines as u32).collect();
    let mut state = 1_u64;
    // Sattolo's shuffle makes one cycle.
    for last in (1..lines).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) as usize % last);
    }
    let mut chain = vec![0_u32; MEMORY / 4];
    for (at, next) in order.iter().enumerate() {
        chain[at * (LINE / 4)] = *next;
    }
    chain
}

fn order() -> Order {
    Order {
        scenario: Scenario::Drain,
        wire: Wire { tag: Tag::new(1), verify: Verify::Header },
        flow: 0,
        payload: 64,
        gso: hpbench_backends::kernel::socket::probe_gso(ADDRESS).is_ok(),
        rate_pps: 1,
        burst: 1,
        fanout: 1,
        window: 1,
        warmup: Duration::ZERO,
        until: Until::Datagrams(1),
        core: None,
        fifo: None,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    median_of_sorted(&sorted).unwrap_or(f64::NAN)
}

fn changes(values: &[f64]) -> Vec<f64> {
    values.windows(2).map(|two| two[1] - two[0]).collect()
}

/// Spearman's rank correlation.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        let mut ranks = vec![0.0; values.len()];
        order.iter().enumerate().for_each(|(rank, at)| ranks[*at] = rank as f64);
        ranks
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}
