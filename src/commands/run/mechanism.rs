//! The figures behind the results of a run, with `--verbose`: batches, polls, re-arms.

use crate::commands::table::align;
use crate::gates;
use crate::measure::host::HostCounts;
use crate::plan::cells::Scenario;
use crate::record::row::Row;
use crate::stats::Summary;
use crate::text::{plain_table, trim_lines, wrap};

/// The trials of a cell.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// What was measured.
    pub(super) scenario: Scenario,
    /// The backend, with its variant if that is not the default.
    pub(super) name: String,
    /// The trials.
    pub(super) rows: Vec<&'a Row>,
}

impl<'a> Group<'a> {
    /// The trials that count.
    fn valid(&self) -> impl Iterator<Item = &'a Row> {
        let valid = self.rows.iter().copied().filter(|row| row.valid == 1).collect();
        gates::counting(valid, |row| row.marked).into_iter()
    }

    fn summary(&self, value: impl Fn(&Row) -> Option<f64>) -> Option<Summary> {
        Summary::of(self.valid().filter_map(value))
    }

    fn median(&self, value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.summary(value).map(|summary| summary.median)
    }

    /// Names the cell, for a message.
    fn label(&self) -> String {
        let row = self.rows.first();
        let number = |value: Option<usize>| value.map_or_else(String::new, |value| value.to_string());
        format!(
            "{} {}, batch {}, payload {}",
            self.name,
            self.scenario,
            number(row.map(|row| row.batch)),
            number(row.map(|row| row.payload))
        )
    }
}

/// The figures behind the results: batches, polls, re-arms.
pub(super) fn render(groups: &[Group<'_>]) -> Option<String> {
    let mut table = plain_table();
    let mut header = vec!["backend", "scenario", "batch", "bytes", "per rx", "calls each", "empty polls", "re-arms"];
    let has_balance = groups.iter().any(|group| group.valid().any(|row| row.balance.is_some()));
    header.extend(has_balance.then_some("balance"));
    table.set_header(header);
    for group in groups {
        let Some(first) = group.valid().next() else { continue };
        let mut cells = vec![
            group.name.clone(),
            group.scenario.to_string(),
            first.batch.to_string(),
            first.payload.to_string(),
            decimals(group.median(|row| row.batch_mean), 1),
            decimals(group.median(|row| row.syscalls_per_packet), 4),
            decimals(group.median(|row| row.empty_polls.map(|count| count as f64)), 0),
            decimals(group.median(|row| row.rearms.map(|count| count as f64)), 0),
        ];
        cells.extend(has_balance.then(|| decimals(group.median(|row| row.balance), 2)));
        table.add_row(cells);
    }
    align(&mut table, |index| index == 0);
    let sizes: String = groups.iter().filter_map(batch_sizes).collect();
    let title = "medians of the figures behind the results";
    let mut text = match table.is_empty() {
        true => String::new(),
        false => format!("{title}\n{}\n{sizes}", trim_lines(&table.to_string())),
    };
    text.extend(groups.iter().filter_map(host_counters));
    (!text.is_empty()).then_some(text)
}

/// The counters of the hosts that moved, over all trials of a cell, in a line for each host.
fn host_counters(group: &Group<'_>) -> Option<String> {
    let (mut own, mut peer) = (HostCounts::default(), HostCounts::default());
    for hosts in group.rows.iter().map(|row| &row.hosts) {
        hosts.own.iter().for_each(|counts| own.add(counts));
        hosts.peer.iter().for_each(|counts| peer.add(counts));
    }
    let peer_host = group.rows.first().map_or("", |row| &row.peer_host);
    let names = ["this host".to_owned(), format!("peer {peer_host}")];
    // On loopback, both sides have the same counters.
    let is_one = own.is_of_both_sides();
    let moved = names.into_iter().zip([&own, &peer]).take(if is_one { 1 } else { 2 });
    let lines = moved.filter(|(_, counts)| !counts.is_empty());
    let text: String = lines.map(|(name, counts)| wrap(&format!("{}: {name}: {counts}", group.label()))).collect();
    (!text.is_empty()).then_some(text)
}

/// How many datagrams the successful calls of `rx` returned, over all trials of a cell, in one line.
fn batch_sizes(group: &Group<'_>) -> Option<String> {
    let mut sizes = [0_u64; 11];
    group.valid().for_each(|row| sizes.iter_mut().zip(row.batch_sizes).for_each(|(sum, calls)| *sum += calls));
    let all: u64 = sizes.iter().sum();
    let class = |(class, &calls): (usize, &u64)| {
        let (first, last) = (1_u64 << class, (2_u64 << class) - 1);
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        (calls > 0).then(|| format!("{range}: {:.1}%", 100.0 * calls as f64 / all as f64))
    };
    let classes: Vec<String> = sizes.iter().enumerate().filter_map(class).collect();
    (all > 0).then(|| wrap(&format!("{}: datagrams per rx call: {}", group.label(), classes.join(", "))))
}

fn decimals(value: Option<f64>, count: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.count$}"))
}
