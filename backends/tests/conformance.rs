//! The contract of [`hpbench_backends::Backend`] in executable form: every case runs for every backend.
//!
//! A new backend needs a line in the list at the end of this file. One that cannot run here says `SKIPPED`
//! and why; if the environment variable `HPBENCH_REQUIRE` (a list, e.g. `uring,gso,ipv6`) names what is
//! missing, that is a failure. For one backend only:
//! `cargo test -p hpbench-backends --test conformance uring::`.
//!
//! The backend under test is the near end of a link; the far end is another instance, of a simple backend,
//! or a socket of `std`. All traffic stays on loopback, in `AF_UNIX` or in memory.

#[path = "conformance/delivery.rs"]
mod delivery;
#[path = "conformance/errors.rs"]
mod errors;
#[path = "conformance/frames.rs"]
mod frames;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "conformance/lifecycle.rs"]
mod lifecycle;
#[path = "conformance/many.rs"]
mod many;
#[path = "conformance/queues.rs"]
mod queues;
#[path = "conformance/sockets.rs"]
mod sockets;
#[path = "conformance/traffic.rs"]
mod traffic;
#[path = "conformance/waiting.rs"]
mod waiting;

/// One test per case: `case in module`, run by `runner` with the backend of the enclosing module.
macro_rules! tests {
    ($runner:ident: $($case:ident in $module:ident),+ $(,)?) => {
        $(#[test] fn $case() { crate::harness::$runner(SUBJECT, crate::$module::$case); })+
    };
}

/// The suite for one backend. `through memory` leaves out the cases about sockets: a backend without a
/// socket has no kernel queue, no unrelated senders, no errors and no address.
macro_rules! suite {
    ($name:ident: $module:ident $(::$path:ident)+ through memory) => {
        mod $name {
            pub(super) const SUBJECT: crate::harness::Subject = crate::harness::subject!($module $(::$path)+, Memory);
            suite!(@any);
        }
    };
    ($name:ident: $module:ident $(::$path:ident)+ through sockets) => {
        suite!($name: $module $(::$path)+ through sockets as "", Connected);
    };
    ($name:ident: $module:ident $(::$path:ident)+ through sockets as $modes:literal, $addressing:ident) => {
        mod $name {
            pub(super) const SUBJECT: crate::harness::Subject =
                crate::harness::subject!($module $(::$path)+, Sockets, $modes, $addressing);
            suite!(@any);
            suite!(@sockets);
        }
    };
    (@any) => {
        tests! { run:
            short_datagrams_arrive_once_in_order_intact in delivery,
            long_datagrams_arrive_once_in_order_intact in delivery,
            empty_datagrams_are_datagrams in delivery,
            echoed_frames_travel_both_ways in delivery,
            datagrams_arrive_after_a_pause in delivery,
            a_full_rx_ring_is_a_counted_drop in queues,
            a_full_send_queue_keeps_the_rest_in_order in queues,
            a_send_of_nothing_is_nothing in queues,
            without_free_frames_reception_pauses in frames,
            frames_come_home_after_close in frames,
            signals_lose_nothing in errors,
            the_wrong_port_is_refused in lifecycle,
            what_did_not_happen_is_not_counted in lifecycle,
        }
        tests! { run_alone:
            opening_and_closing_leaks_nothing in lifecycle,
        }
    };
    (@sockets) => {
        tests! { run:
            short_datagrams_arrive_over_ipv6 in delivery,
            long_datagrams_arrive_over_ipv6 in delivery,
            copies_are_sent_of_one_frame in delivery,
            trains_arrive_as_datagrams in delivery,
            trains_cut_by_the_kernel_arrive_as_datagrams in delivery,
            trains_with_a_shorter_end_travel_both_ways in delivery,
            longer_datagrams_are_cut_and_counted in sockets,
            strangers_are_delivered_to_an_unconnected_socket in sockets,
            strangers_never_reach_a_connected_socket in sockets,
            answers_find_the_sender in sockets,
            calls_are_counted in sockets,
            a_receiver_at_rest_leaves_the_queue_alone in sockets,
            an_overrun_queue_accounts_for_every_datagram in queues,
            a_queue_that_the_peer_empties_keeps_its_order in queues,
            few_free_frames_bound_reception in frames,
            few_buffers_suffice in frames,
            every_frame_is_of_use in frames,
            empty_datagrams_wait_for_frames in frames,
            a_closed_peer_is_a_passing_error in errors,
            a_refused_send_keeps_its_place in errors,
            a_send_that_cannot_be_made_is_an_error in errors,
            a_receive_that_cannot_be_made_is_an_error in errors,
            an_error_in_waiting_keeps_no_frame in errors,
            a_closed_port_is_free_at_once in lifecycle,
            a_wait_ends_with_a_datagram in waiting,
            a_wait_for_nothing_ends_in_time_and_uses_no_core in waiting,
            a_wait_brings_all_that_came_in_order in waiting,
            a_wait_for_many_ends_after_its_time_with_what_is_there in waiting,
            datagrams_arrive_on_their_socket_in_order in many,
            no_socket_starves_while_another_floods in many,
            more_sockets_than_buffers_suffice in many,
            frames_of_many_sockets_come_home in many,
            many_sockets_go_on_after_a_pause in many,
            answers_go_out_of_their_socket in many,
            an_error_of_one_socket_stops_no_other in many,
            empty_datagrams_know_their_socket in many,
            empty_datagrams_of_many_sockets_are_accounted_for in many,
            a_wait_ends_with_a_datagram_of_any_socket in many,
            an_empty_socket_keeps_no_other_waiting in many,
        }
        tests! { run_alone:
            refused_sizes_leave_nothing_behind in lifecycle,
            closing_under_fire_brings_all_frames_home in lifecycle,
        }
    };
}

/// One suite per backend and mode, and the check that none is forgotten.
macro_rules! suites {
    ($(
        $(#[$built:meta])*
        $name:ident: $module:ident $(::$path:ident)+ through $medium:ident $(as $modes:literal, $addressing:ident)?;
    )+) => {
        $($(#[$built])* suite!($name: $module $(::$path)+ through $medium $(as $modes, $addressing)?);)+

        #[test]
        fn every_backend_and_every_mode_has_its_suite() {
            let subjects = [$($(#[$built])* $name::SUBJECT),+];
            let tested: Vec<_> = subjects.iter().map(|subject| subject.variant()).collect();
            for &kind in hpbench_backends::Kind::ALL {
                for choice in hpbench_backends::Choice::alternatives(kind) {
                    let variant = choice.resolve(hpbench_backends::Addressing::Connected).expect("it goes together");
                    assert!(tested.contains(&variant), "no suite for {kind}:{variant}");
                }
            }
        }
    };
}

suites! {
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
