//! The remedy for a finding: a command if there is one, so that its effect can be measured, else words.

use std::fmt;

use serde::{Serialize, Serializer};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remedy {
    pub(crate) way: Way,
    /// An alternative.
    or: Option<String>,
}

/// The ways to fix something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A setting of the kernel.
    Sysctl { name: &'static str, value: String },
    /// A file of `/proc` or `/sys`.
    Write { path: String, value: String },
    /// The frequency governor of all cores.
    Governor(&'static str),
    /// Anything else.
    Words(String),
}

impl Remedy {
    /// Sets `name` by `sysctl`.
    pub(crate) fn sysctl(name: &'static str, value: impl fmt::Display) -> Self {
        Way::Sysctl { name, value: value.to_string() }.into()
    }

    /// Writes `value` to a file.
    pub(crate) fn write(path: impl Into<String>, value: impl fmt::Display) -> Self {
        Way::Write { path: path.into(), value: value.to_string() }.into()
    }

    /// This, or an alternative.
    pub(crate) fn or(self, other: impl Into<String>) -> Self {
        Self { or: Some(other.into()), ..self }
    }
}

impl From<Way> for Remedy {
    fn from(way: Way) -> Self {
        Self { way, or: None }
    }
}

impl From<String> for Remedy {
    fn from(words: String) -> Self {
        Way::Words(words).into()
    }
}

impl From<&str> for Remedy {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { name, value } => write!(f, "sudo sysctl {name}={value}"),
            Self::Write { path, value } => write!(f, "echo {value} | sudo tee {path}"),
            Self::Governor(name) => write!(f, "sudo cpupower frequency-set -g {name}"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.way.fmt(f)?;
        self.or.as_ref().map_or(Ok(()), |other| write!(f, "; or {other}"))
    }
}

impl Serialize for Remedy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_shown_as_commands() {
        for (remedy, shown) in [
            (Remedy::sysctl("net.core.busy_read", 0), "sudo sysctl net.core.busy_read=0"),
            (Remedy::write("/sys/a", "off").or("--cpu 1"), "echo off | sudo tee /sys/a; or --cpu 1"),
            (Way::Governor("performance").into(), "sudo cpupower frequency-set -g performance"),
            ("use another machine".into(), "use another machine"),
        ] {
            assert_eq!(remedy.to_string(), shown);
            assert_eq!(serde_json::to_value(&remedy).expect("a text"), shown);
        }
    }
}
