//! Which thread runs on which core.

use std::io;

use core_affinity::CoreId;
use hpbench_backends::kernel::thread;

use crate::plan::topology::{CoreKind, Topology, kind_of};
use crate::text::counted;

/// The cores of a run: all of them within the affinity mask that hpbench was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Those of each worker and what belongs to it; at least one.
    pub places: Vec<Place>,
    /// How the first worker's core and its first generator's relate: `distinct-cores`, `unlike-cores` if one is of a slower
    /// kind, `smt-siblings`, `shared-cores` if threads have to share some, or `one-core`.
    pub relation: &'static str,
    /// What shares which cores, if there are too few.
    pub shared: Option<String>,
}

/// The cores of one worker and of what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The worker's.
    pub worker: usize,
    /// The app's, if it has a thread of its own.
    pub app: Option<usize>,
    /// Those of the generators, in turn; empty if there is none to spare.
    pub generators: Vec<usize>,
}

impl Place {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = usize> {
        [self.worker].into_iter().chain(self.app).chain(self.generators.iter().copied())
    }
}

/// What cores are wanted for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// How many workers; 0 counts as 1.
    pub workers: usize,
    /// Whether each app has a thread of its own.
    pub handoff: bool,
    /// Cores named for the workers; empty: chosen.
    pub worker_cores: &'a [usize],
    /// Cores named for the generators; empty: chosen.
    pub generator_cores: &'a [usize],
}

/// Why the cores asked for are not available.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CoresError {
    /// The mask could not be read.
    #[error("the kernel does not report on which cores this process may run: {0}")]
    Unknown(String),
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
    /// There are more workers than cores.
    #[error(
        "--workers {workers} needs {workers} cores, but hpbench may run on only {count} ({allowed}); use fewer \
         --workers, or allow more cores (`taskset`, the container's cpuset)"
    )]
    TooFew {
        /// Workers asked for.
        workers: usize,
        /// Cores for them.
        count: usize,
        /// The mask.
        allowed: String,
    },
    /// The number of cores named is not that of the workers.
    #[error("--cpu names {named} cores for {workers} worker(s); name one for each")]
    OtherCount {
        /// Cores named.
        named: usize,
        /// Workers asked for.
        workers: usize,
    },
    /// A core was named twice.
    #[error("core {0} is named twice in --cpu and --generator-cpu; each spinning thread needs a core of its own")]
    Twice(usize),
}

impl Cores {
    /// The one core of a machine that has no other.
    pub fn only() -> Self {
        Self { places: vec![Place { worker: 0, app: None, generators: vec![] }], relation: "one-core", shared: None }
    }

    /// Chooses cores: the ones that were named, else the last allowed ones for the workers (the first ones serve most
    /// interrupts) and the others for generators, first those that are not SMT siblings of a worker's. Where cores are
    /// of several kinds, all are of one: the fastest that has enough, or that of a core that was named.
    ///
    /// # Errors
    ///
    /// If a named core is not allowed, or named twice; if there are fewer cores than workers.
    pub fn choose(wanted: Wanted<'_>) -> Result<Self, CoresError> {
        Self::choose_from(&allowed()?, wanted, &Topology::new())
    }

