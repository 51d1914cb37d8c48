//! QEMU: its version, how it is started, and that it never outlives us.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use hpbench_backends::kernel::system;
use rustix::process::{Pid, Signal, kill_process_group};

use super::accel::Accel;
use crate::console::printable;

/// The program.
const QEMU: &str = "qemu-system-x86_64";

/// How long `--version` may take, how many bytes of its output are read, and how many characters an error shows.
const VERSION_WITHIN: Duration = Duration::from_secs(10);
const VERSION_MAX: usize = 4096;
const SHOWN_MAX: usize = 80;

/// How many pieces of a child's output may wait for us, and the most bytes in each.
const WAITING_MAX: usize = 16;
const PIECE_MAX: usize = 1 << 16;

/// Memory of a guest, in MiB. More takes longer to initialise.
const MEMORY_MIB: usize = 512;

/// The command line of every kernel. Equal addresses make equal counts, so nothing is placed at random. The clock is
/// the processor's, which counts instructions under `icount`; a kernel must not distrust it. A panic reboots, which
/// ends QEMU.
const KERNEL_OPTIONS: &str =
    "console=ttyS0 panic=-1 oops=panic nokaslr norandmaps random.trust_cpu=off nowatchdog rdinit=/init";

/// The additional options of an emulated one.
const EMULATED_OPTIONS: &str = "tsc=reliable clocksource=tsc no_timer_check";

/// The same with one core. It uses the older timer, which only one core can have: to calibrate the newer one, a kernel
/// spins for 0.1 s, which takes the emulator longer than the rest of the start.
const EMULATED_ONE_CORE: &str = "tsc=reliable clocksource=tsc nolapic_timer no_timer_check";

/// Why QEMU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is not there.
    #[error("{QEMU} does not run here ({0}); the lab needs QEMU, e.g. `apt-get install qemu-system-x86`")]
    Missing(std::io::Error),
    /// It does not print its version.
    #[error("`{QEMU} --version` printed no version: {0:?}")]
    Version(String),
    /// `--version` does not end.
    #[error("`{QEMU} --version` did not end within {} s; is it QEMU? see `type {QEMU}`", .0.as_secs())]
    Hangs(Duration),
    /// A process could not be started, or its log not written.
    #[error("cannot start a guest: {0}")]
    Start(#[from] std::io::Error),
}

/// The version of QEMU, e.g. `7.2.22`.
///
/// # Errors
///
/// If there is none.
pub fn version() -> Result<String, QemuError> {
    let mut command = Command::new(QEMU);
    command.arg("--version").stderr(Stdio::null());
    let (child, start) = (Guest::start(command)?, Instant::now());
    let mut bytes = Vec::new();
    loop {
        match child.wait(VERSION_WITHIN.saturating_sub(start.elapsed())) {
            News::Bytes(more) => bytes.extend(more),
            News::Over => break,
            News::Nothing => return Err(QemuError::Hangs(VERSION_WITHIN)),
        }
        if bytes.len() >= VERSION_MAX {
            break;
        }
    }
    bytes.truncate(VERSION_MAX);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let found = words.iter().skip_while(|&&word| word != "version").nth(1).map(|&word| printable(word).into_owned());
    found.ok_or_else(|| QemuError::Version(text.chars().take(SHOWN_MAX).collect()))
}

/// A machine to boot.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// How QEMU runs it.
    pub accel: Accel,
    /// How many cores it has: one where instructions are counted.
    pub cores: usize,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The archive with the guest's files.
    pub initramfs: &'a Path,
    /// Where the console goes, and QEMU's own messages.
    pub log: &'a Path,
    /// The date under `icount`: days after a fixed one.
    pub day: u32,
}

