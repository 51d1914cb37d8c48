//! How much memory a plan takes, and whether it is available: locked memory cannot be reclaimed, and if a cgroup has
//! none left, the kernel kills the process without a word.

use std::fs;
use std::path::Path;

use crate::console::tell;
use crate::plan::cgroup;

/// From this many bytes on, mapping and locking take seconds (about two per GiB), and a note says so first.
const NOTED: u64 = 1 << 30;

/// What hpbench takes besides frames and rows.
const REST: u64 = 64 << 20;

/// What the row of a trial takes until the table is printed: as values, and as the text that goes to another file if its
/// own is lost. Seen in runs of 1,200 to 4,000 trials: 3.3 KiB in `drain`, 4.2 in `pace` (trials of 20 ms), a KiB more at
/// the end for the comparison; a `lat_tail` of full length, which long trials have, takes some KiB more.
const ROW: u64 = 8192;

const GIB: f64 = (1_u64 << 30) as f64;

/// What a plan takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Bytes of all frames.
    pub(crate) frames: u64,
    /// How many rows are kept, or are expected to be.
    pub(crate) trials: usize,
}

/// What is available.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    /// Which file says so.
    source: String,
}

impl Demand {
    fn bytes(self) -> u64 {
        self.frames.saturating_add(ROW.saturating_mul(self.trials as u64)).saturating_add(REST)
    }

    /// Refuses what does not fit into the available memory, and announces what takes long.
    ///
    /// # Errors
    ///
    /// What limits the memory, and what to do.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        self.check_against(smallest(Path::new("/proc"), Path::new("/sys/fs/cgroup")))?;
        if let Some(note) = self.note() {
            tell!("{note}");
        }
        Ok(())
    }

    /// The note about many frames.
    fn note(self) -> Option<String> {
        let gib = self.frames as f64 / GIB;
        let long = "are mapped and locked into memory before the first trial, which takes a while";
        (self.frames >= NOTED).then(|| format!("note: {gib:.1} GiB of frames {long}"))
    }

    fn check_against(self, limit: Option<Limit>) -> anyhow::Result<()> {
        let Some(limit) = limit.filter(|limit| limit.bytes < self.bytes()) else { return Ok(()) };
        let rows = ROW.saturating_mul(self.trials as u64);
        let (most, remedy) = if rows > self.frames {
            (format!("the rows of {} trials", self.trials), "use fewer --trials or cells")
        } else {
            ("frames".into(), "use a smaller --payload, --batch, --window, --round, --ring or fewer --workers")
        };
        anyhow::bail!(
            "the plan needs {:.2} GiB of memory, most of it for {most}, but {:.2} GiB are available ({}); {remedy}, or \
             allow more memory",
            self.bytes() as f64 / GIB,
            limit.bytes as f64 / GIB,
            limit.source
        )
    }
}

/// The smallest of all limits; none if nothing reports one.
fn smallest(proc: &Path, cgroups: &Path) -> Option<Limit> {
    let text = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let groups = cgroup::groups(&text, cgroups, "memory");
    groups.iter().filter_map(|group| of_group(group)).chain(available(proc)).min_by_key(|limit| limit.bytes)
}

/// What the kernel can give without swapping.
fn available(proc: &Path) -> Option<Limit> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let kib: u64 = field(&text, "MemAvailable:")?;
    Some(Limit { bytes: kib.saturating_mul(1024), source: "MemAvailable in /proc/meminfo".into() })
}

/// What a cgroup leaves, of version 2 or 1; none if it has no limit. What it uses to cache files can be reclaimed.
fn of_group(group: &Path) -> Option<Limit> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (file, used, caches) = match number("memory.max") {
        Some(_) => ("memory.max", "memory.current", ["inactive_file", "active_file"]),
        None => {
            let caches = ["total_inactive_file", "total_active_file"];
            ("memory.limit_in_bytes", "memory.usage_in_bytes", caches)
        }
    };
    let most = number(file)?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached: u64 = caches.iter().filter_map(|name| field(&stat, name)).fold(0, u64::saturating_add);
    let used = number(used).unwrap_or(0).saturating_sub(cached);
    Some(Limit { bytes: most.saturating_sub(used), source: group.join(file).display().to_string() })
}

/// The number behind a name, in a file of lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut words = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    const MIB: u64 = 1 << 20;

    /// A `/proc` and a `/sys/fs/cgroup` with these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<Limit>) {
        let home = fixtures::tree(files);
        let limit = smallest(&home.path().join("proc"), &home.path().join("cgroup"));
        (home, limit)
    }

    #[test]
    fn the_smallest_limit_counts_and_caches_are_no_use() {
        let meminfo = ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  1048576 kB\n");
        assert_eq!(machine(&[]).1, None);
        assert_eq!(machine(&[meminfo]).1.map(|limit| limit.bytes), Some(1024 * MIB));
        let (_home, limit) = machine(&[
            meminfo,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/memory.max", "104857600\n"),
            ("cgroup/a/memory.current", "62914560\n"),
            ("cgroup/a/memory.stat", "anon 5\ninactive_file 10485760\nactive_file 10485760\n"),
        ]);
        let limit = limit.expect("there is one");
        assert_eq!(limit.bytes, 60 * MIB);
        assert!(limit.source.ends_with("cgroup/a/memory.max"), "{}", limit.source);
        // Version 1, in a container that does not see the path.
        let (_home, limit) = machine(&[
            meminfo,
            ("proc/self/cgroup", "8:pids:/x\n4:memory:/docker/x\n0::/\n"),
            ("cgroup/memory/memory.limit_in_bytes", "209715200\n"),
            ("cgroup/memory/memory.usage_in_bytes", "104857600\n"),
        ]);
        assert_eq!(limit.map(|limit| limit.bytes), Some(100 * MIB));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_remedy() {
        let limit = || Some(Limit { bytes: 100 * MIB, source: "memory.max".into() });
        let demand = |frames, trials| Demand { frames, trials }.check_against(limit());
        assert!(demand(30 * MIB, 10).is_ok());
        let refused = demand(50 * MIB, 10).expect_err("too much").to_string();
        assert!(
            refused.contains("for frames") && refused.contains("memory.max") && refused.contains("--payload"),
            "{refused}"
        );
        let refused = demand(MIB, 100_000_000).expect_err("too many").to_string();
        assert!(refused.contains("100000000 trials") && refused.contains("fewer --trials"), "{refused}");
        assert_eq!(Demand { frames: NOTED - 1, trials: 1 }.note(), None);
        let note = Demand { frames: 13 << 30, trials: 1 }.note().expect("it takes long");
        assert!(note.contains("13.0 GiB") && note.contains("locked"), "{note}");
        assert!(Demand { frames: u64::MAX, trials: usize::MAX }.check_against(limit()).is_err());
        assert!(Demand { frames: u64::MAX, trials: 1 }.check_against(None).is_ok(), "nobody knows");
    }
}
