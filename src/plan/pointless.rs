//! Scenarios that cannot give a valid trial, whatever the machine does meanwhile.

use crate::console::tell;
use crate::plan::cells::{Cell, Options, Scenario};
use crate::plan::request::throttles_real_time;

/// The cells that can give a valid trial. Scenarios that cannot are left out, with a note, if they were not named and
/// others remain.
///
/// # Errors
///
/// Which scenarios cannot, why, and what to do.
pub(crate) fn leave_out(cells: Vec<Cell>, options: &Options, by_default: bool) -> anyhow::Result<Vec<Cell>> {
    let cannot = |scenario| why(scenario, options, throttles_real_time());
    let found = find(&cells, cannot);
    if !by_default || found.rest.is_empty() {
        found.refuse()?;
    }
    for (why, scenarios) in &found.pointless {
        tell!("note: {} left out: {why}; or run the whole plan with --force-plan", names(scenarios, " and "));
    }
    Ok(cells.into_iter().filter(|cell| found.rest.contains(&cell.scenario)).collect())
}

/// The scenarios of a plan.
struct Found {
    /// Those that cannot give a valid trial, by the reason.
    pointless: Vec<(String, Vec<Scenario>)>,
    /// The others.
    rest: Vec<Scenario>,
}

fn find(cells: &[Cell], cannot: impl Fn(Scenario) -> Option<String>) -> Found {
    let mut found = Found { pointless: Vec::new(), rest: Vec::new() };
    let is_planned = |scenario: &Scenario| cells.iter().any(|cell| cell.scenario == *scenario);
    for scenario in Scenario::ALL.into_iter().filter(is_planned) {
        let Some(why) = cannot(scenario) else {
            found.rest.push(scenario);
            continue;
        };
        match found.pointless.iter_mut().find(|(known, _)| *known == why) {
            Some((_, scenarios)) => scenarios.push(scenario),
            None => found.pointless.push((why, vec![scenario])),
        }
    }
    found
}

impl Found {
    fn refuse(&self) -> anyhow::Result<()> {
        let Some((why, scenarios)) = self.pointless.first() else { return Ok(()) };
        let which = names(scenarios, " and ");
        let them = if scenarios.len() > 1 { "them" } else { "it" };
        let leave_out = match self.rest.as_slice() {
            [] => String::new(),
            rest => format!(", leave {them} out with --scenario {}", names(rest, ",")),
        };
        anyhow::bail!("{which} cannot give a valid trial: {why}{leave_out}, or run {them} anyway with --force-plan")
    }
}

fn names(scenarios: &[Scenario], between: &str) -> String {
    scenarios.iter().map(|scenario| scenario.name()).collect::<Vec<_>>().join(between)
}

/// Why a scenario cannot give a valid trial, and what to do.
fn why(scenario: Scenario, options: &Options, throttles: bool) -> Option<String> {
    let measures_latency = scenario.has_latency();
    if measures_latency && options.fifo.is_some() && throttles {
        return Some(
            "the kernel stops real-time threads for 50 ms every second, so latencies under --fifo are meaningless; let \
             them run with `sysctl kernel.sched_rt_runtime_us=-1`"
                .into(),
        );
    }
    let shared = options.cores.shared.as_ref().filter(|_| !scenario.has_rounds())?;
    Some(format!(
        "{shared}, and all of them spin, so each keeps the others from the core; allow more cores, use fewer --workers \
         or no --handoff"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::args::RunArgs;
    use crate::plan::cores::{Cores, Place};
    use crate::plan::request;

    const SHARED: Option<&str> = Some("the generators of 2 workers share 1 core");

    fn plan(flags: &str, shared: Option<&str>, fifo: Option<u8>) -> (Vec<Cell>, Options) {
        let args = RunArgs::from_words(flags.split_whitespace()).expect("good flags");
        let place = Place { worker: 1, app: None, generators: vec![0] };
        let cores = Cores { places: vec![place], relation: "distinct-cores", shared: shared.map(str::to_owned) };
        let options = Options { fifo, ..request::on(&args, cores) };
        (request::cells(&args, false).expect("a plan"), options)
    }

    #[test]
    fn scenarios_whose_threads_keep_each_other_from_their_core_are_pointless() {
        let pointless = |flags: &str, shared, fifo, throttles| {
            let (cells, options) = plan(flags, shared, fifo);
            let found = find(&cells, |scenario| why(scenario, &options, throttles));
            let scenarios: Vec<Scenario> = found.pointless.into_iter().flat_map(|(_, scenarios)| scenarios).collect();
            assert!(scenarios.iter().all(|scenario| !found.rest.contains(scenario)));
            names(&scenarios, ",")
        };
        assert_eq!(pointless("--scenario drain,send", SHARED, None, true), "", "their peers have no threads");
        assert_eq!(pointless("--scenario drain,echo,flood", SHARED, None, true), "flood,echo");
        assert_eq!(pointless("--scenario flood,echo", None, None, true), "");
        assert_eq!(pointless("--scenario drain,flood", None, Some(1), true), "", "rates are not spoilt");
        assert_eq!(pointless("--scenario flood,pace,echo", None, Some(1), true), "pace,echo");
        assert_eq!(pointless("--scenario pace,echo", None, Some(1), false), "");
    }

    #[test]
    fn what_was_named_is_refused_and_what_was_not_is_left_out() {
        let kept = |flags: &str, by_default| -> Result<Vec<Scenario>, String> {
            let (cells, options) = plan(flags, SHARED, None);
            let kept = leave_out(cells, &options, by_default).map_err(|error| error.to_string())?;
            Ok(find(&kept, |_| None).rest)
        };
        assert_eq!(kept("", true), Ok(vec![Scenario::Drain, Scenario::Send]));
        let refused = kept("--scenario echo,drain,flood", false).expect_err("two were named");
        assert!(
            refused.starts_with("flood and echo cannot give a valid trial: the generators of 2 workers"),
            "{refused}"
        );
        assert!(
            refused.ends_with("leave them out with --scenario drain, or run them anyway with --force-plan"),
            "{refused}"
        );
        let refused = kept("--scenario echo", false).expect_err("it was named");
        assert!(!refused.contains("leave") && refused.ends_with("or run it anyway with --force-plan"), "{refused}");
        assert_eq!(kept("--scenario echo", true).expect_err("nothing remains"), refused);
        assert_eq!(kept("--scenario send", false), Ok(vec![Scenario::Send]));
    }
}
