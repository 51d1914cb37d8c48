//! What a test needs from the machine. A test that cannot run says so; `HPBENCH_REQUIRE=uring,netns`
//! turns such a skip into a failure.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use hpbench_backends::kernel::socket;
use hpbench_backends::uring::Uring;
use hpbench_backends::{Backend, Config, Kind, Socket};

/// Reports that something is skipped (past the test runner's capture), or fails if `name` is required.
pub(crate) fn skip(name: &str, reason: &dyn Display) {
    let required = std::env::var("HPBENCH_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|required| required.trim() == name), "HPBENCH_REQUIRE={required}, but {reason}");
    let test = std::thread::current();
    writeln!(io::stderr(), "SKIPPED: {reason} [{}]", test.name().unwrap_or("?")).expect("standard error is open");
}

/// Whether `command` runs and succeeds; skips otherwise.
pub(crate) fn works(name: &str, command: &[&str]) -> bool {
    let (program, args) = command.split_first().expect("a command");
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    skip(name, &format!("`{}` does not work here: {reason}", command.join(" ")));
    false
}

/// Whether io_uring with multishot receive runs here.
pub(crate) fn uring() -> bool {
    let probed = Uring::probe(&Config::new(Kind::URING, 32));
    probed.map_err(|error| skip("uring", &error)).is_ok()
}

/// The backends that run here, `null` aside, as a value of `--backend`.
pub(crate) fn backends() -> &'static str {
    if uring() { "plain,mmsg,uring" } else { "plain,mmsg" }
}

/// Whether the kernel cuts sends into datagrams.
pub(crate) fn gso() -> bool {
    socket::probe_gso(Ipv4Addr::LOCALHOST.into()).map_err(|error| skip("gso", &error)).is_ok()
}

/// Whether an address can be bound.
pub(crate) fn address(name: &str, address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).map_err(|error| skip(name, &format!("{address} cannot be bound: {error}"))).is_ok()
}

/// Whether a receive buffer of this many bytes is granted.
pub(crate) fn rcvbuf(bytes: usize) -> bool {
    let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
    socket.set_buffers(bytes, bytes).expect("buffers are granted up to the limit");
    let granted = socket.meminfo().expect("Linux 4.12").rcvbuf as usize;
    if granted < 2 * bytes {
        skip("rcvbuf", &format!("a receive buffer of {bytes} bytes is not granted (net.core.rmem_max)"));
    }
    granted >= 2 * bytes
}

/// The largest receive buffer that the kernel grants without privilege, if it is at most so large. Before Linux 6.12 or so, a
/// container with a network of its own does not see it.
pub(crate) fn rmem_max(most: u64) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/net/core/rmem_max");
    let limit = text.ok().and_then(|text| text.trim().parse().ok());
    let fits = limit.filter(|limit| *limit <= most);
    if fits.is_none() {
        skip("rmem_max", &format!("net.core.rmem_max is {limit:?}, and this test wants at most {most}"));
    }
    fits
}

/// The cores on which this process may run.
pub(crate) fn cores() -> Vec<usize> {
    let mask = rustix::thread::sched_getaffinity(None).expect("the kernel tells");
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| mask.is_set(core)).collect()
}

/// Two cores on which this process may run, for a worker and a generator that spin.
pub(crate) fn two_cores() -> Option<[usize; 2]> {
    let found = cores().first_chunk().copied();
    if found.is_none() {
        skip("cores", &"two threads that spin need two cores");
    }
    found
}

/// Whether a command is installed.
pub(crate) fn command(name: &str) -> bool {
    works(name, &[name, "--version"])
}

/// The command that gives hpbench a network of its own, with `$0` and `$@` in `script`.
pub(crate) fn netns(script: &str) -> Option<Vec<String>> {
    let user = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    let command = |script: &str| ["unshare", user, "sh", "-c", script].map(str::to_owned).to_vec();
    let up = command("ip link set lo up");
    works("netns", &up.iter().map(String::as_str).collect::<Vec<_>>())
        .then(|| command(&format!("ip link set lo up && {script}")))
}

/// The command that gives hpbench an empty /proc.
pub(crate) fn no_proc() -> Option<Vec<&'static str>> {
    let user = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let command = |script| vec!["unshare", user, "sh", "-c", script];
    works("mntns", &command("mount -t tmpfs none /proc"))
        .then(|| command("mount -t tmpfs none /proc && exec \"$0\" \"$@\""))
}

/// A Python interpreter that has these modules: `HPBENCH_PYTHON`, else `python3`.
pub(crate) fn python_with(name: &str, modules: &[&str]) -> Option<String> {
    let python = std::env::var("HPBENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = format!("import {}", modules.join(", "));
    let output = Command::new(&python).args(["-c", &import]).stdin(Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return Some(python),
        // The last line of a traceback says what is wrong.
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    let remedy = "install the packages hdrhistogram, MLRsearch, pandas and duckdb in a venv, and name its python in HPBENCH_PYTHON";
    skip(name, &format!("`{import}` fails in {python}: {reason}; {remedy}"));
    None
}

/// The program that runs playbooks: beside the Python of `HPBENCH_PYTHON`, else in the path.
pub(crate) fn ansible() -> Option<String> {
    let beside =
        std::env::var("HPBENCH_PYTHON").ok().map(|python| Path::new(&python).with_file_name("ansible-playbook"));
    let found = beside
        .filter(|path| path.exists())
        .map_or_else(|| "ansible-playbook".into(), |path| path.display().to_string());
    works("ansible", &[&found, "--version"]).then_some(found)
}

/// The Python that `scripts/peers` needs.
pub(crate) fn python() -> Option<String> {
    let program = "import os, sys; os.pidfd_open; print(sys.executable)";
    let command = ["python3", "-c", program];
    works("peers", &command).then(|| {
        let output = Command::new(command[0]).args(&command[1..]).output().expect("it has just run");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// Whether a program that `scripts/peers` runs beside hpbench is installed.
pub(crate) fn peer(name: &str) -> bool {
    works("peers", &[name, "--version"])
}

/// Whether the browser that shows reports is installed.
pub(crate) fn chromium() -> bool {
    works("chromium", &["chromium", "--version"])
}

/// Whether `strace` works here.
pub(crate) fn strace() -> bool {
    works("strace", &["strace", "-f", "-c", "-o", "/dev/null", "true"])
}

/// The command that runs hpbench without capabilities.
pub(crate) fn no_capabilities() -> Option<Vec<&'static str>> {
    const DROP: [&str; 4] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];
    if !rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    let mut probe = DROP.to_vec();
    probe.push("true");
    works("setpriv", &probe).then(|| DROP.to_vec())
}

/// Whether the kernel lab has QEMU here, and a kernel of this version.
pub(crate) fn lab(version: &str) -> bool {
    if !works("lab", &["qemu-system-x86_64", "--version"]) {
        return false;
    }
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let found = hpbench::commands::lab::kernels::find(version, &cache);
    found.map_err(|error| skip("lab", &error)).is_ok()
}
