//! The same cells under several kernels side by side, and each step between neighbours that changed something.

use std::collections::BTreeMap;
use std::fmt;

use crate::lab::kernels::compare_releases;
use crate::record::Row;

/// Trials whose instruction counts differ by more than this from each other, in percent, have not settled.
pub const SETTLED_MAX_PCT: f64 = 0.2;

/// Why instruction counts of an emulator rank no backends.
pub const RANKS_NOTHING: &str = "Instruction counts know nothing of caches, of the TLB or of what entering the kernel costs, and \
    so they flatter whoever makes many system calls: they compare kernels with each other, within one line; they do not \
    rank backends, variants or batch sizes.";

/// Columns whose values instruction counts must not be compared by: all that differ in how datagrams are moved.
const NOT_BY_COUNTS: [&str; 5] = ["backend", "variant", "batch", "wait", "addressing"];

/// Why the values of a column must not be compared with each other on the strength of these rows, if so.
pub fn refusal(column: &str, rows: &[Row]) -> Option<&'static str> {
    let counted = rows.iter().any(|row| row.accel == "icount");
    (counted && NOT_BY_COUNTS.contains(&column)).then_some(RANKS_NOTHING)
}

/// Whose cost it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The worker's, with the backend under test.
    Worker,
    /// The other side's of the same rounds.
    Other,
}

/// What is measured alike but for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The scenario.
    pub scenario: String,
    /// The backend.
    pub backend: String,
    /// Its variant, every dimension spelled.
    pub variant: String,
    /// UDP payload bytes.
    pub payload: usize,
    /// Datagrams per round in effect; rounds of other sizes are other cells.
    pub round: Option<usize>,
    /// Datagrams per call.
    pub batch: usize,
}

impl Cell {
    fn of(row: &Row) -> Self {
        Self {
            scenario: row.scenario.clone(),
            backend: row.backend.clone(),
            variant: row.variant.clone(),
            payload: row.payload,
            round: row.round,
            batch: row.batch,
        }
    }
}

/// What the trials of a cell came to under one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// Their median.
    pub median: f64,
    /// The difference between the largest and the least of them, in percent of the median.
    pub scatter_pct: f64,
    /// How many there are.
    pub trials: usize,
}

impl Value {
    fn of(values: &[f64]) -> Option<Self> {
        let summary = crate::stats::Summary::of(values.iter().copied())?;
        let (least, most) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &value| (a.min(value), b.max(value)));
        let scatter_pct = if summary.median > 0.0 { 100.0 * (most - least) / summary.median } else { 0.0 };
        Some(Self { median: summary.median, scatter_pct, trials: summary.count })
    }
}

/// The costs of each cell under each kernel, of the rows that are valid.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// The kernels, oldest first.
    pub kernels: Vec<String>,
    /// What the values are, in words.
    pub unit: &'static str,
    /// For each cell and side one value for each kernel, where there is one.
    pub lines: BTreeMap<(Cell, Side), Vec<Option<Value>>>,
    /// Whether the values are counts, which scatter only where something has not settled.
    pub exact: bool,
}

