//! The CSV file: opened before anything is measured, one whole row written per trial.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::console::{Failure, printable_path, tell};
use crate::record::append::AppendFile;
use crate::record::format::{BYTE_ORDER_MARK, encode, header};
use crate::record::locked::{Existing, FileError};
use crate::record::row::Row;

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It cannot be opened or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has other columns.
    #[error(
        "{0} has other columns than this version writes, so rows cannot be added to it; use another -o",
        printable_path(path)
    )]
    OtherSchema {
        /// Which.
        path: PathBuf,
    },
    /// Its lines end as a spreadsheet ends them.
    #[error(
        "the lines of {0} end with CR LF, as a spreadsheet saves them; rows can be added once they end with LF \
         (sed -i 's/\\r$//' on the file), or use another -o",
        printable_path(path)
    )]
    OtherLineEnds {
        /// Which.
        path: PathBuf,
    },
    /// It begins as a spreadsheet begins UTF-8 text.
    #[error(
        "{0} begins with a byte-order mark, as a spreadsheet saves it; rows can be added once that is gone and the lines \
         end with LF (sed -i '1s/^\\xEF\\xBB\\xBF//; s/\\r$//' on the file), or use another -o",
        printable_path(path)
    )]
    ByteOrderMark {
        /// Which.
        path: PathBuf,
    },
    /// Its last row is truncated.
    #[error(
        "the last row of {0} is truncated (no line end); remove it before adding to the file",
        printable_path(path)
    )]
    CutRow {
        /// Which.
        path: PathBuf,
    },
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    Closed,
}

impl OutputError {
    /// Whether the file was refused before anything was written.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::File(FileError::Write { .. }) | Self::Closed)
    }
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

/// Where rows go.
#[derive(Debug)]
pub struct Output {
    sink: Sink,
    /// The length of what is kept of a file that is continued.
    keep: Option<u64>,
    /// Whether standard output was asked for.
    is_stdout: bool,
}

#[derive(Debug)]
enum Sink {
    File(AppendFile),
    Stdout,
    /// Standard output, which is a file.
    Redirected(Redirected),
}

/// A file that standard output leads to, and what was written to it.
#[derive(Debug)]
struct Redirected {
    file: File,
    written: Vec<u8>,
}

impl Output {
    /// Opens and locks `path` (`-` is standard output). Nothing is written yet, and what is there is unchanged.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, OutputError> {
        if path == Path::new("-") {
            let sink = Redirected::here().map_or(Sink::Stdout, Sink::Redirected);
            return Ok(Self { sink, keep: None, is_stdout: true });
        }
        let mut file = AppendFile::open(path, existing)?;
        if file.len() > 0 {
            check_same_columns(path, file.reader(), &header())?;
        }
        Ok(Self { sink: Sink::File(file), keep: None, is_stdout: false })
    }

    /// Opens and locks a file of which `whole` bytes are kept and the `cut` bytes after them are not; none if it has
    /// another length.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub(crate) fn open_begun(path: &Path, whole: u64, cut: u64) -> Result<Option<Self>, OutputError> {
        let file = AppendFile::open(path, Existing::Append)?;
        let is_same = file.len() == whole + cut;
        Ok(is_same.then_some(Self { sink: Sink::File(file), keep: Some(whole), is_stdout: false }))
    }

    /// Empties a file that is replaced, removes a truncated row, and writes the header if there is none: the last step
    /// before the first row.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn begin(&mut self) -> Result<(), OutputError> {
        let header = header();
        match &mut self.sink {
            Sink::File(file) => {
                self.keep.map_or(Ok(()), |whole| file.cut(whole))?;
                Ok(file.begin(&header, self.keep.is_some())?)
            }
            Sink::Stdout => put_stdout(&header),
            Sink::Redirected(redirected) => redirected.put(&header),
        }
    }

    /// Writes one row with one system call, so that an interrupted run leaves only whole rows.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn write(&mut self, row: &Row) -> Result<(), OutputError> {
        let row = encode(row, false);
        self.divert_if_lost()?;
        match &mut self.sink {
            Sink::File(file) => Ok(file.append(&row)?),
            Sink::Stdout => put_stdout(&row),
            Sink::Redirected(redirected) => redirected.put(&row),
        }
    }

    /// Makes sure that all rows are where [`Output::name`] says. Returns whether that is the file that was opened.
    ///
    /// # Errors
    ///
    /// If rows are lost, and cannot be written elsewhere.
    pub fn finish(&mut self) -> Result<bool, OutputError> {
        self.divert_if_lost()?;
        match &mut self.sink {
            Sink::File(file) => Ok(file.finish()?),
            Sink::Stdout | Sink::Redirected(_) => Ok(true),
        }
    }

    /// Continues in a file of its own if the one that standard output leads to was truncated.
    fn divert_if_lost(&mut self) -> Result<(), OutputError> {
        let Sink::Redirected(redirected) = &mut self.sink else { return Ok(()) };
        if !redirected.is_lost() {
            return Ok(());
        }
        let file = AppendFile::stand_in(Path::new("stdout.csv"), std::mem::take(&mut redirected.written))?;
        tell!(
            "hpbench: the file of standard output was truncated while this run wrote to it; all that this run has written \
             and will write is in {}",
            printable_path(file.path())
        );
        self.sink = Sink::File(file);
        Ok(())
    }

    /// Whether standard output is for rows.
    pub fn is_stdout(&self) -> bool {
        self.is_stdout
    }

    /// The name of the file that has the rows, for messages.
    pub fn name(&self) -> String {
        match &self.sink {
            Sink::File(file) => printable_path(file.path()),
            Sink::Stdout | Sink::Redirected(_) => STDOUT.into(),
        }
    }
}

