//! The CSV file: opened before anything is measured, one whole row written per trial.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::console::Failure;
use crate::place::Place;
use crate::record::format::{BYTE_ORDER_MARK, encode, header};
use crate::record::row::Row;

/// What to do with a file that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// Add to it, if it has the same columns.
    Append,
    /// Replace it.
    Replace,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// There is a file.
    #[error("{0} exists; use --append to add to it, --force to replace it, or another -o", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// It has other columns.
    #[error("{0} has other columns than this version writes; it cannot be added to, use another -o", path.display())]
    OtherSchema {
        /// Which.
        path: PathBuf,
    },
    /// Its lines end as a spreadsheet ends them.
    #[error(
        "the lines of {0} end with CR LF, as a spreadsheet saves them; rows can be added once they end with LF \
         (sed -i 's/\\r$//' on the file), or use another -o", path.display()
    )]
    OtherLineEnds {
        /// Which.
        path: PathBuf,
    },
    /// It begins as a spreadsheet begins UTF-8 text.
    #[error(
        "{0} begins with a byte-order mark, as a spreadsheet saves it; rows can be added once that is gone and the lines \
         end with LF (sed -i '1s/^\\xEF\\xBB\\xBF//; s/\\r$//' on the file), or use another -o", path.display()
    )]
    ByteOrderMark {
        /// Which.
        path: PathBuf,
    },
    /// Its last row is cut.
    #[error("the last row of {0} is not whole (no line end); remove it before adding to the file", path.display())]
    CutRow {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be opened or read.
    #[error("cannot open {0}: {error}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write to {0}: {error}; the rows before are whole", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    Closed,
}

impl OutputError {
    /// Whether the file was refused before anything was written.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Closed)
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
    path: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    File(File),
    Stdout,
}

impl Output {
    /// Opens `path` (`-` is standard output) and writes the header, unless rows are added to a file.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used.
    pub fn open(path: &Path, existing: Existing) -> Result<Self, OutputError> {
        let header = header();
        if path == Path::new("-") {
            let mut output = Self { path: "standard output".into(), sink: Sink::Stdout };
            output.put(&header)?;
            return Ok(output);
        }
        let failed = |error| OutputError::Open { path: path.into(), error };
        let is_file = Place::of(path).map_err(failed)? == Place::Taken;
        let mut options = OpenOptions::new();
        let adding = is_file && existing == Existing::Append;
        match (is_file, existing) {
            (true, Existing::Refuse) => return Err(OutputError::Exists { path: path.into() }),
            (true, Existing::Append) => options.read(true).append(true),
            (true, Existing::Replace) => options.write(true).truncate(true),
            (false, _) => options.write(true).create(true),
        };
        let mut file = options.open(path).map_err(failed)?;
        let is_empty = !adding || file.metadata().map_err(failed)?.len() == 0;
        if !is_empty {
            check_same_columns(path, &mut file, &header)?;
        }
        let mut output = Self { path: path.into(), sink: Sink::File(file) };
        if is_empty {
            output.put(&header)?;
        }
        Ok(output)
    }

    /// Writes one row with one system call, so that an interrupted run leaves whole rows only.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn write(&mut self, row: &Row) -> Result<(), OutputError> {
        self.put(&encode(row, false))
    }

    /// Whether rows go to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self.sink, Sink::Stdout)
    }

    /// The name of the file, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let result = match &mut self.sink {
            Sink::File(file) => file.write_all(bytes),
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
        };
        result.map_err(|error| match self.sink {
            Sink::Stdout if error.kind() == io::ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Write { path: self.path.clone(), error },
        })
    }
}

/// The file must begin with our header and end with a line end.
fn check_same_columns(path: &Path, file: &mut File, header: &[u8]) -> Result<(), OutputError> {
    let failed = |error| OutputError::Open { path: path.into(), error };
    let mut start = vec![0; header.len()];
    match file.read_exact(&mut start) {
        Ok(()) => check_header(path, &start, header)?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(OutputError::OtherSchema { path: path.into() });
        }
        Err(error) => return Err(failed(error)),
    }
    let mut last = [0];
    file.seek(io::SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
    if last == *b"\n" { Ok(()) } else { Err(OutputError::CutRow { path: path.into() }) }
}

/// What a file that rows are to be added to begins with must be our header.
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
        canary_ratio,steady,valid,invalid_reason,error,fd_table,unknown\n";

    #[test]
    fn the_columns_are_those_of_the_interface() {
        assert_eq!(String::from_utf8(header()).expect("ASCII"), COLUMNS);
    }

    #[test]
    fn a_row_is_one_line_even_if_a_message_is_not() {
        let row = Row { error: "a \"b\", c".into(), ..Row::default() };
        let line = String::from_utf8(encode(&row, false)).expect("UTF-8");
        assert!(line.ends_with(",\"a \"\"b\"\", c\",,\n"), "{line}");
    }
}
