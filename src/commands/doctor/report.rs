//! What the doctor found, in the form that `--json` prints.

use hpbench_backends::Kind;
use hpbench_backends::features::{Feature, State};
use serde::Serialize;

use super::remedy::Remedy;

/// The whole report. Its field names are part of the public interface.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) features: Vec<FeatureLine>,
    pub(crate) modes: Vec<Mode>,
    pub(crate) checks: Vec<Check>,
    pub(crate) verdict: Verdict,
}

/// What machine this is; empty if the kernel does not report it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) arch: String,
    pub(crate) cpu_model: String,
    pub(crate) ncpu: Option<usize>,
}

/// A feature that the kernel may offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FeatureLine {
    pub(crate) name: &'static str,
    pub(crate) since: &'static str,
    /// `None`: it could not be tried.
    pub(crate) available: Option<bool>,
    pub(crate) why: Option<String>,
    pub(crate) remedy: Option<String>,
}

impl From<Feature> for FeatureLine {
    fn from(feature: Feature) -> Self {
        let (available, why, remedy) = match feature.state {
            State::Yes => (Some(true), None, None),
            State::No { why, remedy } => (Some(false), Some(why), Some(remedy)),
            State::Unknown { why } => (None, Some(why), None),
        };
        Self { name: feature.name, since: feature.since, available, why, remedy }
    }
}

/// A backend in one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mode {
    pub(crate) backend: &'static str,
    pub(crate) variant: String,
    pub(crate) available: bool,
    pub(crate) why: Option<String>,
    pub(crate) in_effect: Option<String>,
}

/// What a finding spoils.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Affects {
    Rates,
    Latency,
}

impl Affects {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rates => "rates",
            Self::Latency => "latency",
        }
    }
}

pub(crate) const BOTH: &[Affects] = &[Affects::Rates, Affects::Latency];
pub(crate) const LATENCY: &[Affects] = &[Affects::Latency];
pub(crate) const RATES: &[Affects] = &[Affects::Rates];
/// Worth fixing, but spoils nothing.
pub(crate) const NOTHING: &[Affects] = &[];

/// Something that may spoil measurements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// How it is now.
    pub(crate) state: String,
    /// How it should be.
    pub(crate) wanted: String,
    /// `None`: it is not known.
    pub(crate) ok: Option<bool>,
    /// What it spoils if it is not as it should be; nothing, if that is just worth fixing.
    pub(crate) affects: &'static [Affects],
    pub(crate) remedy: Option<Remedy>,
    /// Whether it is about the measuring tools, or about flags that few runs have: then alternating runs show nothing.
    #[serde(skip)]
    pub(crate) is_apart: bool,
    /// The command that finds out whether the remedy helps here.
    pub(crate) measure: Option<String>,
}

impl Check {
    pub(crate) fn is_bad(&self) -> bool {
        self.ok == Some(false)
    }

    /// The remedy, if it is not as it should be.
    pub(crate) fn mend(&self) -> Option<String> {
        self.remedy.as_ref().map(Remedy::to_string)
    }

    /// The name for people.
    pub(crate) fn title(&self) -> String {
        if self.name.contains('.') { self.name.to_owned() } else { self.name.replace('_', " ") }
    }
}

/// The subject of a check, before its result is known.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    name: &'static str,
    wanted: String,
    affects: &'static [Affects],
    is_apart: bool,
}

impl Topic {
    /// For something that spoils `affects` if it is not as `wanted`.
    pub(crate) fn new(name: &'static str, wanted: impl Into<String>, affects: &'static [Affects]) -> Self {
        Self { name, wanted: wanted.into(), affects, is_apart: false }
    }

    /// For something that runs with and without the remedy would not show, see [`Check::is_apart`].
    pub(crate) fn apart(self) -> Self {
        Self { is_apart: true, ..self }
    }

    /// It is as wanted.
    pub(crate) fn good(self, state: impl Into<String>) -> Check {
        let Self { name, wanted, affects, is_apart } = self;
        Check { name, state: state.into(), wanted, ok: Some(true), affects, remedy: None, is_apart, measure: None }
    }

    /// It is not.
    pub(crate) fn bad(self, state: impl Into<String>, remedy: impl Into<Remedy>) -> Check {
        Check { ok: Some(false), remedy: Some(remedy.into()), ..self.good(state) }
    }

    /// It could be better, but spoils nothing.
    pub(crate) fn hint(self, state: impl Into<String>, remedy: impl Into<Remedy>) -> Check {
        Check { affects: &[], ..self.bad(state, remedy) }
    }

