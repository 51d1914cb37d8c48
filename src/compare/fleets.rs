//! A change on many hosts, cell by cell: the change on the median host, and the hosts that differ from it.
//!
//! Each host is compared only with itself, by pairs of runs; hosts may be of any kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;

use crate::compare::cells::{Alone, Pair};
use crate::compare::comparisons::{self, CompareError, Settings, Sides};
use crate::compare::judge;
use crate::compare::judged::{self, Judged};
use crate::compare::metrics::Metric;
use crate::compare::notes;
use crate::compare::trials::Trials;
use crate::compare::verdict::{self, Basis, Figures, Ratio, Verdict};
use crate::compare::warnings::Reason;
use crate::record::cell::CellKey;
use crate::record::columns::Column;
use crate::stats::hosts::{self, HOSTS_MIN, Host, PAIRS_MIN};
use crate::stats::median::ALPHA;
use crate::stats::multiple::benjamini_hochberg;

/// A cell on two sides, on all hosts.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// What is compared, and the verdict on the median host.
    pub judged: Judged,
    /// How many hosts count.
    pub hosts: usize,
    /// The hosts that do not count.
    pub left_out: Vec<LeftOut>,
    /// The hosts that certainly differ from the median host by more than the threshold, the farthest first.
    pub differing: Vec<Differing>,
    /// The changes of all hosts that count, by name.
    pub changes: Vec<(String, f64)>,
    /// The groups of hosts that have something in common: all that are large enough.
    pub groups: Vec<Group>,
}

/// A fleet can be read as its [`Judged`].
impl Deref for Fleet {
    type Target = Judged;

    fn deref(&self) -> &Judged {
        &self.judged
    }
}

/// What hosts may have in common.
const GROUPED_BY: [Column; 2] = [Column::cpu_model, Column::kernel];

/// Hosts that have a processor or a kernel in common.
#[derive(Debug)]
pub(crate) struct Group {
    /// What they have in common.
    pub column: Column,
    /// Its text.
    pub text: String,
    /// How many they are.
    pub hosts: usize,
    /// The change of their median host, relative to that of all other hosts.
    pub ratio: Ratio,
    /// The probability of so much by chance, beyond the threshold, adjusted for the number of groups.
    pub q: f64,
}

impl Group {
    /// Whether the group certainly differs from the others by more than the threshold.
    pub(crate) fn differs(&self) -> bool {
        self.q < ALPHA
    }
}

/// A host that does not count.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// Its name.
    pub host: String,
    /// Why it does not count.
    pub reason: Reason,
}

/// A host that differs from the median host.
#[derive(Debug)]
pub(crate) struct Differing {
    /// Its name.
    pub host: String,
    /// Its own change.
    pub ratio: Ratio,
    /// The probability of so much by chance, adjusted for the number of hosts.
    pub q: f64,
}

/// All cells.
#[derive(Debug)]
pub(crate) struct Fleets {
    /// What distinguishes the sides.
    pub by: &'static str,
    /// The smallest change that matters, as a fraction.
    pub threshold: f64,
    /// One for each cell, pair of sides and metric.
    pub rows: Vec<Fleet>,
    /// The notes.
    pub notes: Vec<String>,
}

/// The data for a fleet.
struct Found<'a> {
    metric: Metric,
    pair: &'a Pair,
    hosts: BTreeMap<String, OfHost>,
}

/// What is known about a host: the differences of its pairs of runs, or why it has none.
#[derive(Default)]
struct OfHost {
    differences: Vec<f64>,
    reason: Option<Reason>,
    /// Its texts in [`GROUPED_BY`].
    texts: [String; GROUPED_BY.len()],
}

impl OfHost {
    fn new(trials: &Trials<'_>, pair: &Pair) -> Self {
        let first = pair.base.trials.iter().chain(&pair.new.trials).next();
        let text = |column| first.map_or("", |&at| trials.text(at, column)).to_owned();
        Self { texts: GROUPED_BY.map(text), ..Self::default() }
    }

    /// Adds its pairs under some conditions.
    fn add(&mut self, found: Result<Vec<f64>, Reason>) {
        match found {
            Ok(differences) => self.differences.extend(differences),
            Err(reason) => {
                self.reason.get_or_insert(reason);
            }
        }
    }
}

