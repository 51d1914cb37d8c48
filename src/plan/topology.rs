//! What the kernel reports about the cores: which are threads of one, and which are of another kind.

use std::fs;
use std::path::PathBuf;

/// Cores whose frequency is less than this share of the fastest one's are of a slower kind. Cores of one kind differ by a few
/// percent, because some are allowed a little more than others.
const SLOWER: f64 = 0.8;

/// The cores of this machine or, in tests, of another one.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    root: PathBuf,
}

/// Cores that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreKind {
    /// Those of it among the cores asked for.
    pub(crate) cores: Vec<usize>,
    /// What it is called.
    pub(crate) name: String,
}

impl Topology {
    /// That of this machine.
    pub(crate) fn new() -> Self {
        Self::at("/")
    }

    /// That of the machine whose `/sys` is below `root`.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The SMT siblings of a core, itself included; empty if the kernel does not report them.
    pub(crate) fn siblings(&self, core: usize) -> Vec<usize> {
        parse_cpu_list(&self.text(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")))
    }

    /// The kinds of these cores, the fastest first; one if all are alike, or if the kernel does not report them.
    pub(crate) fn kinds(&self, cores: &[usize]) -> Vec<CoreKind> {
        // x86 lists the cores of each kind; arm64 and riscv report the capacity of each, out of 1024; else there is the
        // frequency.
        let listed = [("cpu_core", "performance"), ("cpu_atom", "efficiency"), ("cpu_lowpower", "low-power")];
        let listed = listed.map(|(unit, name)| (self.cores(&format!("sys/devices/{unit}/cpus")), name));
        let number = |core: &usize, file: &str| -> Option<u64> {
            self.text(&format!("sys/devices/system/cpu/cpu{core}/{file}")).parse().ok()
        };
        let all = |file: &str| cores.iter().map(|core| number(core, file)).collect::<Option<Vec<u64>>>();
        if listed.iter().filter(|(cores, _)| !cores.is_empty()).count() > 1 {
            let name = |core: &usize| listed.iter().position(|(cores, _)| cores.contains(core)).unwrap_or(listed.len());
            return grouped(cores.iter().map(|core| (*core, name(core))), |at| {
                listed.get(*at).map_or("other", |(_, name)| name).to_owned()
            });
        }
        if let Some(capacities) = all("cpu_capacity") {
            let slowness = capacities.iter().map(|capacity| u64::MAX - capacity);
            return grouped(cores.iter().copied().zip(slowness), |slowness| {
                format!("capacity {}", u64::MAX - slowness)
            });
        }
        let frequencies = all("cpufreq/cpuinfo_max_freq").unwrap_or_default();
        let most = frequencies.iter().max().map_or(0.0, |&most| most as f64);
        let is_slow = frequencies.iter().map(|&khz| (khz as f64) < SLOWER * most);
        let is_slow = is_slow.chain(std::iter::repeat(false));
        grouped(cores.iter().copied().zip(is_slow), |is_slow| if *is_slow { "slower" } else { "fastest" }.to_owned())
    }

    fn cores(&self, path: &str) -> Vec<usize> {
        parse_cpu_list(&self.text(path))
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default().trim().to_owned()
    }
}

/// Cores with the same key, in the order of the keys.
fn grouped<K: Ord>(cores: impl Iterator<Item = (usize, K)>, name: impl Fn(&K) -> String) -> Vec<CoreKind> {
    let mut kinds: std::collections::BTreeMap<K, Vec<usize>> = std::collections::BTreeMap::new();
    cores.for_each(|(core, key)| kinds.entry(key).or_default().push(core));
    kinds.into_iter().map(|(key, cores)| CoreKind { name: name(&key), cores }).collect()
}

/// The kind of a core.
pub(crate) fn kind_of(kinds: &[CoreKind], core: usize) -> Option<&CoreKind> {
    kinds.iter().find(|kind| kind.cores.contains(&core))
}

/// The cores that a file of the kernel lists; none if there is no such file.
pub(crate) fn list_file(path: &str) -> Vec<usize> {
    parse_cpu_list(fs::read_to_string(path).unwrap_or_default().trim())
}

/// Reads the kernel's list format, e.g. `0-3,8`.
pub(crate) fn parse_cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The `/sys` of a machine that is not this one.
#[cfg(test)]
pub(crate) fn fixture(files: &[(String, &str)]) -> (tempfile::TempDir, Topology) {
    let home = crate::fixtures::tree(files);
    let topology = Topology::at(home.path());
    (home, topology)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(files: &[(String, &str)], cores: &[usize]) -> Vec<(String, Vec<usize>)> {
        let (_home, topology) = fixture(files);
        topology.kinds(cores).into_iter().map(|kind| (kind.name, kind.cores)).collect()
    }

    fn of_each<'t>(file: &str, texts: &[&'t str]) -> Vec<(String, &'t str)> {
        let path = |core: usize| format!("sys/devices/system/cpu/cpu{core}/{file}");
        texts.iter().enumerate().map(|(core, text)| (path(core), *text)).collect()
    }

    #[test]
    fn the_kernels_list_format_is_read() {
        assert_eq!(parse_cpu_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert!(parse_cpu_list("").is_empty());
    }

    #[test]
    fn hybrid_processors_are_told_by_any_of_three_ways() {
        let listed = ["cpu_core", "cpu_atom"].map(|unit| format!("sys/devices/{unit}/cpus"));
        let [core, atom] = listed;
        let intel = [(core.clone(), "0-3\n"), (atom, "4-7\n")];
        let expected = |names: [&str; 2], cores: [Vec<usize>; 2]| {
            names.into_iter().map(str::to_owned).zip(cores).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&intel, &[1, 3, 4, 7]), expected(["performance", "efficiency"], [vec![1, 3], vec![4, 7]]));
        let arm = of_each("cpu_capacity", &["485\n", "485\n", "1024\n", "1024\n"]);
        assert_eq!(kinds(&arm, &[0, 1, 2, 3]), expected(["capacity 1024", "capacity 485"], [vec![2, 3], vec![0, 1]]));
        let other = of_each("cpufreq/cpuinfo_max_freq", &["3300000\n", "5100000\n", "5300000\n", "3300000\n"]);
        assert_eq!(kinds(&other, &[0, 1, 2, 3]), expected(["fastest", "slower"], [vec![1, 2], vec![0, 3]]));
        assert_eq!(kinds(&other, &[1, 2]).len(), 1, "of those that may be used, all are alike");
        assert_eq!(kinds(&[(core, "0-3\n")], &[0, 1]).len(), 1, "the kernel has a list of one kind");
        assert_eq!(kinds(&[], &[0, 5]), [("fastest".to_owned(), vec![0, 5])], "where nothing is told");
    }
}
