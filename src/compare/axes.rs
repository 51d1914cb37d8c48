//! By what trials are told apart: cells, the sides of a comparison, and what must be equal on both.

use std::cmp::Ordering;

use hpbench_backends::{Addressing, Kind, Variant};

use crate::compare::releases;
use crate::record::column::Role;
use crate::record::columns::Column;
use crate::text::did_you_mean;

/// What tells the sides of a comparison apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The file: the first one is the base.
    File,
    /// A column.
    Column(Column),
}

impl By {
    /// Reads the name of a column.
    ///
    /// # Errors
    ///
    /// A message with the columns that there are.
    pub fn column(name: &str) -> Result<Self, String> {
        // Two scenarios have no metric in common that means the same in both.
        let has_role = |wanted: fn(Role) -> bool| Column::all(move |column| wanted(column.role));
        let axes = has_role(Role::is_axis).filter(|axis| *axis != Column::scenario);
        let conditions: Vec<Column> = has_role(|role| role == Role::Condition).collect();
        let others = [Role::Circumstance, Role::Side];
        let others = others.into_iter().flat_map(|role| Column::all(move |column| column.role == role));
        let known: Vec<Column> = axes.chain(in_order_of_naming(&conditions)).chain(others).collect();
        let found = known.iter().copied().find(|column| column.name() == name);
        let all = || known.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ");
        let meant = || did_you_mean(name, known.iter().map(|column| column.name()));
        found.map(Self::Column).ok_or_else(|| format!("'{name}' cannot be compared by; there are {}{}", all(), meant()))
    }

    /// The name of the column.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Column(column) => column.name(),
        }
    }

    /// Whether a column may differ between the sides, because it is what is compared by, or follows from that.
    pub fn frees(&self, column: Column) -> bool {
        let follows: &[Column] = match self {
            // Only io_uring has buffers, and every variant is of one backend.
            Self::Column(Column::backend | Column::variant) => &[Column::backend, Column::variant, Column::buffers],
            Self::Column(Column::kernel) => &[Column::kernel_build],
            _ => &[],
        };
        *self == Self::Column(column) || follows.contains(&column)
    }

    /// Whether what was not asked for of a variant follows from this column: unconnected sockets need messages. Then
    /// variants are compared that were asked for alike, e.g. the default ones.
    pub fn decides_variants(&self) -> bool {
        *self == Self::Column(Column::addressing)
    }

    /// The order of sides: of backends, the one in which hpbench names them, the default variant first; of kernels, by version; of numbers, by
    /// size; else `Equal`, so that the order in which they were found stays.
    pub fn order(&self, a: &str, b: &str) -> Ordering {
        match self {
            Self::File => Ordering::Equal,
            Self::Column(Column::backend) => rank(a).cmp(&rank(b)),
            Self::Column(Column::variant) => rank(a).cmp(&rank(b)).then_with(|| variant(a).cmp(&variant(b))),
            // Builds of one release stay in the order of their files: which came first, their names do not tell.
            Self::Column(Column::kernel) => releases::compare(first_word(a), first_word(b)),
            Self::Column(Column::qemu | Column::hpbench) => releases::compare(a, b),
            Self::Column(_) => natural(a, b),
        }
    }

    /// Whether each side is compared with the one before it, rather than all with one.
    pub fn is_in_steps(&self) -> bool {
        *self == Self::Column(Column::kernel)
    }
}

/// Columns that must be equal, in the order in which messages name them: how it was measured, where, and what.
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

/// The name of a variant, by which the default one comes before the others of its backend.
fn variant(side: &str) -> String {
    side.split_once(':').map_or_else(|| side.to_owned(), |(backend, modes)| name(backend, modes))
}

/// The place of a backend among all; of a variant, that of its backend.
fn rank(side: &str) -> usize {
    let name = side.split(':').next().unwrap_or(side);
    Kind::by_use().position(|kind| kind.name() == name).unwrap_or(Kind::ALL.len())
}

/// Whether a backend has a socket, and a kernel in the way; those of other versions are taken for such.
pub(crate) fn has_socket(backend: &str) -> bool {
    Kind::named(backend).is_none_or(Kind::has_socket)
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
    let kind = Kind::named(backend);
    let is_default = variant.is_empty() || kind.is_some_and(|kind| Variant::default_of(kind).to_string() == variant);
    if is_default { backend.to_owned() } else { format!("{backend}:{variant}") }
}

/// The modes of a variant that were asked for, where the others follow from the addressing; all of a variant that is not ours.
pub fn asked_for(backend: &str, variant: &str, addressing: &str) -> String {
    let known = Kind::named(backend).and_then(|kind| Variant::parse(kind, variant).ok());
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
}
