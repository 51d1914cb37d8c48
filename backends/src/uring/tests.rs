//! What only this backend has: setups for older kernels, and the ways a multishot receive ends.

use super::*;
use crate::frames::ring::ring as spsc;
use crate::kernel::socket::Socket;

const ADDRESS: (std::net::Ipv4Addr, u16) = (std::net::Ipv4Addr::LOCALHOST, 0);

/// Whether io_uring runs here; says aloud when it does not.
fn available() -> bool {
    match Uring::probe(&Config::new(Kind::URING, 32)) {
        Ok(_) => true,
        Err(error) => {
            let required = std::env::var("HPBENCH_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "uring"), "HPBENCH_REQUIRE=uring, but {error}");
            eprintln!("SKIPPED: {error}");
            false
        }
    }
}

#[test]
fn every_setup_moves_datagrams_and_conserves_frames() {
    if !available() {
        return;
    }
    for setup in Setup::DEFER_OR_NEAREST {
        let pool = Pool::new(1024, 2048).expect("a pool");
        let mut free = pool.frames();
        let (near, far) = Socket::pair(ADDRESS.into()).expect("loopback");
        let config = Config { buffers: 64, ..Config::new(Kind::URING, 16) };
        let mut near =
            Uring::open_as(&[setup], &config, Port::Socket(Arc::new(near)), &pool).expect("this kernel has it");
        assert_eq!(near.in_effect(), setup.to_string());
        let mut far =
            Uring::open_as(&[setup], &config, Port::Socket(Arc::new(far)), &pool).expect("this kernel has it");
        let (mut tx_in, mut tx_out) = spsc(128);
        let (rx_in, mut rx_out) = spsc(1024);
        let mut rx = RxRing::new(rx_in);
        let (mut sent, mut received) = (0_u32, 0_u32);
        for _ in 0..20 {
            // Between the rounds the queue is left alone, as `drain` requires.
            near.quiesce(&mut free, &mut rx).expect("disarmed");
            for _ in 0..100 {
                let mut frame = free.take().expect("enough frames");
                frame.bytes_mut()[..4].copy_from_slice(&sent.to_le_bytes());
                tx_in.push(Packet::datagram(frame, 4)).expect("enough slots");
                sent += 1;
            }
            while far.tx(&mut tx_out, &mut free).expect("sent") > 0 {}
            for _ in 0..1000 {
                near.rx(&mut free, &mut rx).expect("received");
                while let Some(packet) = rx_out.pop() {
                    assert_eq!(packet.bytes(), received.to_le_bytes(), "{setup}");
                    received += 1;
                    free.give(packet.into_frame());
                }
                rx_out.release();
                if received == sent {
                    break;
                }
            }
            assert_eq!(received, sent, "{setup}");
        }
        near.close(&mut free).expect("closed");
        far.close(&mut free).expect("closed");
        assert!(free.is_whole(), "{setup}: {} of {}", free.len(), free.total());
    }
}
