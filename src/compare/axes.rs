//! By what trials are told apart: cells, the sides of a comparison, and what must be equal on both.

use std::cmp::Ordering;

use hpbench_backends::{Addressing, Kind, Variant};

use crate::compare::releases;

/// The columns that make a cell, and that the output has.
pub const AXES: [&str; 22] = [
    "scenario",
    "backend",
    "variant",
    "wait",
    "addressing",
    "bind",
    "batch",
    "payload",
    "round",
    "rate_pps",
    "burst",
    "window",
    "workers",
    "generators",
    "handoff",
    "fifo",
    "ring",
    "buffers",
    "verify",
    "duration_target_s",
    "warmup_s",
    "fd_table",
];

/// Columns of the circumstances that must be equal on both sides, or the comparison means nothing; those of
/// [`CONDITIONAL`] are among the axes, too.
pub const CONDITIONS: [&str; 5] = ["accel", "rcvbuf", "fill", "host", "cpu_relation"];

/// What else may differ between the sides, and is named where it does; the kernel must be one on each side.
pub const CIRCUMSTANCES: [&str; 14] = [
    "kernel",
    "kernel_build",
    "arch",
    "cpu_model",
    "ncpu",
    "virt",
    "qemu",
    "governor",
    "clocksource",
    "mitigations",
    "sndbuf",
    "hpbench",
    "git_rev",
    "rustc",
];

/// Axes that must be equal as circumstances must: cells that differ in nothing else are not compared, and the user
/// is told why.
pub const CONDITIONAL: [&str; 2] = ["payload", "round"];

/// Columns by which sides can be told apart, beside all of those above.
const OTHERS: [&str; 5] = ["run_id", "seed", "worker_cpu", "generator_cpu", "uring_flags"];

/// What tells the sides of a comparison apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The file: the first one is the base.
    File,
    /// A column.
    Column(&'static str),
}

impl By {
    /// Reads the name of a column.
    ///
    /// # Errors
    ///
    /// A message with the columns that there are.
    pub fn column(name: &str) -> Result<Self, String> {
        // Two scenarios have no metric in common that means the same in both.
        let known = AXES.into_iter().skip(1).chain(CONDITIONS).chain(CIRCUMSTANCES).chain(OTHERS);
        let found = known.clone().find(|column| *column == name);
        let all = || known.collect::<Vec<_>>().join(", ");
        found.map(Self::Column).ok_or_else(|| format!("'{name}' cannot be compared by; there are {}", all()))
    }

    /// The name of the column.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Column(column) => column,
        }
    }

    /// Whether a column may differ between the sides, because it is what is compared by, or follows from that.
    pub fn frees(&self, column: &str) -> bool {
        let follows: &[&str] = match self.name() {
            // Only io_uring has buffers, and every variant is of one backend.
            "backend" | "variant" => &["backend", "variant", "buffers"],
            "kernel" => &["kernel_build"],
            _ => &[],
        };
        column == self.name() || follows.contains(&column)
    }

    /// Whether what was not asked for of a variant follows from this column: unconnected sockets need messages. Then
    /// variants are compared that were asked for alike, e.g. the default ones.
    pub fn decides_variants(&self) -> bool {
        self.name() == "addressing"
    }

    /// The order of sides: of backends, the one in which hpbench names them, the default variant first; of kernels, by version; of numbers, by
    /// size; else `Equal`, so that the order in which they were found stays.
    pub fn order(&self, a: &str, b: &str) -> Ordering {
        match self.name() {
            "backend" => rank(a).cmp(&rank(b)),
            "variant" => rank(a).cmp(&rank(b)).then_with(|| variant(a).cmp(&variant(b))),
            "kernel" | "qemu" | "hpbench" => releases::compare(a, b),
            "file" => Ordering::Equal,
            _ => natural(a, b),
        }
    }

    /// Whether each side is compared with the one before it, rather than all with one.
    pub fn is_in_steps(&self) -> bool {
        self.name() == "kernel"
    }
}

/// The name of a variant, by which the default one comes before the others of its backend.
fn variant(side: &str) -> String {
    side.split_once(':').map_or_else(|| side.to_owned(), |(backend, modes)| name(backend, modes))
}

