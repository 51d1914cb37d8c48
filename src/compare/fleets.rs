//! A change on many hosts, cell by cell: what it is on the median host, and which hosts differ from that one.
//!
//! Each host is compared with itself only, by pairs of runs; hosts may be of any kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::compare::cells::Pair;
use crate::compare::comparisons::{self, CompareError, Settings, Sides};
use crate::compare::judge;
use crate::compare::metrics::Metric;
use crate::compare::notes;
use crate::compare::trials::Trials;
use crate::compare::verdict::{self, Ratio, Verdict};
use crate::compare::warnings::Reason;
use crate::record::cell::CellKey;
use crate::record::column::Better;
use crate::record::columns::Column;
use crate::stats::estimate::Estimate;
use crate::stats::hosts::{self, HOSTS_MIN, Host, PAIRS_MIN};
use crate::stats::median::ALPHA;
use crate::stats::multiple;

/// A cell on two sides, on all hosts.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// What is compared.
    pub metric: Metric,
    /// The cell; without what is compared by.
    pub cell: CellKey,
    /// The names of both sides.
    pub sides: [String; 2],
    /// How many hosts count.
    pub hosts: usize,
    /// The names of those that do not: fewer than two pairs of their runs do, or their trials mean nothing.
    pub left_out: Vec<String>,
    /// The change on the median host.
    pub median: Option<Estimate>,
    /// Its p-value, adjusted for how many rows there are.
    pub q: Option<f64>,
    /// What may be said of the median host.
    pub verdict: Verdict,
    /// Why nothing may be said.
    pub reason: Option<Reason>,
    /// The hosts that certainly differ from the median host by more than the threshold, the farthest first.
    pub differing: Vec<Differing>,
}

/// A host that differs from the median host.
#[derive(Debug)]
pub(crate) struct Differing {
    /// Its name.
    pub host: String,
    /// Its own change.
    pub ratio: Ratio,
    /// How likely so much is by chance: adjusted for how many hosts there are.
    pub q: f64,
}

/// All cells.
#[derive(Debug)]
pub(crate) struct Fleets {
    /// What tells the sides apart.
    pub by: &'static str,
    /// The least change that matters, as a fraction.
    pub threshold: f64,
    /// One for each cell, pair of sides and metric.
    pub rows: Vec<Fleet>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// What a fleet is made from: of each host, the differences of its pairs of runs.
struct Found<'a> {
    metric: Metric,
    pair: &'a Pair,
    hosts: BTreeMap<String, Vec<f64>>,
}

impl Fleets {
    /// Compares.
    ///
    /// # Errors
    ///
    /// If there is nothing to compare, or nothing that means anything.
    pub(crate) fn new(trials: &Trials<'_>, settings: &Settings<'_>) -> Result<Self, CompareError> {
        if trials.by.frees(Column::host) {
            return Err(CompareError::AcrossSides);
        }
        let Sides { sides, matched, .. } = Sides::of(trials, &Settings { across_hosts: true, ..*settings })?;
        let mut found: Vec<Found<'_>> = Vec::new();
        let mut known: HashMap<(&CellKey, &str, [u32; 2], Column), usize> = HashMap::new();
        for (at, metric) in comparisons::jobs(trials, &matched.pairs, settings) {
            let pair = &matched.pairs[at];
            let key = (&pair.cell, pair.accel.as_str(), [pair.base.side, pair.new.side], metric.column);
            let at = *known.entry(key).or_insert(found.len());
            if at == found.len() {
                found.push(Found { metric, pair, hosts: BTreeMap::new() });
            }
            let differences = differences(trials, pair, metric);
            found[at].hosts.entry(host(trials, pair)).or_default().extend(differences);
        }
        let mut rows: Vec<Fleet> = found.into_iter().map(|found| found.fleet(trials, settings.threshold)).collect();
        judge(&mut rows, settings.threshold);
        let mut notes = notes::of(trials, &sides, &matched, &[]);
        notes.extend(notes::without_verdict(rows.iter().filter_map(|row| row.reason.as_ref()), rows.len()));
        notes.extend(left_out(&rows));
        Ok(Self { by: trials.by.name(), threshold: settings.threshold, rows, notes })
    }
}

