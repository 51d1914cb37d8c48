//! Checks of the processor: frequency, clock, mitigations; and of its pages.

use super::given::{Chosen, list};
use crate::commands::doctor::files::Files;
use crate::commands::doctor::remedy::{Remedy, Way};
use crate::commands::doctor::report::{BOTH, Check, NOTHING, Topic};
use crate::record::environment::Environment;

const CPU: &str = "/sys/devices/system/cpu";

pub(super) fn all(files: &Files, chosen: Option<&Chosen>, environment: &Environment) -> Vec<Check> {
    let cores = chosen.map(|chosen| chosen.allowed.clone()).unwrap_or_default();
    vec![
        governor(files, &cores),
        turbo(files),
        clock(files, &environment.clocksource),
        mitigations(files, &environment.mitigations),
        huge_pages(files),
    ]
}

fn governor(files: &Files, cores: &[usize]) -> Check {
    let topic = Topic::new("cpu_governor", "performance", BOTH);
    let mut governors: Vec<(String, Vec<usize>)> = Vec::new();
    for &core in cores {
        let found = match files.text(&format!("{CPU}/cpu{core}/cpufreq/scaling_governor")) {
            Ok(found) => found,
            Err(_) if is_without(files, &format!("cpu{core}"), "cpufreq") => {
                return topic.unknown(format!("no cpufreq for core {core}: the kernel does not set its frequency"));
            }
            Err(reason) => return topic.unknown(reason),
        };
        match governors.iter_mut().find(|(name, _)| *name == found) {
            Some((_, cores)) => cores.push(core),
            None => governors.push((found, vec![core])),
        }
    }
    let state = match governors.as_slice() {
        [] => return topic.unknown("no cores are known"),
        [(name, _)] => name.clone(),
        several => {
            let shown = several.iter().map(|(name, cores)| format!("{name} on {}", list(cores)));
            shown.collect::<Vec<_>>().join(", ")
        }
    };
    match governors.iter().all(|(name, _)| name == "performance") {
        true => topic.good(state),
        false => topic.bad(state, Way::Governor("performance")),
    }
}

/// Whether a core has a directory, but nothing of this name in it.
fn is_without(files: &Files, core: &str, name: &str) -> bool {
    let names = files.names(&format!("{CPU}/{core}"));
    !names.is_empty() && !names.iter().any(|found| found == name)
}

fn turbo(files: &Files) -> Check {
    let topic = Topic::new("turbo", "off, so that the frequency does not depend on temperature", NOTHING);
    // One file says whether it is off, the other whether it is on.
    let switches = [("intel_pstate/no_turbo", "1"), ("cpufreq/boost", "0")];
    for (file, off) in switches {
        let path = format!("{CPU}/{file}");
        let Ok(found) = files.text(&path) else { continue };
        return match found == off {
            true => topic.good("off"),
            false => topic.hint("on", Remedy::write(path, off)),
        };
    }
    topic.unknown(if files.names(CPU).is_empty() { format!("there is no {CPU}") } else { "no switch for it".into() })
}

/// Clocks that a program reads without the kernel, on x86, arm64 and others.
const FAST: [&str; 6] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "timebase", "tod"];
/// Clocks that take a system call, and a slow device.
const SLOW: [&str; 5] = ["hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"];

fn clock(files: &Files, source: &str) -> Check {
    const DIRECTORY: &str = "/sys/devices/system/clocksource/clocksource0";
    let topic = Topic::new("clock_source", "one that is read without a system call", BOTH);
    match source {
        "" => topic.unknown("the kernel does not report it"),
        fast if FAST.contains(&fast) => topic.good(fast),
        slow if SLOW.contains(&slow) => {
            let offered = files.text(&format!("{DIRECTORY}/available_clocksource")).unwrap_or_default();
            let better = offered.split_whitespace().find(|name| FAST.contains(name));
            topic.bad(
                slow,
                match better {
                    Some(better) => Remedy::write(format!("{DIRECTORY}/current_clocksource"), better),
                    None => "this machine offers no better one; see `dmesg` for why the kernel trusts no TSC".into(),
                },
            )
        }
        other => topic.unknown(format!("whether {other} is one")),
    }
}

fn mitigations(files: &Files, option: &str) -> Check {
    let wanted = "as on the target machine: they make system calls slower";
    let topic = Topic::new("mitigations", wanted, NOTHING);
    let directory = format!("{CPU}/vulnerabilities");
    let names = files.names(&directory);
    let starting = |word: &str| {
        let texts = names.iter().filter_map(|name| files.text(&format!("{directory}/{name}")).ok());
        texts.filter(|text| text.starts_with(word)).count()
    };
    let (in_force, open) = (starting("Mitigation"), starting("Vulnerable"));
    match (names.is_empty(), option) {
        (true, "") => topic.unknown(format!("there is no {directory}, and no readable /proc/cmdline")),
        (true, option) => topic.good(format!("mitigations={option}")),
        (false, "") => topic.good(format!("{in_force} in force, {open} open")),
        (false, option) => topic.good(format!("mitigations={option}: {in_force} in force, {open} open")),
    }
}

