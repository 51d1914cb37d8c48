//! From the backend that a cell names to its type: one of hpbench's, or a contestant of another crate.

use std::sync::OnceLock;

use hpbench_backends::dispatch::{self, Other};
use hpbench_backends::{AsyncBackend, FreeList, Kind, Visitor};

use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::slowed::Slowed;
use crate::measure::trial::Trial;

/// A backend's type, of another crate: generic over the lifetime of the pool that its frames come from.
///
/// Every implementation of [`Backend`](hpbench_backends::Backend) is an [`AsyncBackend`].
pub trait Contest {
    /// The type.
    type Backend<'p>: AsyncBackend<'p>;
}

/// A backend of another crate, for [`cli::run_with`](crate::cli::run_with). It has the same driver as those of hpbench, compiled
/// for it.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    other: Other,
    run: Run,
    run_slowed: Run,
}

/// Runs a trial.
type Run = for<'t, 'a, 'p> fn(&'t Trial<'a, 'p>, &mut FreeList<'p>) -> Result<Outcome, TrialError>;

impl Contestant {
    /// The contestant of this type.
    pub fn of<C: Contest>() -> Self {
        let kind = <C::Backend<'static> as AsyncBackend<'static>>::KIND;
        let probe = <C::Backend<'static> as AsyncBackend<'static>>::probe;
        Self {
            other: Other { kind, probe },
            run: |trial, free| trial.run_as::<C::Backend<'_>>(free),
            run_slowed: |trial, free| trial.run_rounds_as::<Slowed<C::Backend<'_>>>(free),
        }
    }
}

/// The contestants of other crates.
static CONTESTANTS: OnceLock<Box<[Contestant]>> = OnceLock::new();

/// Adds contestants to the backends of hpbench.
///
/// # Panics
///
/// If it was called before, or two backends have the same name.
pub(crate) fn enter(contestants: &[Contestant]) {
    dispatch::add(contestants.iter().map(|contestant| contestant.other).collect());
    assert!(CONTESTANTS.set(contestants.into()).is_ok(), "contestants are added once");
}

/// The contestant with this name, if it is none of hpbench's backends.
fn contestant(kind: Kind) -> Option<&'static Contestant> {
    CONTESTANTS.get()?.iter().find(|contestant| contestant.other.kind == kind)
}

impl<'p> Trial<'_, 'p> {
    /// Runs the trial on threads of its own; `free` has all frames again when it returns.
    ///
    /// # Errors
    ///
    /// Why there is no result.
    pub fn run(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        let kind = self.cell.variant.kind();
        match contestant(kind) {
            Some(contestant) => (contestant.run)(self, free),
            None => kind.dispatch(Dispatch { trial: self, free, is_slowed: false }),
        }
    }

    /// As [`Trial::run`], of `drain` or `send`, with [`Slowed`] work added to the backend.
    pub(crate) fn run_slowed(&self, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
        let kind = self.cell.variant.kind();
        match contestant(kind) {
            Some(contestant) => (contestant.run_slowed)(self, free),
            None => kind.dispatch(Dispatch { trial: self, free, is_slowed: true }),
        }
    }
}

struct Dispatch<'t, 'a, 'p> {
    trial: &'t Trial<'a, 'p>,
    free: &'t mut FreeList<'p>,
    is_slowed: bool,
}

impl<'p> Visitor<'p> for Dispatch<'_, '_, 'p> {
    type Output = Result<Outcome, TrialError>;

    fn visit<B: AsyncBackend<'p>>(self) -> Self::Output {
        match self.is_slowed {
            false => self.trial.run_as::<B>(self.free),
            true => self.trial.run_rounds_as::<Slowed<B>>(self.free),
        }
    }
}
