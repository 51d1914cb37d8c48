//! The values of the flags that take a list: each is an axis of the plan, or a list of cores.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

use hpbench_backends::kernel::socket::PAYLOAD_MAX;
use hpbench_backends::{Addressing, Choice, Config, Kind, MinWait, SOCKETS_MAX, Variant};

use crate::plan::backends as words;
use crate::plan::cells::{Asked, FdTable, FillCore, Scenario, Wait, Waited};
use crate::plan::shards::{Sharding, Steer};
use crate::plan::spread::{Active, Skew};
use crate::plan::values::{amount, nanoseconds, number};
use crate::text::did_you_mean;
use crate::traffic::wire::HEADER_LEN;

/// The values of an axis: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// As on the command line.
impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(T::to_string).collect::<Vec<_>>().join(","))
    }
}

impl<T: Copy + Eq + Hash> List<T> {
    fn parse(text: &str, mut items: impl FnMut(&str) -> Result<Vec<T>, String>) -> Result<Self, String> {
        let (mut list, mut known) = (Vec::new(), HashSet::new());
        for part in text.split(',') {
            for item in items(part.trim())? {
                if !known.insert(item) {
                    return Err(format!("'{part}' names a value that is already in the list"));
                }
                list.push(item);
            }
        }
        Ok(Self(list))
    }
}

/// The values of `--backend`.
pub(crate) fn backends(text: &str) -> Result<List<Asked>, String> {
    let mut list: Vec<Asked> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (name, modes) = part.split_once(':').unwrap_or((part, ""));
        let kinds = match Kind::named(name) {
            Some(kind) => vec![kind],
            None if part == "all" => words::all(),
            None => {
                if let Some(feature) = Kind::missing_feature(name) {
                    return Err(format!(
                        "the backend {name} is not in this build of hpbench; build it with `--features {feature}`"
                    ));
                }
                let known = Kind::by_use().map(Kind::name).chain(["all"]);
                let meant = did_you_mean(name, known);
                return Err(format!("unknown backend '{name}'; there are {} and all{meant}", words::names()));
            }
        };
        if part == "all" || modes == "all" {
            for choice in kinds.into_iter().flat_map(Choice::alternatives) {
                if !list.iter().any(|asked| asked.choice == choice) {
                    list.push(Asked { choice, is_one_of_all: true });
                }
            }
            continue;
        }
        for kind in kinds {
            let choice = Choice::parse(kind, modes).map_err(|told| told + &mode_meant(kind, modes))?;
            let asked = Asked::named(choice);
            let variant = Variant::parse(kind, modes)?;
            let is_same = |other: &&mut Asked| other.choice.resolve(Addressing::Connected).as_ref() == Ok(&variant);
            match list.iter_mut().find(is_same) {
                // One of `all` that is also named.
                Some(same) if same.is_one_of_all => same.is_one_of_all = false,
                Some(_) => return Err(format!("'{part}' names a value that is already in the list")),
                None => list.push(asked),
            }
        }
    }
    Ok(List(list))
}

/// What the first mode that a backend does not have was probably meant to be.
fn mode_meant(kind: Kind, modes: &str) -> String {
    let known: Vec<&str> = kind.declaration().dimensions.iter().flat_map(|it| it.modes).map(|mode| mode.name).collect();
    let unknown = modes.split('+').find(|mode| !known.contains(mode));
    unknown.map_or_else(String::new, |unknown| did_you_mean(unknown, known.into_iter().chain(["all"])))
}

/// One of several values with names; `none` describes any other word.
fn named<T: Copy>(word: &str, all: &[T], name: fn(T) -> &'static str, none: &str) -> Result<Vec<T>, String> {
    let found = all.iter().copied().find(|&value| name(value) == word);
    found
        .map(|found| vec![found])
        .ok_or_else(|| format!("'{word}' is {none}{}", did_you_mean(word, all.iter().map(|&value| name(value)))))
}

/// The values of `--addressing`.
pub(super) fn addressings(text: &str) -> Result<List<Addressing>, String> {
    let all = [Addressing::Connected, Addressing::Unconnected];
    List::parse(text, |part| named(part, &all, Addressing::name, "neither connected nor unconnected"))
}

