//! `hpbench [RUN OPTIONS]`: from the flags to the table.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use hdrhistogram::Histogram;
use hpbench_backends::{FreeList, Kind, Pool, Socket, Variant};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Cli;
use crate::control::{Clock, Interrupt};
use crate::cores::{Cores, Wanted};
use crate::environment::Environment;
use crate::hlog::Hlog;
use crate::output::{Existing, Output, OutputError};
use crate::plan::{self, Axes, Cell, Options, Planned, Scenario, Until, Wait};
use crate::record::{ATTEMPTS_MAX, Row, Run};
use crate::resume::{Begun, Rest, ResumeError};
use crate::table::{self, Group};
use crate::trial::{Trial, TrialError};

/// Time that opening and closing a trial takes, for the estimate of `--dry-run`.
const TRIAL_OVERHEAD: Duration = Duration::from_millis(25);

/// Writes a line to standard error; that nobody reads it is no reason to fail.
macro_rules! tell {
    ($($part:tt)*) => {{
        let _ = writeln!(io::stderr(), $($part)*);
    }};
}

/// Why the command ends with a status other than that of its trials.
#[derive(Debug)]
enum Failure {
    /// Bad usage, or an impossible request: nothing was run.
    Usage(anyhow::Error),
    /// Something broke.
    Broken(anyhow::Error),
    /// Standard output was closed.
    Closed,
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed => Self::Closed,
            error if error.is_usage() => Self::Usage(error.into()),
            error => Self::Broken(error.into()),
        }
    }
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Self {
        Self::Usage(error.into())
    }
}

/// Runs the command, and says what its exit status is.
pub fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let by_default = matches.value_source("scenario") == Some(ValueSource::DefaultValue);
    match run(cli, by_default) {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Usage(error)) => fail(&error, 2),
        Err(Failure::Broken(error)) => fail(&error, 1),
        Err(Failure::Closed) => ExitCode::from(141),
    }
}

/// Prints what clap has to say: that the usage is bad, or the help that was asked for.
fn explain(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(failure) if !error.use_stderr() && failure.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        _ => ExitCode::from(error.exit_code() as u8),
    }
}

fn fail(error: &anyhow::Error, status: u8) -> ExitCode {
    tell!("hpbench: {error:#}");
    ExitCode::from(status)
}

/// Plans, runs, and prints.
fn run(cli: Cli, scenarios_by_default: bool) -> Result<u8, Failure> {
    let begun = if cli.resume { Begun::read(cli.out.as_deref())? } else { Begun::default() };
    let cells = cells(&cli, scenarios_by_default).map_err(Failure::Usage)?;
    let options = options(&cli).map_err(Failure::Usage)?;
    let trials = plan::schedule(cells.len(), cli.trials, 0).len();
    if cli.dry_run {
        return print(&dry_run(&cli, &cells, trials)).map(|()| 0);
    }
    let environment = Environment::read(cli.label.as_deref(), options.cores.places[0].worker);
    let interrupt = Interrupt::install().map_err(|error| Failure::Broken(error.into()))?;
    let pool = make_pool(&cells, &options).map_err(Failure::Usage)?;
    let run = Run {
        id: begun.run_id().map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned),
        seed: cli.seed.or(begun.seed()).unwrap_or_else(rand::random),
        environment,
        rt_limited: options.fifo.map(|_| throttles_real_time()),
        canary_ns: std::cell::OnceCell::new(),
        options,
    };
    let rest = begun.rest(&run, &cells, &plan::schedule(cells.len(), cli.trials, run.seed))?;
    let before = rest.rows.len();
    if cli.resume {
        cut_off(&begun)?;
    }
    let mut output = open_output(&cli, &run.environment)?;
    let hlog = open_hlog(&cli)?;
    let tries = tries(&cli);
    let mut rows = measure(&cli, &run, &cells, &pool, &interrupt, (rest, tries), (&mut output, hlog))?;
    table::mark(rows.iter_mut().map(|(_, row)| row));
    let text = table::render(&groups(&cells, &rows), cli.verbose);
    if output.is_stdout() {
        tell!("{text}");
    } else {
        print(&text)?;
        let already = if cli.resume { format!(", {before} of them were there before") } else { String::new() };
        let written: usize = rows.iter().map(|(_, row)| row.attempt).sum();
        tell!("{written} rows in {}{already}", output.name());
    }
    let failed = rows.iter().filter(|(_, row)| row.is_failed() || !row.balances()).count();
    if failed > 0 {
        tell!("hpbench: {failed} of {} trials failed or do not balance, see above", rows.len());
    }
    Ok(interrupt.exit_status().unwrap_or_else(|| status(&rows, cli.strict)))
}

