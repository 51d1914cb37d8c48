//! What the first process of a machine does before and after everything else.

use std::ffi::CStr;
use std::fs;

use anyhow::Context;
use rustix::mount::MountFlags;
use rustix::system::RebootCommand;

/// Mounts what hpbench reads and writes: /proc, /sys, devices, and files in memory.
pub(super) fn mount_all() -> anyhow::Result<()> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        fs::create_dir_all(at).with_context(|| format!("cannot create {at}"))?;
        rustix::mount::mount(kind, at, kind, MountFlags::empty(), None::<&CStr>)
            .with_context(|| format!("cannot mount {kind} on {at}"))?;
    }
    Ok(())
}

/// Raises the loopback interface: a kernel starts with all interfaces down.
pub(super) fn raise_loopback() -> anyhow::Result<()> {
    hpbench_backends::kernel::system::raise_loopback().context("cannot raise the loopback interface")
}

/// How many empty slabs each cache of the kernel may keep: more than there are.
const SLABS_KEPT: usize = 1_000_000;

/// Has the kernel keep the slabs that become empty. By default its slab caches keep a few and return the others to the
/// page allocator, in each round. How many depends on everything that was allocated before, so the cost of a datagram
/// varies by up to a fifth from one trial to the next. A kernel without this setting is left as it is.
///
/// `min_partial` is bounded by 10 up to Linux 5.16 (`set_min_partial` in `mm/slub.c`). There, slabs are kept where they
/// become empty first, in the lists of the processors.
pub(super) fn keep_slabs() {
    let caches = fs::read_dir("/sys/kernel/slab").into_iter().flatten().flatten().map(|entry| entry.path());
    for cache in caches {
        let kept = SLABS_KEPT.to_string();
        let (node, processor) = (cache.join("min_partial"), cache.join("cpu_partial"));
        let is_kept = fs::write(&node, &kept).and_then(|()| fs::read_to_string(&node));
        if is_kept.is_ok_and(|now| now.trim() != kept) {
            // Caches without such lists refuse it.
            let _ = fs::write(processor, &kept);
        }
    }
}

/// Powers off the machine. Does not return if that works.
pub(super) fn power_off() {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        eprintln!("hpbench: cannot power off: {error}");
    }
}