/// The values of `--fd-table`.
pub(super) fn fd_tables(text: &str) -> Result<List<FdTable>, String> {
    List::parse(text, |part| named(part, &FdTable::ALL, FdTable::name, "neither shared nor own"))
}

/// The values of `--fill-core`.
pub(super) fn fill_cores(text: &str) -> Result<List<FillCore>, String> {
    List::parse(text, |part| named(part, &FillCore::ALL, FillCore::name, "neither same nor other"))
}

/// The values of `--sockets`.
pub(super) fn sockets(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, SOCKETS_MAX)
}

/// The numbers of workers of a search.
pub(crate) fn workers(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, 256)
}

/// The values of `--active`.
pub(super) fn actives(text: &str) -> Result<List<Active>, String> {
    List::parse(text, |part| match part {
        "all" => Ok(vec![Active::All]),
        _ => doubling(part, 1, SOCKETS_MAX).map(|list| list.0.into_iter().map(Active::Some).collect()),
    })
}

/// The values of `--skew`.
pub(super) fn skews(text: &str) -> Result<List<Skew>, String> {
    List::parse(text, |part| part.parse().map(|skew| vec![skew]))
}
/// The values of `--work`, in nanoseconds.
pub(super) fn works(text: &str) -> Result<List<u64>, String> {
    let ns = |text: &str| nanoseconds(text, WORK_MAX_NS).map(|ns| ns as usize);
    doubling_of(text, ns).map(|list| List(list.0.into_iter().map(|value| value as u64).collect()))
}

/// The most that an app may work on a datagram.
const WORK_MAX_NS: u64 = 1_000_000_000;

/// The values of `--flows`.
pub(super) fn flows(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, SOCKETS_MAX)
}

/// The values of `--sharding`.
pub(super) fn shardings(text: &str) -> Result<List<Sharding>, String> {
    const NONE: &str = "not a way to share; there are ports, reuseport and single";
    List::parse(text, |part| named(part, &Sharding::ALL, Sharding::name, NONE))
}

/// The values of `--steer`.
pub(super) fn steers(text: &str) -> Result<List<Steer>, String> {
    List::parse(text, |part| named(part, &Steer::ALL, Steer::name, "neither hash nor cpu"))
}

/// The values of `--buffers`.
pub(super) fn buffers(text: &str) -> Result<List<usize>, String> {
    let list = doubling(text, 1, 32_768)?;
    match list.0.iter().find(|value| !value.is_power_of_two()) {
        Some(value) => Err(format!("'{value}' is not a power of two")),
        None => Ok(list),
    }
}

/// The values of `--scenario`.
pub(super) fn scenarios(text: &str) -> Result<List<Scenario>, String> {
    const NONE: &str = "not a scenario of this version; there are drain, send, flood, pace, echo, serve and relay";
    List::parse(text, |part| named(part, &Scenario::ALL, Scenario::name, NONE))
}

/// The values of `--wait`.
pub(super) fn waits(text: &str) -> Result<List<Wait>, String> {
    const NONE: &str = "not a way to wait; there are spin and block";
    List::parse(text, |part| named(part, &[Wait::Spin, Wait::Block], Wait::name, NONE))
}

/// The values of `--min-wait`.
pub(super) fn min_waits(text: &str) -> Result<List<Waited>, String> {
    List::parse(text, |part| {
        let many = |(count, within_us): (&str, &str)| {
            let count = number(count, 1, Config::BATCH_MAX).ok()? as u32;
            let within_us = number(within_us.trim_end_matches("us"), 1, MIN_WAIT_MAX_US).ok()? as u32;
            Some(Waited(Some(MinWait { count, within_us })))
        };
        let waited = if part == "off" { Some(Waited(None)) } else { part.split_once(':').and_then(many) };
        waited.map(|waited| vec![waited]).ok_or_else(|| {
            format!(
                "'{part}' is neither off nor a number of completions up to {} and one of microseconds up to {MIN_WAIT_MAX_US}, \
                 such as 8:50",
                Config::BATCH_MAX
            )
        })
    })
}

/// The longest that a worker sleeps before it looks whether the trial is over.
const MIN_WAIT_MAX_US: usize = 10_000;

/// The values of `--fanout`.
pub(super) fn fanouts(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, Config::BATCH_MAX)
}

