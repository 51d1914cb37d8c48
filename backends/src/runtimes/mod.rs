//! Backends of async runtimes, built with the feature `runtimes`.
//!
//! Each works as a program of its runtime does: one current-thread runtime on the worker's thread, which runs the driver's
//! whole loop in one `block_on`. hpbench opens the socket, and hands over a duplicate of its descriptor.
//!
//! A wait must end when nothing comes. A timer of the kernel that is one more descriptor of the runtime ends it: that costs
//! nothing while datagrams come, unlike a timeout around each receive.

pub mod compio;
mod crowd;
mod desk;
mod flight;
mod inbox;
pub mod monoio;
mod outcome;
pub mod quinn;
mod slot;
pub mod smol;
pub mod tokio;

use std::future::poll_fn;
use std::task::Poll;

/// Lets tasks run, and smol or compio look for events without waiting.
async fn look() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A ring that a seccomp filter refuses to `open` says so.
#[cfg(test)]
fn refused_ring(open: impl FnOnce() -> Option<crate::backend::OpenError> + Send + 'static) {
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    use crate::backend::OpenError;

    let refused = std::thread::spawn(move || {
        let rules = BTreeMap::from([(libc::SYS_io_uring_setup, vec![])]);
        let architecture = std::env::consts::ARCH.try_into().expect("a known architecture");
        let action = SeccompAction::Errno(libc::EPERM as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).expect("a filter");
        let program: BpfProgram = filter.try_into().expect("a program");
        seccompiler::apply_filter(&program).expect("a thread may filter its own calls");
        open()
    });
    let refused = refused.join().expect("no panic");
    assert!(matches!(&refused, Some(OpenError::Denied { remedy, .. }) if remedy.contains("seccomp")), "{refused:?}");
}
