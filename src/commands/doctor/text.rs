//! The report for people: in 80 columns, with the most important part at the end.

use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSplitter};

use super::report::{Affects, Check, FeatureLine, Mode, Report, Verdict};

const WIDTH: usize = 80;
/// Where the states of checks begin.
const STATE_AT: usize = 31;

const HEADING: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

const MEASURE: &str = "`measure` is a command for a checkout of hpbench's repository, where scripts/ab is: it runs hpbench \
    with and without the remedy, by turns, and reports the gain.";

const BEYOND: &str = "Beyond sockets, and beyond what hpbench measures: AF_XDP hands whole frames of a network \
    device to a program, past most of the kernel's network code; DPDK drives the device from the program itself, with \
    cores that always spin; RDMA lets devices read and write memory without either kernel. Look there if a real \
    device, not loopback, has to deliver more than a core receives in `flood` with GSO and GRO, or if the kernel's \
    part of a round trip in `echo` is more than you can spare. All three need special devices, drivers and code.";

/// The whole report, with escape sequences for colours.
pub(crate) fn render(report: &Report) -> String {
    let unsettled = |check: &&Check| check.ok.is_none();
    let spoiling = |check: &&Check| check.is_bad() && !check.affects.is_empty();
    let improvable = |check: &&Check| check.is_bad() && check.affects.is_empty();
    let select = |filter: &dyn Fn(&&Check) -> bool| report.checks.iter().filter(filter).collect::<Vec<_>>();
    let parts = [
        Some(machine(report)),
        Some(modes(&report.modes)),
        Some(features(&report.features)),
        section("As it should be", GOOD, &select(&|check| check.ok == Some(true))),
        section("Not known", DOUBTFUL, &select(&unsettled)),
        section("Could be better, but spoils nothing", DOUBTFUL, &select(&improvable)),
        section("Spoils measurements here", BAD, &select(&spoiling)),
        report.checks.iter().any(|check| check.measure.is_some()).then(|| wrap(MEASURE, 0)),
        Some(wrap(BEYOND, 0)),
        Some(verdict(&report.verdict, &report.checks, &report.modes)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let cores = machine.ncpu.map(|count| format!("{count} cores"));
    let kernel = format!("Linux {} on {}", machine.kernel, machine.arch);
    let facts = [Some(kernel), Some(machine.cpu_model.clone()).filter(|model| !model.is_empty()), cores];
    wrap(&facts.into_iter().flatten().collect::<Vec<_>>().join(", "), 0)
}

fn heading(text: &str) -> String {
    format!("{HEADING}{text}{HEADING:#}\n")
}

fn answer(available: Option<bool>) -> String {
    match available {
        Some(true) => format!("{GOOD}yes{GOOD:#}"),
        Some(false) => format!("{BAD}no{BAD:#} "),
        None => format!("{DOUBTFUL}?{DOUBTFUL:#}  "),
    }
}

fn modes(modes: &[Mode]) -> String {
    let mut text = heading("Backends, each with at most one non-default mode, and whether they run here");
    // What several have in common is shown at the first of them.
    let (mut why, mut flags) = (None, None);
    for mode in modes {
        text += &format!("  {}  {:<6} {}\n", answer(Some(mode.available)), mode.backend, mode.variant);
        if mode.why.is_some() && mode.why != why {
            why.clone_from(&mode.why);
            text += &mode.why.as_deref().map_or_else(String::new, |why| wrap(why, 14));
        }
        if mode.in_effect.is_some() && mode.in_effect != flags {
            flags.clone_from(&mode.in_effect);
            text += &mode.in_effect.as_deref().map_or_else(String::new, |flags| wrap(&flags.replace('|', " "), 14));
        }
    }
    text
}

/// Two columns, read from top to bottom; then why features are not available, once for each reason.
fn features(features: &[FeatureLine]) -> String {
    let mut text = heading("What the kernel offers, each tried, with the release that brought it");
    let cell =
        |feature: &FeatureLine| format!("  {}  {:<23} {:<7}", answer(feature.available), feature.name, feature.since);
    let rows = features.len().div_ceil(2);
    for row in 0..rows {
        let left = cell(&features[row]);
        let right = features.get(row + rows).map(cell).unwrap_or_default();
        text += format!("{left}{right}").trim_end();
        text.push('\n');
    }
    let mut reasons: Vec<(&str, Vec<&FeatureLine>)> = Vec::new();
    for feature in features {
        let Some(why) = feature.why.as_deref() else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, features)) => features.push(feature),
            None => reasons.push((why, vec![feature])),
        }
    }
    for (why, features) in reasons {
        let names: Vec<&str> = features.iter().map(|feature| feature.name).collect();
        let others = names.len() - 1;
        let who = if others > 2 { format!("{} and {others} more", names[0]) } else { names.join(", ") };
        text += &wrap(&format!("{who}: {why}"), 2);
        // They are in the order of their releases: the remedy for the last one brings all of them.
        if let Some(remedy) = features.iter().filter_map(|feature| feature.remedy.as_deref()).next_back() {
            text += &labelled("fix", remedy);
        }
    }
    text
}

