//! What a search looks for, and how rows say it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::plan::values::{percentage_or_none, time};
use crate::stats::search::Goal;

/// What a search looks for: goals that differ in the loss only, and how late datagrams may come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sought {
    /// At least one, from the least loss up.
    pub(crate) goals: Vec<Goal>,
    /// The greatest 99th percentile of latency.
    pub(crate) p99_max: Duration,
}

impl Sought {
    /// The strictest goal; all others have its trials, and its width.
    pub(crate) fn strictest(&self) -> &Goal {
        &self.goals[0]
    }
}

/// As in the column `goal`.
impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal { final_trial_s, sum_s, exceed_ratio, width, .. } = *self.strictest();
        // As exact as it was given, for whoever reads it back.
        let percent = |share: f64| format!("{}%", (share * 1e12).round() / 1e10);
        let losses: Vec<String> = self.goals.iter().map(|goal| percent(goal.loss_ratio)).collect();
        write!(
            f,
            "loss {} p99 {}ms trial {final_trial_s}s sum {sum_s}s exceed {exceed_ratio} width {}",
            losses.join(","),
            self.p99_max.as_nanos() as f64 / 1e6,
            percent(width)
        )
    }
}

impl FromStr for Sought {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        let ["loss", losses, "p99", p99_max, "trial", trial, "sum", sum, "exceed", exceed, "width", width] = words[..]
        else {
            return Err(());
        };
        let seconds = |text: &str| time(text, 0.0, 3600.0).map_err(drop);
        let (trial_s, width) = (seconds(trial)?.as_secs_f64(), percentage_or_none(width).map_err(drop)?);
        let (sum_s, exceed_ratio) = (seconds(sum)?.as_secs_f64(), exceed.parse().map_err(drop)?);
        let goal = |loss: &str| {
            let usual = Goal::quick(percentage_or_none(loss).map_err(drop)?);
            let goal = Goal { initial_trial_s: trial_s, final_trial_s: trial_s, sum_s, width, exceed_ratio, ..usual };
            goal.check().map_err(drop).map(|()| goal)
        };
        let goals = losses.split(',').map(goal).collect::<Result<Vec<_>, ()>>()?;
        Ok(Self { goals, p99_max: seconds(p99_max)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_say_is_read_back() {
        let width = Goal { width: 0.0015, sum_s: 0.1, initial_trial_s: 0.02, final_trial_s: 0.02, ..Goal::quick(0.0) };
        for (goals, p99_us) in [
            (vec![Goal::quick(0.005)], 10_000),
            (vec![Goal::thorough(0.0), Goal::thorough(0.005)], 500),
            (vec![width, Goal { loss_ratio: 0.00001 / 100.0, ..width }], 1),
        ] {
            let sought = Sought { goals, p99_max: Duration::from_micros(p99_us) };
            assert_eq!(sought.to_string().parse(), Ok(sought.clone()), "{sought}");
        }
        for bad in ["", "loss 1%", "loss x p99 10ms trial 0.25s sum 3s exceed 0.5 width 2%"] {
            assert_eq!(bad.parse::<Sought>(), Err(()), "{bad}");
        }
        let impossible = "loss 0% p99 10ms trial 4s sum 3s exceed 0.5 width 2%";
        assert_eq!(impossible.parse::<Sought>(), Err(()));
    }
}
