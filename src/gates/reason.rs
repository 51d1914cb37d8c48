//! Why a trial that ran to its end is invalid: the reasons, their words, and how they are read back from a file.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a trial is invalid.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It was disturbed; a repeat may not be.
    Disturbed(Disturbed),
    /// Its latencies include stops of real-time threads by the kernel.
    ThrottledLatency,
    /// Datagrams of an unrelated sender arrived at an unconnected socket, and the kernel dropped some, of whatever
    /// sender.
    ForeignWithLoss {
        /// How many of them arrived.
        foreign: u64,
    },
    /// The ledger does not balance.
    Unexplained {
        /// How many datagrams it lacks; negative if it has too many.
        datagrams: i64,
    },
    /// Nothing was received in the measured phase.
    NothingReceived,
    /// The kernel took no datagram of the generator in the measured phase.
    NothingTaken,
    /// No datagram arrived in the whole trial, and the socket dropped none.
    NothingArrived {
        /// How many datagrams were sent.
        sent: u64,
    },
    /// The ledger of a worker does not balance, even if the sum of all does; in `relay`, what it sent is not what was to be sent.
    UnbalancedWorker,
    /// Rounds were not completely queued before the clock started.
    BrokenRounds {
        /// How many.
        count: u64,
    },
    /// What another version of hpbench wrote.
    Other(String),
}

/// What disturbed a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Disturbed {
    /// Another thread had the core.
    RunDelay {
        /// For so many milliseconds.
        ms: f64,
        /// For this share of the trial, in percent.
        pct: f64,
    },
    /// The host of the virtual machine took the cores.
    Steal {
        /// For this share of their time, in percent.
        pct: f64,
    },
    /// The process did not run: it was stopped, frozen, or suspended with the machine.
    Stopped {
        /// For so many milliseconds, if known.
        ms: Option<f64>,
    },
    /// Page faults waited for a disk.
    MajorFaults {
        /// How many.
        count: u64,
    },
    /// What another version of hpbench wrote.
    Other(String),
}

impl Reason {
    /// Whether it is a disturbance, which a repeat may avoid.
    pub fn is_disturbance(&self) -> bool {
        matches!(self, Self::Disturbed(_))
    }

    /// Whether datagrams are not accounted for.
    pub fn is_unbalanced(&self) -> bool {
        matches!(self, Self::UnbalancedWorker)
    }

    /// Whether the trial failed: nothing got through, whatever the backend did.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::NothingTaken | Self::NothingArrived { .. })
    }

    /// Reads a reason back. Only here are reasons recognised by their words; the result has the same words.
    pub fn parse(text: &str) -> Self {
        let known = Self::known(text).filter(|known| known.to_string() == text);
        known.unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    fn known(text: &str) -> Option<Self> {
        if let Some(what) = text.strip_prefix("disturbed: ") {
            let known = Disturbed::known(what).filter(|known| known.to_string() == what);
            return Some(Self::Disturbed(known.unwrap_or_else(|| Disturbed::Other(what.to_owned()))));
        }
        let plain = [Self::ThrottledLatency, Self::NothingReceived, Self::NothingTaken, Self::UnbalancedWorker];
        if let Some(known) = plain.into_iter().find(|known| known.to_string() == text) {
            return Some(known);
        }
        // Only the number differs.
        let number = text.split(' ').find(|word| word.parse::<i64>().is_ok())?;
        if let Ok(count) = number.parse() {
            let counted = [
                Self::ForeignWithLoss { foreign: count },
                Self::NothingArrived { sent: count },
                Self::BrokenRounds { count },
            ];
            if let Some(known) = counted.into_iter().find(|known| known.to_string() == text) {
                return Some(known);
            }
        }
        Some(Self::Unexplained { datagrams: number.parse().ok()? })
    }
}

