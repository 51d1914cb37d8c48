//! The request that a multishot receive keeps armed, and where the payload is in its buffers.

use io_uring::{opcode, squeue, types};

use crate::backend::Config;
use crate::message::Layout;
use crate::uring::modes;

/// The buffer group; there is one per ring.
pub(super) const GROUP: u16 = 0;

/// The armed request.
#[derive(Debug)]
pub(super) enum Request {
    /// RECV: the payload, at the start of the buffer.
    Recv,
    /// RECV with `MSG_DONTWAIT`: ends with EAGAIN as soon as the queue is empty.
    RecvDontwait,
    /// RECVMSG: a header, the address, control messages and the payload. The kernel may read the template for as
    /// long as the request is armed.
    Recvmsg(Layout, Template),
}

/// Where the payload is in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// From `offset` on, which is within the buffer, if it is one datagram of at most `longest` bytes: those fit after
    /// it. For a longer one, the header says whether it was cut.
    At { offset: usize, longest: usize },
    /// Where the header says.
    Told(Layout),
}

/// The lengths that a RECVMSG requests.
pub(super) struct Template(Box<libc::msghdr>);

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.0.msg_namelen).finish()
    }
}

// SAFETY: the template's pointers are null.
unsafe impl Send for Template {}

impl Request {
    pub(super) fn new(config: &Config) -> Self {
        if config.variant.has(modes::RECVMSG_MULTISHOT) {
            let layout = Layout::new(config);
            // SAFETY: a header of zeroes is valid.
            let mut template: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
            template.msg_namelen = layout.name as libc::socklen_t;
            template.msg_controllen = layout.control;
            return Self::Recvmsg(layout, Template(template));
        }
        if config.variant.has(modes::MULTISHOT_DONTWAIT) { Self::RecvDontwait } else { Self::Recv }
    }

    /// How a buffer of `size` bytes is read.
    pub(super) fn place(&self, size: usize) -> Place {
        match self {
            Self::Recv | Self::RecvDontwait => Place::At { offset: 0, longest: size },
            // A datagram that does not fill its buffer was not cut.
            Self::Recvmsg(layout, _) if layout.control == 0 => {
                let offset = layout.payload_at();
                Place::At { offset, longest: size.saturating_sub(offset + 1) }
            }
            Self::Recvmsg(layout, _) => Place::Told(*layout),
        }
    }

    /// The length stays 0 (before 6.17 anything else is refused): the buffers have their own. MSG_TRUNC makes the
    /// kernel report the real length of a datagram that does not fit.
    pub(super) fn build(&self, socket: u16) -> squeue::Entry {
        let (socket, flags) = (types::Fixed(socket.into()), libc::MSG_TRUNC);
        match self {
            Self::Recv => opcode::RecvMulti::new(socket, GROUP).flags(flags).build(),
            Self::RecvDontwait => opcode::RecvMulti::new(socket, GROUP).flags(flags | libc::MSG_DONTWAIT).build(),
            Self::Recvmsg(_, template) => {
                opcode::RecvMsgMulti::new(socket, &raw const *template.0, GROUP).flags(flags as u32).build()
            }
        }
    }

    /// Never frees what the kernel may still read.
    pub(super) fn leak(self) {
        if let Self::Recvmsg(_, Template(template)) = self {
            Box::leak(template);
        }
    }
}
