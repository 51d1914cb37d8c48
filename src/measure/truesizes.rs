//! What a datagram takes of a queue, for the cells of a run that have been measured.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hpbench_backends::{Addressing, Variant};

use crate::plan::cells::{Cell, Scenario};

/// The truesizes that trials of a run have measured, in bytes. They depend on the kernel, on the payload and on how the
/// load is sent, and measuring one takes 4 ms, longer than everything else around a trial.
#[derive(Debug, Default)]
pub struct Truesizes(Mutex<HashMap<Key, u32>>);

/// What decides how much of a queue a datagram takes. A load for many sockets is not sent in trains.
type Key = (Scenario, Variant, Addressing, usize, bool);

impl Truesizes {
    fn known(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        // A panic cannot have left half a number.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(cell: &Cell) -> Key {
        (cell.scenario, cell.variant, cell.addressing, cell.payload, cell.sockets() > 1)
    }

    /// What a datagram of the cell takes, if that is known.
    pub(crate) fn get(&self, cell: &Cell) -> Option<u32> {
        self.known().get(&Self::key(cell)).copied()
    }

    /// Remembers what a datagram of the cell takes.
    pub(crate) fn note(&self, cell: &Cell, bytes: u32) {
        self.known().insert(Self::key(cell), bytes);
    }

    /// Lets the next trial of the cell measure it again.
    pub(crate) fn forget(&self, cell: &Cell) {
        self.known().remove(&Self::key(cell));
    }
}
