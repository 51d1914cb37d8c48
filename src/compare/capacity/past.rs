//! The searches of a run, from the rows of their trials.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::compare::capacity::judge::{Met, judge};
use crate::compare::capacity::sought::Sought;
use crate::record::cell::CellKey;
use crate::record::lat_tail::LatTail;
use crate::record::row::Row;
use crate::stats::search::{Ask, Search};

/// The searches of one run, which have the same goals.
#[derive(Debug)]
pub(super) struct Run {
    /// The file, and the run in it.
    pub(super) id: (usize, String),
    pub(super) started_at: String,
    pub(super) goal: String,
    pub(super) sought: Sought,
    pub(super) searches: Vec<Past>,
    pub(super) known: HashMap<CellKey, usize>,
}

/// A search that was made.
#[derive(Debug)]
pub(super) struct Past {
    /// What was searched, without a rate.
    pub(super) cell: CellKey,
    pub(super) workers: usize,
    pub(super) search: Search,
    /// The trials that count.
    pub(super) trials: Vec<Trial>,
    /// Why there is no result.
    pub(super) failed: Option<String>,
}

/// What an answer needs of a trial.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) load: u64,
    /// What it says to each goal.
    pub(super) met: Vec<Met>,
    /// Whether it was disturbed.
    pub(super) is_invalid: bool,
    /// Time of the worker and the kernel's threads, in nanoseconds per datagram.
    pub(super) cpu_ns: Option<f64>,
    pub(super) has_latency: bool,
    pub(super) tail: LatTail,
    /// Datagrams dropped at sockets and rings, and lost on the way.
    pub(super) dropped: [u64; 3],
}

impl Past {
    pub(super) fn add(&mut self, row: &Row, load: u64, sought: &Sought) {
        if row.shows_nothing() {
            self.failed = Some(row.why().into_owned());
        }
        // What was disturbed and did not hold says nothing.
        if row.goal_met.is_empty() {
            return;
        }
        self.failed = None;
        let judged = judge(row, sought);
        let asked = self.search.ask().filter(|ask| ask.load == load);
        let seconds = sought.strictest().final_trial_s;
        self.search.note(asked.unwrap_or(Ask { load, seconds }), judged.shown);
        self.trials.push(Trial {
            load,
            met: judged.met,
            is_invalid: row.is_invalid(),
            cpu_ns: row.cpu_ns_per_packet.map(|ns| ns + row.kthread_ns_per_packet.unwrap_or(0.0)),
            has_latency: row.lat_p99_ns.is_some(),
            tail: row.lat_tail.clone(),
            dropped: [row.drop_socket, row.drop_ring, row.lost].map(Option::unwrap_or_default),
        });
    }
}

/// The rates that are searched, up to the highest: a trial has at least four bursts.
pub(crate) fn range(burst: u64, highest: u64, sought: &Sought) -> RangeInclusive<u64> {
    let lowest = (4.0 * burst as f64 / sought.strictest().final_trial_s).ceil() as u64;
    let highest = highest.max(1);
    lowest.clamp(1, highest)..=highest
}
