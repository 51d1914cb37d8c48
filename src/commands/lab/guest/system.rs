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
    hpbench_backends::kernel::system::raise_loopback().context("cannot raise the loopback interface")
}

/// How many empty slabs each cache of the kernel may keep: more than there are.
const SLABS_KEPT: usize = 1_000_000;

/// Has the kernel keep the slabs that become empty. By default its caches of objects keep a few and give the others back
/// to the page allocator, in each round; how many depends on everything that was allocated before, so that a packet costs
/// up to a fifth more or less from one trial to the next. A kernel that cannot be told so is left as it is.
///
/// `min_partial` is bounded by 10 up to Linux 5.16 (`set_min_partial` in `mm/slub.c`); there slabs are kept where they
/// become empty first, in the lists of the processors.
pub(super) fn keep_slabs() {
    let caches = fs::read_dir("/sys/kernel/slab").into_iter().flatten().flatten().map(|entry| entry.path());
    for cache in caches {
        let kept = SLABS_KEPT.to_string();
        let (node, processor) = (cache.join("min_partial"), cache.join("cpu_partial"));
        let is_kept = fs::write(&node, &kept).and_then(|()| fs::read_to_string(&node));
        if is_kept.is_ok_and(|now| now.trim() != kept) {
            // Refused by caches that have no such lists.
            let _ = fs::write(processor, &kept);
        }
    }
}

/// Ends the machine. Does not return where that works.
pub(super) fn power_off() {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        eprintln!("hpbench: cannot power off: {error}");
    }
}