/// The exit status that the results deserve.
fn status(rows: &[(usize, Row)], strict: bool) -> u8 {
    let bad = |row: &Row| row.is_failed() || !row.balances();
    let doubtful = |row: &Row| row.is_invalid() || row.generator_limited == Some(1);
    u8::from(rows.iter().any(|(_, row)| bad(row) || strict && doubtful(row)))
}

/// The cells of the plan.
fn cells(cli: &Cli, scenarios_by_default: bool) -> anyhow::Result<Vec<Cell>> {
    let mut axes = Axes {
        variants: cli.backend.0.clone(),
        scenarios: cli.scenario.0.clone(),
        batches: cli.batch.0.clone(),
        payloads: cli.payload.0.clone(),
        rounds: cli.round.0.clone(),
        rates: cli.rate.0.clone(),
        bursts: cli.burst.0.clone(),
        windows: cli.window.0.clone(),
        waits: cli.wait.0.clone(),
    };
    anyhow::ensure!(
        !(cli.handoff && axes.waits.contains(&Wait::Block) && axes.scenarios.contains(&Scenario::Echo)),
        "--handoff with --wait block: a worker that sleeps until a datagram comes does not see the app's answers in \
         echo; leave out one of the three"
    );
    let slowest = axes.rates.iter().min().zip(axes.bursts.iter().max());
    if let Some((rate, burst)) = slowest.filter(|_| axes.scenarios.contains(&Scenario::Pace)) {
        anyhow::ensure!(
            *burst <= 4 * rate,
            "--rate {rate} in bursts of --burst {burst} is less than one in four seconds; use a higher rate or smaller bursts"
        );
    }
    if cli.handoff && axes.scenarios.contains(&Scenario::Send) {
        let reason = "--handoff gives the receiving app a thread of its own, and send has none";
        anyhow::ensure!(scenarios_by_default, "--scenario send: {reason}; leave out one of the two");
        axes.scenarios.retain(|&scenario| scenario != Scenario::Send);
        tell!("note: send left out: {reason}");
    }
    if axes.waits.contains(&Wait::Block) && axes.scenarios.iter().any(|scenario| scenario.has_rounds()) {
        tell!("note: drain and send never wait, for their queues are full; they run once, as with --wait spin");
    }
    let unfit: Vec<&str> =
        axes.scenarios.iter().filter(|scenario| !scenario.suits(Kind::Null)).map(|scenario| scenario.name()).collect();
    if axes.variants.iter().any(|variant| variant.kind() == Kind::Null) && !unfit.is_empty() {
        let reason = "the null backend has no socket that a generator could send to";
        anyhow::ensure!(scenarios_by_default, "--scenario {}: {reason}; leave out one of the two", unfit.join(","));
        tell!("note: {} left out for null: {reason}", unfit.join(" and "));
    }
    let largest = axes.batches.iter().max().copied().unwrap_or(1);
    anyhow::ensure!(
        cli.ring.next_power_of_two() >= largest,
        "--ring {} is smaller than --batch {largest}: a ring holds at least one batch",
        cli.ring
    );
    Ok(axes.cells())
}

