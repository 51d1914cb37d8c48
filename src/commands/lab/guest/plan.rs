//! The plan of a guest: a file in its file system.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::commands::lab::accel::Accel;

/// The path of the plan in the guest.
pub const PLAN_PATH: &str = "/hpbench-lab.plan";

/// The path of the test binary in the guest.
pub const TESTS_PATH: &str = "/conformance";

/// The plan of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPlan {
    /// How the guest is run.
    pub accel: Accel,
    /// The version of QEMU.
    pub qemu: String,
    /// The name of the machine in the results.
    pub host: String,
    /// Identifies the run, which the rows of all kernels share.
    pub run_id: String,
    /// What to do.
    pub task: Task,
}

/// The task of a guest once it has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing: the question is whether it starts.
    Hello,
    /// The trials of `hpbench` with these arguments.
    Trials(Vec<String>),
    /// The test binary, with these arguments.
    Tests(Vec<String>),
}

impl GuestPlan {
    /// Its form in the guest: fields that end with a zero byte, because arguments may hold anything else.
    pub fn encode(&self) -> Vec<u8> {
        let (task, args) = match &self.task {
            Task::Hello => ("hello", &[][..]),
            Task::Trials(args) => ("trials", &args[..]),
            Task::Tests(args) => ("tests", &args[..]),
        };
        let head = [self.accel.name(), &self.qemu, &self.host, &self.run_id, task];
        let fields = head.into_iter().chain(args.iter().map(String::as_str));
        fields.flat_map(|field| field.bytes().chain([0])).collect()
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If this version did not write it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::decode(&bytes).with_context(|| format!("{} is not a plan of this version", path.display()))
    }

    fn decode(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes)?;
        let fields: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        let [accel, qemu, host, run_id, task, args @ ..] = &fields[..] else { bail!("it is too short") };
        let task = match (task.as_str(), args.to_vec()) {
            ("hello", _) => Task::Hello,
            ("trials", args) => Task::Trials(args),
            ("tests", args) => Task::Tests(args),
            (other, _) => bail!("it names an unknown task, '{other}'"),
        };
        let accel = Accel::from_name(accel).with_context(|| format!("it names an unknown accelerator, '{accel}'"))?;
        Ok(Self { accel, qemu: qemu.clone(), host: host.clone(), run_id: run_id.clone(), task })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let args = ["--batch", "1,8", "--label", "a\nb", ""].map(str::to_owned).to_vec();
        for task in [Task::Hello, Task::Trials(args.clone()), Task::Tests(args)] {
            let plan =
                GuestPlan { accel: Accel::Kvm, qemu: "7.2".into(), host: String::new(), run_id: "ab".into(), task };
            assert_eq!(GuestPlan::decode(&plan.encode()).expect("whole"), plan);
        }
        assert!(GuestPlan::decode(b"icount\0").is_err());
        assert!(GuestPlan::decode(b"warp\0a\0b\0c\0hello\0").is_err());
    }
}
