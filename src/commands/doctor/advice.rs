//! How to find out whether a remedy helps here: by measuring, not by belief.

use crate::commands::doctor::files::Files;
use crate::commands::doctor::remedy::Way;

/// The command that alternates between the current state and that of `way`, if its effect can be undone.
pub(crate) fn alternation(files: &Files, way: &Way) -> Option<String> {
    let (before, after) = match way {
        Way::Sysctl { name, value } => {
            let now = files.text(&format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
            let set = |value: &str| format!("sudo sysctl -q {name}={value}");
            (set(word(&now)?), set(value))
        }
        Way::Write { path, value } => {
            let text = files.text(path).ok()?;
            // In a list of choices, the one in brackets is in force.
            let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen);
            let set = |value: &str| format!("echo {value} | sudo tee {path}");
            (set(word(chosen.unwrap_or(&text))?), set(value))
        }
        Way::Governor(name) => {
            let now = files.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok()?;
            let set = |name: &str| format!("sudo cpupower frequency-set -g {name}");
            (set(word(&now)?), set(name))
        }
        Way::Words(_) => return None,
    };
    let is_plain = |text: &String| !text.contains('\'');
    (is_plain(&before) && is_plain(&after)).then(|| format!("scripts/ab --a '{before}' --b '{after}'"))
}

/// A value of one word, which needs no quoting in a shell.
fn word(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::files::Fixture;
    use crate::commands::doctor::remedy::Remedy;

    #[test]
    fn advice_that_can_be_taken_back_can_be_measured() {
        let machine = Fixture::new(&[
            ("/proc/sys/net/core/netdev_max_backlog", "50"),
            ("/proc/sys/net/ipv4/udp_mem", "1 2 3"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
        ]);
        let of = |remedy: Remedy| alternation(&machine.files(), &remedy.way);
        for (remedy, expected) in [
            (
                Remedy::sysctl("net.core.netdev_max_backlog", 1000),
                "scripts/ab --a 'sudo sysctl -q net.core.netdev_max_backlog=50' --b 'sudo sysctl -q \
                 net.core.netdev_max_backlog=1000'",
            ),
            (
                Remedy::write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise").or("another way"),
                "scripts/ab --a 'echo always | sudo tee /sys/kernel/mm/transparent_hugepage/enabled' --b 'echo madvise | sudo \
                 tee /sys/kernel/mm/transparent_hugepage/enabled'",
            ),
            (
                Way::Governor("performance").into(),
                "scripts/ab --a 'sudo cpupower frequency-set -g powersave' --b 'sudo cpupower frequency-set -g performance'",
            ),
        ] {
            assert_eq!(of(remedy).as_deref(), Some(expected));
        }
        for remedy in [
            Remedy::sysctl("net.ipv4.udp_mem", 1),
            Remedy::sysctl("no.such.thing", 1),
            Remedy::write("/sys/nothing", 1),
            "use a machine without a hypervisor".into(),
            "sudo sysctl net.core.netdev_max_backlog=1000".into(),
        ] {
            assert_eq!(of(remedy.clone()), None, "{remedy}");
        }
    }
}
