//! Plans that cannot give a valid trial, whatever the machine does meanwhile.

use crate::plan::cells::{Cell, Options, Scenario};
use crate::plan::request::throttles_real_time;

/// Refuses a plan that cannot give a valid trial.
///
/// # Errors
///
/// Why it cannot, and what to do.
pub(crate) fn check(cells: &[Cell], options: &Options) -> anyhow::Result<()> {
    match why(cells, options, throttles_real_time()) {
        Some(why) => {
            anyhow::bail!("this plan cannot give a valid trial: {why}; or run it all the same with --force-plan")
        }
        None => Ok(()),
    }
}

fn why(cells: &[Cell], options: &Options, throttles: bool) -> Option<String> {
    let named = |wanted: fn(Scenario) -> bool| -> Vec<&str> {
        let mut names: Vec<&str> =
            cells.iter().map(|cell| cell.scenario).filter(|it| wanted(*it)).map(Scenario::name).collect();
        names.dedup();
        names
    };
    let latencies = named(|scenario| matches!(scenario, Scenario::Pace | Scenario::Echo)).join(" and ");
    if options.fifo.is_some() && throttles && !latencies.is_empty() {
        return Some(format!(
            "the kernel stops real-time threads for 50 ms every second, so that latencies of {latencies} under --fifo say \
             nothing; `sysctl kernel.sched_rt_runtime_us=-1` lets them run"
        ));
    }
    let spinning = named(|scenario| !scenario.has_rounds()).join(", ");
    let shared = options.cores.shared.as_ref().filter(|_| !spinning.is_empty())?;
    Some(format!(
        "{shared}, and in {spinning} all of them spin, so that each keeps the others from the core; allow more cores, or use \
         fewer --workers, no --handoff, or --scenario drain"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::args::RunArgs;
    use crate::plan::cores::{Cores, Place};
    use crate::plan::request;

    #[test]
    fn plans_whose_threads_keep_each_other_from_their_core_are_pointless() {
        let plan = |flags: &str, shared: Option<&str>, fifo: Option<u8>| {
            let args = RunArgs::from_words(flags.split_whitespace()).expect("good flags");
            let place = Place { worker: 1, app: None, generators: vec![0] };
            let cores = Cores { places: vec![place], relation: "distinct-cores", shared: shared.map(str::to_owned) };
            let options = Options { fifo, ..request::on(&args, cores) };
            let cells = request::cells(&args, false).expect("a plan");
            (why(&cells, &options, true), why(&cells, &options, false))
        };
        let shared = Some("the generators of 2 workers share 1 core(s)");
        assert_eq!(plan("--scenario drain,send", shared, None), (None, None), "their peers have no threads");
        let (why, _) = plan("--scenario drain,echo", shared, None);
        assert!(why.as_ref().is_some_and(|why| why.contains("share 1 core(s), and in echo")), "{why:?}");
        assert_eq!(plan("--scenario flood,echo", None, None), (None, None));
        assert_eq!(plan("--scenario drain,flood", None, Some(1)), (None, None), "rates are not spoilt");
        let (throttled, not) = plan("--scenario pace,echo", None, Some(1));
        assert!(throttled.is_some_and(|why| why.contains("sched_rt_runtime_us")) && not.is_none());
    }
}