/// The host that a pair of sides was measured on.
fn host(trials: &Trials<'_>, pair: &Pair) -> String {
    let first = pair.base.trials.iter().chain(&pair.new.trials).next();
    first.map_or("", |&at| trials.condition(trials.list[at].conditions, Column::host)).to_owned()
}

/// The differences of the pairs of runs of a host; none where they mean nothing.
fn differences(trials: &Trials<'_>, pair: &Pair, metric: Metric) -> Vec<f64> {
    let [base, new] = judge::sides(trials, pair, metric);
    if judge::refusal(pair, &base, &new).is_some() {
        return Vec::new();
    }
    let pairs = judge::run_pairs(trials, pair, &base, &new).and_then(Result::ok);
    pairs.map_or_else(Vec::new, |pairs| pairs.differences)
}

impl Found<'_> {
    fn fleet(self, trials: &Trials<'_>, threshold: f64) -> Fleet {
        let (mut names, mut members, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for (name, differences) in self.hosts {
            match Host::of(&differences) {
                Some(host) => {
                    names.push(name);
                    members.push(host);
                }
                None => left_out.push(name),
            }
        }
        let fleet = hosts::fleet(&members, verdict::least(threshold));
        let few = Reason::TooFewHosts { hosts: members.len(), needed: HOSTS_MIN };
        let (median, reason) = fleet.as_ref().map_or((None, Some(few)), |fleet| (Some(fleet.median), None));
        let mut differing: Vec<Differing> = Vec::new();
        for (host, member) in names.into_iter().zip(fleet.iter().flat_map(|fleet| &fleet.members)) {
            if member.q < ALPHA {
                differing.push(Differing { host, ratio: member.estimate.into(), q: member.q });
            }
        }
        let middle = median.map_or(0.0, |median| median.center);
        let far = |one: &Differing| (one.ratio.value.ln() - middle).abs();
        differing.sort_by(|a, b| far(b).total_cmp(&far(a)));
        Fleet {
            metric: self.metric,
            cell: self.pair.cell.clone(),
            sides: [self.pair.base.side, self.pair.new.side].map(|side| trials.side(side).to_owned()),
            hosts: members.len(),
            left_out,
            median,
            q: None,
            verdict: Verdict::None,
            reason,
            differing,
        }
    }
}

/// Gives each fleet that is worth one a verdict, for which all of them count.
fn judge(rows: &mut [Fleet], threshold: f64) {
    let p: Vec<f64> = rows.iter().filter_map(|row| Some(row.median?.p)).collect();
    let mut q = multiple::benjamini_hochberg(&p).into_iter();
    for row in rows.iter_mut().filter(|row| row.median.is_some()) {
        row.q = q.next();
        row.verdict = verdict::verdict(row.worse_by(), row.q.unwrap_or(1.0), threshold);
    }
}

impl Fleet {
    /// The interval of the change on the median host as a logarithm, turned so that what is above 0 is worse.
    fn worse_by(&self) -> Option<(f64, f64)> {
        let Estimate { low, high, .. } = self.median?;
        Some(if self.metric.better == Better::Lower { (low, high) } else { (-high, -low) })
    }

    /// Whether the median host is certainly worse by at least the threshold.
    pub(crate) fn is_worse_by_threshold(&self, threshold: f64) -> bool {
        self.verdict == Verdict::Worse && self.worse_by().is_some_and(|(low, _)| low >= verdict::least(threshold))
    }

    /// Whether the sides certainly differ on the median host, although by less than the threshold.
    pub(crate) fn is_certain(&self) -> bool {
        self.verdict == Verdict::Same && self.q.is_some_and(|q| q < ALPHA)
    }
}

/// Names the hosts that do not count, once.
fn left_out(rows: &[Fleet]) -> Option<String> {
    const NAMED_MAX: usize = 8;
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| &row.left_out).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| {
        format!("Left out, because fewer than {PAIRS_MIN} pairs of their runs count (column pair): {named}{more}.")
    })
}
