//! Variants: how a backend does its work, one mode for each dimension.

use std::fmt;

use crate::backend::Kind;

/// A backend and one mode for each of its dimensions.
///
/// The text form joins the modes by `+`; a dimension that is left out means its default, and
/// [`fmt::Display`] always writes all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    kind: Kind,
}

/// A dimension in which a backend may vary: its name and its modes, the default first.
struct Dimension {
    name: &'static str,
    modes: &'static [&'static str],
}

const fn dimension(name: &'static str, modes: &'static [&'static str]) -> Dimension {
    Dimension { name, modes }
}

/// The dimensions of each backend.
fn dimensions(kind: Kind) -> &'static [Dimension] {
    const NULL: &[Dimension] = &[dimension("link", &["memory"])];
    const PLAIN: &[Dimension] = &[dimension("receive", &["recvfrom"]), dimension("send", &["sendto"])];
    const MMSG: &[Dimension] = &[dimension("receive", &["recvmmsg"]), dimension("send", &["sendmmsg"])];
    const URING: &[Dimension] =
        &[dimension("receive", &["multishot"]), dimension("send", &["send"]), dimension("setup", &["defer"])];
    match kind {
        Kind::Null => NULL,
        Kind::Plain => PLAIN,
        Kind::Mmsg => MMSG,
        Kind::Uring => URING,
    }
}

impl Variant {
    /// The default variant of a backend.
    pub fn default_of(kind: Kind) -> Self {
        Self { kind }
    }

    /// Reads `modes` joined by `+`; empty means the default.
    ///
    /// # Errors
    ///
    /// A message that names the unknown or repeated mode and lists what there is.
    pub fn parse(kind: Kind, modes: &str) -> Result<Self, String> {
        let mut taken = Vec::new();
        for mode in modes.split('+').filter(|_| !modes.is_empty()) {
            let Some(found) = dimensions(kind).iter().find(|dimension| dimension.modes.contains(&mode)) else {
                let known: Vec<String> = dimensions(kind)
                    .iter()
                    .map(|dimension| format!("{}: {}", dimension.name, dimension.modes.join(", ")))
                    .collect();
                return Err(format!("the {kind} backend has no mode '{mode}' ({})", known.join("; ")));
            };
            if taken.contains(&found.name) {
                return Err(format!("two modes for '{}' of the {kind} backend in '{modes}'", found.name));
            }
            taken.push(found.name);
        }
        Ok(Self { kind })
    }

    /// The backend that this is a variant of.
    pub fn kind(self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modes: Vec<&str> = dimensions(self.kind).iter().map(|dimension| dimension.modes[0]).collect();
        f.pad(&modes.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_spells_every_dimension() {
        for text in ["", "multishot", "defer+multishot", "multishot+send+defer"] {
            let variant = Variant::parse(Kind::Uring, text).expect("a known variant");
            assert_eq!(variant.to_string(), "multishot+send+defer");
        }
    }

    #[test]
    fn unknown_and_repeated_modes_are_named() {
        let unknown = Variant::parse(Kind::Mmsg, "multishot").expect_err("not a mode of mmsg");
        assert!(unknown.contains("'multishot'") && unknown.contains("recvmmsg"), "{unknown}");
        assert!(Variant::parse(Kind::Uring, "send+send").is_err());
        assert!(Variant::parse(Kind::Uring, "send+").is_err());
    }
}
