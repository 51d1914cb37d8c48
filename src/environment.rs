//! What machine this is: for the columns that let a reader judge a result.

use std::fs;

/// Facts about the machine; empty where the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The label of the run, or the host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Kernel build.
    pub kernel_build: String,
    /// Architecture.
    pub arch: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Cores that are online.
    pub ncpu: Option<usize>,
    /// Frequency governor of the worker's core.
    pub governor: String,
    /// Clock source.
    pub clocksource: String,
    /// What the kernel does against speculative execution attacks: `auto`, `off`, … from its command line.
    pub mitigations: String,
}

impl Environment {
    /// Looks at the machine. `label` replaces the host name.
    pub fn read(label: Option<&str>, worker_core: usize) -> Self {
        let uname = rustix::system::uname();
        let text = |field: &std::ffi::CStr| field.to_string_lossy().into_owned();
        let cpu = format!("/sys/devices/system/cpu/cpu{worker_core}/cpufreq/scaling_governor");
        Self {
            host: label.map_or_else(|| text(uname.nodename()), str::to_owned),
            kernel: text(uname.release()),
            kernel_build: text(uname.version()),
            arch: text(uname.machine()),
            cpu_model: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            ncpu: online_cpus(),
            governor: first_line(&cpu),
            clocksource: first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            mitigations: mitigations(&first_line("/proc/cmdline")),
        }
    }
}

/// Cores that are online, whatever this process may use of them.
fn online_cpus() -> Option<usize> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    (cores > 0).then_some(cores)
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "model name");
    model.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn mitigations(cmdline: &str) -> String {
    let option = cmdline.split_whitespace().find_map(|word| word.strip_prefix("mitigations="));
    if cmdline.is_empty() { String::new() } else { option.unwrap_or("auto").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_cores() {
        let environment = Environment::read(Some("lab"), 0);
        assert_eq!(environment.host, "lab");
        assert!(!environment.kernel.is_empty() && environment.ncpu.is_some_and(|count| count > 0));
    }

    #[test]
    fn files_that_say_nothing_make_empty_cells() {
        assert_eq!(first_line("/nonexistent"), "");
        assert_eq!(cpu_model("processor : 0\n"), "");
        assert_eq!(cpu_model("processor : 0\nmodel name\t: A  B\n"), "A  B");
        assert_eq!(
            (mitigations(""), mitigations("quiet"), mitigations("x mitigations=off y")),
            ("".into(), "auto".into(), "off".into())
        );
    }
}
