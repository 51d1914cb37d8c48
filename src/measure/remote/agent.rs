//! An agent: the peer of workers in another process. It speaks with the coordinator over its standard input and output,
//! and does what a trial's peer does with the same functions.
//!
//! Four threads: one reads, one watches the lease and ends the process without ever waiting for another, one tells the
//! coordinator how far the generator is, and one is the generator. The first three leave the generator's core alone,
//! where there is another one.

use std::io::{self, Write};
use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::console::tell;
use crate::measure::remote::frame::{FrameError, MAGIC};
use crate::measure::remote::message::{FromAgent, Hello};
use crate::measure::remote::shared::{Job, Shared};
use crate::measure::remote::work::Work;

/// How often the lease is looked at.
const LEASE_EVERY: Duration = Duration::from_millis(100);

/// Works as an agent until its input ends, or its lease. Does not return.
pub fn run(hello: Hello) -> ! {
    let shared = Arc::new(Shared::new(hello.cores.clone()));
    let (jobs, orders) = mpsc::channel();
    let mirror = start("mirror", &shared, |shared| mirror(&shared));
    start("lease", &shared, |shared| watch_lease(&shared));
    start("generator", &shared, move |shared| work(&shared, &orders));
    let greeted = shared.stdout().write_all(MAGIC.as_bytes());
    if greeted.is_err() {
        exit(1);
    }
    shared.tell(&FromAgent::Hello(hello));
    let mut aside = usize::MAX;
    let mut stdin = io::stdin().lock();
    loop {
        match shared.next(&mut stdin) {
            Ok(message) => shared.handle(message, &jobs, &mirror),
            Err(FrameError::End) => exit(0),
            Err(error) => {
                tell!("hpbench agent: {error}");
                exit(1);
            }
        }
        shared.step_aside(&mut aside);
    }
}

/// Starts a thread; if it ends, whatever the reason, so does the process.
fn start(name: &str, shared: &Arc<Shared>, work: impl FnOnce(Arc<Shared>) + Send + 'static) -> Thread {
    struct ExitAtEnd;
    impl Drop for ExitAtEnd {
        fn drop(&mut self) {
            exit(1);
        }
    }
    let shared = Arc::clone(shared);
    let started = thread::Builder::new().name(name.into()).spawn(move || {
        let _exit = ExitAtEnd;
        work(shared);
    });
    match started {
        Ok(started) => started.thread().clone(),
        Err(error) => {
            tell!("hpbench agent: a thread cannot be started: {error}; raise the limit (`ulimit -u`)");
            exit(1);
        }
    }
}

/// Ends the process when the coordinator is silent for too long. Takes no lock.
fn watch_lease(shared: &Shared) {
    let mut aside = usize::MAX;
    loop {
        shared.end_if_stale();
        shared.step_aside(&mut aside);
        thread::sleep(LEASE_EVERY);
    }
}

/// Tells the coordinator how far the generator is.
fn mirror(shared: &Shared) {
    let mut aside = usize::MAX;
    loop {
        let pause = shared.current().as_mut().map_or(Duration::from_secs(1), |current| current.tell(shared));
        shared.step_aside(&mut aside);
        thread::park_timeout(pause);
    }
}

/// The working thread: one trial after the other.
fn work(shared: &Shared, orders: &Receiver<Job>) {
    while let Ok(job) = orders.recv() {
        let Job::Open(open, control) = job else { continue };
        let result = Work { shared, open: &open, control: &control, orders }.run();
        // From here on nothing more is told of it.
        shared.current().take();
        shared.tell(&match result {
            Ok(report) => FromAgent::Report(Box::new(report)),
            Err(error) => FromAgent::Failed { id: open.id, why: error.to_string() },
        });
    }
}
