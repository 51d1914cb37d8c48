//! What the first process of a machine does before and after anything else.

use std::ffi::CStr;
use std::fs;

use anyhow::Context;
use rustix::mount::MountFlags;
use rustix::system::RebootCommand;

/// Mounts what hpbench reads and writes: processes, the machine, devices, and files in memory.
pub(super) fn mount_all() -> anyhow::Result<()> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        fs::create_dir_all(at).with_context(|| format!("cannot make {at}"))?;
        rustix::mount::mount(kind, at, kind, MountFlags::empty(), None::<&CStr>)
            .with_context(|| format!("cannot mount {kind} on {at}"))?;
    }
    Ok(())
}

/// Raises the loopback interface: a kernel starts with all of them down.
pub(super) fn raise_loopback() -> anyhow::Result<()> {
    hpbench_backends::system::raise_loopback().context("cannot raise the loopback interface")
}

/// Ends the machine. Does not return where that works.
pub(super) fn power_off() {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        eprintln!("hpbench: cannot power off: {error}");
    }
}
