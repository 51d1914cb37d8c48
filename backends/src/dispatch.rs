//! The list of all backends: the one file that knows every implementation.

use crate::backend::{Backend, Caps, Config, OpenError};
use crate::mmsg::Mmsg;
use crate::null::Null;
use crate::plain::Plain;
use crate::uring::Uring;
use crate::variant::Kind;

/// Something to do with a backend's type.
pub trait Visitor<'p> {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<B: Backend<'p>>(self) -> Self::Output;
}

impl Kind {
    /// Runs `visitor` with the type of this backend: the one place where a kind becomes a type.
    pub fn dispatch<'p, V: Visitor<'p>>(self, visitor: V) -> V::Output {
        match self {
            Self::Null => visitor.visit::<Null<'p>>(),
            Self::Plain => visitor.visit::<Plain<'p>>(),
            Self::Mmsg => visitor.visit::<Mmsg<'p>>(),
            Self::Uring => visitor.visit::<Uring<'p>>(),
        }
    }
}

impl Config {
    /// Asks the variant's backend whether this kernel can run it.
    ///
    /// # Errors
    ///
    /// As [`Backend::probe`].
    pub fn probe(&self) -> Result<Caps, OpenError> {
        struct Probe<'a>(&'a Config);

        impl<'p> Visitor<'p> for Probe<'_> {
            type Output = Result<Caps, OpenError>;

            fn visit<B: Backend<'p>>(self) -> Self::Output {
                B::probe(self.0)
            }
        }

        self.variant.kind().dispatch(Probe(self))
    }
}