/// What all trials have in common; makes sure that sockets can be had.
fn options(cli: &Cli) -> anyhow::Result<Options> {
    let list = |cores: &Option<crate::cli::List<usize>>| cores.as_ref().map_or_else(Vec::new, |list| list.0.clone());
    let cores = Cores::choose(Wanted {
        workers: cli.workers,
        handoff: cli.handoff,
        worker_cores: &list(&cli.cpu),
        generator_cores: &list(&cli.generator_cpu),
    })?;
    if let Some(shared) = &cores.shared {
        tell!("warning: {shared}; threads that spin on one core get in each other's way");
    }
    let spare = cores.places.iter().map(|place| place.generators.len()).min().unwrap_or(0);
    let generators = cli.generators.unwrap_or(spare.clamp(1, 64));
    if generators > spare.max(1) {
        tell!("warning: {generators} generators share {spare} cores; each spins, so they get in each other's way");
    }
    anyhow::ensure!(
        cli.fifo.is_none() || generators <= spare.max(1),
        "--fifo with {generators} --generators on {spare} core(s): one that spins never leaves its core to another one"
    );
    let fifo = cli.fifo.map(|priority| fifo(priority as u8, &cores)).transpose()?.flatten();
    let port = cli.port as u16;
    let last = cli.port + cli.workers - 1;
    anyhow::ensure!(
        cli.port == 0 || last <= 65_535,
        "--port {} leaves no ports up to 65535 for {} workers; choose a lower one",
        cli.port,
        cli.workers
    );
    for index in 0..cli.workers as u16 {
        check_address(SocketAddr::new(cli.bind, if port == 0 { 0 } else { port + index }))?;
    }
    let gso = hpbench_backends::socket::probe_gso(cli.bind);
    if let Err(error) = &gso {
        tell!(
            "warning: no GSO for UDP here ({error}; Linux 4.18 brought it): queues are filled by sendmmsg, and flood offers less"
        );
    }
    Ok(Options {
        until: cli.packets.map_or(Until::Elapsed(cli.duration), |count| Until::Datagrams(count as u64)),
        warmup: cli.warmup,
        verify: cli.verify.into(),
        bind: cli.bind,
        port,
        ring: cli.ring.next_power_of_two(),
        buffers: 512,
        rcvbuf: cli.rcvbuf,
        sndbuf: cli.sndbuf,
        generators,
        gso: gso.is_ok(),
        handoff: cli.handoff,
        fifo,
        cores,
    })
}

/// Whether pinned threads may run under `SCHED_FIFO`: the priority, or nothing, with a warning, where that is not
/// permitted.
fn fifo(priority: u8, cores: &Cores) -> anyhow::Result<Option<u8>> {
    anyhow::ensure!(
        cores.relation != "one-core",
        "--fifo {priority} would keep everything else from the only core that hpbench may run on; allow more (`taskset`)"
    );
    anyhow::ensure!(
        cores.relation != "shared-cores",
        "--fifo {priority}: {}, and a thread under SCHED_FIFO that spins never leaves its core to another one",
        cores.shared.as_deref().unwrap_or("threads share cores")
    );
    // Tried on a thread that ends at once.
    let tried = std::thread::spawn(move || hpbench_backends::thread::set_fifo(priority)).join();
    if let Ok(Err(error)) = tried {
        tell!(
            "warning: SCHED_FIFO is not permitted ({error}), so threads run as usual; it needs CAP_SYS_NICE or `ulimit -r {priority}`"
        );
        return Ok(None);
    }
    if throttles_real_time() {
        tell!(
            "warning: the kernel stops real-time threads now and then, so that latencies under --fifo say nothing; \
             `sysctl kernel.sched_rt_runtime_us=-1` lets them run"
        );
    }
    Ok(Some(priority))
}

/// Whether the kernel stops real-time threads for a part of each period (`sched_rt_runtime_us`).
fn throttles_real_time() -> bool {
    let runtime = std::fs::read_to_string("/proc/sys/kernel/sched_rt_runtime_us").unwrap_or_default();
    runtime.trim() != "-1"
}

fn open_hlog(cli: &Cli) -> Result<Option<Hlog>, Failure> {
    let Some(path) = &cli.hlog else { return Ok(None) };
    Hlog::create(path, cli.force).map(Some).map_err(|error| Failure::Usage(error.into()))
}

/// Binds the worker's address once, so that a bad one is found before anything is run.
fn check_address(address: SocketAddr) -> anyhow::Result<()> {
    let remedy = match Socket::bind(address).map(drop) {
        Ok(()) => return Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => {
                (error, "another socket has this port; choose one with --port, or 0 to let the kernel choose")
            }
            io::ErrorKind::AddrNotAvailable => (error, "--bind takes an address of this machine, see `ip address`"),
            io::ErrorKind::PermissionDenied => {
                (error, "ports below 1024 need CAP_NET_BIND_SERVICE; choose another --port")
            }
            _ => (error, "choose another --bind"),
        },
    };
    anyhow::bail!("cannot bind {address}: {}; {}", remedy.0, remedy.1)
}

/// Removes a row that is cut from the end of a file, and says so.
fn cut_off(begun: &Begun) -> Result<(), Failure> {
    begun.cut_off()?;
    if begun.cut() > 0 {
        tell!("note: the last line of {} was cut ({} bytes, no line end) and is removed", begun.name(), begun.cut());
    }
    Ok(())
}

