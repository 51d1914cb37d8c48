//! What machine this is: for the columns that let a reader judge a result.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;

use hpbench_backends::kernel::interface::{self, Path};

use crate::console::{is_formula, printable};
use crate::plan::topology::parse_cpu_list;

/// Facts about the machine; empty if the kernel does not report them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The label of the run, or the host name.
    pub host: String,
    /// Its state, for a run that alternates with others; else empty.
    pub state: String,
    /// The pair that such a run belongs to.
    pub pair: Option<u32>,
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
    /// The hypervisor and the container around this program, in the words of systemd-detect-virt: `kvm`,
    /// `vmware docker`, …; `vm-other` and `container-other` are of unknown make. `none` if there is neither.
    pub virt: String,
    /// Frequency governor of the worker's core.
    pub governor: String,
    /// Clock source.
    pub clocksource: String,
    /// What the kernel does against speculative execution attacks: `auto`, `off`, … from its command line.
    pub mitigations: String,
    /// Whether the kernel measures time in interrupts: `yes` or `no`.
    pub irq_time_accounting: String,
    /// The kernel's limits of the memory of all UDP sockets, in pages.
    pub udp_mem: String,
    /// The interface by which datagrams leave.
    pub interface: String,
    /// Its driver.
    pub driver: String,
}

impl Environment {
    /// The same machine, with the interface by which datagrams leave for `peer` from `local`.
    pub fn with_path(mut self, local: SocketAddr, peer: SocketAddr) -> Self {
        self.interface = Path::between(local, peer).map_or_else(|_| String::new(), |path| path.interface);
        self.driver = interface::driver_of(&self.interface).unwrap_or_default();
        self
    }

    /// Looks at the machine. `label` replaces the host name.
    pub fn read(label: Option<&str>, worker_core: usize) -> Self {
        let uname = rustix::system::uname();
        let text = |field: &std::ffi::CStr| field.to_string_lossy().into_owned();
        let cpu = format!("/sys/devices/system/cpu/cpu{worker_core}/cpufreq/scaling_governor");
        let cpuinfo = all("/proc/cpuinfo");
        let (kernel, clocksources) = (text(uname.release()), "/sys/devices/system/clocksource/clocksource0");
        Self {
            host: label.map_or_else(host_name, str::to_owned),
            state: String::new(),
            pair: None,
            kernel_build: text(uname.version()),
            arch: text(uname.machine()),
            cpu_model: cpu_model(&cpuinfo, worker_core, &first_line("/proc/device-tree/model")),
            ncpu: online_cpus(&all("/proc/stat"), &first_line("/sys/devices/system/cpu/online")),
            virt: virt(&Clues {
                cpuinfo: &cpuinfo,
                kernel: &kernel,
                hypervisor_type: &first_line("/sys/hypervisor/type"),
                clocksources: &first_line(&format!("{clocksources}/available_clocksource")),
                vendor: &first_line("/sys/class/dmi/id/sys_vendor"),
                product: &first_line("/sys/class/dmi/id/product_name"),
                device_tree: &format!(
                    "{}\0{}",
                    all("/proc/device-tree/hypervisor/compatible"),
                    all("/proc/device-tree/compatible")
                ),
                init_environment: &all("/proc/1/environ"),
                systemd_container: &first_line("/run/systemd/container"),
                docker_file: fs::exists("/.dockerenv").unwrap_or(false),
                podman_file: fs::exists("/run/.containerenv").unwrap_or(false),
                pid_namespace: &fs::read_link("/proc/self/ns/pid")
                    .map(|link| link.to_string_lossy().into_owned())
                    .unwrap_or_default(),
            }),
            governor: first_line(&cpu),
            clocksource: clock_source(),
            mitigations: mitigations(&first_line("/proc/cmdline")),
            irq_time_accounting: irq_time_accounting(),
            udp_mem: first_line("/proc/sys/net/ipv4/udp_mem").split_whitespace().collect::<Vec<_>>().join(" "),
            interface: String::new(),
            driver: String::new(),
            kernel,
        }
    }
}

