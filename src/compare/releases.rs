//! Releases of kernels and programs: their order, and the shortest names that tell them apart.

use std::cmp::Ordering;

/// Compares two releases by their numbers: 6.9 is before 6.12, 6.1.0-9 before 6.1.0-50, and 6.12-rc3 before 6.12.
pub fn compare(a: &str, b: &str) -> Ordering {
    key(a).cmp(&key(b))
}

/// The version, the candidate, the numbers after it, and everything after the version.
fn key(text: &str) -> (Vec<u64>, u64, Vec<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (version, rest) = text.split_at(end);
    let mut version = numbers(version);
    while version.last() == Some(&0) {
        version.pop();
    }
    let candidate = rest.strip_prefix("-rc").map(|rest| numbers(rest).first().copied().unwrap_or(0));
    (version, candidate.unwrap_or(u64::MAX), numbers(rest), rest)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Builds of kernels, by release, in the order in which they are found.
#[derive(Debug, Default)]
pub(crate) struct Builds(Vec<(String, Vec<String>)>);

impl Builds {
    /// Notes a build of a release.
    pub(crate) fn note(&mut self, release: &str, build: &str) {
        let at = self.0.iter().position(|(known, _)| known == release).unwrap_or_else(|| {
            self.0.push((release.to_owned(), Vec::new()));
            self.0.len() - 1
        });
        let builds = &mut self.0[at].1;
        if !builds.iter().any(|known| known == build) {
            builds.push(build.to_owned());
        }
    }

    /// The name of a kernel: its release, and as many words of its build as tell it from others of the release.
    pub(crate) fn name(&self, release: &str, build: &str) -> String {
        let others = self.0.iter().filter(|(known, _)| known == release).flat_map(|(_, builds)| builds);
        let others: Vec<&String> = others.filter(|other| *other != build).collect();
        if others.is_empty() {
            return release.to_owned();
        }
        let begins_alike = |other: &str, count: usize| other.split(' ').take(count).eq(build.split(' ').take(count));
        let words =
            (1..=build.split(' ').count()).find(|&count| !others.iter().any(|other| begins_alike(other, count)));
        let words: Vec<&str> = build.split(' ').take(words.unwrap_or(usize::MAX)).collect();
        format!("{release} {}", words.join(" ")).trim_end().to_owned()
    }
}

/// Short names of releases: as much of version and patch level as tells these releases apart.
pub fn short_names(releases: &[&str]) -> Vec<String> {
    let cut = |release: &str, parts: usize| {
        let end = release.match_indices(|c: char| !c.is_ascii_digit()).nth(parts - 1).map(|(at, _)| at);
        release[..end.unwrap_or(release.len())].to_owned()
    };
    let is_unique = |names: &[String]| names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
    let tries = (2..=4).map(|parts| releases.iter().map(|release| cut(release, parts)).collect::<Vec<_>>());
    tries
        .into_iter()
        .find(|names| is_unique(names))
        .unwrap_or_else(|| releases.iter().map(|&release| release.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        let mut releases = [
            "6.12.94+deb13",
            "6.12.6-amd64",
            "6.9.1",
            "7.0.0-rc2",
            "6.1.0-50",
            "5.10.0",
            "6.12.6",
            "7.0",
            "6.12.107+deb13",
            "7.0-rc10",
            "6.1",
            "6.1.0-9",
        ];
        releases.sort_by(|a, b| compare(a, b));
        let expected = [
            "5.10.0",
            "6.1",
            "6.1.0-9",
            "6.1.0-50",
            "6.9.1",
            "6.12.6",
            "6.12.6-amd64",
            "6.12.94+deb13",
            "6.12.107+deb13",
            "7.0.0-rc2",
            "7.0-rc10",
            "7.0",
        ];
        assert_eq!(releases, expected);
    }

    #[test]
    fn builds_of_one_release_are_told_apart_in_few_words() {
        let mut builds = Builds::default();
        let debian = ["#1 SMP Debian 6.12.94-1 (2026-01-01)", "#1 SMP Debian 6.12.94-2 (2026-02-01)"];
        for (release, build) in [
            ("6.12", debian[0]),
            ("6.12", debian[1]),
            ("6.18", "#1 SMP"),
            ("6.18", "#2 SMP"),
            ("7.0", "#1"),
            ("6.18", ""),
        ] {
            builds.note(release, build);
            builds.note(release, build);
        }
        let name = |release, build| builds.name(release, build);
        assert_eq!(name("6.12", debian[0]), "6.12 #1 SMP Debian 6.12.94-1");
        assert_eq!([name("6.18", "#1 SMP"), name("6.18", "#2 SMP"), name("6.18", "")], ["6.18 #1", "6.18 #2", "6.18"]);
        assert_eq!((name("7.0", "#1"), name("6.9", "#1")), ("7.0".into(), "6.9".into()));
    }

    #[test]
    fn releases_are_named_as_briefly_as_they_can_be_told_apart() {
        assert_eq!(short_names(&["5.10.0-32-cloud-amd64", "6.12.107+deb13-cloud-amd64"]), ["5.10", "6.12"]);
        assert_eq!(short_names(&["6.1.0-47-x", "6.1.0-50-x"]), ["6.1.0-47", "6.1.0-50"]);
        assert_eq!(short_names(&["6.1.2-a", "6.1.2-b"]), ["6.1.2-a", "6.1.2-b"]);
    }
}