impl Disturbed {
    fn known(text: &str) -> Option<Self> {
        let numbers = text.split([' ', '(', ')', '%']).filter_map(|word| word.parse::<f64>().ok());
        match numbers.collect::<Vec<_>>()[..] {
            [] if text == (Self::Stopped { ms: None }).to_string() => Some(Self::Stopped { ms: None }),
            [ms] if text.ends_with(" ms") => Some(Self::Stopped { ms: Some(ms) }),
            [ms, pct] => Some(Self::RunDelay { ms, pct }),
            [number] if text.contains('%') => Some(Self::Steal { pct: number }),
            [number] => Some(Self::MajorFaults { count: number as u64 }),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disturbed(what) => write!(f, "disturbed: {what}"),
            Self::ThrottledLatency => f.write_str("latency under --fifo while the kernel throttles real-time threads"),
            Self::ForeignWithLoss { foreign } => write!(
                f,
                "foreign-with-loss: {foreign} datagrams of unrelated senders came, and the kernel dropped some of theirs or ours"
            ),
            Self::Unexplained { datagrams } => write!(f, "{datagrams} datagrams unexplained"),
            Self::NothingReceived => f.write_str("nothing was received in the measured phase"),
            Self::NothingTaken => f.write_str(
                "the kernel took none of the datagrams in the measured phase (is the interface's queue full, or does it drop \
                 them? see `tc -s qdisc`, `ip -s link`)",
            ),
            Self::NothingArrived { sent } => write!(
                f,
                "none of the {sent} datagrams that were sent has arrived (does a firewall drop them? see `nft list ruleset`, \
                 `iptables -S`, `tc qdisc`)"
            ),
            Self::UnbalancedWorker => f.write_str("the ledger of a worker does not balance"),
            Self::BrokenRounds { count } => write!(f, "{count} rounds were not whole in the queue"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Disturbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunDelay { ms, pct } => write!(f, "another thread had the core for {ms:.1} ms ({pct:.1}%)"),
            Self::Steal { pct } => write!(f, "the host took {pct:.1}% of the cores' time (steal)"),
            Self::Stopped { ms: Some(ms) } => write!(f, "the process was stopped for {ms:.1} ms"),
            Self::Stopped { ms: None } => f.write_str("the process was stopped"),
            Self::MajorFaults { count } => write!(f, "{count} page faults waited for a disk"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Between reasons in a file.
const BETWEEN: &str = "; ";

/// All reasons why a trial is invalid; in a file, one text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Reasons(Vec<Reason>);

impl Reasons {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Reason> {
        self.0.iter()
    }

    /// Adds one.
    pub fn push(&mut self, reason: Reason) {
        self.0.push(reason);
    }

    /// Keeps those for which this is true.
    pub fn retain(&mut self, wanted: impl Fn(&Reason) -> bool) {
        self.0.retain(wanted);
    }
}

impl Extend<Reason> for Reasons {
    fn extend<T: IntoIterator<Item = Reason>>(&mut self, reasons: T) {
        self.0.extend(reasons);
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.0.iter().enumerate() {
            write!(f, "{}{reason}", if at > 0 { BETWEEN } else { "" })?;
        }
        Ok(())
    }
}

impl From<&str> for Reasons {
    fn from(text: &str) -> Self {
        let reasons = text.split(BETWEEN).map(Reason::parse);
        Self(if text.is_empty() { Vec::new() } else { reasons.collect() })
    }
}

impl From<String> for Reasons {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Reasons> for String {
    fn from(reasons: Reasons) -> Self {
        reasons.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_as_it_was() {
        let reasons = Reasons(vec![
            Reason::Disturbed(Disturbed::RunDelay { ms: 12.5, pct: 3.1 }),
            Reason::Disturbed(Disturbed::Steal { pct: 20.0 }),
            Reason::Disturbed(Disturbed::MajorFaults { count: 7 }),
            Reason::Disturbed(Disturbed::Stopped { ms: Some(2000.5) }),
            Reason::Disturbed(Disturbed::Stopped { ms: None }),
            Reason::ThrottledLatency,
            Reason::ForeignWithLoss { foreign: 9 },
            Reason::Unexplained { datagrams: -3 },
            Reason::Unexplained { datagrams: 3 },
            Reason::NothingReceived,
            Reason::NothingTaken,
            Reason::NothingArrived { sent: 9 },
            Reason::UnbalancedWorker,
            Reason::BrokenRounds { count: 2 },
        ]);
        let text = reasons.to_string();
        assert!(text.starts_with("disturbed: another thread had the core for 12.5 ms (3.1%); disturbed: "), "{text}");
        assert_eq!(Reasons::from(text), reasons);
    }

    #[test]
    fn other_words_stay_as_they_are_and_only_a_disturbance_is_one() {
        for (text, disturbances) in [
            ("", 0),
            ("of another version", 0),
            ("3 datagrams", 0),
            ("03 datagrams unexplained", 0),
            ("disturbed: a cat", 1),
            ("disturbed: 5 ms", 1),
            ("disturbed: at first; ; x; disturbed: 1 page faults waited for a disk", 2),
            ("undisturbed: a cat", 0),
        ] {
            let reasons = Reasons::from(text);
            assert_eq!(reasons.to_string(), text);
            assert_eq!(reasons.iter().filter(|reason| reason.is_disturbance()).count(), disturbances, "{text}");
        }
    }
}
