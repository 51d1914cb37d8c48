//! The machines that the trials ran on, column by column.

use csv::StringRecord;

use crate::record::format;

/// The columns, in their order, with what they are.
const COLUMNS: [(&str, &str); 24] = [
    ("host", "name of the machine"),
    ("kernel", "kernel"),
    ("kernel_build", "its build"),
    ("arch", "architecture"),
    ("cpu_model", "processor"),
    ("ncpu", "cores"),
    ("virt", "virtual machine or container"),
    ("accel", "how it is emulated"),
    ("qemu", "version of QEMU"),
    ("governor", "frequency governor"),
    ("clocksource", "clock source"),
    ("mitigations", "mitigations of processor bugs"),
    ("rcvbuf", "receive buffer, bytes granted"),
    ("sndbuf", "send buffer, bytes granted"),
    ("worker_cpu", "cores of the workers"),
    ("generator_cpu", "cores of the generators"),
    ("cpu_relation", "how these cores are related"),
    ("fill", "how queues were filled"),
    ("uring_flags", "io_uring's flags in effect"),
    ("rt_limited", "real-time threads throttled"),
    ("seed", "seed of the order of trials"),
    ("hpbench", "version of hpbench"),
    ("git_rev", "its revision"),
    ("rustc", "its compiler"),
];

/// The most values of a column that are kept.
const VALUES_MAX: usize = 8;

/// The values of one column.
#[derive(Debug)]
pub(crate) struct Column {
    /// The name of the column.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Its values, each with the files that have it.
    pub values: Vec<(String, Vec<usize>)>,
    /// Whether there are more values.
    pub has_more: bool,
    at: usize,
}

/// All columns about machines.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The columns.
    pub columns: Vec<Column>,
}

impl Environment {
    /// Without values.
    pub(crate) fn new() -> Self {
        let header = format::header();
        let all = format::columns(&header);
        let column = |(name, meaning): (&'static str, &'static str)| {
            let at = all.iter().position(|column| *column == name)?;
            Some(Column { name, meaning, values: Vec::new(), has_more: false, at })
        };
        Self { columns: COLUMNS.into_iter().filter_map(column).collect() }
    }

    /// Adds the values of a row of a file.
    pub(crate) fn add(&mut self, fields: &StringRecord, file: usize) {
        for column in &mut self.columns {
            let value = fields.get(column.at).unwrap_or_default();
            if value.is_empty() {
                continue;
            }
            match column.values.iter().position(|(known, _)| known == value) {
                Some(at) if column.values[at].1.last() == Some(&file) => {}
                Some(at) => column.values[at].1.push(file),
                None if column.values.len() < VALUES_MAX => column.values.push((value.to_owned(), vec![file])),
                None => column.has_more = true,
            }
        }
    }
}