impl Machine<'_> {
    /// The command that boots it; its standard output is the second serial port.
    fn command(&self) -> Command {
        let mut command = Command::new(QEMU);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-machine", "pc,usb=off,vmport=off,hpet=off", "-m", &MEMORY_MIB.to_string()]);
        command.args(["-smp", &self.cores.to_string()]);
        match self.accel {
            // Repeated instructions are counted per repetition, so clearing pages would swamp the rest. The
            // processor's random numbers and the host's date would differ from boot to boot. Five-level page
            // tables only make boots slower.
            Accel::Icount => command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]).args([
                "-cpu",
                "max,-erms,-fsrm,-rdrand,-rdseed,-la57",
                "-rtc",
                &format!("base=2025-01-{:02}T00:00:00,clock=vm", 1 + self.day % 28),
            ]),
            // QEMU 7.2 with several cores was seen to return from a CMPXCHG16B of 6.12's allocator with an address in
            // the flags, which crashed the kernel. On a processor without that instruction, the kernel does not use it.
            Accel::Tcg => command.args(["-accel", "tcg", "-cpu", "max,-la57,-cx16"]),
            Accel::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        };
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        let emulated = match self.accel {
            Accel::Kvm => "",
            Accel::Icount | Accel::Tcg if self.cores == 1 => EMULATED_ONE_CORE,
            Accel::Icount | Accel::Tcg => EMULATED_OPTIONS,
        };
        command.args(["-append", &format!("{KERNEL_OPTIONS} {emulated}")]);
        command.arg("-chardev").arg(chardev_file("console", self.log)).args(["-serial", "chardev:console"]);
        command.args(["-chardev", "stdio,id=rows,signal=off", "-serial", "chardev:rows"]);
        command
    }

    /// Boots it.
    ///
    /// # Errors
    ///
    /// If the process cannot be started.
    pub fn boot(&self) -> Result<Guest, QemuError> {
        let log = File::create(self.log)?;
        let mut command = self.command();
        command.stderr(log.try_clone()?);
        Guest::start(command)
    }
}

/// A character device that writes to a file. For QEMU, a comma ends a value unless it is doubled.
fn chardev_file(id: &str, path: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut value = format!("file,id={id},append=on,path=").into_bytes();
    for &byte in path.as_os_str().as_bytes() {
        value.extend(if byte == b',' { &b",,"[..] } else { std::slice::from_ref(&byte) });
    }
    std::ffi::OsString::from_vec(value)
}

/// A running guest, or another QEMU; killed when dropped.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    bytes: Receiver<Vec<u8>>,
}

/// The result of waiting for a guest.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Bytes over the second serial port.
    Bytes(Vec<u8>),
    /// Nothing so far.
    Nothing,
    /// QEMU has closed the port: it is ending.
    Over,
}

impl Guest {
    /// Starts it, and collects what it writes to standard output.
    fn start(mut command: Command) -> Result<Self, QemuError> {
        // A process group of its own: Ctrl-C reaches us, and we end it in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        system::end_with_parent(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(QemuError::Missing)?;
        // A child that writes more than we read waits.
        let (sender, bytes) = sync_channel(WAITING_MAX);
        let mut stdout = child.stdout.take();
        let guest = Self { child, bytes };
        // Ends when QEMU does, because the pipe is then closed.
        std::thread::Builder::new().spawn(move || {
            let mut buffer = vec![0; PIECE_MAX];
            while let Some(count) = stdout.as_mut().and_then(|stdout| stdout.read(&mut buffer).ok()).filter(|&n| n > 0)
            {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        })?;
        Ok(guest)
    }

    /// Waits a while for output.
    pub fn wait(&self, at_most: Duration) -> News {
        match self.bytes.recv_timeout(at_most) {
            Ok(bytes) => News::Bytes(bytes),
            Err(RecvTimeoutError::Timeout) => News::Nothing,
            Err(RecvTimeoutError::Disconnected) => News::Over,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Neither fails for a child that was not waited for. If it is a script, its children end with it.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_hold_a_comma() {
        assert_eq!(chardev_file("a", Path::new("/x,y")), "file,id=a,append=on,path=/x,,y");
    }

    #[test]
    fn counting_is_deterministic_and_kvm_is_the_processor() {
        let machine = |accel| Machine {
            accel,
            cores: 1,
            kernel: Path::new("k"),
            initramfs: Path::new("i"),
            log: Path::new("l"),
            day: 0,
        };
        let text = |accel| format!("{:?}", machine(accel).command());
        assert!(text(Accel::Icount).contains("shift=0,sleep=off") && text(Accel::Icount).contains("-erms,-fsrm"));
        assert!(text(Accel::Kvm).contains("\"kvm\"") && !text(Accel::Kvm).contains("icount"));
        assert!(!text(Accel::Kvm).contains("clocksource=tsc"), "a guest of KVM has a better clock");
    }
}