/// The place of a backend among all; of a variant, that of its backend.
fn rank(side: &str) -> usize {
    let name = side.split(':').next().unwrap_or(side);
    // The null backend comes last: it is not one to choose.
    let known = [Kind::Plain, Kind::Mmsg, Kind::Uring, Kind::Null];
    known.iter().position(|kind| kind.name() == name).unwrap_or(known.len())
}

/// Numbers by size, before all other values, which have no order.
pub fn natural(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        (a, b) => a.is_err().cmp(&b.is_err()),
    }
}

/// How a backend with its variant is called: the default variant has no name of its own.
pub fn name(backend: &str, variant: &str) -> String {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == backend);
    let is_default = variant.is_empty() || kind.is_some_and(|kind| Variant::default_of(kind).to_string() == variant);
    if is_default { backend.to_owned() } else { format!("{backend}:{variant}") }
}

/// The modes of a variant that were asked for, where the others follow from the addressing; all of a variant that is not ours.
pub fn asked_for(backend: &str, variant: &str, addressing: &str) -> String {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == backend);
    let known = kind.and_then(|kind| Variant::parse(kind, variant).ok());
    let addressings = [Addressing::Connected, Addressing::Unconnected];
    let addressing = addressings.into_iter().find(|known| known.name() == addressing).unwrap_or_default();
    known.map_or_else(|| variant.to_owned(), |known| known.brief(addressing))
}

/// How a backend with its variant is called by those who ask for it.
pub fn brief(backend: &str, variant: &str, addressing: &str) -> String {
    name(backend, &asked_for(backend, variant, addressing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::format;

    #[test]
    fn backends_numbers_and_hosts_have_an_order_of_their_own() {
        for (column, found, expected) in [
            ("backend", ["uring", "mmsg", "plain"], ["plain", "mmsg", "uring"]),
            ("variant", ["uring:b", "plain:z", "uring:a"], ["plain:z", "uring:a", "uring:b"]),
            (
                "variant",
                ["mmsg:recvmmsg+gro", "mmsg:recvmmsg+sendmmsg", "plain:z"],
                ["plain:z", "mmsg:recvmmsg+sendmmsg", "mmsg:recvmmsg+gro"],
            ),
            ("kernel", ["6.12.6", "6.9.1", "6.12-rc3"], ["6.9.1", "6.12-rc3", "6.12.6"]),
            ("batch", ["128", "8", "32"], ["8", "32", "128"]),
            ("host", ["b", "c", "a"], ["b", "c", "a"]),
        ] {
            let (by, mut sides) = (By::column(column).expect("a column"), found);
            sides.sort_by(|a, b| by.order(a, b));
            assert_eq!(sides, expected, "{column}");
        }
    }

    #[test]
    fn what_was_asked_for_is_told_from_what_follows_from_the_addressing() {
        for (backend, variant, addressing, asked) in [
            ("uring", "multishot+send+defer", "connected", ""),
            ("uring", "recvmsg-multishot+sendmsg+defer", "unconnected", ""),
            ("uring", "recvmsg-multishot+sendmsg+defer", "connected", "recvmsg-multishot+sendmsg"),
            ("uring", "recvmsg-multishot+sendmsg+coop", "unconnected", "coop"),
            ("plain", "recvfrom+sendto", "unconnected", ""),
            ("plain", "of another version", "connected", "of another version"),
        ] {
            assert_eq!(asked_for(backend, variant, addressing), asked, "{variant} {addressing}");
        }
    }

    #[test]
    fn what_is_no_axis_and_no_circumstance_is_refused() {
        for name in ["", "ns_per_packet", "trial", "scenario", "valid", "started_at", "Backend"] {
            let message = By::column(name).expect_err("no column to compare by");
            assert!(message.contains("backend, ") && message.contains("kernel, "), "{message}");
        }
    }

    #[test]
    fn all_columns_are_columns() {
        let header = String::from_utf8(format::header()).expect("ASCII");
        let is_column = |name: &str| header.trim().split(',').any(|column| column == name);
        let ours = AXES.into_iter().chain(CONDITIONS).chain(CONDITIONAL).chain(CIRCUMSTANCES).chain(OTHERS);
        ours.for_each(|name| assert!(is_column(name), "{name}"));
    }
}