impl Matrix {
    /// Sorts rows into cells and kernels. Counts and times are never mixed: where there are instruction counts of an
    /// emulator, times are left out.
    pub fn of(rows: &[Row]) -> Self {
        let exact = rows.iter().any(|row| row.accel == "icount");
        let cost = |row: &Row, side| match (exact, side) {
            (true, Side::Worker) => row.instructions_per_packet.filter(|_| row.accel == "icount"),
            (true, Side::Other) => row.peer_instructions_per_packet.filter(|_| row.accel == "icount"),
            (false, Side::Worker) => row.ns_per_packet_p50,
            (false, Side::Other) => row.peer_ns_per_packet,
        };
        let mut kernels: Vec<String> = rows.iter().map(|row| row.kernel.clone()).collect();
        kernels.sort_by(|a, b| compare_releases(a, b));
        kernels.dedup();
        let mut values: BTreeMap<(Cell, Side), Vec<Vec<f64>>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.valid == 1 && row.error.is_empty()) {
            let Some(kernel) = kernels.iter().position(|kernel| *kernel == row.kernel) else { continue };
            for side in [Side::Worker, Side::Other] {
                let Some(cost) = cost(row, side) else { continue };
                let line = values.entry((Cell::of(row), side)).or_insert_with(|| vec![Vec::new(); kernels.len()]);
                line[kernel].push(cost);
            }
        }
        let lines = values
            .into_iter()
            .map(|(key, line)| (key, line.iter().map(|values| Value::of(values)).collect()))
            .collect();
        let unit = if exact { "instructions per packet" } else { "ns per packet" };
        Self { kernels, unit, lines, exact }
    }

    /// Whether the trials behind a value agree; times always scatter, and are not judged by that.
    pub fn is_settled(&self, value: &Value) -> bool {
        !self.exact || value.scatter_pct <= SETTLED_MAX_PCT
    }

    /// Each step between neighbouring kernels that have a value, of at least `threshold_pct` percent.
    pub fn steps(&self, threshold_pct: f64) -> Vec<Step> {
        let names = short_names(&self.kernels);
        let mut steps = Vec::new();
        for ((cell, side), line) in &self.lines {
            let found: Vec<(usize, Value)> =
                line.iter().enumerate().filter_map(|(kernel, value)| value.map(|value| (kernel, value))).collect();
            for (&(from, before), &(to, after)) in found.iter().zip(found.iter().skip(1)) {
                let step = Step {
                    cell: cell.clone(),
                    side: *side,
                    from: names[from].clone(),
                    to: names[to].clone(),
                    before: before.median,
                    after: after.median,
                    unit: self.unit,
                    settled: self.is_settled(&before) && self.is_settled(&after),
                };
                if step.change_pct().abs() >= threshold_pct {
                    steps.push(step);
                }
            }
        }
        steps
    }
}

/// A change from one kernel to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Of which cell.
    pub cell: Cell,
    /// Of which side of it.
    pub side: Side,
    /// The kernel before, in short.
    pub from: String,
    /// The kernel after it.
    pub to: String,
    /// The cost under the former.
    pub before: f64,
    /// The cost under the latter.
    pub after: f64,
    /// What the costs are, in words.
    pub unit: &'static str,
    /// Whether the trials on both ends agree with each other.
    pub settled: bool,
}

impl Step {
    /// The change, in percent: more is dearer.
    pub fn change_pct(&self) -> f64 {
        100.0 * (self.after / self.before - 1.0)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, from, to, before, after, unit, .. } = self;
        let side = if self.side == Side::Other { " of the other side" } else { "" };
        let unsettled = if self.settled { "" } else { ", not settled" };
        write!(
            f,
            "{} {from} → {to}: {:+.1}% {unit}{side} ({}, batch {}: {before:.1} → {after:.1}{unsettled})",
            name(cell),
            self.change_pct(),
            cell.scenario,
            cell.batch
        )
    }
}

/// The backend, with its variant if that is not the default.
pub fn name(cell: &Cell) -> String {
    use hpbench_backends::{Kind, Variant};
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == cell.backend);
    match kind.map(|kind| Variant::default_of(kind).to_string() == cell.variant) {
        Some(true) => cell.backend.clone(),
        _ => format!("{}:{}", cell.backend, cell.variant),
    }
}

