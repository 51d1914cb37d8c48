//! What a search looks for, and the coarser targets on its way.

/// A goal, as in RFC 9971: which loads hold, how surely that must be known, and how precisely the border between them and the
/// others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// A trial that loses a larger share than this is a high-loss trial.
    pub loss_ratio: f64,
    /// The largest share of the time at a load that may be high-loss trials if the load is to count as a lower bound.
    pub exceed_ratio: f64,
    /// Length of the first trials, in seconds.
    pub initial_trial_s: f64,
    /// Length of the trials that decide, in seconds: shorter ones say less about a load.
    pub final_trial_s: f64,
    /// How long a load is tried in all before it is decided, in seconds.
    pub sum_s: f64,
    /// The largest distance between the two bounds, as a share of the upper one.
    pub width: f64,
    /// How many coarser targets come before it, each with bounds twice as far apart and with fewer trials.
    pub coarser: u32,
}

impl Goal {
    /// Seconds instead of minutes: trials of 0.25 s, 3 s at a load, and bounds within 2%.
    pub fn quick(loss_ratio: f64) -> Self {
        Self {
            loss_ratio,
            exceed_ratio: 0.5,
            initial_trial_s: 0.25,
            final_trial_s: 0.25,
            sum_s: 3.0,
            width: 0.02,
            coarser: 2,
        }
    }

    /// As FD.io's CSIT tests releases of VPP and DPDK: trials of 1 s, 21 s at a load, and bounds within 0.5%.
    pub fn thorough(loss_ratio: f64) -> Self {
        Self { initial_trial_s: 1.0, final_trial_s: 1.0, sum_s: 21.0, width: 0.005, ..Self::quick(loss_ratio) }
    }

    /// What is wrong with it, if anything.
    ///
    /// # Errors
    ///
    /// Which of its values, and what it must be.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_share = |value: f64| (0.0..1.0).contains(&value);
        match self {
            _ if !is_share(self.loss_ratio) => Err("the loss is a share from 0 to below 1"),
            _ if !is_share(self.exceed_ratio) => Err("the exceed ratio is a share from 0 to below 1"),
            _ if !is_share(self.width) || self.width == 0.0 => Err("the width is a share above 0 and below 1"),
            _ if !(self.initial_trial_s > 0.0 && self.initial_trial_s <= self.final_trial_s) => {
                Err("the first trials take some time, and no longer than the last ones")
            }
            _ if self.sum_s < self.final_trial_s => Err("a load is tried for at least one trial"),
            _ if self.coarser == 0 && self.initial_trial_s < self.sum_s => Err("a coarser target has the first trials"),
            _ => Ok(()),
        }
    }

    /// The targets on the way, from the coarsest to the goal's own.
    pub fn targets(&self) -> Vec<Target> {
        (0..=self.coarser).rev().map(|before| self.target(before)).collect()
    }

    /// The target that comes so many before the last one. Sums of trials grow evenly, by a factor, from one first trial to that of the goal.
    fn target(&self, before: u32) -> Target {
        let grown = f64::from(before) / f64::from(self.coarser.max(1));
        let sum_s = match before {
            0 => self.sum_s,
            _ if before == self.coarser => self.initial_trial_s,
            _ => self.sum_s * (self.initial_trial_s / self.sum_s).powf(grown),
        };
        Target {
            loss_ratio: self.loss_ratio,
            exceed_ratio: self.exceed_ratio,
            trial_s: self.final_trial_s.min(sum_s),
            sum_s,
            width: 1.0 - (1.0 - self.width).powi(1 << before),
        }
    }
}

/// What is to be reached before the next, finer target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// As in [`Goal`].
    pub loss_ratio: f64,
    /// As in [`Goal`].
    pub exceed_ratio: f64,
    /// Length of its trials, in seconds.
    pub trial_s: f64,
    /// As in [`Goal`].
    pub sum_s: f64,
    /// As in [`Goal`].
    pub width: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_become_finer_and_the_last_one_is_the_goal() {
        let goal = Goal::quick(0.005);
        let targets = goal.targets();
        let sums: Vec<f64> = targets.iter().map(|target| target.sum_s).collect();
        assert_eq!((sums[0], sums[2]), (0.25, 3.0));
        assert!((sums[1] - (0.25_f64 * 3.0).sqrt()).abs() < 1e-12, "{sums:?}");
        let widths: Vec<f64> = targets.iter().map(|target| target.width).collect();
        assert!((widths[2] - 0.02).abs() < 1e-12 && (widths[1] - 0.0396).abs() < 1e-12, "{widths:?}");
        assert!(targets.iter().all(|target| target.trial_s == 0.25));
        assert_eq!(Goal { coarser: 0, sum_s: 0.25, ..goal }.targets().len(), 1);
    }

    #[test]
    fn a_goal_that_cannot_be_reached_is_refused() {
        let goal = Goal::quick(0.0);
        assert_eq!((goal.check(), Goal::thorough(0.005).check()), (Ok(()), Ok(())));
        for bad in [
            Goal { loss_ratio: 1.0, ..goal },
            Goal { exceed_ratio: 1.0, ..goal },
            Goal { width: 0.0, ..goal },
            Goal { initial_trial_s: 0.5, ..goal },
            Goal { initial_trial_s: 0.0, ..goal },
            Goal { sum_s: 0.1, ..goal },
            Goal { coarser: 0, ..goal },
            Goal { loss_ratio: f64::NAN, ..goal },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
