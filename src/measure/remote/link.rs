//! The coordinator's end of the pipe to an agent, and the process behind it.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::console::printable;
use crate::measure::remote::error::LinkError;
use crate::measure::remote::frame::{self, FrameError};
use crate::measure::remote::message::{About, FromAgent, Hello, LEASE, RENEWED_EVERY, ToAgent};
use crate::plan::cores;

/// How long an agent may take until it says who it is: ssh connects first.
const HELLO_WITHIN: Duration = Duration::from_secs(20);

/// How long an agent may take to end after its input was closed.
const END_WITHIN: Duration = Duration::from_millis(500);

/// So many overdue answers in a row, and an agent is given up.
const OVERDUE_MAX: u64 = 3;

/// The most messages about a trial that wait to be read: an agent is asked for one at a time. Also how many may come about
/// trials that are over.
const WAITING_MAX: usize = 1024;

/// The most that is kept of what an agent writes to standard error, in bytes.
const SAID_MAX: usize = 400;

/// A running agent. When it is dropped, the agent's process ends.
pub struct Link {
    stdin: Arc<Mutex<Option<ChildStdin>>>,
    state: Arc<State>,
    child: Mutex<Child>,
    hello: Hello,
    /// The number of the last trial.
    last_id: AtomicU64,
    /// How many answers in a row were overdue.
    overdue: AtomicU64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("hello", &self.hello).finish_non_exhaustive()
    }
}

/// What its threads know.
#[derive(Debug)]
struct State {
    /// When something was heard last.
    heard: Mutex<Instant>,
    /// Why it is lost.
    lost: OnceLock<String>,
    /// The end of what it wrote to standard error.
    said: Mutex<Vec<u8>>,
    inboxes: Mutex<Inboxes>,
    /// Leases that it has not answered, and as many answers as may come without one.
    leases: AtomicU64,
}

/// Where messages go.
#[derive(Debug, Default)]
struct Inboxes {
    /// Of the trials under way.
    open: Vec<(u64, SyncSender<FromAgent>)>,
    /// How many messages have come about trials that are over, since the last one began.
    late: usize,
}

impl Inboxes {
    /// `false` if more has come than was asked for.
    fn put(&mut self, About { trial, message }: About<FromAgent>) -> bool {
        match self.open.iter().find(|(open, _)| *open == trial) {
            Some((_, inbox)) => !matches!(inbox.try_send(message), Err(TrySendError::Full(_))),
            None => {
                self.late += 1;
                self.late <= WAITING_MAX
            }
        }
    }
}

impl State {
    /// The last line of what it wrote to standard error.
    fn said(&self) -> Option<String> {
        let said = lock(&self.said);
        let text = String::from_utf8_lossy(&said);
        let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(printable(last).into_owned())
    }