/// The checks of one kind, if there are any.
fn section(title: &str, style: Style, checks: &[&Check]) -> Option<String> {
    if checks.is_empty() {
        return None;
    }
    let mut text = format!("{HEADING}{style}{title}{style:#}{HEADING:#} ({})\n", checks.len());
    for check in checks {
        match check.state.strip_prefix("unknown: ") {
            // Names of files are long.
            Some(reason) => text += &fill(&format!("{}: {reason}", check.title()), "  ", &" ".repeat(6)),
            None => {
                let name = format!("  {:<width$}", check.title(), width = STATE_AT - 2);
                text += &fill(&check.state, &name, &" ".repeat(STATE_AT));
            }
        }
        if !check.is_bad() {
            continue;
        }
        if !check.affects.is_empty() {
            text += &labelled("spoils", &names(check.affects));
        }
        text += &labelled("should be", &check.wanted);
        if let Some(remedy) = check.mend() {
            text += &labelled("fix", &remedy);
        }
        if let Some(measure) = &check.measure {
            text += &labelled("measure", measure);
        }
    }
    Some(text)
}

fn names(affects: &[Affects]) -> String {
    affects.iter().map(|what| what.name()).collect::<Vec<_>>().join(" and ")
}

fn labelled(label: &str, text: &str) -> String {
    const AT: usize = 17;
    let longest = text.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
    // The names of some files need more room.
    let rest = if longest > WIDTH - AT { 8 } else { AT };
    fill(text, &format!("      {label:<11}"), &" ".repeat(rest))
}

/// What the machine is fit for, in one line.
fn verdict(verdict: &Verdict, checks: &[Check], modes: &[Mode]) -> String {
    let (style, fit) = match (verdict.rates, verdict.latency) {
        (Some(true), Some(true)) => (GOOD, "Fit for rates and for latency"),
        (Some(true), Some(false)) => (DOUBTFUL, "Fit for rates, not for latency"),
        (Some(false), Some(true)) => (DOUBTFUL, "Fit for latency, not for rates"),
        (Some(false), Some(false)) => (BAD, "Fit for neither rates nor latency"),
        (None, None) => (BAD, "Not known to be fit"),
        (None, Some(true)) => (DOUBTFUL, "Fit for latency, not known for rates"),
        (Some(true), None) => (DOUBTFUL, "Fit for rates, not known for latency"),
        (None, Some(false)) => (BAD, "Not fit for latency, not known for rates"),
        (Some(false), None) => (BAD, "Not fit for rates, not known for latency"),
    };
    let spoilt = checks.iter().filter(|check| check.is_bad() && !check.affects.is_empty()).map(Check::title);
    let mut missing: Vec<String> =
        modes.iter().filter(|mode| !mode.available).map(|mode| format!("no {}", mode.backend)).collect();
    missing.dedup();
    let why: Vec<String> = spoilt.chain(missing).collect();
    let dark = checks.iter().filter(|check| check.ok.is_none()).count();
    let is_dark = verdict.rates.is_none() || verdict.latency.is_none();
    let why = match (why.is_empty(), dark) {
        (false, _) if is_dark => [vec![format!("{dark} of {} checks not known", checks.len())], why].concat(),
        (false, _) => why,
        (true, 0) => vec!["nothing found that spoils them".to_owned()],
        (true, dark) if is_dark => {
            vec![format!("{dark} of {} checks not known", checks.len())]
        }
        (true, dark) => vec![format!("nothing found; {dark} of {} checks not known", checks.len())],
    };
    format!("{HEADING}{style}{fit}{style:#}{HEADING:#}: {}.\n", shorten(&why, WIDTH - fit.len() - 3))
}

