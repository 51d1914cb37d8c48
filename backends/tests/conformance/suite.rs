//! The contract of [`hpbench_backends::Backend`] in executable form, for backends of any crate.
//!
//! A test that names the backends is all that a crate needs, see `backends/tests/conformance.rs`, and `backends/example` for a crate of its
//! own. The module has to be `suite`, at the root of the test. One that cannot run here says `SKIPPED`
//! and why; if the environment variable `HPBENCH_REQUIRE` (a list, e.g. `uring,gso,ipv6`) names what is
//! missing, that is a failure.
//!
//! The backend under test is the near end of a link; the far end is another instance, of a simple backend,
//! or a socket of `std`. All traffic stays on loopback, in `AF_UNIX` or in memory.

pub(crate) mod delivery;
pub(crate) mod errors;
pub(crate) mod frames;
pub(crate) mod harness;
pub(crate) mod lifecycle;
pub(crate) mod many;
pub(crate) mod queues;
pub(crate) mod sockets;
pub(crate) mod traffic;
pub(crate) mod waiting;

/// One test per case: `case in module`, run by `runner` with the backend of the enclosing module.
macro_rules! tests {
    ($runner:ident: $($case:ident in $module:ident),+ $(,)?) => {
        $(#[test] fn $case() { crate::suite::harness::$runner(SUBJECT, crate::suite::$module::$case); })+
    };
}

/// The suite for one backend. `through memory` leaves out the cases about sockets: a backend without a
/// socket has no kernel queue, no unrelated senders, no errors and no address.
macro_rules! suite {
    ($name:ident: $($path:ident)::+ through memory) => {
        mod $name {
            pub(super) const SUBJECT: crate::suite::harness::Subject = crate::suite::harness::subject!($($path)::+, Memory);
            suite!(@any);
        }
    };
    ($name:ident: $($path:ident)::+ through sockets) => {
        suite!($name: $($path)::+ through sockets as "", Connected);
    };
    ($name:ident: $($path:ident)::+ through sockets as $modes:literal, $addressing:ident) => {
        mod $name {
            pub(super) const SUBJECT: crate::suite::harness::Subject =
                crate::suite::harness::subject!($($path)::+, Sockets, $modes, $addressing);
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

/// One suite per backend and mode of a crate, and the check that no mode is forgotten.
macro_rules! suites {
    ($root:ident: $(
        $(#[$built:meta])*
        $name:ident: $($path:ident)::+ through $medium:ident $(as $modes:literal, $addressing:ident)?;
    )+) => {
        $($(#[$built])* suite!($name: $root::$($path)::+ through $medium $(as $modes, $addressing)?);)+

        /// All of them.
        const SUBJECTS: &[crate::suite::harness::Subject] = &[$($(#[$built])* $name::SUBJECT),+];

        #[test]
        fn every_mode_has_its_suite() {
            let tested: Vec<_> = SUBJECTS.iter().map(|subject| subject.variant()).collect();
            for kind in SUBJECTS.iter().map(|subject| subject.kind) {
                for choice in hpbench_backends::Choice::alternatives(kind) {
                    let variant = choice.resolve(hpbench_backends::Addressing::Connected).expect("it goes together");
                    assert!(tested.contains(&variant), "no suite for {kind}:{variant}");
                }
            }
        }
    };
}
