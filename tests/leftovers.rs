//! Datagrams of an earlier trial in a socket's queue.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hpbench::measure::driver::{self, Lane};
use hpbench::traffic::app::{Sink, Source};
use hpbench::traffic::ledger::Tally;
use hpbench::traffic::wire::{Tag, Verify, Wire};
use hpbench_backends::plain::Plain;
use hpbench_backends::{Config, Kind, Offer, Pool, Port, Socket};

const PAYLOAD: usize = 64;

/// Sends `count` datagrams of a trial with the tag of `number`, numbered from 0.
fn send(socket: &Arc<Socket>, number: u32, verify: Verify, count: usize) {
    let mut source = Source::new(0, PAYLOAD, Wire { tag: Tag::new(number), verify });
    let mut offer = Offer::new(Arc::clone(socket), PAYLOAD, false).expect("no GSO is asked for");
    assert_eq!(offer.send(count, |datagram| source.write(datagram)).expect("loopback takes them"), count);
}

#[test]
fn datagrams_of_an_earlier_trial_are_foreign_and_not_received() {
    for verify in [Verify::Header, Verify::Full] {
        let (near, far) = Socket::pair((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        let (near, far) = (Arc::new(near), Arc::new(far));
        let pool = Pool::new(64, 2048).expect("a pool");
        let mut free = pool.frames();
        // The same numbers, so that only the tag distinguishes them.
        send(&far, 1, verify, 20);
        send(&far, 2, verify, 30);
        send(&far, 1, verify, 5);
        let config = Config::new(Kind::PLAIN, 8);
        let mut lane = Lane::<Plain<'_>>::open(&config, Port::Socket(near), &pool, 64).expect("it opens");
        let mut sink = Sink::new(1, Wire { tag: Tag::new(2), verify });
        let came = driver::receive(&mut lane, &mut sink, &mut free, 55).expect("they are there");
        lane.close(&mut free).expect("it closes");
        let expected = Tally { received: 30, foreign: 25, ..Tally::default() };
        assert_eq!((came, sink.arrivals.tally()), (55, expected), "{verify:?}");
        assert!(free.is_whole());
    }
}