/// As many of the words as fit, and how many are left.
fn shorten(words: &[String], width: usize) -> String {
    let some = |count: usize| {
        let shown = words[..count].join(", ");
        if count == words.len() { shown } else { format!("{shown} and {} more", words.len() - count) }
    };
    (1..=words.len()).rev().map(some).find(|text| text.chars().count() <= width).unwrap_or_else(|| some(1))
}

fn wrap(text: &str, indent: usize) -> String {
    let indent = " ".repeat(indent);
    fill(text, &indent, &indent)
}

fn fill(text: &str, first: &str, rest: &str) -> String {
    let options = Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(rest)
        // Flags and commands must not be broken at their hyphens.
        .word_splitter(WordSplitter::NoHyphenation);
    format!("{}\n", textwrap::fill(text, options))
}

#[cfg(test)]
mod tests {
    use super::super::report::{BOTH, Machine, Topic};
    use super::*;

    fn feature(name: &'static str, why: Option<&str>) -> FeatureLine {
        FeatureLine {
            name,
            since: "6.12",
            available: Some(why.is_none()),
            why: why.map(str::to_owned),
            remedy: why.map(|_| "do something about it ".repeat(6)),
        }
    }

    fn report(checks: Vec<Check>) -> Report {
        let mode = |available: bool| Mode {
            backend: "uring",
            variant: "multishot+send+defer".into(),
            available,
            why: (!available).then(|| "io_uring is refused here, for one reason or another; ".repeat(3)),
            in_effect: Some("SINGLE_ISSUER|DEFER_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL|CQSIZE|CLAMP|NO_SQARRAY".into()),
        };
        let modes = vec![mode(true), mode(false)];
        Report {
            machine: Machine {
                kernel: "6.18.0-a-long-name-of-a-kernel".into(),
                arch: "x86_64".into(),
                cpu_model: "A Processor With A Long Name @ 2.80GHz".into(),
                ncpu: Some(128),
            },
            features: vec![
                feature("READ_FIXED, WRITE_FIXED", None),
                feature("one", Some("refused")),
                feature("two", Some("refused")),
            ],
            verdict: Verdict::of(&modes, &checks),
            modes,
            checks,
        }
    }

    fn plain(checks: Vec<Check>) -> String {
        anstream::adapter::strip_str(&render(&report(checks))).to_string()
    }

    fn bad(name: &'static str) -> Check {
        Topic::new(name, "as it should be, ".repeat(9), BOTH)
            .bad("state ".repeat(30), format!("sudo sh -c 'echo 1 > /{}'", "long/".repeat(30)))
    }

    #[test]
    fn no_line_is_wider_than_80_columns_nor_ends_with_a_space() {
        let names = ["net.core.netdev_max_backlog", "transparent_huge_pages", "virtualization", "cpu_governor"];
        let mut checks: Vec<Check> = names.map(bad).to_vec();
        checks.push(Topic::new("kernel.io_uring_disabled", "0", &[]).unknown("reason ".repeat(20)));
        let text = plain(checks);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line:?}");
            assert_eq!(line.trim_end(), line);
        }
        let last = text.lines().last().expect("there are lines");
        assert!(last.starts_with("Fit for neither") && last.ends_with("more."), "{last}");
    }

    #[test]
    fn where_a_remedy_can_be_measured_it_is_said_how() {
        let check = || Topic::new("turbo", "off", BOTH).bad("on", "turn it off");
        let text = plain(vec![check()]);
        assert!(!text.contains("checkout") && !text.contains("measure    "), "{text}");
        let measured = Check { measure: Some("scripts/ab --a 'on' --b 'off'".into()), ..check() };
        let text = plain(vec![measured, check()]);
        assert!(text.contains("      measure    scripts/ab --a 'on' --b 'off'\n"), "{text}");
        assert_eq!(text.matches("checkout").count(), 1, "{text}");
    }

    #[test]
    fn one_reason_is_told_once() {
        let text = plain(Vec::new());
        assert_eq!(text.matches("one, two: refused").count(), 1, "{text}");
        assert!(text.contains("yes  READ_FIXED, WRITE_FIXED"), "{text}");
        assert!(text.ends_with("Fit for rates and for latency: no uring.\n"), "{text}");
    }

    #[test]
    fn words_that_do_not_fit_are_counted() {
        let words = ["steal", "turbo", "numa"].map(str::to_owned);
        assert_eq!(shorten(&words, 80), "steal, turbo, numa");
        assert_eq!(shorten(&words, 18), "steal, turbo, numa");
        assert_eq!(shorten(&words, 17), "steal and 2 more");
        assert_eq!(shorten(&words, 3), "steal and 2 more");
    }
}