/// The host name as a text that could be a label, whatever the machine is called.
pub(crate) fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let name = printable(&name);
    if is_formula(&name) { format!("_{name}") } else { name.into_owned() }
}

/// Whether this kernel measures time in interrupts: `yes` or `no`; empty if unknown.
pub(crate) fn irq_time_accounting() -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    accounts_irq_time(&kernel_config(&release), &first_line("/proc/cmdline")).into()
}

/// The clock source now: the kernel changes it when it no longer trusts it. Empty if the kernel does not report it.
pub(crate) fn clock_source() -> String {
    first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// The text of a file; empty if it cannot be read. Firmware and boot loaders may write bytes that are not UTF-8.
fn all(path: &str) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The first line of a file; in those of the device tree, a zero byte ends it.
fn first_line(path: &str) -> String {
    all(path).split(['\n', '\0']).next().unwrap_or_default().trim().to_owned()
}

/// Cores that are online, whatever this process may use of them.
fn online_cpus(stat: &str, online: &str) -> Option<usize> {
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    // Where `/proc/stat` is hidden, the list in `/sys` may not be.
    [cores, parse_cpu_list(online).len()].into_iter().find(|&cores| cores > 0)
}

/// The values of a key in `/proc/cpuinfo`, that of the core first: cores may differ from each other.
fn cpuinfo_values<'a>(cpuinfo: &'a str, core: usize, key: &str) -> Vec<&'a str> {
    let (mut ours, mut others, mut is_ours) = (Vec::new(), Vec::new(), false);
    for (found, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')) {
        let (found, value) = (found.trim(), value.trim());
        if found == "processor" {
            is_ours = value.parse() == Ok(core);
        }
        if found == key && !value.is_empty() {
            if is_ours { &mut ours } else { &mut others }.push(value);
        }
    }
    ours.append(&mut others);
    ours
}

/// The model of a core. x86 reports its name; others have other keys; arm64 reports only numbers, and the device tree
/// names the board.
fn cpu_model(cpuinfo: &str, core: usize, board: &str) -> String {
    let value = |key: &str| cpuinfo_values(cpuinfo, core, key).first().map(|value| (*value).to_owned());
    let named = ["model name", "Model Name", "cpu model", "cpu", "uarch"].into_iter().find_map(value);
    let numbers = || {
        let numbers = format!("implementer {} part {}", value("CPU implementer")?, value("CPU part")?);
        Some(if board.is_empty() { numbers } else { format!("{board} ({numbers})") })
    };
    named.or_else(numbers).unwrap_or_else(|| board.to_owned())
}

fn mitigations(cmdline: &str) -> String {
    // What follows `--` is for the first process. Of several options, the last one counts.
    let words: Vec<&str> = cmdline.split_whitespace().take_while(|&word| word != "--").collect();
    let option = words.iter().rev().find_map(|word| word.strip_prefix("mitigations="));
    if cmdline.is_empty() { String::new() } else { option.unwrap_or("auto").to_owned() }
}

