//! The conformance suite (`conformance/suite.rs`) for the backends of this crate: every case runs for every backend.
//!
//! A new backend needs a line for each mode in the list below. For one backend only:
//! `cargo test -p hpbench-backends --test conformance uring::`.

#[macro_use]
#[path = "conformance/suite.rs"]
mod suite;

#[test]
fn every_backend_has_its_suite() {
    for kind in hpbench_backends::Kind::ALL {
        assert!(SUBJECTS.iter().any(|subject| subject.kind == *kind), "no suite for {kind}");
    }
}

suites! {
    hpbench_backends:
    null: null::Null through memory;
    plain: plain::Plain through sockets;
    plain_gso: plain::Plain through sockets as "gso", Connected;
    plain_gro: plain::Plain through sockets as "gro", Connected;
    plain_gso_gro: plain::Plain through sockets as "gso+gro", Connected;
    plain_unconnected: plain::Plain through sockets as "", Unconnected;
    plain_gso_gro_unconnected: plain::Plain through sockets as "gso+gro", Unconnected;
    plain_epoll: plain::Plain through sockets as "epoll", Connected;
    plain_epoll_edge: plain::Plain through sockets as "epoll-edge", Connected;
    plain_scan: plain::Plain through sockets as "scan", Connected;
    plain_epoll_gro_unconnected: plain::Plain through sockets as "gro+epoll", Unconnected;
    mmsg: mmsg::Mmsg through sockets;
    mmsg_gso: mmsg::Mmsg through sockets as "gso", Connected;
    mmsg_gro: mmsg::Mmsg through sockets as "gro", Connected;
    mmsg_gso_gro: mmsg::Mmsg through sockets as "gso+gro", Connected;
    mmsg_unconnected: mmsg::Mmsg through sockets as "", Unconnected;
    mmsg_gso_gro_unconnected: mmsg::Mmsg through sockets as "gso+gro", Unconnected;
    mmsg_epoll: mmsg::Mmsg through sockets as "epoll", Connected;
    mmsg_epoll_edge: mmsg::Mmsg through sockets as "epoll-edge", Connected;
    mmsg_scan: mmsg::Mmsg through sockets as "scan", Connected;
    mmsg_epoll_edge_gso_gro_unconnected: mmsg::Mmsg through sockets as "gso+gro+epoll-edge", Unconnected;
    uring: uring::Uring through sockets;
    uring_multishot_dontwait: uring::Uring through sockets as "multishot-dontwait", Connected;
    uring_recvmsg_multishot: uring::Uring through sockets as "recvmsg-multishot", Connected;
    uring_single: uring::Uring through sockets as "single", Connected;
    uring_single_recvmsg: uring::Uring through sockets as "single-recvmsg", Connected;
    uring_fixed: uring::Uring through sockets as "fixed", Connected;
    uring_poll: uring::Uring through sockets as "poll", Connected;
    uring_poll_sqpoll: uring::Uring through sockets as "poll+sqpoll", Connected;
    uring_poll_gro_unconnected: uring::Uring through sockets as "poll+gro", Unconnected;
    uring_sendmsg: uring::Uring through sockets as "sendmsg", Connected;
    uring_send_zc: uring::Uring through sockets as "send-zc", Connected;
    uring_write_fixed: uring::Uring through sockets as "write-fixed", Connected;
    uring_coop: uring::Uring through sockets as "coop", Connected;
    uring_default_setup: uring::Uring through sockets as "default", Connected;
    uring_sqpoll: uring::Uring through sockets as "sqpoll", Connected;
    uring_single_sqpoll: uring::Uring through sockets as "single+sqpoll", Connected;
    uring_gso: uring::Uring through sockets as "gso", Connected;
    uring_gro: uring::Uring through sockets as "gro", Connected;
    uring_gso_gro: uring::Uring through sockets as "gso+gro", Connected;
    uring_single_gso_gro: uring::Uring through sockets as "single-recvmsg+gso+gro", Connected;
    uring_unconnected: uring::Uring through sockets as "", Unconnected;
    uring_single_unconnected: uring::Uring through sockets as "single-recvmsg", Unconnected;
    uring_gso_gro_unconnected: uring::Uring through sockets as "gso+gro", Unconnected;
    #[cfg(feature = "runtimes")]
    tokio: runtimes::tokio::Tokio through sockets;
    #[cfg(feature = "runtimes")]
    tokio_unconnected: runtimes::tokio::Tokio through sockets as "", Unconnected;
    #[cfg(feature = "runtimes")]
    tokio_mmsg: runtimes::tokio::Tokio through sockets as "mmsg", Connected;
    #[cfg(feature = "runtimes")]
    tokio_mmsg_unconnected: runtimes::tokio::Tokio through sockets as "mmsg", Unconnected;
    #[cfg(feature = "runtimes")]
    tokio_tasks: runtimes::tokio::Tokio through sockets as "tasks", Connected;
    #[cfg(feature = "runtimes")]
    tokio_tasks_unconnected: runtimes::tokio::Tokio through sockets as "tasks", Unconnected;
    #[cfg(feature = "runtimes")]
    tokio_one_task: runtimes::tokio::Tokio through sockets as "one-task", Connected;
    #[cfg(feature = "runtimes")]
    tokio_mmsg_tasks: runtimes::tokio::Tokio through sockets as "mmsg+tasks", Connected;
    #[cfg(feature = "runtimes")]
    tokio_mmsg_tasks_unconnected: runtimes::tokio::Tokio through sockets as "mmsg+tasks", Unconnected;
    #[cfg(feature = "runtimes")]
    tokio_mmsg_one_task: runtimes::tokio::Tokio through sockets as "mmsg+one-task", Connected;
    #[cfg(feature = "runtimes")]
    quinn_udp: runtimes::quinn::Quinn through sockets;
    #[cfg(feature = "runtimes")]
    quinn_udp_unconnected: runtimes::quinn::Quinn through sockets as "", Unconnected;
    #[cfg(feature = "runtimes")]
    quinn_udp_gso: runtimes::quinn::Quinn through sockets as "gso", Connected;
    #[cfg(feature = "runtimes")]
    quinn_udp_gso_unconnected: runtimes::quinn::Quinn through sockets as "gso", Unconnected;
    #[cfg(feature = "runtimes")]
    quinn_udp_tasks: runtimes::quinn::Quinn through sockets as "tasks", Connected;
    #[cfg(feature = "runtimes")]
    quinn_udp_tasks_unconnected: runtimes::quinn::Quinn through sockets as "tasks", Unconnected;
    #[cfg(feature = "runtimes")]
    quinn_udp_one_task: runtimes::quinn::Quinn through sockets as "one-task", Connected;
    #[cfg(feature = "runtimes")]
    smol: runtimes::smol::Smol through sockets;
    #[cfg(feature = "runtimes")]
    smol_unconnected: runtimes::smol::Smol through sockets as "", Unconnected;
    #[cfg(feature = "runtimes")]
    smol_tasks: runtimes::smol::Smol through sockets as "tasks", Connected;
    #[cfg(feature = "runtimes")]
    smol_one_task: runtimes::smol::Smol through sockets as "one-task", Connected;
    #[cfg(feature = "runtimes")]
    compio: runtimes::compio::Compio through sockets;
    #[cfg(feature = "runtimes")]
    compio_unconnected: runtimes::compio::Compio through sockets as "", Unconnected;
    #[cfg(feature = "runtimes")]
    compio_managed: runtimes::compio::Compio through sockets as "managed", Connected;
    #[cfg(feature = "runtimes")]
    compio_managed_unconnected: runtimes::compio::Compio through sockets as "managed", Unconnected;
    #[cfg(feature = "runtimes")]
    compio_multi: runtimes::compio::Compio through sockets as "multi", Connected;
    #[cfg(feature = "runtimes")]
    compio_multi_unconnected: runtimes::compio::Compio through sockets as "multi", Unconnected;
    #[cfg(feature = "runtimes")]
    compio_defer: runtimes::compio::Compio through sockets as "defer", Connected;
    #[cfg(feature = "runtimes")]
    compio_multi_defer: runtimes::compio::Compio through sockets as "multi+defer", Connected;
    #[cfg(feature = "runtimes")]
    compio_tasks: runtimes::compio::Compio through sockets as "tasks", Connected;
    #[cfg(feature = "runtimes")]
    compio_one_task: runtimes::compio::Compio through sockets as "one-task", Connected;
    #[cfg(feature = "runtimes")]
    monoio: runtimes::monoio::Monoio through sockets;
    #[cfg(feature = "runtimes")]
    monoio_unconnected: runtimes::monoio::Monoio through sockets as "", Unconnected;
    #[cfg(feature = "runtimes")]
    monoio_copy: runtimes::monoio::Monoio through sockets as "copy", Connected;
    #[cfg(feature = "runtimes")]
    monoio_copy_unconnected: runtimes::monoio::Monoio through sockets as "copy", Unconnected;
    #[cfg(feature = "runtimes")]
    monoio_tasks: runtimes::monoio::Monoio through sockets as "tasks", Connected;
    #[cfg(feature = "runtimes")]
    monoio_tasks_unconnected: runtimes::monoio::Monoio through sockets as "tasks", Unconnected;
    #[cfg(feature = "runtimes")]
    monoio_one_task: runtimes::monoio::Monoio through sockets as "one-task", Connected;
}