impl Fleets {
    /// Compares.
    ///
    /// # Errors
    ///
    /// If there is nothing to compare, or no comparison means anything.
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
            let of_host = found[at].hosts.entry(host(trials, pair)).or_insert_with(|| OfHost::new(trials, pair));
            of_host.add(differences(trials, pair, metric));
        }
        add_alone(&mut found, &matched.alone);
        let in_rows: BTreeSet<String> = found.iter().flat_map(|found| found.hosts.keys().cloned()).collect();
        let mut rows: Vec<Fleet> = found.into_iter().map(|found| found.fleet(trials, settings.threshold)).collect();
        judged::judge(rows.iter_mut().map(|row| &mut row.judged), settings.threshold);
        let mut notes = notes::of(trials, &sides, &matched, &[]);
        notes.extend(notes::without_verdict(rows.iter().filter_map(|row| row.reason.as_ref()), rows.len()));
        let others = matched.alone.iter().filter(|alone| !in_rows.contains(&alone.host));
        notes.extend(left_out(&rows, others));
        Ok(Self { by: trials.by.name(), threshold: settings.threshold, rows, notes })
    }
}

/// The host that a pair of sides was measured on.
fn host(trials: &Trials<'_>, pair: &Pair) -> String {
    let first = pair.base.trials.iter().chain(&pair.new.trials).next();
    first.map_or("", |&at| trials.condition(trials.list[at].conditions, Column::host)).to_owned()
}

/// The differences of a host's pairs of runs, or why they mean nothing.
fn differences(trials: &Trials<'_>, pair: &Pair, metric: Metric) -> Result<Vec<f64>, Reason> {
    let [base, new] = judge::sides(trials, pair, metric);
    if let Some(reason) = judge::refusal(pair, &base, &new) {
        return Err(reason);
    }
    if base.values.is_empty() || new.values.is_empty() {
        return Err(Reason::NoValues);
    }
    if pair.interleaved {
        return judge::within_runs(&base, &new);
    }
    let found = judge::run_pairs(trials, pair, &base, &new).transpose()?;
    let (differences, all) = found.map_or_else(Default::default, |found| (found.differences, found.all));
    let (pairs, needed) = (differences.len(), PAIRS_MIN);
    if pairs >= needed {
        return Ok(differences);
    }
    let other_state = (all >= needed).then_some(Reason::OtherState { pairs, needed });
    judge::thin(&base, &new).or(other_state).map_or(Ok(differences), Err)
}