    /// Notes the answer to a lease. `false` if there was none.
    fn has_answered(&self) -> bool {
        self.leases.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |leases| leases.checked_sub(1)).is_ok()
    }

    fn lose(&self, why: impl Into<String>) {
        let _ = self.lost.set(why.into());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Starts a command, which is split into words as a shell splits it, and waits until it says that it is an agent.
    ///
    /// # Errors
    ///
    /// Why it is none, or cannot be used.
    pub fn start(command: &str, version: &'static str) -> Result<Self, LinkError> {
        let words = shlex::split(command).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| LinkError::NoWords(command.into()))?;
        let mut child = Command::new(&words[0]);
        // A group of its own: a SIGINT from the terminal ends the run, and the run ends the agent.
        child.args(&words[1..]).process_group(0);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error| LinkError::Start { command: words[0].clone(), error: Arc::new(error) };
        let mut child = child.spawn().map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(LinkError::Unexpected) };
        let state = Arc::new(State {
            heard: Mutex::new(Instant::now()),
            lost: OnceLock::new(),
            said: Mutex::default(),
            inboxes: Mutex::default(),
            leases: AtomicU64::new(WAITING_MAX as u64),
        });
        let (sender, greeting) = mpsc::sync_channel(1);
        // From here on, dropping the link ends the process.
        let mut link = Self {
            stdin: Arc::new(Mutex::new(Some(stdin))),
            state: Arc::clone(&state),
            child: Mutex::new(child),
            hello: Hello::default(),
            last_id: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
        };
        let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name.into()).spawn(work);
            started.map(drop).map_err(|error| LinkError::Lost(format!("a thread for it cannot be started: {error}")))
        };
        let (reading, saying) = (Arc::clone(&state), Arc::clone(&state));
        thread("peer-out", Box::new(move || read_all(stdout, &sender, &reading)))?;
        thread("peer-err", Box::new(move || keep_last(stderr, &saying)))?;
        let (stdin, leasing) = (Arc::clone(&link.stdin), Arc::clone(&state));
        thread("peer-lease", Box::new(move || keep_alive(&stdin, &leasing)))?;
        link.hello = link.greet(version, &greeting)?;
        Ok(link)
    }

    fn greet(&self, version: &'static str, greeting: &Receiver<Hello>) -> Result<Hello, LinkError> {
        let start = Instant::now();
        while start.elapsed() < HELLO_WITHIN {
            *lock(&self.state.heard) = Instant::now();
            match self.receive(greeting, Duration::from_millis(200))? {
                Some(hello) if hello.version == version => return Ok(hello.cleaned()),
                Some(hello) => return Err(LinkError::OtherVersion { theirs: hello.version, ours: version }),
                None => {}
            }
        }
        Err(LinkError::Lost(format!(
            "it wrote nothing for {} s; ssh must not ask for a password (`ssh -o BatchMode=yes`)",
            HELLO_WITHIN.as_secs()
        )))
    }

    /// Who the agent is.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether it has the clocks of this process.
    pub fn shares_clock(&self) -> bool {
        !self.hello.clock.is_empty() && self.hello.clock == Hello::of_this_process(String::new(), String::new()).clock
    }

    /// Why the agent is lost, if it is.
    pub fn lost(&self) -> Option<LinkError> {
        let silent = lock(&self.state.heard).elapsed();
        if self.state.lost.get().is_none() && silent > LEASE {
            self.state.lose(format!(
                "nothing has come from it for {:.1} s; it was stopped, or the connection is cut",
                silent.as_secs_f64()
            ));
        }
        let why = self.state.lost.get()?;
        let said = self.state.said().map_or_else(String::new, |said| format!("; its last message is '{said}'"));
        Some(LinkError::Lost(format!("{why}{said}")))
    }

    /// Gives the agent up, for this reason, and returns why it is lost.
    pub fn give_up(&self, why: &str) -> LinkError {
        self.state.lose(why);
        self.lost().unwrap_or_else(|| LinkError::Lost(why.into()))
    }

    /// Notes that an answer is overdue. An agent that is slow again and again is given up.
    pub fn overdue(&self, why: &str) -> LinkError {
        if self.overdue.fetch_add(1, Ordering::Relaxed) + 1 >= OVERDUE_MAX {
            return self.give_up(why);
        }
        LinkError::Slow(why.into())
    }

    /// Notes that an answer came in time.
    pub fn is_in_time(&self) {
        self.overdue.store(0, Ordering::Relaxed);
    }

    /// A new trial's part of the link.
    pub fn line(&self) -> Line<'_> {
        let trial = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, inbox) = mpsc::sync_channel(WAITING_MAX);
        let mut inboxes = lock(&self.state.inboxes);
        inboxes.late = 0;
        inboxes.open.push((trial, sender));
        Line { link: self, trial, inbox: Mutex::new(inbox) }
    }

    fn send(&self, message: &About<ToAgent>) -> Result<(), LinkError> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let sent = match lock(&self.stdin).as_mut() {
            Some(stdin) => frame::write(stdin, message),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        sent.map_err(|error| {
            // The reader knows better, if it has just found its end.
            thread::sleep(Duration::from_millis(20));
            self.state.lose(format!("it reads no more ({error})"));
            self.lost().unwrap_or(LinkError::Unexpected)
        })
    }

    /// What comes next, if anything does `within` a time.
    fn receive<T>(&self, inbox: &Receiver<T>, within: Duration) -> Result<Option<T>, LinkError> {
        let start = Instant::now();
        loop {
            let left = within.saturating_sub(start.elapsed());
            // What it sent before it was lost counts.
            match inbox.recv_timeout(left.min(Duration::from_millis(100))) {
                Ok(message) => return Ok(Some(message)),
                Err(RecvTimeoutError::Disconnected) => self.state.lose("its output ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(lost) = self.lost() {
                return Err(lost);
            }
            if start.elapsed() >= within {
                return Ok(None);
            }
        }
    }

    /// Ends the process, gently at first.
    fn end(&self) {
        // A thread may be stuck in a write to a pipe that nobody reads.
        if let Ok(mut stdin) = self.stdin.try_lock() {
            stdin.take();
        }
        let (mut child, start) = (lock(&self.child), Instant::now());
        while start.elapsed() < END_WITHIN && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        // Those that it has started, too. Until it is waited for, nobody else can have its number.
        let is_running = matches!(child.try_wait(), Ok(None));
        if let Some(group) = Pid::from_raw(child.id() as i32).filter(|_| is_running) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end();
    }
}

