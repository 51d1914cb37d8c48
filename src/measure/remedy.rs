//! What to do about an error of a socket call: the kernel names the cause, and this the remedy.

use std::io;

use rustix::io::Errno;

/// A remedy, to append to the kernel's words; empty if there is none.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => {
            "; the kernel lacks this call, or a seccomp filter hides it (Docker: `--security-opt seccomp=unconfined`); use \
             another --backend or --scenario"
        }
        Some(Errno::PERM) => {
            "; a firewall (`nft list ruleset`, `iptables -S`) or a seccomp filter refuses it: let datagrams to oneself pass"
        }
        Some(Errno::ACCESS) => {
            "; is this a broadcast address? --bind takes the address of one machine, see `ip address`"
        }
        Some(Errno::MSGSIZE) => {
            "; use a smaller --payload, or raise the interface's MTU (`ip link set dev lo mtu 65536`)"
        }
        Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::HOSTUNREACH) => {
            "; bring the interface up (`ip link set lo up`), see `ip address` and `ip route`"
        }
        Some(Errno::MFILE) => "; raise the limit of open files (`ulimit -n`)",
        Some(Errno::NFILE) => "; raise the system's limit of open files (`sysctl fs.file-max`)",
        Some(Errno::NOMEM | Errno::NOBUFS) => "; the system or its cgroup has no memory left for sockets",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_a_user_can_cure_have_a_remedy() {
        let of = |errno: Errno| remedy(&errno.into());
        assert!(of(Errno::NOSYS).contains("seccomp") && of(Errno::MFILE).contains("ulimit -n"));
        assert!(of(Errno::NETUNREACH).contains("lo up") && of(Errno::MSGSIZE).contains("MTU"));
        assert_eq!(of(Errno::BADF), "", "a bug, which no user can cure");
        assert_eq!(remedy(&io::Error::other("the wire burns")), "");
    }
}
