//! QEMU: which one there is, how it is started, and that it never outlives us.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use hpbench_backends::kernel::system;

use super::accel::Accel;

/// The program.
const QEMU: &str = "qemu-system-x86_64";

/// Memory of a guest, in MiB. More takes longer to initialise.
const MEMORY_MIB: usize = 512;

/// What every kernel is told. Addresses that are always the same make counts that are always the same, so nothing is
/// placed at random. The clock is the processor's, which counts instructions under `icount`; a kernel may not
/// distrust it. A panic reboots, which QEMU was told to take for an end.
const KERNEL_OPTIONS: &str =
    "console=ttyS0 panic=-1 oops=panic nokaslr norandmaps random.trust_cpu=off nowatchdog rdinit=/init";

/// What an emulated one is told besides.
const EMULATED_OPTIONS: &str = "tsc=reliable clocksource=tsc no_timer_check";

/// The same with one core. Its timer is the older one, which only one core can have: to find out how fast the newer one
/// runs, a kernel spins for 0.1 s, which takes the emulator longer than all the rest of the start.
const EMULATED_ONE_CORE: &str = "tsc=reliable clocksource=tsc nolapic_timer no_timer_check";

/// Why QEMU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is not there.
    #[error("{QEMU} does not run here ({0}); the lab needs QEMU, e.g. `apt-get install qemu-system-x86`")]
    Missing(std::io::Error),
    /// It does not say its version.
    #[error("`{QEMU} --version` says nothing that can be understood: {0:?}")]
    Version(String),
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
    let output = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output().map_err(QemuError::Missing)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let found = words.iter().skip_while(|&&word| word != "version").nth(1).map(|&word| word.to_owned());
    found.ok_or(QemuError::Version(text))
}

/// What is booted.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// How it is run.
    pub accel: Accel,
    /// How many cores it has: one where instructions are counted.
    pub cores: usize,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The archive with the guest's files.
    pub initramfs: &'a Path,
    /// Where the console goes, and what QEMU itself has to say.
    pub log: &'a Path,
    /// The date under `icount`: days after one that is always the same.
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
            // Instructions that repeat are counted per repetition, so that the clearing of pages would swamp the
            // rest; random numbers of the processor, and the host's date, would differ from boot to boot; tables of
            // five levels only make boots slower.
            Accel::Icount => command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]).args([
                "-cpu",
                "max,-erms,-fsrm,-rdrand,-rdseed,-la57",
                "-rtc",
                &format!("base=2025-01-{:02}T00:00:00,clock=vm", 1 + self.day % 28),
            ]),
            // QEMU 7.2 with several cores was seen to come back from a CMPXCHG16B of 6.12's allocator with an address in
            // the flags, which the kernel did not survive. A processor without it makes the kernel do without.
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
        // A process group of its own: Ctrl-C reaches us, and we end it in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        system::end_with_parent(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut child = command.spawn().map_err(QemuError::Missing)?;
        let (sender, bytes) = channel();
        let mut stdout = child.stdout.take();
        // Ends when QEMU does, for then the pipe has no other end.
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Some(count) = stdout.as_mut().and_then(|stdout| stdout.read(&mut buffer).ok()).filter(|&n| n > 0)
            {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Guest { child, bytes })
    }
}

/// A character device that writes to a file. QEMU takes a comma for the end of a value unless there are two.
fn chardev_file(id: &str, path: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut value = format!("file,id={id},append=on,path=").into_bytes();
    for &byte in path.as_os_str().as_bytes() {
        value.extend(if byte == b',' { &b",,"[..] } else { std::slice::from_ref(&byte) });
    }
    std::ffi::OsString::from_vec(value)
}

/// A guest that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    bytes: Receiver<Vec<u8>>,
}

/// What came of waiting for a guest.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Bytes over the second serial port.
    Bytes(Vec<u8>),
    /// Nothing so far.
    Nothing,
    /// QEMU has closed the port: it ends.
    Over,
}

impl Guest {
    /// Waits a while for something to come.
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
        // Neither fails for a child that was not waited for.
        let _ = self.child.kill();
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