fn open_output(cli: &Cli, environment: &Environment) -> Result<Output, Failure> {
    let existing = match (cli.append || cli.resume, cli.force) {
        (true, _) => Existing::Append,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    };
    let path = cli.out.clone().unwrap_or_else(|| default_path(&environment.host));
    Ok(Output::open(&path, existing)?)
}

fn default_path(host: &str) -> PathBuf {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let host: String = host.chars().map(safe).collect();
    let now = time::UtcDateTime::now();
    let (date, clock) = (now.date(), now.time());
    let stamp = format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    PathBuf::from(format!("hpbench-{stamp}-{host}.csv"))
}

/// One pool for the whole run, with frames for its largest payload.
fn make_pool(cells: &[Cell], options: &Options) -> anyhow::Result<Pool> {
    let most = |value: fn(&Cell) -> usize| cells.iter().map(value).max().unwrap_or(0);
    let frame_size = most(|cell| cell.payload).max(2048);
    // A batch each in a backend's hands, on the rings and in the app's; the buffer ring; the window of
    // an echo on both sides; and for null a whole round in the link.
    let in_link =
        most(|cell| if cell.variant.kind() == Kind::Null { cell.round.unwrap_or(0).next_power_of_two() } else { 0 });
    // An app on another thread may leave whole rings behind.
    let on_rings = if options.handoff { 3 * options.ring } else { 0 };
    let frames = options.buffers
        + 4 * most(|cell| cell.batch)
        + 6 * most(|cell| cell.window.unwrap_or(0))
        + in_link
        + on_rings
        + 256;
    let frames = frames * options.cores.places.len();
    let pool = Pool::new(frames, frame_size).with_context(|| {
        let mib = frames as f64 * frame_size as f64 / f64::from(1 << 20);
        format!(
            "cannot map {mib:.0} MiB of memory for {frames} frames; use a smaller --payload, --batch, --window or --round"
        )
    })?;
    if let Some(error) = pool.lock_error() {
        let mib = pool.bytes() as f64 / f64::from(1 << 20);
        tell!(
            "warning: {mib:.1} MiB of frames could not be locked into memory ({error}); raise the limit with `ulimit -l unlimited`"
        );
    }
    Ok(pool)
}

/// How often a trial that was disturbed is tried, in all.
fn tries(cli: &Cli) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map_or("0", str::trim);
    match tracer {
        _ if cli.no_gates => 1,
        "0" => ATTEMPTS_MAX,
        _ => {
            tell!("note: a tracer is at work (process {tracer}): times say nothing, and no trial is repeated");
            1
        }
    }
}