impl Redirected {
    /// The file of standard output, if it is one.
    fn here() -> Option<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
        file.metadata().ok()?.is_file().then(|| Self { file, written: Vec::new() })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        put_stdout(bytes)?;
        self.written.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether it ends before the place that was written to last.
    fn is_lost(&self) -> bool {
        let at = (&self.file).stream_position();
        !self.written.is_empty() && self.file.metadata().ok().zip(at.ok()).is_some_and(|(found, at)| found.len() < at)
    }
}

/// What standard output is called.
const STDOUT: &str = "standard output";

fn put_stdout(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => FileError::Write { path: STDOUT.into(), error }.into(),
    })
}

/// The file must begin with our header and end with a line end.
fn check_same_columns(path: &Path, file: io::Result<&mut File>, header: &[u8]) -> Result<(), OutputError> {
    let failed = |error| FileError::Open { path: path.into(), error };
    let file = file.map_err(failed)?;
    let mut start = vec![0; header.len()];
    match file.read_exact(&mut start) {
        Ok(()) => check_header(path, &start, header)?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(OutputError::OtherSchema { path: path.into() });
        }
        Err(error) => return Err(failed(error).into()),
    }
    let mut last = [0];
    file.seek(io::SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
    if last == *b"\n" { Ok(()) } else { Err(OutputError::CutRow { path: path.into() }) }
}

/// A file that rows are added to must begin with our header.
pub(crate) fn check_header(path: &Path, start: &[u8], header: &[u8]) -> Result<(), OutputError> {
    if start == header {
        return Ok(());
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        return Err(OutputError::ByteOrderMark { path: path.into() });
    }
    if start.strip_suffix(b"\r").is_some_and(|start| Some(start) == header.strip_suffix(b"\n")) {
        return Err(OutputError::OtherLineEnds { path: path.into() });
    }
    Err(OutputError::OtherSchema { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &str = "schema,run_id,started_at,scenario,backend,variant,wait,addressing,bind,batch,payload,round,\
        rate_pps,burst,window,workers,generators,handoff,fifo,ring,buffers,verify,duration_target_s,warmup_s,trial,attempt,\
        order,seed,duration_s,sent,received,measured_sent,measured_received,tx_pps,rx_pps,rx_mbps,loss_pct,busy_pct,\
        generator_limited,drop_socket,drop_ring,duplicate,reordered,corrupt,truncated,foreign,unexplained,send_eagain,\
        io_errors,ns_per_packet,ns_per_packet_p50,ns_per_packet_min,peer_ns_per_packet,cpu_ns_per_packet,\
        user_ns_per_packet,sys_ns_per_packet,kthread_ns_per_packet,generator_cpu_ns_per_packet,syscalls,\
        syscalls_per_packet,cycles_per_packet,instructions_per_packet,peer_instructions_per_packet,context_switches,\
        lat_samples,lat_min_ns,lat_mean_ns,lat_p50_ns,lat_p90_ns,lat_p99_ns,lat_p999_ns,lat_p9999_ns,lat_max_ns,\
        late_p99_ns,batch_mean,kernel_batch_mean,empty_polls,rearms,enobufs,cq_overflow,io_workers,host,kernel,\
        kernel_build,arch,cpu_model,ncpu,virt,accel,qemu,governor,clocksource,mitigations,rcvbuf,sndbuf,worker_cpu,\
        generator_cpu,cpu_relation,fill,uring_flags,rt_limited,hpbench,git_rev,rustc,steal_pct,run_delay_ns,\
        canary_ratio,steady,valid,invalid_reason,error,fd_table,state,pair,core_transfer_ns,unknown,lat_tail,\
        command,kernel_canary_ratio,softirq_ns_per_packet,irq_time_accounting,interface,driver,\
         lost,peer_host,peer_kernel,fill_core,drop_host,sockets,active,skew,udp_mem,work,late_answers,poll_gap_max_ns,flows,sharding,steer,balance,queue_growth,goal,goal_met,runtime,fanout,relayed,forwarded,min_wait\n";

    #[test]
    fn the_columns_are_those_of_the_interface() {
        assert_eq!(String::from_utf8(header()).expect("ASCII"), COLUMNS);
    }

    #[test]
    fn a_row_is_one_line_even_if_a_message_is_not() {
        let row = Row { error: "a \"b\", c".into(), ..Row::default() };
        let line = String::from_utf8(encode(&row, false)).expect("UTF-8");
        assert!(line.ends_with(",\"a \"\"b\"\", c\",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n"), "{line}");
    }
}
