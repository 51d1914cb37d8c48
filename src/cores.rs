//! Which thread runs on which core.

use std::fs;

use core_affinity::CoreId;

/// The cores of a run: all of them within the affinity mask that hpbench was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The worker's.
    pub worker: usize,
    /// Those of the generators, in turn; empty if there is none to spare.
    pub generators: Vec<usize>,
    /// How the worker's core and the first generator's relate: `distinct-cores` or `smt-siblings`.
    pub relation: &'static str,
}

/// Why cores cannot be had as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CoresError {
    /// The mask could not be read.
    #[error("the kernel does not tell on which cores this process may run")]
    Unknown,
    /// A core that was named is not in the mask.
    #[error("core {core} in {flag} is not one of those that hpbench may run on ({allowed}); see `taskset -p $$`")]
    NotAllowed {
        /// The flag that named it.
        flag: &'static str,
        /// The core.
        core: usize,
        /// The mask.
        allowed: String,
    },
    /// The generators have them all.
    #[error("--generator-cpu names all cores that hpbench may run on ({allowed}); leave one for the worker")]
    NoneLeft {
        /// The mask.
        allowed: String,
    },
    /// A core was named twice.
    #[error("core {0} is named twice in --cpu and --generator-cpu; each spinning thread needs a core of its own")]
    Twice(usize),
}

impl Cores {
    /// Chooses cores: the ones that were named, else the last allowed one for the worker (the first
    /// ones serve most interrupts) and the others for generators, those first that are no SMT
    /// siblings of the worker's.
    ///
    /// # Errors
    ///
    /// If a named core is not allowed, or named twice.
    pub fn choose(worker: &[usize], generators: &[usize]) -> Result<Self, CoresError> {
        let allowed: Vec<usize> =
            core_affinity::get_core_ids().ok_or(CoresError::Unknown)?.iter().map(|core| core.id).collect();
        Self::choose_from(&allowed, worker, generators, siblings)
    }

    fn choose_from(
        allowed: &[usize],
        worker: &[usize],
        generators: &[usize],
        siblings: impl Fn(usize) -> Vec<usize>,
    ) -> Result<Self, CoresError> {
        let list = || allowed.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut named = Vec::new();
        for (flag, cores) in [("--cpu", worker), ("--generator-cpu", generators)] {
            for &core in cores {
                if !allowed.contains(&core) {
                    let allowed = list();
                    return Err(CoresError::NotAllowed { flag, core, allowed });
                }
                if named.contains(&core) {
                    return Err(CoresError::Twice(core));
                }
                named.push(core);
            }
        }
        let spare = |core: &&usize| !generators.contains(core);
        let worker = worker.first().or_else(|| allowed.iter().rev().find(spare));
        let worker = *worker.ok_or_else(|| CoresError::NoneLeft { allowed: list() })?;
        let near = siblings(worker);
        let mut generators = generators.to_vec();
        if generators.is_empty() {
            generators = allowed.iter().copied().filter(|&core| core != worker).collect();
            generators.sort_by_key(|core| near.contains(core));
        }
        let relation = match generators.first() {
            Some(core) if near.contains(core) => "smt-siblings",
            Some(_) => "distinct-cores",
            None => "one-core",
        };
        Ok(Self { worker, generators, relation })
    }
}

/// Pins the calling thread.
///
/// # Errors
///
/// If the kernel does not let it run there (any more).
pub fn pin(core: usize) -> Result<(), CoresError> {
    let pinned = core_affinity::set_for_current(CoreId { id: core });
    pinned.then_some(()).ok_or_else(|| CoresError::NotAllowed {
        flag: "use",
        core,
        allowed: "changed meanwhile".into(),
    })
}

/// The SMT siblings of a core, itself included; empty where the kernel does not tell.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(allowed: &[usize], worker: &[usize], generators: &[usize]) -> Result<Cores, CoresError> {
        // Cores 2i and 2i+1 are siblings.
        Cores::choose_from(allowed, worker, generators, |core| vec![core & !1, core | 1])
    }

    #[test]
    fn siblings_are_avoided_where_possible() {
        let cores = choose(&[0, 1, 2, 3], &[], &[]).expect("four cores");
        assert_eq!((cores.worker, cores.generators, cores.relation), (3, vec![0, 1, 2], "distinct-cores"));
        let cores = choose(&[0, 1], &[], &[]).expect("two cores");
        assert_eq!((cores.worker, cores.generators, cores.relation), (1, vec![0], "smt-siblings"));
        let cores = choose(&[5], &[], &[]).expect("one core");
        assert_eq!((cores.worker, cores.generators.len(), cores.relation), (5, 0, "one-core"));
    }

    #[test]
    fn named_cores_are_taken_or_refused() {
        let cores = choose(&[0, 1, 2, 3], &[0], &[3]).expect("both allowed");
        assert_eq!((cores.worker, cores.generators), (0, vec![3]));
        let cores = choose(&[0, 1], &[], &[1]).expect("one is left for the worker");
        assert_eq!((cores.worker, cores.generators), (0, vec![1]));
        assert!(matches!(choose(&[0, 1], &[7], &[]), Err(CoresError::NotAllowed { core: 7, .. })));
        assert_eq!(choose(&[0, 1], &[1], &[1]), Err(CoresError::Twice(1)));
    }

    #[test]
    fn the_kernels_list_format_is_read() {
        assert_eq!(parse_cpu_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(parse_cpu_list(""), []);
    }
}
