//! Releases of kernels and programs: which came first, and how briefly they can be told apart.

use std::cmp::Ordering;

/// Compares two releases by their numbers: 6.9 is before 6.12, 6.1.0-9 before 6.1.0-50, and 6.12-rc3 before 6.12.
pub fn compare(a: &str, b: &str) -> Ordering {
    key(a).cmp(&key(b))
}

/// The version, the candidate, the numbers after it, and all that follows the version.
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

/// Short names of releases: version and patch level as far as they tell these releases apart.
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
    fn releases_are_named_as_briefly_as_they_can_be_told_apart() {
        assert_eq!(short_names(&["5.10.0-32-cloud-amd64", "6.12.107+deb13-cloud-amd64"]), ["5.10", "6.12"]);
        assert_eq!(short_names(&["6.1.0-47-x", "6.1.0-50-x"]), ["6.1.0-47", "6.1.0-50"]);
        assert_eq!(short_names(&["6.1.2-a", "6.1.2-b"]), ["6.1.2-a", "6.1.2-b"]);
    }
}
