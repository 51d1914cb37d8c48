//! What distinguishes trials: cells, the sides of a comparison, and what must be equal on both sides.

use std::cmp::Ordering;

use clap::ValueEnum;
use hpbench_backends::{Addressing, Kind, Variant};

use crate::compare::releases;
use crate::plan::shards::Steer;
use crate::record::column::{FieldType, Role};
use crate::record::columns::Column;
use crate::text::did_you_mean;

/// What distinguishes the sides of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The file: the first one is the base.
    File,
    /// A column.
    Column(Column),
}

/// The values of `--across`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Across {
    /// The machines of a fleet.
    Host,
}

impl By {
    /// Reads the name of a column.
    ///
    /// # Errors
    ///
    /// A message that lists the columns to choose from.
    pub fn column(name: &str) -> Result<Self, String> {
        // No metric means the same in two scenarios.
        let has_role = |wanted: fn(Role) -> bool| Column::all(move |column| wanted(column.role));
        let axes = has_role(Role::is_axis).filter(|axis| *axis != Column::scenario);
        let conditions: Vec<Column> = has_role(|role| role == Role::Condition).collect();
        let others = [Role::Circumstance, Role::Side];
        let others = others.into_iter().flat_map(|role| Column::all(move |column| column.role == role));
        let known: Vec<Column> = axes.chain(in_order_of_naming(&conditions)).chain(others).collect();
        let found = known.iter().copied().find(|column| column.name() == name);
        let all = || known.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ");
        let meant = || did_you_mean(name, known.iter().map(|column| column.name()));
        found.map(Self::Column).ok_or_else(|| format!("cannot compare by '{name}'; choose one of {}{}", all(), meant()))
    }

    /// The name of the column.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Column(column) => column.name(),
        }
    }

    /// Whether a column may differ between the sides, because it distinguishes them or follows from what does.
    pub fn frees(&self, column: Column) -> bool {
        let follows: &[Column] = match self {
            // Only io_uring has buffers, and every variant is of one backend.
            Self::Column(Column::backend | Column::variant) => &[Column::backend, Column::variant, Column::buffers],
            Self::Column(Column::kernel) => &[Column::kernel_build],
            // On the worker's core there is no other core.
            Self::Column(Column::fill_core) => &[Column::cpu_relation],
            // The sockets share the receive buffer.
            Self::Column(Column::sockets) => &[Column::rcvbuf],
            _ => &[],
        };
        *self == Self::Column(column) || follows.contains(&column)
    }

    /// Whether the modes of a variant that were not asked for follow from this column: unconnected sockets need
    /// messages, and many sockets have to be looked for. If so, variants match if the same modes were asked for, e.g. the default ones.
    pub fn decides_variants(&self) -> bool {
        [Column::addressing, Column::sockets].map(Self::Column).contains(self)
    }

    /// Whether the value of an axis follows from what distinguishes the sides, unless another one is asked for: all sockets
    /// have traffic, the kernel steers by the hash where it steers, and backends that could wait for many do not.
    pub fn decides<'t>(&self, axis: Column, text: impl Fn(Column) -> &'t str) -> bool {
        match (self, axis) {
            (Self::Column(Column::sockets), Column::active) => text(Column::active) == text(Column::sockets),
            (Self::Column(Column::backend | Column::variant), Column::min_wait) => text(Column::min_wait) == "off",
            (Self::Column(Column::sharding), Column::steer) => text(Column::steer) == Steer::Hash.name(),
            _ => false,
        }
    }

    /// The order of sides: backends in the order in which hpbench names them, the default variant first; kernels by
    /// version; numbers by size; else `Equal`, which keeps the order in which they were found.
    pub fn order(&self, a: &str, b: &str) -> Ordering {
        match self {
            Self::File => Ordering::Equal,
            Self::Column(Column::backend) => rank(a).cmp(&rank(b)),
            Self::Column(Column::variant) => rank(a).cmp(&rank(b)).then_with(|| variant(a).cmp(&variant(b))),
            // Builds of one release stay in the order of their files: their names do not say which came first.
            Self::Column(Column::kernel) => releases::compare(first_word(a), first_word(b)),
            Self::Column(Column::qemu | Column::hpbench) => releases::compare(a, b),
            // A revision of digits alone is no number, and a state named so none either.
            Self::Column(column) if column.field_type() == FieldType::Text && !column.role().is_axis() => {
                Ordering::Equal
            }
            Self::Column(_) => natural(a, b),
        }
    }

    /// Whether each side is compared with the one before it, rather than all with one base.
    pub fn is_in_steps(&self) -> bool {
        *self == Self::Column(Column::kernel)
    }
}

/// Columns that must be equal, in the order in which messages name them: how trials were measured, where, and what.
pub(crate) fn in_order_of_naming(columns: &[Column]) -> Vec<Column> {
    let mut columns = columns.to_vec();
    columns.sort_by_key(|column| match column {
        Column::accel => 0,
        Column::rcvbuf => 1,
        Column::fill => 2,
        column if column.role().is_axis() => 4,
        _ => 3,
    });
    columns
}

/// The release of a kernel without its build.
fn first_word(kernel: &str) -> &str {
    kernel.split(' ').next().unwrap_or(kernel)
}

/// The sort key of a variant: the default variant comes before the others of its backend.
fn variant(side: &str) -> (String, usize) {
    let Some((backend, modes, buffers)) = parts(side) else { return (side.to_owned(), 0) };
    (name(backend, modes), buffers.unwrap_or_default())
}