    /// It is not known, for this reason.
    pub(crate) fn unknown(self, reason: impl AsRef<str>) -> Check {
        Check { ok: None, ..self.good(format!("unknown: {}", reason.as_ref())) }
    }
}

/// The checks of what disturbs single trials.
const DISTURBANCES: [&str; 2] = ["steal", "other_programs"];

/// What this machine is fit for; `None` if most of what may spoil it is not known, or what disturbs trials is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) rates: Option<bool>,
    pub(crate) latency: Option<bool>,
    /// What spoils them, which backends do not run, and which unknowns may spoil them.
    pub(crate) reasons: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(modes: &[Mode], checks: &[Check]) -> Self {
        let runs = modes.iter().any(|mode| mode.available && Kind::named(mode.backend).is_none_or(Kind::has_socket));
        let fit = |what| {
            let may_spoil = || checks.iter().filter(|check| check.affects.contains(&what));
            let dark = || may_spoil().filter(|check| check.ok.is_none());
            // Without these, no trial would be known to be disturbed.
            let is_blind = dark().any(|check| DISTURBANCES.contains(&check.name));
            match runs && !may_spoil().any(Check::is_bad) {
                false => Some(false),
                true => (!is_blind && 2 * dark().count() <= may_spoil().count()).then_some(true),
            }
        };
        let spoilt = checks.iter().filter(|check| check.is_bad() && !check.affects.is_empty());
        let spoilt = spoilt.map(|check| format!("{}: {}", check.title(), check.state));
        let missing = modes.iter().filter(|mode| !mode.available);
        let missing = missing.map(|mode| {
            format!("{}:{} does not run: {}", mode.backend, mode.variant, mode.why.as_deref().unwrap_or_default())
        });
        let dark: Vec<String> =
            checks.iter().filter(|check| check.ok.is_none() && !check.affects.is_empty()).map(Check::title).collect();
        let dark = (!dark.is_empty()).then(|| format!("not known: {}", dark.join(", ")));
        let reasons = spoilt.chain(missing).chain(dark).collect();
        Self { rates: fit(Affects::Rates), latency: fit(Affects::Latency), reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(backend: &'static str, available: bool) -> Mode {
        Mode { backend, variant: "x".into(), available, why: (!available).then(|| "refused".into()), in_effect: None }
    }

    #[test]
    fn only_what_spoils_decides() {
        let modes = [mode("null", true), mode("plain", true), mode("uring", false)];
        let topic = |affects| Topic::new("a_thing", "none", affects);
        let checks = [topic(BOTH).good("none"), topic(BOTH).hint("one", "x"), topic(BOTH).unknown("dark")];
        let verdict = Verdict::of(&modes, &checks);
        assert_eq!((verdict.rates, verdict.latency), (Some(true), Some(true)), "{verdict:?}");
        assert_eq!(verdict.reasons, ["uring:x does not run: refused", "not known: a thing"]);
        let verdict = Verdict::of(&modes, &[topic(&[Affects::Latency]).bad("two", "x")]);
        assert_eq!((verdict.rates, verdict.latency), (Some(true), Some(false)), "{verdict:?}");
        assert_eq!(verdict.reasons[0], "a thing: two");
        let verdict = Verdict::of(&modes[..1], &checks);
        assert_eq!((verdict.rates, verdict.latency), (Some(false), Some(false)), "nothing that moves datagrams runs");
    }

    #[test]
    fn where_disturbances_are_not_known_nothing_is_fit() {
        for name in DISTURBANCES {
            let good = || Topic::new("a_thing", "none", BOTH).good("none");
            let checks = [good(), good(), good(), Topic::new(name, "none", BOTH).unknown("dark")];
            let verdict = Verdict::of(&[mode("plain", true)], &checks);
            assert_eq!((verdict.rates, verdict.latency), (None, None), "{verdict:?}");
        }
    }

    #[test]
    fn what_is_mostly_not_known_is_not_fit() {
        let modes = [mode("plain", true)];
        let topic = |affects| Topic::new("a_thing", "none", affects);
        let mut checks = vec![topic(BOTH).good("none"), topic(BOTH).unknown("dark"), topic(LATENCY).unknown("dark")];
        let verdict = Verdict::of(&modes, &checks);
        assert_eq!((verdict.rates, verdict.latency), (Some(true), None), "{verdict:?}");
        checks.push(topic(LATENCY).bad("two", "x"));
        assert_eq!(Verdict::of(&modes, &checks).latency, Some(false), "what is known decides");
    }
}