fn huge_pages(files: &Files) -> Check {
    let topic = Topic::new("transparent_huge_pages", "madvise or always", NOTHING);
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let text = match files.text(path) {
        Ok(text) => text,
        Err(reason) => return topic.unknown(reason),
    };
    match text.split(['[', ']']).nth(1) {
        Some(state @ ("always" | "madvise")) => topic.good(state),
        Some(state) => topic.hint(state, Remedy::write(path, "madvise")),
        None => topic.unknown(format!("{path} does not mark the choice in force: {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::files::Fixture;

    #[test]
    fn one_core_that_saves_power_is_enough() {
        let path = |core| format!("{CPU}/cpu{core}/cpufreq/scaling_governor");
        let fixture = Fixture::new(&[
            (&path(0), "powersave\n"),
            (&path(1), "performance\n"),
            (&path(2), "powersave\n"),
            (&path(3), "performance\n"),
        ]);
        let check = governor(&fixture.files(), &[0, 1, 2, 3]);
        assert!(check.is_bad() && check.remedy.is_some());
        assert_eq!(check.state, "powersave on 0,2, performance on 1,3");
        let check = governor(&fixture.files(), &[1, 3]);
        assert_eq!((check.ok, check.state.as_str()), (Some(true), "performance"));
        let guest = Fixture::new(&[(&format!("{CPU}/cpu0/online"), "1\n")]);
        let check = governor(&guest.files(), &[0]);
        assert!(check.ok.is_none() && check.state.contains("no cpufreq"), "as in most virtual machines: {check:?}");
        let check = governor(&Fixture::new(&[]).files(), &[0]);
        assert!(check.ok.is_none() && check.state.contains("there is no /sys/"), "{check:?}");
        assert_eq!(governor(&fixture.files(), &[]).ok, None);
    }

    #[test]
    fn turbo_has_two_switches_that_mean_the_opposite() {
        let state = |file, text| turbo(&Fixture::new(&[(&format!("{CPU}/{file}"), text)]).files());
        assert_eq!(state("intel_pstate/no_turbo", "1\n").state, "off");
        assert_eq!(state("cpufreq/boost", "0\n").state, "off");
        let check = state("intel_pstate/no_turbo", "0\n");
        assert!(check.state == "on" && check.mend().is_some_and(|way| way.starts_with("echo 1 ")));
        let check = state("cpufreq/boost", "1\n");
        assert!(check.state == "on" && check.mend().is_some_and(|way| way.starts_with("echo 0 ")));
        assert_eq!(turbo(&Fixture::new(&[]).files()).ok, None);
    }

    #[test]
    fn slow_clocks_are_told_from_fast_and_from_strange_ones() {
        let offer =
            |text| Fixture::new(&[("/sys/devices/system/clocksource/clocksource0/available_clocksource", text)]);
        let both = offer("tsc hpet acpi_pm\n");
        let ok = |source| clock(&both.files(), source).ok;
        assert_eq!(["tsc", "hpet", "x", ""].map(ok), [Some(true), Some(false), None, None]);
        assert!(clock(&both.files(), "hpet").mend().is_some_and(|way| way.starts_with("echo tsc ")));
        let slow = clock(&offer("hpet acpi_pm\n").files(), "hpet");
        assert!(slow.mend().is_some_and(|way| way.contains("offers no better one")));
    }

    #[test]
    fn mitigations_are_counted() {
        let path = |name| format!("{CPU}/vulnerabilities/{name}");
        let fixture = Fixture::new(&[
            (&path("a"), "Mitigation: x\n"),
            (&path("b"), "Vulnerable: y\n"),
            (&path("c"), "Not affected\n"),
        ]);
        assert_eq!(mitigations(&fixture.files(), "auto").state, "mitigations=auto: 1 in force, 1 open");
        let none = Fixture::new(&[]);
        assert_eq!(mitigations(&none.files(), "off").state, "mitigations=off");
        assert_eq!(mitigations(&none.files(), "").ok, None);
    }

    #[test]
    fn the_choice_of_huge_pages_is_in_brackets() {
        let check = |text| huge_pages(&Fixture::new(&[("/sys/kernel/mm/transparent_hugepage/enabled", text)]).files());
        assert_eq!(check("always [madvise] never\n").state, "madvise");
        assert!(check("always madvise [never]\n").is_bad());
        assert_eq!(check("strange\n").ok, None);
        assert_eq!(huge_pages(&Fixture::new(&[]).files()).ok, None);
    }
}
