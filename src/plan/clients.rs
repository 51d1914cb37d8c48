//! Checks of what is asked for with `--flows`, `--sharding` and `--steer`.

use crate::console::tell;
use crate::plan::args::RunArgs;
use crate::plan::cells::{Axes, Scenario};
use crate::plan::shards::{Sharding, Steer};
use crate::text::counted;

/// Flows of each worker below which their hash spreads them too unevenly to say much about a number of workers.
const FLOWS_FEW: usize = 16;

/// Refuses flows and shards that cannot be, and leaves out the scenarios that have none, if they were not asked for.
///
/// # Errors
///
/// What to leave out, or to add.
pub(super) fn check(args: &RunArgs, axes: &mut Axes, scenarios_by_default: bool) -> anyhow::Result<()> {
    let (flows, sharding) = (&args.flows, &args.sharding);
    let (has_flows, is_shared) = (flows.0 != [1], sharding.0.iter().any(|it| it.is_shared()));
    anyhow::ensure!(
        args.steer.0 == [Steer::Hash] || sharding.0.contains(&Sharding::ALL[1]),
        "--steer {}: the kernel chooses a socket where workers share a port only; add --sharding reuseport",
        args.steer
    );
    if !has_flows && !is_shared {
        return Ok(());
    }
    let asked = match (has_flows, is_shared) {
        (true, false) => format!("--flows {flows}"),
        _ => format!("--sharding {sharding}"),
    };
    anyhow::ensure!(
        !is_shared || args.workers > 1,
        "{asked}: one worker has nobody to share a port with; add --workers 2"
    );
    anyhow::ensure!(
        args.sockets.0 == [1],
        "{asked} with --sockets {}: it is for workers with one socket; leave out one of the two",
        args.sockets
    );
    anyhow::ensure!(
        !is_shared || args.packets.is_none(),
        "{asked} with --packets: a worker that gets none would wait for ever; use --duration"
    );
    let is_only = flows.0.iter().all(|&flows| flows > 1) || sharding.0.iter().all(|it| it.is_shared());
    let (streams, others): (Vec<Scenario>, Vec<Scenario>) = axes.scenarios.iter().partition(|it| it.has_flows());
    let others: Vec<&str> = others.into_iter().map(Scenario::name).collect();
    if is_only && !others.is_empty() {
        let reason = "only flood, pace, serve and relay have many flows or a shared port";
        anyhow::ensure!(
            scenarios_by_default,
            "{asked} with --scenario {}: {reason}; leave out one of the two",
            others.join(",")
        );
        axes.scenarios = streams;
        tell!("note: {} left out: {reason}", others.join(", "));
    } else {
        anyhow::ensure!(
            !streams.is_empty(),
            "{asked}: only flood, pace, serve and relay have many flows or a shared port; add one to --scenario"
        );
    }
    Ok(())
}

/// Refuses more flows than a worker tells apart, and warns where they are too few to be spread evenly. Returns how many
/// sockets the generators of all workers have in this process, if each has its own.
///
/// # Errors
///
/// What to use fewer of.
pub(super) fn check_flows(args: &RunArgs, generators: usize) -> anyhow::Result<usize> {
    let most = args.flows.0.iter().copied().max().unwrap_or(1);
    let is_shared = args.sharding.0.iter().any(|it| it.is_shared());
    let at_worker = generators * most * if is_shared { args.workers } else { 1 };
    anyhow::ensure!(
        at_worker <= 1 << 16,
        "--flows {most} with {generators} --generators and {} --workers: a worker tells 65536 flows apart; use fewer of any",
        args.workers
    );
    let is_here = args.peer.is_none();
    let clients = if is_here && (most > 1 || is_shared) { args.workers * generators * most } else { 0 };
    let is_steered_by_hash = args.sharding.0.contains(&Sharding::ALL[1]) && args.steer.0.contains(&Steer::Hash);
    let fewest = args.flows.0.iter().copied().min().unwrap_or(1);
    let has_one = args.scenario.0.iter().any(|scenario| scenario.has_flows() && scenario.has_rate());
    let generators = if has_one { 1 } else { generators };
    if is_steered_by_hash && fewest * generators < FLOWS_FEW {
        tell!(
            "warning: {} for each worker: the hash spreads so few unevenly (of four sockets that share 16, the one with most \
             has 1.5 times its share, half of the time or more); see the column balance, or use --flows {}",
            counted(fewest * generators, "flow"),
            FLOWS_FEW.div_ceil(generators)
        );
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figure in the warning.
    #[test]
    fn sixteen_flows_are_spread_unevenly_over_four_sockets() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(1);
        let mut median = |flows: usize| {
            let mut hottest: Vec<f64> = (0..4001)
                .map(|_| {
                    let mut counts = [0_usize; 4];
                    (0..flows).for_each(|_| counts[random.random_range(0..4)] += 1);
                    counts.into_iter().max().unwrap_or(0) as f64 / (flows as f64 / 4.0)
                })
                .collect();
            hottest.sort_by(f64::total_cmp);
            hottest[2000]
        };
        assert_eq!(median(16), 1.5);
        assert!(median(4 * FLOWS_FEW) <= 1.25);
    }
}