/// The name of a side with one variant, and with its number of buffers where that alone tells it from another one.
pub(super) fn side(backend: &str, variant: &str, buffers: Option<&str>) -> String {
    let buffers = buffers.map_or_else(String::new, |buffers| format!("{OF_SEVERAL}{buffers}"));
    format!("{backend}:{variant}{buffers}")
}

/// What stands before the number of buffers in the name of a side.
const OF_SEVERAL: &str = " buffers=";

/// The backend, the variant and the buffers in the name of a side, if it has one variant.
pub(crate) fn parts(side: &str) -> Option<(&str, &str, Option<usize>)> {
    let (backend, rest) = side.split_once(':')?;
    let (variant, buffers) = rest.split_once(OF_SEVERAL).unwrap_or((rest, ""));
    Some((backend, variant, buffers.parse().ok()))
}

/// The rank of a backend, or of a variant's backend.
pub(crate) fn rank(side: &str) -> usize {
    let name = side.split(':').next().unwrap_or(side);
    Kind::by_use().position(|kind| kind.name() == name).unwrap_or(usize::MAX)
}

/// Whether a backend has a socket, and so goes through the kernel; backends of other versions are assumed to.
pub(crate) fn has_socket(backend: &str) -> bool {
    Kind::named(backend).is_none_or(Kind::has_socket)
}

/// Sorts numbers by size, before all other values, which have no order.
pub fn natural(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        (a, b) => a.is_err().cmp(&b.is_err()),
    }
}

/// The name of a backend with its variant: the default variant has no name of its own.
pub fn name(backend: &str, variant: &str) -> String {
    let kind = Kind::named(backend);
    let is_default = variant.is_empty() || kind.is_some_and(|kind| Variant::default_of(kind).to_string() == variant);
    if is_default { backend.to_owned() } else { format!("{backend}:{variant}") }
}

/// The modes of a variant that were asked for, without those that follow from the addressing and the number of sockets; for
/// an unknown variant, all.
pub fn asked_for(backend: &str, variant: &str, [addressing, sockets]: [&str; 2]) -> String {
    let known = Kind::named(backend).and_then(|kind| Variant::parse(kind, variant).ok());
    let addressings = [Addressing::Connected, Addressing::Unconnected];
    let addressing = addressings.into_iter().find(|known| known.name() == addressing).unwrap_or_default();
    known.map_or_else(|| variant.to_owned(), |known| known.brief_for(addressing, sockets.parse().unwrap_or(1)))
}

/// The name by which users ask for a backend with its variant.
pub fn brief(backend: &str, variant: &str, of: [&str; 2]) -> String {
    name(backend, &asked_for(backend, variant, of))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (
                "git_rev",
                ["a1b2c3d4e5f6", "531234589012", "5e1234589012"],
                ["a1b2c3d4e5f6", "531234589012", "5e1234589012"],
            ),
            ("skew", ["1.25", "0.0", "0.5"], ["0.0", "0.5", "1.25"]),
        ] {
            let (by, mut sides) = (By::column(column).expect("a column"), found);
            sides.sort_by(|a, b| by.order(a, b));
            assert_eq!(sides, expected, "{column}");
        }
    }

    #[test]
    fn what_was_asked_for_is_told_from_what_follows_from_the_addressing_and_the_sockets() {
        for (sockets, asked) in [("", "epoll"), ("1", "epoll"), ("2", ""), ("1000", "")] {
            assert_eq!(asked_for("plain", "recvfrom+sendto+epoll", ["connected", sockets]), asked, "{sockets}");
        }
        assert_eq!(asked_for("mmsg", "recvmmsg+sendmmsg+scan", ["connected", "9"]), "scan");
        for (backend, variant, addressing, asked) in [
            ("uring", "multishot+send+defer", "connected", ""),
            ("uring", "recvmsg-multishot+sendmsg+defer", "unconnected", ""),
            ("uring", "recvmsg-multishot+sendmsg+defer", "connected", "recvmsg-multishot+sendmsg"),
            ("uring", "recvmsg-multishot+sendmsg+coop", "unconnected", "coop"),
            ("plain", "recvfrom+sendto", "unconnected", ""),
            ("plain", "of another version", "connected", "of another version"),
        ] {
            assert_eq!(asked_for(backend, variant, [addressing, "1"]), asked, "{variant} {addressing}");
        }
    }

    #[test]
    fn values_that_nobody_asked_for_follow_from_the_sides() {
        let decides = |by: &str, axis, values: [(Column, &'static str); 2]| {
            let text =
                move |wanted| values.iter().find(|(column, _)| *column == wanted).map_or("", |(_, value)| *value);
            By::column(by).expect("a column").decides(axis, text)
        };
        for (active, follows) in [("100", true), ("10", false)] {
            let values = [(Column::sockets, "100"), (Column::active, active)];
            assert_eq!(decides("sockets", Column::active, values), follows, "{active}");
            assert!(!decides("batch", Column::active, values));
        }
        for (sharding, steer, follows) in [("reuseport", "hash", true), ("reuseport", "cpu", false)] {
            let values = [(Column::sharding, sharding), (Column::steer, steer)];
            assert_eq!(decides("sharding", Column::steer, values), follows, "{steer}");
        }
    }

    #[test]
    fn what_is_no_axis_and_no_circumstance_is_refused() {
        for name in ["", "ns_per_packet", "trial", "scenario", "valid", "started_at", "Backend"] {
            let message = By::column(name).expect_err("no column to compare by");
            assert!(message.contains("backend, ") && message.contains("kernel, "), "{message}");
        }
    }
}
