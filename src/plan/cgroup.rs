//! The control groups of this process.

use std::path::{Path, PathBuf};

/// The groups of this process for a controller (`memory`, `cpu`), each with those around it, from the text of
/// `/proc/self/cgroup`; some may not exist. `root` is where they are mounted, `/sys/fs/cgroup`. In a container the path
/// may be one of the host: then the root of the hierarchy is the container's.
pub(crate) fn groups(text: &str, root: &Path, controller: &str) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let mounts = match controllers {
            "" => vec![root.to_owned(), root.join("unified")],
            // With several controllers it is mounted under all of their names, and each name is a link to it.
            _ if controllers.split(',').any(|name| name == controller) => {
                vec![root.join(controllers), root.join(controller)]
            }
            _ => continue,
        };
        for mount in mounts {
            let inner = Path::new(path.trim_start_matches('/'));
            groups.extend(inner.ancestors().map(|group| mount.join(group)));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_controller_with_those_around_them() {
        let of = |text, controller| -> Vec<String> {
            let groups = groups(text, Path::new("/c"), controller);
            groups.iter().map(|group| group.display().to_string().trim_end_matches('/').to_owned()).collect()
        };
        assert_eq!(of("0::/a/b\n", "cpu"), ["/c/a/b", "/c/a", "/c", "/c/unified/a/b", "/c/unified/a", "/c/unified"]);
        let version_1 = "8:pids:/x\n4:memory:/y\n3:cpu,cpuacct:/z:1\n";
        assert_eq!(of(version_1, "cpu"), ["/c/cpu,cpuacct/z:1", "/c/cpu,cpuacct", "/c/cpu/z:1", "/c/cpu"]);
        assert_eq!(of(version_1, "memory")[..2], ["/c/memory/y", "/c/memory"]);
        assert!(of("nothing\n3:cpuset:/x", "cpu").is_empty());
    }
}
