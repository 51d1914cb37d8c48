//! How a ring is set up: the flags, which of them this kernel accepts, and what a refusal means.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use io_uring::IoUring;

use crate::backend::{Config, OpenError};
use crate::uring::modes;

/// How completions reach the queue, with flags that cost nothing if the kernel knows them.
///
/// Releases: SUBMIT_ALL 5.18; COOP_TASKRUN and TASKRUN_FLAG 5.19; SINGLE_ISSUER 6.0;
/// DEFER_TASKRUN 6.1; NO_SQARRAY 6.6. An unknown flag makes `io_uring_setup` fail with EINVAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) single_issuer: bool,
    pub(super) defer_taskrun: bool,
    pub(super) coop_taskrun: bool,
    pub(super) taskrun_flag: bool,
    pub(super) submit_all: bool,
    pub(super) no_sqarray: bool,
    pub(super) sqpoll: bool,
    /// The core of the thread that polls the submission queue.
    pub(super) core: Option<u32>,
}

/// How long, in milliseconds, the kernel thread polls for requests before it sleeps: longer than any pause of a
/// trial.
const SQPOLL_IDLE_MS: u32 = 2000;

impl Setup {
    /// From the newest kernel to the oldest: work is deferred to our own calls if the kernel can do that
    /// (6.1), else at least done without interrupting us (5.19), else left to its default. Only the
    /// requests themselves decide whether the variant as such runs here.
    pub(super) const DEFER_OR_NEAREST: [Self; 5] = [
        Self { no_sqarray: true, ..Self::DEFER },
        Self::DEFER,
        Self { single_issuer: true, ..Self::COOP },
        Self::COOP,
        Self::PLAIN,
    ];

    const DEFER: Self =
        Self { single_issuer: true, defer_taskrun: true, taskrun_flag: true, submit_all: true, ..Self::PLAIN };

    const COOP: Self = Self { coop_taskrun: true, taskrun_flag: true, submit_all: true, ..Self::PLAIN };

    pub(super) const PLAIN: Self = Self {
        single_issuer: false,
        defer_taskrun: false,
        coop_taskrun: false,
        taskrun_flag: false,
        submit_all: false,
        no_sqarray: false,
        sqpoll: false,
        core: None,
    };

    /// What to try, best first, for the setup of `config`. Within one mode, only flags that do not affect where and
    /// when completions are made are given up.
    pub(super) fn choices(config: &Config) -> Vec<Self> {
        let sqpoll = Self { sqpoll: true, core: config.kernel_core.map(|core| core as u32), ..Self::PLAIN };
        match config.variant {
            variant if variant.has(modes::COOP) => vec![
                Self { single_issuer: true, no_sqarray: true, ..Self::COOP },
                Self { single_issuer: true, ..Self::COOP },
                Self::COOP,
            ],
            variant if variant.has(modes::DEFAULT) => vec![
                Self { submit_all: true, no_sqarray: true, ..Self::PLAIN },
                Self { submit_all: true, ..Self::PLAIN },
                Self::PLAIN,
            ],
            variant if variant.has(modes::SQPOLL) => vec![
                Self { single_issuer: true, submit_all: true, no_sqarray: true, ..sqpoll },
                Self { single_issuer: true, submit_all: true, ..sqpoll },
                Self { submit_all: true, ..sqpoll },
                sqpoll,
            ],
            _ => Self::DEFER_OR_NEAREST.to_vec(),
        }
    }

    /// Whether this kernel has an io_uring without the flags with which we set up every ring.
    pub(super) fn is_clamp_unknown() -> bool {
        Self::PLAIN.build(1, 2, None).is_err() && IoUring::new(1).is_ok()
    }

    /// Creates a ring; its kernel thread, if it has one, is that of the ring `beside` it.
    pub(super) fn build(self, sq: u32, cq: u32, beside: Option<RawFd>) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(cq).setup_clamp();
        if self.single_issuer {
            builder.setup_single_issuer();
        }
        if self.defer_taskrun {
            builder.setup_defer_taskrun();
        }
        if self.coop_taskrun {
            builder.setup_coop_taskrun();
        }
        if self.taskrun_flag {
            builder.setup_taskrun_flag();
        }
        if self.submit_all {
            builder.setup_submit_all();
        }
        if self.no_sqarray {
            builder.setup_no_sqarray();
        }
        if self.sqpoll {
            builder.setup_sqpoll(SQPOLL_IDLE_MS);
            if let Some(core) = self.core {
                builder.setup_sqpoll_cpu(core);
            }
            if let Some(beside) = beside {
                builder.setup_attach_wq(beside);
            }
        }
        builder.build(sq)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.single_issuer, "SINGLE_ISSUER"),
            (self.defer_taskrun, "DEFER_TASKRUN"),
            (self.coop_taskrun, "COOP_TASKRUN"),
            (self.taskrun_flag, "TASKRUN_FLAG"),
            (self.submit_all, "SUBMIT_ALL"),
            (true, "CQSIZE"),
            (true, "CLAMP"),
            (self.no_sqarray, "NO_SQARRAY"),
            (self.sqpoll, "SQPOLL"),
            (self.sqpoll && self.core.is_some(), "SQ_AFF"),
        ];
        let set: Vec<&str> = names.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        f.write_str(&set.join("|"))
    }
}

/// Says what a refused `io_uring_setup` means.
pub(super) fn explain(error: io::Error, setup: Setup) -> OpenError {
    let is_denied = error.raw_os_error() == Some(libc::EPERM);
    if is_denied && setup.sqpoll && Setup::PLAIN.build(1, 1, None).is_ok() {
        return OpenError::Refused {
            what: "SQPOLL",
            error,
            remedy: "Linux 5.13 and later permit it to everybody; older kernels need CAP_SYS_NICE",
        };
    }
    OpenError::of_setup("io_uring_setup", error)
}