/// Runs the trials that are lacking; each row is written as soon as it is there. Returns the rows of all trials:
/// of each, the last attempt.
fn measure(
    cli: &Cli,
    run: &Run,
    cells: &[Cell],
    pool: &Pool,
    interrupt: &Interrupt,
    (rest, tries): (Rest, usize),
    (output, mut hlog): (&mut Output, Option<Hlog>),
) -> Result<Vec<(usize, Row)>, Failure> {
    let Rest { mut rows, lacking } = rest;
    let progress = progress(cli, lacking.len());
    let mut free = pool.frames();
    for (planned, first) in lacking {
        let cell = &cells[planned.cell];
        progress.set_message(format!("{} {}, batch {}", name(cell), cell.scenario, cell.batch));
        // Where trials are not repeated, one of an earlier run that was disturbed is left as it is.
        for attempt in first..=tries {
            if interrupt.is_raised() {
                break;
            }
            let began = Instant::now();
            let Some((row, latency)) = one_trial(run, cell, (planned, attempt), pool, interrupt, &mut free) else {
                break;
            };
            check_frames(&free, &row)?;
            output.write(&row)?;
            if let (Some(hlog), Some(latency)) = (&mut hlog, latency) {
                let length = Duration::from_secs_f64(row.duration_s.unwrap_or(0.0));
                let since = began.saturating_duration_since(hlog.start()).as_secs_f64();
                let written = hlog.write(&tag(cell, &row), since, length, &latency);
                written.map_err(|error| Failure::Broken(error.into()))?;
            }
            let disturbed = row.is_disturbed();
            if attempt > 1 {
                rows.retain(|(_, earlier)| earlier.order != row.order);
            }
            rows.push((planned.cell, row));
            if !disturbed {
                break;
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(rows)
}

/// Tells whose latencies an interval of the log holds.
fn tag(cell: &Cell, row: &Row) -> String {
    let load = row.rate_pps.map_or_else(
        || format!("window{}", row.window.unwrap_or(0)),
        |rate| format!("rate{rate}-burst{}", row.burst.unwrap_or(1)),
    );
    format!(
        "{}-{}-batch{}-payload{}-{load}-trial{}-attempt{}",
        name(cell),
        cell.scenario,
        cell.batch,
        cell.payload,
        row.trial,
        row.attempt
    )
}

/// All frames must be home between trials.
fn check_frames(free: &FreeList<'_>, row: &Row) -> Result<(), Failure> {
    if free.is_whole() {
        return Ok(());
    }
    let missing = free.total() - free.len();
    let error = anyhow::anyhow!("{missing} of {} frames did not come home: {}", free.total(), row.error);
    Err(Failure::Broken(error.context("a bug in hpbench")))
}

/// One trial's row and latencies, or none if it was interrupted.
fn one_trial<'p>(
    run: &Run,
    cell: &Cell,
    (planned, attempt): (Planned, usize),
    pool: &'p Pool,
    interrupt: &Interrupt,
    free: &mut FreeList<'p>,
) -> Option<(Row, Option<Histogram<u64>>)> {
    let started_at =
        time::UtcDateTime::now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    let trial = Trial { cell, options: &run.options, pool, interrupt, clock: Clock::start() };
    let result = trial.run(free);
    if interrupt.is_raised() && matches!(result, Err(TrialError::Interrupted)) {
        return None;
    }
    let row = Row::new(run, cell, planned, started_at, attempt, &result);
    Some((row, result.ok().and_then(|outcome| outcome.latency)))
}

/// Drawn between trials only, and only on a terminal.
fn progress(cli: &Cli, trials: usize) -> ProgressBar {
    if cli.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} trials, {eta} left  {wide_msg}");
    ProgressBar::new(trials as u64).with_style(style.expect("the template is valid"))
}

/// The trials of each cell, in the order of the plan.
fn groups<'a>(cells: &[Cell], rows: &'a [(usize, Row)]) -> Vec<Group<'a>> {
    let group = |(index, cell): (usize, &Cell)| Group {
        scenario: cell.scenario,
        name: name(cell),
        rows: rows.iter().filter(|(cell, _)| *cell == index).map(|(_, row)| row).collect(),
    };
    cells.iter().enumerate().map(group).collect()
}

/// The backend, with its variant if that is not the default, and how it waits if it does not spin.
fn name(cell: &Cell) -> String {
    let kind = cell.variant.kind();
    let variant =
        if cell.variant == Variant::default_of(kind) { kind.to_string() } else { format!("{kind}:{}", cell.variant) };
    match cell.wait {
        Wait::Spin => variant,
        Wait::Block => format!("{variant}/block"),
    }
}

/// What would be run.
fn dry_run(cli: &Cli, cells: &[Cell], trials: usize) -> String {
    let mut text = String::new();
    for cell in cells {
        let extra = match (cell.round, cell.window) {
            (Some(round), _) => format!("  round {round}"),
            (_, Some(window)) => format!("  window {window}"),
            _ => cell
                .rate
                .map_or_else(String::new, |rate| format!("  rate {rate} in bursts of {}", cell.burst.unwrap_or(1))),
        };
        let extra = if cell.wait == Wait::Block { extra + "  block" } else { extra };
        let backend = format!("{}:{}", cell.variant.kind(), cell.variant);
        let line = format!(
            "{:<6} {backend:<28} batch {:<5} payload {:<6}{extra}",
            cell.scenario.name(),
            cell.batch,
            cell.payload
        );
        text += line.trim_end();
        text.push('\n');
    }
    text += &format!("{} cells × {} trials = {trials} trials", cells.len(), cli.trials);
    match cli.packets {
        Some(count) => text += &format!(" of {count} datagrams each\n"),
        None => {
            let each = cli.duration + cli.warmup + TRIAL_OVERHEAD;
            text += &format!(", about {:.0} s\n", each.as_secs_f64() * trials as f64);
        }
    }
    text
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(error) => Err(Failure::Broken(anyhow::Error::new(error).context("cannot write to standard output"))),
    }
}