    fn choose_from(allowed: &[usize], wanted: Wanted<'_>, topology: &Topology) -> Result<Self, CoresError> {
        check_names(allowed, wanted)?;
        let workers = wanted.workers.max(1);
        let siblings = |core| topology.siblings(core);
        let kinds = topology.kinds(allowed);
        let alike = alike(allowed, wanted, &kinds, &siblings);
        let cores = worker_cores(allowed, &alike, wanted, &siblings)?;
        let near: Vec<usize> = cores.iter().flat_map(|&core| siblings(core)).collect();
        let is_free = |core: &usize| !cores.contains(core) && !wanted.generator_cores.contains(core);
        let mut rest: Vec<usize> = alike.iter().copied().filter(is_free).collect();
        if rest.is_empty() {
            rest = allowed.iter().copied().filter(is_free).collect();
        }
        rest.sort_by_key(|core| near.contains(core));
        // A generator needs a core more than an app does, which can share one.
        let keep = if wanted.generator_cores.is_empty() { 1 } else { 0 };
        let apps = if wanted.handoff {
            rest.split_off(rest.len() - workers.min(rest.len().saturating_sub(keep)))
        } else {
            vec![]
        };
        let generators = if wanted.generator_cores.is_empty() { rest } else { wanted.generator_cores.to_vec() };
        let mut places = Vec::new();
        for (index, &worker) in cores.iter().enumerate() {
            let own: Vec<usize> = match generators.len() {
                0 => vec![],
                count if count < workers => vec![generators[index % count]],
                _ => generators.iter().copied().skip(index).step_by(workers).collect(),
            };
            let app = if wanted.handoff { apps.get(index).or(own.first()).copied() } else { None };
            places.push(Place { worker, app, generators: own });
        }
        let mut shared = Vec::new();
        if !generators.is_empty() && generators.len() < workers {
            shared.push(format!("the generators of {workers} workers share {}", counted(generators.len(), "core")));
        }
        if wanted.handoff && apps.len() < workers && !generators.is_empty() {
            shared.push("an app shares the core of its generators".into());
        }
        let relation = match places[0].generators.first() {
            None => "one-core",
            Some(_) if !shared.is_empty() => "shared-cores",
            Some(core) if siblings(places[0].worker).contains(core) => "smt-siblings",
            Some(&core) if kind_of(&kinds, core) != kind_of(&kinds, places[0].worker) => "unlike-cores",
            Some(_) => "distinct-cores",
        };
        let shared = (!shared.is_empty()).then(|| format!("{} ({} cores allowed)", shared.join("; "), allowed.len()));
        Ok(Self { places, relation, shared })
    }
}

/// Named cores must be allowed, and named once.
fn check_names(allowed: &[usize], wanted: Wanted<'_>) -> Result<(), CoresError> {
    let mut named = Vec::new();
    for (flag, cores) in [("--cpu", wanted.worker_cores), ("--generator-cpu", wanted.generator_cores)] {
        for &core in cores {
            if !allowed.contains(&core) {
                return Err(CoresError::NotAllowed { flag, core, allowed: list(allowed) });
            }
            if named.contains(&core) {
                return Err(CoresError::Twice(core));
            }
            named.push(core);
        }
    }
    Ok(())
}

/// Those of the allowed cores that are of one kind: that of a core that was named, or the fastest that has a core for each
/// thread, if possible without SMT siblings; all of them if no kind has.
fn alike(
    allowed: &[usize],
    wanted: Wanted<'_>,
    kinds: &[CoreKind],
    siblings: &impl Fn(usize) -> Vec<usize>,
) -> Vec<usize> {
    let named = wanted.worker_cores.iter().chain(wanted.generator_cores).next();
    let threads = wanted.workers.max(1) * (1 + usize::from(wanted.handoff)) + 1;
    let is_first =
        |core: &&usize| siblings(**core).iter().all(|sibling| sibling >= *core || !allowed.contains(sibling));
    let chosen = match named {
        Some(&core) => kind_of(kinds, core),
        None => {
            let whole = |kind: &&CoreKind| kind.cores.iter().filter(is_first).count() >= threads;
            kinds.iter().find(whole).or_else(|| kinds.iter().find(|kind| kind.cores.len() >= threads))
        }
    };
    chosen.map_or_else(|| allowed.to_vec(), |kind| kind.cores.clone())
}

