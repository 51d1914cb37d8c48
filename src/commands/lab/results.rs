//! The rows of all kernels: collected, completed by error rows for missing trials, and compared.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::boot::Visit;
use super::guest::plan::{GuestPlan, Task};
use super::kernels::Kernel;
use super::stream::{self, Frame};
use super::visits::Visits;
use crate::commands::bench;
use crate::console::{Failure, print, tell};
use crate::plan::args::RunArgs;
use crate::plan::cells::Cell;
use crate::plan::cores::Cores;
use crate::plan::request;
use crate::plan::schedule::{Planned, Schedule};
use crate::record::environment::Environment;
use crate::record::format;
use crate::record::output::{Output, OutputError};
use crate::record::row::{Row, Run};

mod text;

/// A guest's frames besides its rows: that it has started, and why it failed.
const BESIDE_ROWS: usize = 2;

/// Runs the trials under each kernel, writes their rows, and compares the kernels.
pub(super) fn run(visits: &Visits<'_>, cells: &[Cell], guest_args: Vec<String>) -> Result<u8, Failure> {
    let args = &visits.args.run;
    let mut output = bench::open_output(args, &visits.plan.host)?;
    let trials = Schedule::new(cells.len(), args.trials, args.seed.unwrap_or(0));
    let plan = GuestPlan { task: Task::Trials(guest_args), ..visits.plan.clone() };
    let initramfs = visits.prepare(&plan, None)?;
    output.begin()?;
    let gathered = Mutex::new(Gathered { output, rows: vec![Vec::new(); visits.kernels.len()], failure: None });
    let progress = bench::progress(args, Some(trials.len() * visits.kernels.len()));
    let made = visits.make(&initramfs, trials.len() + BESIDE_ROWS, |kernel, frame| {
        if frame.kind == stream::Kind::Row {
            let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.take(kernel, frame);
            progress.inc(1);
        }
    });
    progress.finish_and_clear();
    let mut gathered = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (index, visit) in made.iter().enumerate() {
        if visits.interrupt.is_raised() {
            break;
        }
        let lacking = lacking(trials, &gathered.rows[index]);
        let error = reason(visit, lacking.len());
        for planned in lacking {
            let run = run_of(&plan, &visits.kernels[index], args);
            gathered.keep(index, error_row(&run, &cells[planned.cell], planned, &plan, error.clone()));
        }
    }
    let rows: Vec<Row> = gathered.rows.into_iter().flatten().collect();
    if let Some(error) = gathered.failure {
        // The comparison is all that is left of the visits.
        print(&text::render(&rows, visits.args.accel, visits.args.threshold))?;
        return Err(error.into());
    }
    let is_in_place = gathered.output.finish()?;
    Ok(finish(visits, &rows, &gathered.output)?.max(u8::from(!is_in_place)))
}

/// Prints the comparison, and where everything is.
fn finish(visits: &Visits<'_>, rows: &[Row], output: &Output) -> Result<u8, Failure> {
    let text = text::render(rows, visits.args.accel, visits.args.threshold);
    if output.is_stdout() {
        tell!("{text}");
    } else {
        print(&text)?;
        tell!("{} rows in {}", rows.len(), output.name());
    }
    visits.tell_logs();
    let bad = |row: &Row| row.is_bad() || visits.args.run.strict && row.is_invalid();
    let failed = rows.iter().filter(|row| bad(row)).count();
    if failed > 0 {
        tell!("hpbench: {failed} of {} trials failed or do not balance, see above", rows.len());
    }
    Ok(visits.interrupt.exit_status().unwrap_or(u8::from(failed > 0)))
}

/// The rows so far, of each kernel.
struct Gathered {
    output: Output,
    rows: Vec<Vec<Row>>,
    /// Why rows could not be written: the visits continue, because the comparison is still useful.
    failure: Option<OutputError>,
}

impl Gathered {
    /// Takes a row that a guest sent. One that cannot be read is missing, and becomes an error row later.
    fn take(&mut self, kernel: usize, frame: &Frame) {
        if let Some(row) = decode(&frame.bytes) {
            // The guest's clock does not start where ours does.
            self.keep(kernel, Row { started_at: now(), ..row });
        }
    }

