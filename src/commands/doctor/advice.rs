//! How to find out whether an advice helps here: measured, not believed.

use crate::commands::doctor::files::Files;

/// Advice about what is measured with, not about what is measured.
const NOT_MEASURED: [&str; 3] = ["kernel.perf_event_paranoid", "kernel.io_uring_disabled", "setcap"];

/// The command that alternates between the state now and the one that `remedy` makes, if that is a command whose effect can be
/// taken back: a sysctl, a file of /sys or /proc, or the frequency governor.
pub(crate) fn alternation(files: &Files, remedy: &str) -> Option<String> {
    if NOT_MEASURED.iter().any(|other| remedy.contains(other)) {
        return None;
    }
    let command = remedy.split("; ").next()?.trim();
    let (before, after) =
        sysctl(files, command).or_else(|| file(files, command)).or_else(|| governor(files, command))?;
    let is_plain = |text: &String| !text.contains(['\'', '\n']);
    (is_plain(&before) && is_plain(&after)).then(|| format!("scripts/ab --a '{before}' --b '{after}'"))
}

/// `sudo sysctl NAME=VALUE`.
fn sysctl(files: &Files, command: &str) -> Option<(String, String)> {
    let (name, value) = command.strip_prefix("sudo sysctl ")?.split_once('=')?;
    let now = files.text(&format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    let set = |value: &str| format!("sudo sysctl -q {name}={value}");
    (!now.contains(char::is_whitespace)).then(|| (set(&now), set(value)))
}

/// `echo VALUE | sudo tee FILE`. Of a list of choices, the one in brackets is in force.
fn file(files: &Files, command: &str) -> Option<(String, String)> {
    let (value, path) = command.strip_prefix("echo ")?.split_once(" | sudo tee ")?;
    let text = files.text(path).ok()?;
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen);
    let now = chosen.unwrap_or(&text);
    let set = |value: &str| format!("echo {value} | sudo tee {path}");
    (!now.contains(char::is_whitespace)).then(|| (set(now), set(value)))
}

/// `sudo cpupower frequency-set -g GOVERNOR`.
fn governor(files: &Files, command: &str) -> Option<(String, String)> {
    const SET: &str = "sudo cpupower frequency-set -g ";
    let wanted = command.strip_prefix(SET)?;
    let now = files.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok()?;
    Some((format!("{SET}{now}"), format!("{SET}{wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::files::Fixture;

    #[test]
    fn advice_that_can_be_taken_back_can_be_measured() {
        let machine = Fixture::new(&[
            ("/proc/sys/net/core/busy_read", "50"),
            ("/proc/sys/net/ipv4/udp_mem", "1 2 3"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
        ]);
        let of = |remedy: &str| alternation(&machine.files(), remedy);
        for (remedy, expected) in [
            (
                "sudo sysctl net.core.busy_read=0",
                "scripts/ab --a 'sudo sysctl -q net.core.busy_read=50' --b 'sudo sysctl -q net.core.busy_read=0'",
            ),
            (
                "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
                "scripts/ab --a 'echo always | sudo tee /sys/kernel/mm/transparent_hugepage/enabled' --b 'echo madvise | sudo \
                 tee /sys/kernel/mm/transparent_hugepage/enabled'",
            ),
            (
                "sudo cpupower frequency-set -g performance; or in the firmware",
                "scripts/ab --a 'sudo cpupower frequency-set -g powersave' --b 'sudo cpupower frequency-set -g performance'",
            ),
        ] {
            assert_eq!(of(remedy).as_deref(), Some(expected));
        }
        for remedy in [
            "sudo sysctl net.ipv4.udp_mem=1",
            "sudo sysctl kernel.perf_event_paranoid=1; or CAP_PERFMON",
            "sudo sysctl no.such.thing=1",
            "use a machine without a hypervisor",
        ] {
            assert_eq!(of(remedy), None, "{remedy}");
        }
    }
}
