//! `hpbench agent`: the peer of another hpbench, which starts it with `--peer` and speaks with it over a pipe.

use std::io::{self, IsTerminal};

use clap::Args;

use crate::console::{Failure, usage};
use crate::measure::remote::agent;
use crate::measure::remote::message::Hello;
use crate::record::environment::{host_name, irq_time_accounting};

/// The flags of `hpbench agent`: none.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  hpbench --peer 'ssh lab2 hpbench agent' --bind 10.0.0.1 --peer-bind 10.0.0.2")]
pub struct AgentArgs {}

/// Works as an agent until its input ends.
pub(crate) fn run(_args: &AgentArgs) -> Result<u8, Failure> {
    if io::stdin().is_terminal() {
        return Err(usage(anyhow::anyhow!(
            "hpbench agent speaks with another hpbench over a pipe; that one starts it: hpbench --peer 'ssh HOST hpbench agent'"
        )));
    }
    agent::run(Hello::of_this_process(host_name(), irq_time_accounting()))
}