/// The configuration that the kernel was built with; empty if it is nowhere.
fn kernel_config(release: &str) -> String {
    /// Far more than any has.
    const MAX: u64 = 4 << 20;
    let mut text = String::new();
    let zipped = fs::File::open("/proc/config.gz").map(|file| flate2::read::GzDecoder::new(file).take(MAX));
    if zipped.is_ok_and(|mut zipped| zipped.read_to_string(&mut text).is_ok()) {
        return text;
    }
    let paths = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    paths.iter().map(|path| all(path)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// Whether the kernel measures time in interrupts, by its configuration and its command line: `yes`, `no`, or nothing if
/// the configuration is unknown. Where it does so natively (ppc64, s390), no other option is needed. x86 does not if told
/// `tsc=noirqtime` (`Documentation/admin-guide/kernel-parameters.txt`).
fn accounts_irq_time(config: &str, cmdline: &str) -> &'static str {
    let has = |option: &str| config.lines().any(|line| line.strip_prefix(option) == Some("=y"));
    let is_off = cmdline.split_whitespace().any(|word| word == "tsc=noirqtime");
    match config.contains("CONFIG_") {
        false => "",
        true if has("CONFIG_VIRT_CPU_ACCOUNTING_NATIVE") => "yes",
        true if has("CONFIG_IRQ_TIME_ACCOUNTING") && !is_off => "yes",
        true => "no",
    }
}

/// What may reveal a hypervisor or container. An empty text is a file that does not exist.
#[derive(Clone, Copy, Debug, Default)]
struct Clues<'a> {
    /// `/proc/cpuinfo`.
    cpuinfo: &'a str,
    /// The kernel's release.
    kernel: &'a str,
    /// `/sys/hypervisor/type`.
    hypervisor_type: &'a str,
    /// The available clock sources. Some are those of a hypervisor, for its guests only.
    clocksources: &'a str,
    /// The vendor of the machine, as its firmware has it.
    vendor: &'a str,
    /// The machine, as its firmware has it.
    product: &'a str,
    /// What the device tree has as `compatible`, separated by zero bytes.
    device_tree: &'a str,
    /// The environment of the first process, separated by zero bytes.
    init_environment: &'a str,
    /// `/run/systemd/container`.
    systemd_container: &'a str,
    /// Whether there is `/.dockerenv`.
    docker_file: bool,
    /// Whether there is `/run/.containerenv`.
    podman_file: bool,
    /// The PID namespace that this process is in.
    pid_namespace: &'a str,
}

/// The PID namespace of the kernel itself has this number on every Linux (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

fn virt(clues: &Clues) -> String {
    match (hypervisor(clues), container(clues)) {
        (Some("none"), Some("none")) => "none".into(),
        // That one of them is absent says little next to the other, which is or may be present.
        (hypervisor, container) => {
            let found = [hypervisor, container].into_iter().flatten().filter(|&name| name != "none");
            found.collect::<Vec<_>>().join(" ")
        }
    }
}

/// Traces of a hypervisor, in lower case, and its name. The first one that is found counts: a clock source says more
/// than firmware, which may name the cloud.
const TRACES: [(&str, &str); 15] = [
    ("kvm-clock", "kvm"),
    ("hyperv_clocksource", "microsoft"),
    ("xen", "xen"),
    ("amazon ec2", "amazon"),
    ("google compute engine", "google"),
    ("microsoft corporation virtual machine", "microsoft"),
    ("vmware", "vmware"),
    ("virtualbox", "oracle"),
    ("parallels", "parallels"),
    ("bhyve", "bhyve"),
    ("apple virtualization", "apple"),
    ("openstack", "kvm"),
    ("kvm", "kvm"),
    ("qemu", "qemu"),
    ("linux,dummy-virt", "qemu"),
];

/// The hypervisor; `none` if there certainly is none.
fn hypervisor<'a>(clues: &Clues<'a>) -> Option<&'a str> {
    if let Some(name) = clues.hypervisor_type.split_whitespace().next() {
        return Some(name);
    }
    // Amazon has machines without a hypervisor, too, under the same vendor.
    let is_metal = clues.product.contains(".metal");
    let firmware = if is_metal { [""; 2] } else { [clues.vendor, clues.product] }.join(" ");
    let traces = [clues.clocksources, &firmware, clues.device_tree].join("\n").to_lowercase();
    let named = TRACES.into_iter().find(|(trace, _)| traces.contains(trace)).map(|(_, name)| name);
    let named = named.or_else(|| clues.kernel.contains("microsoft").then_some("microsoft"));
    // On x86 this flag decides, even on a rented machine whose firmware names its cloud.
    match cpuinfo_values(clues.cpuinfo, 0, "flags").first() {
        Some(flags) if flags.split_whitespace().any(|flag| flag == "hypervisor") => named.or(Some("vm-other")),
        Some(_) => Some("none"),
        // Elsewhere nothing says that there is no hypervisor.
        None => named,
    }
}