/// The part of a link that belongs to one trial; its messages are about no other.
#[derive(Debug)]
pub struct Line<'a> {
    /// The link.
    pub link: &'a Link,
    trial: u64,
    inbox: Mutex<Receiver<FromAgent>>,
}

impl Line<'_> {
    /// Sends a message.
    ///
    /// # Errors
    ///
    /// If the agent is lost.
    pub fn send(&self, message: ToAgent) -> Result<(), LinkError> {
        self.link.send(&About { trial: self.trial, message })
    }

    /// The next message, if one comes `within` a time.
    ///
    /// # Errors
    ///
    /// If the agent is lost, or cannot go on with the trial.
    pub fn receive(&self, within: Duration) -> Result<Option<FromAgent>, LinkError> {
        match self.link.receive(&lock(&self.inbox), within)? {
            Some(FromAgent::Failed(why)) => Err(LinkError::Failed(why)),
            message => Ok(message),
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        lock(&self.link.state.inboxes).open.retain(|(trial, _)| *trial != self.trial);
    }
}

/// Reads what an agent sends until its output ends.
fn read_all(stdout: ChildStdout, greeting: &SyncSender<Hello>, state: &State) {
    cores::prefer();
    let mut pipe = BufReader::new(stdout);
    let mut read = frame::read_magic(&mut pipe).and_then(|()| frame::read(&mut pipe)).map(|hello| {
        *lock(&state.heard) = Instant::now();
        let _ = greeting.try_send(hello);
    });
    while read.is_ok() {
        read = frame::read::<About<FromAgent>>(&mut pipe).and_then(|about| {
            if !about.message.is_sane() {
                return Err(FrameError::BadMessage("a count in it is impossible".into()));
            }
            *lock(&state.heard) = Instant::now();
            let is_wanted = match about.message {
                FromAgent::Alive => state.has_answered(),
                _ => lock(&state.inboxes).put(about),
            };
            is_wanted.then_some(()).ok_or_else(|| FrameError::BadMessage("more than was asked for".into()))
        });
    }
    if let Err(error) = read {
        // What it said last comes at about the same time.
        thread::sleep(Duration::from_millis(20));
        let remedy = match error {
            FrameError::NoMagic(_) => "; a shell's banner must not be on its standard output",
            FrameError::End => "; it ended, or was killed",
            _ => "",
        };
        state.lose(format!("{error}{remedy}"));
    }
    // The pipe is closed: one that floods it ends.
}

/// Renews the agent's lease until its input is closed.
fn keep_alive(stdin: &Mutex<Option<ChildStdin>>, state: &State) {
    cores::prefer();
    loop {
        state.leases.fetch_add(1, Ordering::Relaxed);
        let lease = About { trial: 0, message: ToAgent::Lease };
        match lock(stdin).as_mut().map(|stdin| frame::write(stdin, &lease)) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
        thread::sleep(RENEWED_EVERY);
    }
}

/// Keeps the end of what an agent writes to standard error.
fn keep_last(mut stderr: ChildStderr, state: &State) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut bytes) {
        let mut said = lock(&state.said);
        said.extend(&bytes[..length]);
        let extra = said.len().saturating_sub(SAID_MAX);
        said.drain(..extra);
    }
}