/// Adds the hosts that have a fleet's cell only on one side, or under other conditions.
fn add_alone(found: &mut [Found<'_>], alone: &[Alone]) {
    let mut known: HashMap<(&CellKey, [u32; 2]), Vec<&Alone>> = HashMap::new();
    for alone in alone {
        if let Some(sides) = alone.sides {
            known.entry((&alone.cell, sides)).or_default().push(alone);
        }
    }
    for Found { pair, hosts, .. } in found {
        let sides = [pair.base.side, pair.new.side];
        // Failed trials do not say under which conditions they ran.
        let of_failed = pair.cell.without(|axis| axis.role().must_be_equal());
        for alone in [&pair.cell, &of_failed].into_iter().filter_map(|cell| known.get(&(cell, sides))).flatten() {
            let reason = || OfHost { reason: Some(alone.reason.clone()), ..OfHost::default() };
            hosts.entry(alone.host.clone()).or_insert_with(reason);
        }
    }
}

impl Found<'_> {
    fn fleet(self, trials: &Trials<'_>, threshold: f64) -> Fleet {
        let (mut names, mut members, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        let mut texts = Vec::new();
        for (name, OfHost { differences, reason, texts: of_host }) in self.hosts {
            match Host::of(&differences) {
                Some(host) => {
                    names.push(name);
                    members.push(host);
                    texts.push(of_host);
                }
                None => {
                    let few = Reason::TooFewOfHost { pairs: differences.len(), needed: PAIRS_MIN };
                    left_out.push(LeftOut { host: name, reason: reason.unwrap_or(few) });
                }
            }
        }
        let hosts = members.len();
        let fleet = hosts::fleet(&members, verdict::least(threshold));
        let figures = fleet.as_ref().map_or_else(Figures::default, |fleet| Figures {
            ratio: Some(fleet.median.into()),
            p: Some(fleet.median.p),
            basis: Basis::Hosts { hosts },
            ..Figures::default()
        });
        let reason = fleet.is_none().then_some(Reason::TooFewHosts { hosts, needed: HOSTS_MIN });
        let means: Vec<f64> = members.iter().map(|host| host.mean).collect();
        let groups = if fleet.is_some() { groups(trials, &texts, &means, threshold) } else { Vec::new() };
        let changes = names.iter().cloned().zip(means.iter().map(|mean| mean.exp())).collect();
        let mut differing: Vec<Differing> = Vec::new();
        for (host, member) in names.into_iter().zip(fleet.iter().flat_map(|fleet| &fleet.members)) {
            if member.q < ALPHA {
                differing.push(Differing { host, ratio: member.estimate.into(), q: member.q });
            }
        }
        let middle = fleet.map_or(0.0, |fleet| fleet.median.center);
        let far = |one: &Differing| (one.ratio.value.ln() - middle).abs();
        differing.sort_by(|a, b| far(b).total_cmp(&far(a)));
        let Pair { cell, base, new, .. } = self.pair;
        let sides = [base.side, new.side].map(|side| trials.side(side).to_owned());
        let (metric, cell, verdict) = (self.metric, cell.clone(), Verdict::None);
        let judged = Judged { metric, cell, sides, figures, q: None, verdict, reason };
        Fleet { judged, hosts, left_out, differing, changes, groups }
    }
}

/// The groups of hosts by what they have in common, each compared with all other hosts. What the sides differ in makes no group.
fn groups(trials: &Trials<'_>, texts: &[[String; GROUPED_BY.len()]], means: &[f64], threshold: f64) -> Vec<Group> {
    let mut found: Vec<(Group, f64)> = Vec::new();
    for (at, column) in GROUPED_BY.into_iter().enumerate().filter(|(_, column)| !trials.by.frees(*column)) {
        let distinct: BTreeSet<&str> = texts.iter().map(|texts| texts[at].as_str()).collect();
        let mut distinct: Vec<&str> = distinct.into_iter().filter(|text| !text.is_empty()).collect();
        if let [a, b] = distinct[..] {
            // Of two groups one says all: the smaller.
            let count = |text: &str| texts.iter().filter(|texts| texts[at] == text).count();
            distinct = vec![if count(a) > count(b) { b } else { a }];
        }
        for text in distinct {
            let of = |is_in: bool| -> Vec<f64> {
                let hosts = texts.iter().zip(means).filter(|(texts, _)| (texts[at] == text) == is_in);
                hosts.map(|(_, mean)| *mean).collect()
            };
            let (group, others) = (of(true), of(false));
            let Some(estimate) = hosts::apart(&group, &others, verdict::least(threshold)) else { continue };
            let (text, hosts) = (text.to_owned(), group.len());
            found.push((Group { column, text, hosts, ratio: estimate.into(), q: 1.0 }, estimate.p));
        }
    }
    let p: Vec<f64> = found.iter().map(|(_, p)| *p).collect();
    let with_q = found.into_iter().zip(benjamini_hochberg(&p));
    with_q.map(|((group, _), q)| Group { q, ..group }).collect()
}

/// Names the hosts that do not count, once for each cause; `others` are hosts in no row.
fn left_out<'a>(rows: &'a [Fleet], others: impl Iterator<Item = &'a Alone>) -> Vec<String> {
    const NAMED_MAX: usize = 8;
    let of_rows = rows.iter().flat_map(|row| &row.left_out).map(|one| (one.host.as_str(), &one.reason));
    let mut causes: Vec<(&Reason, BTreeSet<&str>)> = Vec::new();
    for (host, reason) in of_rows.chain(others.map(|alone| (alone.host.as_str(), &alone.reason))) {
        let at = causes.iter().position(|(known, _)| known.is_like(reason)).unwrap_or(causes.len());
        if at == causes.len() {
            causes.push((reason, BTreeSet::new()));
        }
        causes[at].1.insert(host);
    }
    let told = |(reason, hosts): (&Reason, BTreeSet<&str>)| {
        let more = hosts.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = hosts.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        let why = match reason {
            Reason::TooFewOfHost { needed, .. } => {
                format!("fewer than {needed} pairs of their runs count (column pair)")
            }
            Reason::OneSided => "they were measured on one side only".into(),
            other => other.to_string(),
        };
        format!("Left out, because {why}: {named}{more}.")
    };
    causes.into_iter().map(told).collect()
}