/// One core for each worker: no SMT siblings of each other as far as possible, the last ones first.
fn worker_cores(
    allowed: &[usize],
    alike: &[usize],
    wanted: Wanted<'_>,
    siblings: &impl Fn(usize) -> Vec<usize>,
) -> Result<Vec<usize>, CoresError> {
    let (workers, named) = (wanted.workers.max(1), wanted.worker_cores.len());
    if named > 0 {
        return match named == workers {
            true => Ok(wanted.worker_cores.to_vec()),
            false => Err(CoresError::OtherCount { named, workers }),
        };
    }
    let spare = |cores: &[usize]| -> Vec<usize> {
        cores.iter().rev().copied().filter(|core| !wanted.generator_cores.contains(core)).collect()
    };
    let mut spare = Some(spare(alike)).filter(|cores| cores.len() >= workers).unwrap_or_else(|| spare(allowed));
    if spare.is_empty() {
        return Err(CoresError::NoneLeft { allowed: list(allowed) });
    }
    if spare.len() < workers {
        return Err(CoresError::TooFew { workers, count: spare.len(), allowed: list(allowed) });
    }
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < workers {
        let far = |core: &usize| !siblings(*core).iter().any(|sibling| chosen.contains(sibling));
        let index = spare.iter().position(far).unwrap_or(0);
        chosen.push(spare.remove(index));
    }
    Ok(chosen)
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Runs the calling thread, which is pinned already, under `SCHED_FIFO` if that is wanted. If it is not permitted, the
/// thread runs like any other; the run has warned of that.
pub fn prioritise(fifo: Option<u8>) {
    if let Some(priority) = fifo {
        let _ = thread::set_fifo(priority);
    }
}

/// Lets the calling thread run as soon as it can, if that is permitted: one that hardly runs, and must not wait. The kernel
/// (seen on 6.18) may let a thread that spins keep its core for seconds while others wait for it. Threads that it starts
/// have the same priority.
pub fn prefer() {
    let _ = thread::set_fifo(1);
}

/// The cores on which the calling thread may run, in ascending order.
///
/// # Errors
///
/// If the kernel does not report them.
pub fn allowed() -> Result<Vec<usize>, CoresError> {
    // The crate's mask has room for 1,024 cores, and the kernel refuses one that is too small for its own.
    if let Some(cores) = core_affinity::get_core_ids() {
        return Ok(cores.iter().map(|core| core.id).collect());
    }
    thread::affinity().map_err(|error: io::Error| CoresError::Unknown(error.to_string()))
}

/// The cores that the crate's mask has room for.
const CRATE_CORES: usize = 1024;

/// Pins the calling thread.
///
/// # Errors
///
/// If the kernel does not let it run there (any more).
pub fn pin(core: usize) -> Result<(), CoresError> {
    let pinned = match core {
        0..CRATE_CORES => core_affinity::set_for_current(CoreId { id: core }),
        _ => thread::pin(core).is_ok(),
    };
    pinned.then_some(()).ok_or_else(|| CoresError::NotAllowed {
        flag: "use",
        core,
        allowed: "changed meanwhile".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::topology;

    fn choose(allowed: &[usize], worker_cores: &[usize], generator_cores: &[usize]) -> Result<Cores, CoresError> {
        from(allowed, Wanted { worker_cores, generator_cores, ..Wanted::default() })
    }

    fn from(allowed: &[usize], wanted: Wanted<'_>) -> Result<Cores, CoresError> {
        on(allowed, &[], wanted)
    }

    /// On a machine whose cores 2i and 2i+1 are siblings, with these files besides.
    fn on(allowed: &[usize], files: &[(&str, &str)], wanted: Wanted<'_>) -> Result<Cores, CoresError> {
        let path = |core| format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let lists: Vec<String> = allowed.iter().map(|core| format!("{}-{}\n", core & !1, core | 1)).collect();
        let siblings = allowed.iter().zip(&lists).map(|(core, list)| (path(*core), list.as_str()));
        let others = files.iter().map(|(path, text)| ((*path).to_owned(), *text));
        let (_home, topology) = topology::fixture(&siblings.chain(others).collect::<Vec<_>>());
        Cores::choose_from(allowed, wanted, &topology)
    }

    const HYBRID: [(&str, &str); 2] = [("sys/devices/cpu_core/cpus", "0-3\n"), ("sys/devices/cpu_atom/cpus", "4-7\n")];

    #[test]
    fn worker_and_generator_are_of_one_kind() {
        let eight: Vec<usize> = (0..8).collect();
        let hybrid = |wanted| on(&eight, &HYBRID, wanted).expect("eight cores");
        let cores = hybrid(Wanted::default());
        assert_eq!((cores.places, cores.relation), (vec![place(3, None, &[0, 1, 2])], "distinct-cores"));
        // The fast ones are two cores with two threads each.
        let cores = hybrid(Wanted { workers: 2, ..Wanted::default() });
        assert_eq!(cores.places, [place(3, None, &[0]), place(1, None, &[2])]);
        let cores = hybrid(Wanted { workers: 5, ..Wanted::default() });
        assert_eq!(cores.places.len(), 5, "no kind has so many");
        let cores = hybrid(Wanted { worker_cores: &[6], ..Wanted::default() });
        assert_eq!(cores.places, [place(6, None, &[4, 5, 7])]);
        let cores = hybrid(Wanted { generator_cores: &[0], ..Wanted::default() });
        assert_eq!(cores.places, [place(3, None, &[0])]);
        let cores = hybrid(Wanted { worker_cores: &[0], generator_cores: &[7], ..Wanted::default() });
        assert_eq!(cores.relation, "unlike-cores");
        let cores = on(&[0, 1, 4, 6], &HYBRID, Wanted::default()).expect("four cores");
        assert_eq!(cores.places, [place(6, None, &[4])], "two whole cores rather than two threads of one");
    }

    #[test]
    fn cores_may_have_gaps_and_high_numbers() {
        let sparse = [3, 64, 1030, 4095];
        let cores = choose(&sparse, &[], &[]).expect("four cores");
        assert_eq!(cores.places, [place(4095, None, &[3, 64, 1030])]);
        assert_eq!(choose(&sparse, &[1030], &[3]).expect("both allowed").places, [place(1030, None, &[3])]);
        assert!(matches!(choose(&sparse, &[4], &[]), Err(CoresError::NotAllowed { core: 4, .. })));
    }

    fn place(worker: usize, app: Option<usize>, generators: &[usize]) -> Place {
        Place { worker, app, generators: generators.to_vec() }
    }

    #[test]
    fn siblings_are_avoided_where_possible() {
        let cores = choose(&[0, 1, 2, 3], &[], &[]).expect("four cores");
        assert_eq!((cores.places, cores.relation), (vec![place(3, None, &[0, 1, 2])], "distinct-cores"));
        let cores = choose(&[0, 1], &[], &[]).expect("two cores");
        assert_eq!((cores.places, cores.relation), (vec![place(1, None, &[0])], "smt-siblings"));
        let cores = choose(&[5], &[], &[]).expect("one core");
        assert_eq!((cores.places, cores.relation, cores.shared), (vec![place(5, None, &[])], "one-core", None));
    }

    #[test]
    fn named_cores_are_taken_or_refused() {
        let cores = choose(&[0, 1, 2, 3], &[0], &[3]).expect("both allowed");
        assert_eq!(cores.places, [place(0, None, &[3])]);
        let cores = choose(&[0, 1], &[], &[1]).expect("one is left for the worker");
        assert_eq!(cores.places, [place(0, None, &[1])]);
        assert!(matches!(choose(&[0, 1], &[7], &[]), Err(CoresError::NotAllowed { core: 7, .. })));
        assert_eq!(choose(&[0, 1], &[1], &[1]), Err(CoresError::Twice(1)));
        assert_eq!(choose(&[0, 1], &[0, 1], &[]), Err(CoresError::OtherCount { named: 2, workers: 1 }));
    }

    #[test]
    fn workers_are_spread_and_generators_dealt_out() {
        let eight: Vec<usize> = (0..8).collect();
        let cores = from(&eight, Wanted { workers: 2, ..Wanted::default() }).expect("eight cores");
        assert_eq!(cores.places, [place(7, None, &[0, 2, 4]), place(5, None, &[1, 3, 6])]);
        let cores = from(&[0, 1], Wanted { workers: 2, ..Wanted::default() }).expect("two cores");
        assert_eq!(cores.places, [place(1, None, &[]), place(0, None, &[])]);
        let cores = from(&[0, 2, 4], Wanted { workers: 2, ..Wanted::default() }).expect("three cores");
        assert_eq!((&cores.places[1], cores.relation), (&place(2, None, &[0]), "shared-cores"));
        assert!(cores.shared.is_some_and(|shared| shared.contains("share 1 core")));
        let refused = from(&[0, 1], Wanted { workers: 3, ..Wanted::default() });
        assert!(matches!(refused, Err(CoresError::TooFew { workers: 3, count: 2, .. })));
    }

    #[test]
    fn an_app_has_a_core_of_its_own_or_shares_one() {
        let wanted = Wanted { handoff: true, ..Wanted::default() };
        assert_eq!(from(&[0, 2, 4], wanted).expect("three cores").places, [place(4, Some(2), &[0])]);
        let cores = from(&[0, 2], wanted).expect("two cores");
        assert_eq!((&cores.places[0], cores.relation), (&place(2, Some(0), &[0]), "shared-cores"));
        assert_eq!(from(&[0], wanted).expect("one core").places, [place(0, None, &[])]);
    }
}
