//! Threads of a trial. If one cannot be started, the trial fails and the run continues.

use std::thread::{self, Scope, ScopedJoinHandle};

use crate::measure::outcome::TrialError;

/// Starts a thread within `scope`. Unlike `scope.spawn`, it does not panic where the limits allow no more threads.
///
/// # Errors
///
/// [`TrialError::Thread`]; `work` is dropped then.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, TrialError> {
    // Boxed, so that the standard library's code for starting a thread is built once for each kind of result, and not for
    // each closure of each backend: it is 5% of all code.
    let work: Box<dyn FnOnce() -> T + Send + 'scope> = Box::new(work);
    thread::Builder::new().spawn_scoped(scope, work).map_err(TrialError::Thread)
}

/// What a thread has returned, or that it panicked.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, Result<T, TrialError>>) -> Result<T, TrialError> {
    thread.join().unwrap_or(Err(TrialError::Panicked))
}