/// The container; `none` if there certainly is none.
fn container<'a>(clues: &Clues<'a>) -> Option<&'a str> {
    let of_init = clues.init_environment.split('\0').find_map(|word| word.strip_prefix("container="));
    let is_first = clues.pid_namespace == FIRST_PID_NAMESPACE;
    // The files give the name, but do not prove a container: its image may have become the file system of a machine, as
    // in micro virtual machines. `oci` says less than they do.
    let of_files = match (clues.docker_file, clues.podman_file) {
        _ if is_first => None,
        (_, true) => Some("podman"),
        (true, false) => Some("docker"),
        (false, false) => None,
    };
    let named = [of_init, Some(clues.systemd_container)].into_iter().flatten();
    let named = named.filter(|name| !name.trim().is_empty() && *name != "oci").map(str::trim).next();
    named.or(of_files).or(match (is_first, clues.pid_namespace) {
        (true, _) => Some("none"),
        (false, "") => None,
        (false, _) => Some("container-other"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu hypervisor sse\n";
    const METAL: &str = "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu sse\n";
    const ARM: &str = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\n\
        processor\t: 1\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";

    #[test]
    fn this_machine_has_a_kernel_and_cores() {
        let environment = Environment::read(Some("lab"), 0);
        assert_eq!(environment.host, "lab");
        assert!(!environment.kernel.is_empty() && environment.ncpu.is_some_and(|count| count > 0));
        let words = environment.virt.split(' ').count();
        assert!(words <= 2 && !environment.virt.contains(['\0', '\n', ',']), "{:?}", environment.virt);
    }

    #[test]
    fn files_that_say_nothing_make_empty_cells() {
        assert_eq!((first_line("/nonexistent"), first_line("/proc/self"), all("/nonexistent")), Default::default());
        assert_eq!((cpu_model("", 0, ""), cpu_model("processor : 0\nmodel name :\n", 0, "")), Default::default());
        assert_eq!(online_cpus("", ""), None);
        assert_eq!(virt(&Clues::default()), "");
        assert_eq!(mitigations(""), "");
    }

    #[test]
    fn files_of_firmware_end_with_a_zero_byte_and_may_be_no_text() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("model");
        fs::write(&path, b" Board \xff Rev 1\0").expect("a file");
        assert_eq!(first_line(path.to_str().expect("UTF-8")), "Board \u{fffd} Rev 1");
    }

    #[test]
    fn every_architecture_tells_its_processor_in_its_own_way() {
        assert_eq!(cpu_model("processor : 0\nmodel name\t: A  B\n", 0, ""), "A  B");
        assert_eq!(cpu_model("processor : 0\nmodel name : A\n\nprocessor : 1\nmodel name : B: b\n", 1, ""), "B: b");
        assert_eq!(cpu_model("processor : 0\nmodel name : A\n", 7, "Board"), "A");
        assert_eq!(cpu_model("processor : 0\ncpu : POWER9 (raw)\nrevision : 2.2\n", 0, "8335-GTH"), "POWER9 (raw)");
        assert_eq!(cpu_model(ARM, 1, ""), "implementer 0x41 part 0xd0c");
        assert_eq!(cpu_model(ARM, 0, "Some Board"), "Some Board (implementer 0x41 part 0xd03)");
        assert_eq!(cpu_model("processor : 0\nhart : 1\n", 0, "Some Board"), "Some Board");
    }

    #[test]
    fn cores_online_are_counted_here_or_there() {
        assert_eq!(online_cpus("cpu  1 2\ncpu0 1 2\ncpu3 1 2\nintr 1\n", "0-7"), Some(2));
        assert_eq!(online_cpus("", "0-2,5"), Some(4));
    }

    #[test]
    fn the_last_option_for_the_kernel_counts() {
        assert_eq!(mitigations("quiet"), "auto");
        assert_eq!(mitigations("x mitigations=off y"), "off");
        assert_eq!(mitigations("mitigations=off mitigations=auto,nosmt -- mitigations=off"), "auto,nosmt");
    }

    #[test]
    fn time_in_interrupts_is_measured_if_the_kernel_was_built_for_it() {
        let on = "CONFIG_HZ=250\nCONFIG_IRQ_TIME_ACCOUNTING=y\n";
        let off = "CONFIG_HAVE_IRQ_TIME_ACCOUNTING=y\n# CONFIG_IRQ_TIME_ACCOUNTING is not set\n";
        assert_eq!((accounts_irq_time(on, "quiet"), accounts_irq_time(off, "quiet")), ("yes", "no"));
        assert_eq!(accounts_irq_time(on, "quiet tsc=noirqtime"), "no");
        assert_eq!(accounts_irq_time("CONFIG_VIRT_CPU_ACCOUNTING_NATIVE=y\n", ""), "yes");
        assert_eq!(
            (accounts_irq_time("", ""), kernel_config("no such release").is_empty()),
            ("", !fs::exists("/proc/config.gz").unwrap_or(false))
        );
    }

    #[test]
    fn hypervisors_are_told_by_any_of_their_traces() {
        let first = Clues { pid_namespace: FIRST_PID_NAMESPACE, ..Clues::default() };
        let vm = Clues { cpuinfo: VM, ..first };
        assert_eq!(virt(&vm), "vm-other");
        assert_eq!(virt(&Clues { clocksources: "tsc kvm-clock acpi_pm", ..vm }), "kvm");
        assert_eq!(virt(&Clues { clocksources: "hyperv_clocksource_tsc_page acpi_pm", ..vm }), "microsoft");
        assert_eq!(virt(&Clues { vendor: "VMware, Inc.", product: "VMware Virtual Platform", ..vm }), "vmware");
        assert_eq!(virt(&Clues { vendor: "QEMU", product: "Standard PC (Q35 + ICH9, 2009)", ..vm }), "qemu");
        let microsoft = Clues { vendor: "Microsoft Corporation", ..vm };
        assert_eq!(virt(&Clues { product: "Virtual Machine", ..microsoft }), "microsoft");
        assert_eq!(virt(&Clues { product: "Surface Laptop", ..microsoft }), "vm-other");
        assert_eq!(virt(&Clues { kernel: "5.15.90.1-microsoft-standard-WSL2", ..vm }), "microsoft");
        assert_eq!(virt(&Clues { hypervisor_type: "xen", cpuinfo: METAL, ..first }), "xen");
        let arm = Clues { cpuinfo: ARM, ..first };
        assert_eq!(virt(&Clues { device_tree: "\0linux,dummy-virt\0", ..arm }), "qemu");
        assert_eq!(virt(&Clues { device_tree: "xen,xen-4.17\0xen,xen\0\0board\0", ..arm }), "xen");
        assert_eq!(virt(&Clues { vendor: "Amazon EC2", product: "c7g.large", ..arm }), "amazon");
    }

    #[test]
    fn none_is_said_only_where_that_is_sure() {
        let metal = Clues { cpuinfo: METAL, pid_namespace: FIRST_PID_NAMESPACE, ..Clues::default() };
        assert_eq!(virt(&metal), "none");
        assert_eq!(virt(&Clues { vendor: "Amazon EC2", product: "m5.metal", ..metal }), "none");
        assert_eq!(virt(&Clues { pid_namespace: "", ..metal }), "", "it may be a container");
        assert_eq!(virt(&Clues { cpuinfo: ARM, ..metal }), "", "it may have a hypervisor");
        let arm = Clues { cpuinfo: ARM, vendor: "Amazon EC2", product: "c7g.metal", ..metal };
        assert_eq!(virt(&arm), "");
    }

    #[test]
    fn containers_are_told_beside_the_hypervisor() {
        let inside = Clues { cpuinfo: METAL, pid_namespace: "pid:[4026532200]", ..Clues::default() };
        assert_eq!(virt(&inside), "container-other");
        assert_eq!(virt(&Clues { docker_file: true, ..inside }), "docker");
        assert_eq!(virt(&Clues { init_environment: "A=b\0container=lxc\0", ..inside }), "lxc");
        assert_eq!(virt(&Clues { init_environment: "container=oci\0", podman_file: true, ..inside }), "podman");
        assert_eq!(virt(&Clues { systemd_container: "systemd-nspawn", ..inside }), "systemd-nspawn");
        let kvm = Clues { cpuinfo: VM, clocksources: "kvm-clock", docker_file: true, ..inside };
        assert_eq!(virt(&kvm), "kvm docker");
        let image = Clues { pid_namespace: FIRST_PID_NAMESPACE, ..kvm };
        assert_eq!(virt(&image), "kvm", "the file system was an image of a container once");
    }
}