/// The values of `--batch`.
pub(super) fn batches(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, Config::BATCH_MAX)
}

/// The values of `--payload`.
pub(super) fn payloads(text: &str) -> Result<List<usize>, String> {
    doubling(text, HEADER_LEN, PAYLOAD_MAX)
}

/// The values of `--round`.
pub(super) fn rounds(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, 1 << 20)
}

/// The values of `--window`.
pub(super) fn windows(text: &str) -> Result<List<usize>, String> {
    doubling(text, 1, Config::BATCH_MAX)
}

/// The values of `--rate`.
pub(super) fn rates(text: &str) -> Result<List<u64>, String> {
    doubling(text, 1, 100_000_000).map(|list| List(list.0.into_iter().map(|value| value as u64).collect()))
}

/// The values of `--burst`.
pub(super) fn bursts(text: &str) -> Result<List<u64>, String> {
    doubling(text, 1, 1024).map(|list| List(list.0.into_iter().map(|value| value as u64).collect()))
}

/// Amounts, and ranges of doublings: `3..20` is 3, 6, 12 and 20.
fn doubling(text: &str, least: usize, most: usize) -> Result<List<usize>, String> {
    doubling_of(text, |text| amount(text, least, most))
}

/// The same, of values that `read` reads.
fn doubling_of(text: &str, read: impl Fn(&str) -> Result<usize, String>) -> Result<List<usize>, String> {
    List::parse(text, |part| {
        let Some((first, last)) = part.split_once("..") else {
            return Ok(vec![read(part)?]);
        };
        let (first, last) = in_order(part, read(first)?, read(last)?)?;
        let doubled = std::iter::successors(Some(first.max(1)), |value| value.checked_mul(2));
        Ok(doubled.take_while(|&value| value < last).chain([last]).collect())
    })
}

/// The highest number of a core that a kernel can be built for (`CONFIG_NR_CPUS`).
const CORE_MAX: usize = 8191;

/// Numbers of cores, and ranges, which mean each core: `3..9`, or `3-9` as the kernel writes it.
pub(super) fn cores(text: &str) -> Result<List<usize>, String> {
    let core = |text: &str| number(text, 0, CORE_MAX);
    List::parse(text, |part| {
        let range = part.split_once("..").or_else(|| part.split_once('-').filter(|(first, _)| !first.is_empty()));
        let Some((first, last)) = range else { return Ok(vec![core(part)?]) };
        let (first, last) = in_order(part, core(first)?, core(last)?)?;
        Ok((first..=last).collect())
    })
}

/// The ends of a range.
fn in_order(part: &str, first: usize, last: usize) -> Result<(usize, usize), String> {
    if first > last {
        return Err(format!("'{part}' is not a range: it begins with the larger number; write {last}..{first}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_doubles_and_has_both_of_its_ends() {
        let read = |text| batches(text).expect("a list").0;
        assert_eq!(read("1..8,100"), [1, 2, 4, 8, 100]);
        assert_eq!(read("3..20"), [3, 6, 12, 20]);
        assert_eq!((read("7..7"), read("1k..1Ki")), (vec![7], vec![1000, 1024]));
    }

    #[test]
    fn a_range_of_cores_is_each_of_them() {
        for text in ["3..6,1", "3-6,1"] {
            assert_eq!(cores(text).expect("a list").0, [3, 4, 5, 6, 1], "{text}");
        }
        for text in ["6-3", "-1", "3-", "..3", "1-2-3", "0..8192"] {
            assert!(cores(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_asked() {
        for (told, meant) in [
            (backends("urnig").map(drop), "uring"),
            (backends("plain,uring:mutlishot").map(drop), "multishot"),
            (backends("uring:send+sqpol").map(drop), "sqpoll"),
            (scenarios("drian").map(drop), "drain"),
            (waits("blok").map(drop), "block"),
            (addressings("unconected").map(drop), "unconnected"),
            (fd_tables("sharde").map(drop), "shared"),
        ] {
            let told = told.expect_err(meant);
            assert!(told.ends_with(&format!("; did you mean '{meant}'?")), "{told}");
        }
        assert!(scenarios("xyzzy").is_err_and(|told| !told.contains("did you mean")));
    }
}
