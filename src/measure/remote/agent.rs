//! An agent: the peer of workers in another process. It speaks with the coordinator over its standard input and output,
//! and does what a trial's peer does with the same functions.
//!
//! One thread reads, one watches the lease and ends the process without ever waiting for another, and one tells the coordinator
//! how far the generators are. These three leave the generators' cores alone, where there is another one. Each trial
//! has a thread, which waits for its generators or is the only one; the main thread starts them.

use std::io::{self, Write};
use std::process::exit;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::console::tell;
use crate::measure::control::Control;
use crate::measure::remote::frame::{FrameError, MAGIC};
use crate::measure::remote::message::{About, FromAgent, Hello, Open, ToAgent};
use crate::measure::remote::shared::Shared;
use crate::measure::remote::work::Work;
use crate::plan::{cores, descriptors};

/// How often the lease is looked at.
const LEASE_EVERY: Duration = Duration::from_millis(100);

/// Works as an agent until its input ends, or its lease. Does not return.
pub fn run(hello: Hello) -> ! {
    descriptors::raise();
    let shared = Arc::new(Shared::new(hello.cores.clone()));
    let greeted = shared.stdout().write_all(MAGIC.as_bytes());
    if greeted.is_err() {
        exit(1);
    }
    shared.write(&hello);
    let (begun, trials) = mpsc::channel();
    let mirror = start("mirror", &shared, |shared| mirror(&shared));
    start("lease", &shared, |shared| watch_lease(&shared));
    start("reader", &shared, move |shared| read(&shared, &begun, &mirror));
    for Begun { trial, open, control, inbox } in trials {
        start("trial", &shared, move |shared| work(&shared, trial, &open, &control, &inbox));
    }
    // The reader is gone, and with it the process.
    exit(1);
}

/// A trial for which a thread is to be started: one that the reader starts would have its core and its priority.
struct Begun {
    trial: u64,
    open: Box<Open>,
    control: Arc<Control>,
    inbox: Receiver<ToAgent>,
}

/// Does what the coordinator asks for, until the input ends.
fn read(shared: &Shared, begun: &Sender<Begun>, mirror: &Thread) {
    cores::prefer();
    let mut aside = usize::MAX;
    let mut stdin = io::stdin().lock();
    loop {
        let About { trial, message } = match shared.next(&mut stdin) {
            Ok(about) => about,
            Err(FrameError::End) => exit(0),
            Err(error) => {
                tell!("hpbench agent: {error}");
                exit(1);
            }
        };
        match message {
            ToAgent::Lease => shared.tell(trial, FromAgent::Alive),
            ToAgent::Open(open) => match shared.begin(trial, &open) {
                Ok((control, inbox)) => {
                    let _ = begun.send(Begun { trial, open, control, inbox });
                }
                Err(why) => shared.tell(trial, FromAgent::Failed(why)),
            },
            message => shared.handle(trial, message),
        }
        mirror.unpark();
        shared.step_aside(&mut aside);
    }
}

/// Starts a thread; if it panics, the process ends.
fn start(name: &str, shared: &Arc<Shared>, work: impl FnOnce(Arc<Shared>) + Send + 'static) -> Thread {
    struct ExitAtPanic;
    impl Drop for ExitAtPanic {
        fn drop(&mut self) {
            if thread::panicking() {
                exit(1);
            }
        }
    }
    let shared = Arc::clone(shared);
    let started = thread::Builder::new().name(name.into()).spawn(move || {
        let _exit = ExitAtPanic;
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
    cores::prefer();
    let mut aside = usize::MAX;
    loop {
        shared.end_if_stale();
        shared.step_aside(&mut aside);
        thread::sleep(LEASE_EVERY);
    }
}

/// Tells the coordinator how far the generators are.
fn mirror(shared: &Shared) {
    cores::prefer();
    let mut aside = usize::MAX;
    loop {
        let pause = shared.mirror();
        shared.step_aside(&mut aside);
        thread::park_timeout(pause);
    }
}

/// The thread of a trial.
fn work(shared: &Shared, trial: u64, open: &Open, control: &Control, inbox: &Receiver<ToAgent>) {
    let result = Work { shared, trial, open, control, inbox }.run();
    shared.finish(trial);
    shared.tell(
        trial,
        match result {
            Ok(report) => FromAgent::Report(Box::new(report)),
            Err(error) => FromAgent::Failed(error.to_string()),
        },
    );
}