/// Short names of kernel releases: version and patch level as far as they tell these releases apart.
pub fn short_names(releases: &[String]) -> Vec<String> {
    let cut = |release: &str, parts: usize| {
        let end = release.match_indices(|c: char| !c.is_ascii_digit()).nth(parts - 1).map(|(at, _)| at);
        release[..end.unwrap_or(release.len())].to_owned()
    };
    let is_unique = |names: &[String]| names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
    let tries = (2..=4).map(|parts| releases.iter().map(|release| cut(release, parts)).collect::<Vec<_>>());
    tries.into_iter().find(|names| is_unique(names)).unwrap_or_else(|| releases.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kernel: &str, backend: &str, batch: usize, cost: f64) -> Row {
        let variant = if backend == "uring" { "multishot+send+defer" } else { "recvfrom+sendto" };
        Row {
            scenario: "drain".into(),
            backend: backend.into(),
            variant: variant.into(),
            kernel: kernel.into(),
            batch,
            payload: 64,
            round: Some(1024),
            accel: "icount".into(),
            instructions_per_packet: Some(cost),
            peer_instructions_per_packet: Some(2000.0),
            valid: 1,
            ..Row::default()
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("6.12.9", "uring", 32, 2026.0),
            row("6.1.2", "uring", 32, 1796.0),
            row("5.10.0-3", "plain", 32, 1827.0),
            row("6.1.2", "plain", 32, 1826.0),
            row("6.12.9", "plain", 32, 1826.5),
        ]
    }

    #[test]
    fn steps_are_told_for_what_changed_between_neighbours() {
        let steps = Matrix::of(&rows()).steps(1.0);
        let told: Vec<String> = steps.iter().map(Step::to_string).collect();
        assert_eq!(told, ["uring 6.1 → 6.12: +12.8% instructions per packet (drain, batch 32: 1796.0 → 2026.0)"]);
        let fine = Matrix::of(&rows()).steps(0.05);
        assert_eq!(fine.iter().map(|step| step.change_pct().round()).collect::<Vec<_>>(), [0.0, 13.0]);
    }

    #[test]
    fn the_other_side_counts_too_and_a_kernel_without_a_value_is_stepped_over() {
        let mut rows = rows();
        rows[4].peer_instructions_per_packet = Some(2200.0);
        rows[3].valid = 0;
        let told: Vec<String> = Matrix::of(&rows).steps(5.0).iter().map(Step::to_string).collect();
        assert!(told.contains(
            &"plain 5.10 → 6.12: +10.0% instructions per packet of the other side (drain, batch 32: 2000.0 → 2200.0)".into()
        ));
    }

    #[test]
    fn cells_that_differ_in_more_than_the_kernel_are_not_compared() {
        let mut rows = vec![row("6.1", "plain", 32, 100.0), row("6.12", "plain", 32, 200.0)];
        assert_eq!(Matrix::of(&rows).steps(1.0).len(), 1);
        rows[1].round = Some(512);
        assert_eq!(Matrix::of(&rows).steps(1.0).len(), 0);
    }

    #[test]
    fn trials_that_disagree_are_not_settled() {
        let mut rows = vec![row("6.1", "plain", 32, 1000.0), row("6.1", "plain", 32, 1001.0)];
        let scatter = |rows: &[Row]| {
            let matrix = Matrix::of(rows);
            let value = matrix.lines.values().next().and_then(|line| line[0]).expect("a value");
            (value.trials, matrix.is_settled(&value))
        };
        assert_eq!(scatter(&rows), (2, true));
        rows[1].instructions_per_packet = Some(1004.0);
        assert_eq!(scatter(&rows), (2, false));
    }

    #[test]
    fn kernels_are_named_as_briefly_as_they_can_be_told_apart() {
        let names =
            |releases: &[&str]| short_names(&releases.iter().map(|&release| release.into()).collect::<Vec<_>>());
        assert_eq!(names(&["5.10.0-32-cloud-amd64", "6.12.107+deb13-cloud-amd64"]), ["5.10", "6.12"]);
        assert_eq!(names(&["6.1.0-47-x", "6.1.0-50-x"]), ["6.1.0-47", "6.1.0-50"]);
        assert_eq!(names(&["6.1.2-a", "6.1.2-b"]), ["6.1.2-a", "6.1.2-b"]);
    }

    #[test]
    fn counts_rank_no_backends() {
        assert!(refusal("backend", &rows()).is_some_and(|reason| reason.contains("caches")));
        assert_eq!(refusal("kernel", &rows()), None);
        let mut measured = rows();
        measured.iter_mut().for_each(|row| row.accel.clear());
        assert_eq!(refusal("backend", &measured), None);
    }
}
