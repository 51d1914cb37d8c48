//! Whether datagrams reach a peer on another host in one piece.

use std::io;

use hpbench_backends::Socket;

/// Why datagrams are not sent to a peer.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The path fragments them.
    #[error(
        "a payload of {payload} bytes and its headers are larger than the MTU of {mtu} on the path through {interface}, and \
         one lost fragment loses the whole datagram; use --payload {} or less, or raise the MTU on both hosts and between \
         them (`ip link set dev {interface} mtu {}`)", mtu.saturating_sub(*headers), payload + headers
    )]
    Fragmented {
        /// UDP payload in bytes.
        payload: usize,
        /// The path's.
        mtu: usize,
        /// Bytes of the headers before a payload.
        headers: usize,
        /// The interface by which they leave.
        interface: String,
    },
    /// There is none, or the kernel does not report it.
    #[error("the path to the peer is unknown: {0}; see `ip route`")]
    Unknown(#[from] io::Error),
}

/// Whether datagrams of `payload` bytes reach the peer of `socket`, which is connected, in one piece. On the same machine
/// they may be fragmented: nothing is lost there. Between machines one lost fragment loses the datagram, so that more is
/// lost than the network loses, and each fragment costs as much as a datagram.
///
/// # Errors
///
/// [`PathError::Fragmented`] if they do not, with the largest payload that does.
pub fn check_whole(payload: usize, socket: &Socket) -> Result<(), PathError> {
    if socket.sends_whole(payload) {
        return Ok(());
    }
    let path = socket.path()?;
    if path.is_local {
        return Ok(());
    }
    let (headers, interface) = (socket.header_bytes()?, path.interface);
    let mtu = socket.path_mtu().unwrap_or(headers);
    Err(PathError::Fragmented { payload, mtu, headers, interface })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn on_one_machine_any_payload_may_be_sent() {
        let (near, far) = Socket::half_connected_pair((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        for payload in [32, 1472, 65_507, 1 << 20] {
            assert!(check_whole(payload, &far).is_ok(), "{payload}");
        }
        assert!(check_whole(32, &near).is_ok(), "without a peer there is no MTU");
    }
}