    fn keep(&mut self, kernel: usize, row: Row) {
        if self.failure.is_none() {
            self.failure = self.output.write(&row).err();
        }
        self.rows[kernel].push(row);
    }
}

fn now() -> String {
    time::UtcDateTime::now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// A row as the guest wrote it; none if its hpbench has other columns.
fn decode(line: &[u8]) -> Option<Row> {
    let text = [&format::header(), line].concat();
    csv::Reader::from_reader(text.as_slice()).deserialize().next()?.ok()
}

/// The trials without a row.
fn lacking(trials: Schedule, rows: &[Row]) -> Vec<Planned> {
    let known: HashSet<usize> = rows.iter().map(|row| row.order).collect();
    trials.iter().filter(|planned| !known.contains(&planned.order)).collect()
}

/// Why trials are missing.
fn reason(visit: &Visit, lacking: usize) -> String {
    visit.failure.clone().unwrap_or_else(|| {
        format!("the guest sent no row for {lacking} trials, or rows with other columns; is its hpbench this version?")
    })
}

/// What is known about a run in a guest that did not report.
fn run_of(plan: &GuestPlan, kernel: &Kernel, args: &RunArgs) -> Run {
    Run {
        id: plan.run_id.clone(),
        seed: args.seed.unwrap_or(0),
        environment: Environment {
            host: plan.host.clone(),
            kernel: kernel.release.clone(),
            arch: "x86_64".into(),
            ncpu: Some(1),
            state: args.state.clone().unwrap_or_default(),
            pair: args.pair,
            ..Environment::default()
        },
        options: request::on(args, Cores::only()),
        rt_limited: None,
        canary_ns: std::cell::OnceCell::new(),
        command: String::new(),
        truesizes: crate::measure::truesizes::Truesizes::default(),
        peer: None,
    }
}

fn error_row(run: &Run, cell: &Cell, planned: Planned, plan: &GuestPlan, error: String) -> Row {
    let (accel, qemu) = (plan.accel.to_string(), plan.qemu.clone());
    Row { accel, qemu, error, ..Row::planned(run, cell, planned, now()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::lab::accel::Accel;
    use std::time::Duration;

    fn plan() -> GuestPlan {
        GuestPlan {
            accel: Accel::Icount,
            qemu: "7.2".into(),
            host: "here".into(),
            run_id: "ab".into(),
            task: Task::Hello,
        }
    }

    fn row(planned: Planned) -> Row {
        let args = RunArgs::from_words::<&str>([]).expect("good flags");
        let kernel = Kernel { path: "k".into(), release: "6.1.2".into() };
        let cells = request::cells(&args, true).expect("good flags");
        error_row(&run_of(&plan(), &kernel, &args), &cells[planned.cell], planned, &plan(), "panic, \"at last\"".into())
    }

    #[test]
    fn a_row_that_a_guest_sent_is_read_as_it_was() {
        let row = row(Planned { cell: 1, block: 2, order: 7 });
        assert_eq!((row.kernel.as_str(), row.accel.as_str(), row.valid, row.trial), ("6.1.2", "icount", 0, 2));
        assert_eq!(decode(&format::encode(&row, false)), Some(row));
        assert_eq!(decode(b"1,2,3\n"), None, "columns of another version");
    }

    #[test]
    fn trials_without_a_row_fail_with_the_reason() {
        let schedule = Schedule::new(2, 2, 1);
        let trials: Vec<Planned> = schedule.iter().collect();
        let came = vec![row(trials[0]), row(trials[2])];
        assert_eq!(lacking(schedule, &came), [trials[1], trials[3]]);
        let visit = Visit { frames: vec![], failure: None, interrupted: false, took: Duration::ZERO };
        assert!(reason(&visit, 2).contains("2 trials"));
        assert_eq!(reason(&Visit { failure: Some("hang".into()), ..visit }, 2), "hang");
        assert_eq!(text::messages(&came).kinds.iter().map(|kind| kind.count).sum::<usize>(), 2);
    }
}
