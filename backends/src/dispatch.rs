//! The list of all backends: the one file that knows every implementation.

use std::sync::OnceLock;

use crate::backend::{Caps, Config, OpenError};
use crate::declaration::Kind;
use crate::runtime::AsyncBackend;

/// An operation on a backend's type.
pub trait Visitor<'p> {
    /// Its result.
    type Output;
    /// Runs it.
    fn visit<B: AsyncBackend<'p>>(self) -> Self::Output;
}

/// Defines a constant for each backend, the list of them, and the map from a kind to its type, whose one parameter is
/// the lifetime of the pool.
macro_rules! backends {
    ($($(#[$built:meta])* $name:ident = $module:ident $(::$path:ident)+;)+) => {
        impl Kind {
            $(
                $(#[$built])*
                #[doc = concat!("The backend of [`", stringify!($module), "`](crate::", stringify!($module), ").")]
                pub const $name: Self = <crate::$module$(::$path)+<'static> as AsyncBackend<'static>>::KIND;
            )+

            /// All backends of this crate.
            pub const ALL: &'static [Self] = &[$($(#[$built])* Self::$name),+];

            /// Runs `visitor` with the type of this backend: the one place where a kind becomes a type.
            ///
            /// # Panics
            ///
            /// If the backend is another crate's ([`add`]), whose type is not known here.
            pub fn dispatch<'p, V: Visitor<'p>>(self, visitor: V) -> V::Output {
                $($(#[$built])* {
                    if self == Self::$name {
                        return visitor.visit::<crate::$module$(::$path)+<'p>>();
                    }
                })+
                unreachable!("the backend {self} is not in the list");
            }
        }
    };
}

backends! {
    NULL = null::Null;
    PLAIN = plain::Plain;
    MMSG = mmsg::Mmsg;
    URING = uring::Uring;
    #[cfg(feature = "runtimes")]
    TOKIO = runtimes::tokio::Tokio;
    #[cfg(feature = "runtimes")]
    QUINN_UDP = runtimes::quinn::Quinn;
    #[cfg(feature = "runtimes")]
    SMOL = runtimes::smol::Smol;
    #[cfg(feature = "runtimes")]
    COMPIO = runtimes::compio::Compio;
    #[cfg(feature = "runtimes")]
    MONOIO = runtimes::monoio::Monoio;
}

/// Backends of other crates.
static OTHERS: OnceLock<Box<[Other]>> = OnceLock::new();

/// A backend of another crate, for [`add`].
#[derive(Clone, Copy, Debug)]
pub struct Other {
    /// Which it is.
    pub kind: Kind,
    /// Its [`AsyncBackend::probe`].
    pub probe: fn(&Config) -> Result<Caps, OpenError>,
}

/// Adds backends of other crates to those of this one, for flags, help, plans and files. Called once, before anything asks for
/// backends.
///
/// # Panics
///
/// If it was called before, or two backends have the same name.
pub fn add(others: Vec<Other>) {
    assert!(OTHERS.set(others.into_boxed_slice()).is_ok(), "backends of other crates are added once");
    for (index, kind) in Kind::all().enumerate() {
        assert!(Kind::all().skip(index + 1).all(|other| other != kind), "two backends have the name {kind}");
    }
}

/// The backends of other crates.
fn others() -> &'static [Other] {
    OTHERS.get().map_or(&[], |others| others)
}

/// The backends that are built only with the feature `runtimes`.
const RUNTIMES: &[&str] = &["tokio", "quinn-udp", "smol", "compio", "monoio"];

impl Kind {
    /// All backends, those of other crates included.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().chain(others().iter().map(|other| other.kind))
    }

    /// The backend with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.name() == name)
    }

    /// The feature of hpbench that brings the backend with this name, if it was built without that.
    pub fn missing_feature(name: &str) -> Option<&'static str> {
        (RUNTIMES.contains(&name) && Self::named(name).is_none()).then_some("runtimes")
    }

    /// All backends, those without a socket last: they are not meant to be chosen.
    pub fn by_use() -> impl Iterator<Item = Self> {
        let with = |socket| Self::all().filter(move |kind| kind.has_socket() == socket);
        with(true).chain(with(false))
    }
}

impl Config {
    /// Asks the variant's backend whether this kernel can run it.
    ///
    /// # Errors
    ///
    /// As [`AsyncBackend::probe`].
    pub fn probe(&self) -> Result<Caps, OpenError> {
        struct Probe<'a>(&'a Config);

        impl<'p> Visitor<'p> for Probe<'_> {
            type Output = Result<Caps, OpenError>;

            fn visit<B: AsyncBackend<'p>>(self) -> Self::Output {
                B::probe(self.0)
            }
        }

        let kind = self.variant.kind();
        match others().iter().find(|other| other.kind == kind) {
            Some(other) => (other.probe)(self),
            None => kind.dispatch(Probe(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: HashSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len(), "{:?}", Kind::ALL);
        for kind in Kind::ALL {
            let modes = || kind.declaration().dimensions.iter().flat_map(|dimension| dimension.modes);
            let names: HashSet<&str> = modes().map(|mode| mode.name).collect();
            assert_eq!(names.len(), modes().count(), "{kind} has two modes of one name");
        }
    }

    /// A rule without a mode, or about modes of several dimensions, would do nothing or the wrong thing.
    #[test]
    fn rules_are_about_modes_of_one_dimension() {
        for kind in Kind::ALL {
            let declared = kind.declaration();
            for rule in declared.rules {
                let is_meant = |modes: &[_]| !rule.able.is_empty() && rule.able.iter().all(|mode| modes.contains(mode));
                assert!(declared.dimensions.iter().any(|dimension| is_meant(dimension.modes)), "{kind}: {rule:?}");
            }
        }
    }

    #[test]
    fn runtimes_are_there_or_their_feature_is_named() {
        let built = Kind::ALL.iter().filter(|kind| kind.is_runtime()).map(|kind| kind.name());
        let expected = if cfg!(feature = "runtimes") { RUNTIMES } else { &[] };
        assert!(built.eq(expected.iter().copied()));
        for name in RUNTIMES {
            assert_eq!(Kind::missing_feature(name).is_none(), cfg!(feature = "runtimes"));
        }
        assert!(Kind::missing_feature("plain").or(Kind::missing_feature("tcp")).is_none());
    }

    #[test]
    fn the_order_of_use_has_every_backend_once() {
        let kinds: Vec<Kind> = Kind::by_use().collect();
        assert!(kinds.len() == Kind::ALL.len() && Kind::ALL.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
        assert!(kinds.is_sorted_by_key(|kind| !kind.has_socket()), "{kinds:?}");
        assert!(kinds.iter().all(|&kind| Kind::named(kind.name()) == Some(kind)) && Kind::named("tcp").is_none());
    }
}
