//! What the harness adds to the system calls: `drain` beside a bare loop of the same calls.
//!
//! Both sides have the same fill, round, batch, receive buffer and number of frames, each has its own sockets, and they
//! take turns round by round on one pinned thread. The bench prints medians over rounds, and the median of the ratios
//! of neighbouring rounds, which a change of the machine's speed does not disturb. It gates nothing.
//! `cargo bench --bench harness_cost` runs all rows; `… -- uring` runs those whose name begins with `uring`, and
//! `… -- 1` those of batch 1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hpbench::measure::driver::Lane;
use hpbench::measure::near::Near;
use hpbench::measure::order::Order;
use hpbench::measure::peer::filler::Filler;
use hpbench::measure::scenario::drain::{self, Drain, Load};
use hpbench::measure::scenario::rounds::{Exchange, Queue};
use hpbench::measure::targets::Targets;
use hpbench::plan::cells::{Scenario, Until};
use hpbench::plan::cores::{self, Cores, Wanted};
use hpbench::plan::spread::{Skew, Spread};
use hpbench::stats::Summary;
use hpbench::traffic::app::Sink;
use hpbench::traffic::ledger::Arrivals;
use hpbench::traffic::wire::{self, Tag, Verify, Wire};
#[cfg(feature = "runtimes")]
use hpbench_backends::bare::BareTokio;
use hpbench_backends::bare::{
    BareEpollMmsg, BareLoop, BareMany, BareMmsg, BarePlain, BarePlainOneBuffer, BareRecvmsgMultishot, BareSingles,
    BareTrains, BareTrainsMmsg, BareUring,
};
use hpbench_backends::mmsg::Mmsg;
use hpbench_backends::null::Null;
use hpbench_backends::plain::Plain;
#[cfg(feature = "runtimes")]
use hpbench_backends::runtimes::tokio::Tokio;
use hpbench_backends::uring::Uring;
use hpbench_backends::{
    Addressing, AsyncBackend, Choice, Config, FreeList, Kind, MemoryPort, Mode, Pool, Port, Socket, Variant,
};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ROUND: usize = 1024;
/// At batch 1, every instruction of the harness stands between two system calls.
const BATCHES: [usize; 2] = [1, 32];
/// Slots of each ring: hpbench's default.
const SLOTS: usize = 1024;
const PAYLOAD: usize = 64;
/// Sockets of the rows with many.
const SOCKETS: usize = 1000;
const BUFFER: usize = 16 << 20;

fn main() -> Result<()> {
    let quick = std::env::args().any(|arg| arg == "--test");
    let time = if quick { Duration::from_millis(20) } else { Duration::from_secs(4) };
    cores::pin(Cores::choose(Wanted::default())?.places[0].worker)?;
    let pool = Pool::new(4096, 2048)?;
    let mut free = pool.frames();
    println!("drain of {ROUND} datagrams of {PAYLOAD} bytes: ns per datagram, medians over rounds");
    println!("{:<24}{:>6}{:>8}{:>10}{:>8}{:>8}", "", "batch", "bare", "harness", "ratio", "rounds");
    // Frames for trains come from a pool of their own, as in hpbench.
    let train_pool = Pool::new(1024, variant(Kind::MMSG, "gro", 32).frame_size(PAYLOAD))?;
    let mut train_free = train_pool.frames();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for batch in BATCHES {
        let mut bench = Bench { pool: &pool, free: &mut free, time, batch, wanted: &wanted };
        bench.compare::<Plain<'_>, BarePlain>("plain", "", BareLoop::receive)?;
        bench.compare::<Mmsg<'_>, BareMmsg>("mmsg", "", BareLoop::receive)?;
        let uring = bench.compare::<Uring<'_>, BareUring>("uring", "", BareLoop::receive);
        if let Err(error) = &uring {
            println!("uring   SKIPPED: {error:#}");
        } else {
            bench.compare::<Uring<'_>, BareSingles>("uring", "single", BareLoop::receive)?;
            bench.compare::<Uring<'_>, BareRecvmsgMultishot<false>>("uring", "recvmsg-multishot", BareLoop::receive)?;
        }
        bench.compare_many::<Mmsg<'_>, BareEpollMmsg>("mmsg:epoll", SOCKETS)?;
        if uring.is_ok() {
            bench.compare_many::<Uring<'_>, BareUring>("uring", SOCKETS)?;
        }
        #[cfg(feature = "runtimes")]
        bench.compare::<Tokio<'_>, BareTokio>("tokio", "", BareLoop::receive)?;
        bench.compare::<Plain<'_>, BarePlainOneBuffer>("plain", "*", BareLoop::receive)?;
        let mut trains = Bench { pool: &train_pool, free: &mut train_free, time, batch, wanted: &wanted };
        let checked = |bare: &mut BareTrainsMmsg, count| bare.receive_checked(count, check);
        trains.compare::<Mmsg<'_>, _>("mmsg", "gro", checked)?;
        if uring.is_ok() {
            let checked = |bare: &mut BareRecvmsgMultishot<true>, count| bare.receive_checked(count, check);
            trains.compare::<Uring<'_>, _>("uring", "gro", checked)?;
        }
        if is_wanted(&wanted, "null", batch) {
            null(&pool, &mut free, time, batch)?;
        }
    }
    println!(
        "* The bare loop receives into one buffer again and again; the others receive into as many as the harness \
         holds.\n\
         With gro, the bare loop checks the header of each datagram, too."
    );
    anyhow::ensure!(free.is_whole() && train_free.is_whole(), "frames were not returned to the pool");
    Ok(())
}

/// Two connected sockets; the second one has a filler for the first one's queue.
fn filled_socket<'p>() -> Result<(Arc<Socket>, Filler<'p>)> {
    let (near, far) = Socket::pair(SocketAddr::new(ADDRESS, 0))?;
    near.set_buffers(BUFFER, BUFFER)?;
    far.set_buffers(BUFFER, BUFFER)?;
    let gso = hpbench_backends::kernel::socket::probe_gso(ADDRESS).is_ok();
    Ok((Arc::new(near), Filler::socket(&order(gso), &Arc::new(far))?))
}

/// The header check of the harness, for bare loops that look at what they receive.
fn check(datagram: &[u8]) {
    let _ = std::hint::black_box(wire::read(datagram, wire()));
}

/// The order for the fillers.
fn order(gso: bool) -> Order {
    Order {
        scenario: Scenario::Drain,
        wire: wire(),
        flow: 0,
        payload: PAYLOAD,
        gso,
        rate_pps: 1,
        burst: 1,
        fanout: 1,
        window: 1,
        warmup: Duration::ZERO,
        until: Until::Datagrams(1),
        core: None,
        fifo: None,
    }
}

fn wire() -> Wire {
    Wire { tag: Tag::new(1), verify: Verify::Header }
}

fn variant(kind: Kind, modes: &str, batch: usize) -> Config {
    Config::of(Variant::parse(kind, modes).expect("known modes"), batch)
}

/// Whether the command line asks for a row: by the beginning of its name, or by its batch. No words ask for all.
fn is_wanted(wanted: &[String], name: &str, batch: usize) -> bool {
    let (batches, names): (Vec<&String>, Vec<&String>) = wanted.iter().partition(|word| word.parse::<usize>().is_ok());
    let has_batch = batches.is_empty() || batches.iter().any(|word| word.parse() == Ok(batch));
    has_batch && (names.is_empty() || names.iter().any(|word| name.starts_with(word.as_str())))
}

/// What all comparisons have in common.
struct Bench<'b, 'p> {
    pool: &'p Pool,
    free: &'b mut FreeList<'p>,
    time: Duration,
    batch: usize,
    /// See [`is_wanted`].
    wanted: &'b [String],
}

impl<'p> Bench<'_, 'p> {
    fn compare<B: AsyncBackend<'p>, L: BareLoop>(
        &mut self,
        backend: &str,
        modes: &str,
        receive: impl Fn(&mut L, usize) -> std::io::Result<()>,
    ) -> Result<()> {
        let name = [backend, modes].join(if modes.is_empty() || modes == "*" { "" } else { ":" });
        if !is_wanted(self.wanted, &name, self.batch) {
            return Ok(());
        }
        let Self { pool, free, time, batch, .. } = self;
        let (bare_socket, mut bare_filler) = filled_socket::<'p>()?;
        let mut bare = L::open(Arc::clone(&bare_socket), *batch).context("opening the bare loop")?;
        let (socket, filler) = filled_socket()?;
        let mut load = Load::Here(filler);
        // A runtime awaits, as in hpbench.
        let block = B::KIND.is_runtime().then_some(Duration::from_millis(10));
        let config = Config { block, ..variant(B::KIND, modes.trim_matches('*'), *batch) };
        let trains = config.variant.has(Mode::GRO);
        let mut lane = Lane::<B>::open(&config, Port::Socket(socket.clone()), pool, SLOTS)?;
        let mut sink = Sink::new(1, wire());
        let (near, sample) = filled_socket()?;
        let queue = Queue::known(&socket.clone().into(), drain::truesize(&near, Load::Here(sample), trains, free)?)?;
        let mut drain = Drain::new((&mut lane, &mut sink), &mut load, Some(queue));

        let mut fill = |free: &mut FreeList<'p>| {
            bare_filler.fill(free, ROUND)?;
            Ok(bare_socket.meminfo().map(drop)?)
        };
        alternate(&name, (*time, *batch), free, (&mut fill, &mut || Ok(receive(&mut bare, ROUND)?)), &mut drain)?;
        Ok(lane.close(free)?)
    }

    /// The same with many sockets; a round is spread over all of them.
    fn compare_many<B: AsyncBackend<'p>, L: BareMany>(&mut self, backend: &str, sockets: usize) -> Result<()> {
        let name = format!("{backend}, {sockets} sockets");
        if !is_wanted(self.wanted, &name, self.batch) {
            return Ok(());
        }
        let Self { pool, free, time, batch, .. } = self;
        let (bare_near, _, mut bare_filler) = filled_sockets::<'p>(sockets)?;
        let mut bare = L::open_many(bare_near.sockets().to_vec(), *batch).context("opening the bare loop")?;
        let (near, targets, filler) = filled_sockets(sockets)?;
        anyhow::ensure!(targets.row_within(ROUND, ROOM) == ROUND, "a round fits into the queues");
        let mut load = Load::Here(filler);
        let choice = Choice::default_of(B::KIND).resolve_for(Addressing::Connected, sockets);
        let config = Config::of(choice.map_err(anyhow::Error::msg)?, *batch);
        let mut lane = Lane::<B>::open(&config, near.port(), pool, SLOTS)?;
        let mut sink = Sink::new(1, wire()).with(Arrivals::of_sockets(1, sockets));
        let (sampled, far) = Socket::pair(SocketAddr::new(ADDRESS, 0))?;
        let sample = Load::Here(Filler::socket(&order(false), &Arc::new(far))?);
        let queue = Queue::known(&near, drain::truesize(&Arc::new(sampled), sample, false, free)?)?;
        let mut drain = Drain::new((&mut lane, &mut sink), &mut load, Some(queue));
        let mut fill = |free: &mut FreeList<'p>| {
            bare_filler.fill(free, ROUND)?;
            Ok(bare_near.meminfo().map(drop)?)
        };
        let mut receive = || Ok(bare.receive_from_many(ROUND)?);
        alternate(&name, (*time, *batch), free, (&mut fill, &mut receive), &mut drain)?;
        Ok(lane.close(free)?)
    }
}

/// Datagrams that each of many queues is sure to hold. A round may have the end of a lap, a whole one and the beginning of another.
const ROOM: usize = 4;

/// Many connected sockets, and what fills their queues in turns.
fn filled_sockets<'p>(sockets: usize) -> Result<(Near, Targets, Filler<'p>)> {
    let far = Socket::bind(SocketAddr::new(ADDRESS, 0))?;
    far.set_buffers(BUFFER, BUFFER)?;
    let peer = far.local_addr()?;
    let near: Vec<Arc<Socket>> = (0..sockets)
        .map(|_| {
            let mut near = Socket::bind(SocketAddr::new(ADDRESS, 0))?;
            near.set_buffers(BUFFER / sockets, BUFFER)?;
            near.connect_to(peer)?;
            Ok(Arc::new(near))
        })
        .collect::<Result<_>>()?;
    let near: Near = near.into_iter().collect();
    let targets = Targets::new(Spread { sockets, active: sockets, skew: Skew::NONE }, &near)?;
    let filler = Filler::to(&order(false), &Arc::new(far), Some(&targets))?;
    Ok((near, targets, filler))
}

/// The two parts of a round of a bare loop: the filling, and what is timed.
type BareRound<'r, 'p> = (&'r mut dyn FnMut(&mut FreeList<'p>) -> Result<()>, &'r mut dyn FnMut() -> Result<()>);

/// Lets a bare loop and the harness take turns, and prints what they took.
fn alternate<'p>(
    name: &str,
    (time, batch): (Duration, usize),
    free: &mut FreeList<'p>,
    (fill, receive): BareRound<'_, 'p>,
    drain: &mut impl Exchange<'p>,
) -> Result<()> {
    let (mut bare_ns, mut harness_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < time || ratios.len() < 4 {
        let mut pair = [0.0; 2];
        // The side that goes first changes from round to round.
        for side in [ratios.len() % 2, 1 - ratios.len() % 2] {
            pair[side] = if side == 0 {
                fill(free)?;
                let begin = Instant::now();
                receive()?;
                begin.elapsed().as_nanos() as f64 / ROUND as f64
            } else {
                let round = drain.round(free, ROUND)?;
                anyhow::ensure!(round.whole, "a round was incomplete: {round:?}");
                round.near_ns as f64 / ROUND as f64
            };
        }
        bare_ns.push(pair[0]);
        harness_ns.push(pair[1]);
        ratios.push(pair[1] / pair[0]);
    }
    let median = |values: Vec<f64>| Summary::of(values).map_or(f64::NAN, |summary| summary.median);
    let rounds = ratios.len();
    let (bare, harness, ratio) = (median(bare_ns), median(harness_ns), median(ratios));
    println!("{name:<24}{batch:>6}{bare:>8.1}{harness:>10.1}{ratio:>8.3}{rounds:>8}");
    Ok(())
}

/// The harness without a kernel.
fn null<'p>(pool: &'p Pool, free: &mut FreeList<'p>, time: Duration, batch: usize) -> Result<()> {
    let (near, far) = MemoryPort::pair(ROUND);
    let config = Config::new(Kind::NULL, batch);
    let mut load = Load::Here(Filler::memory(&order(false), Port::Memory(far), pool, SLOTS)?);
    let mut lane = Lane::<Null<'p>>::open(&config, Port::Memory(near), pool, SLOTS)?;
    let mut sink = Sink::new(1, wire());
    let mut drain = Drain::new((&mut lane, &mut sink), &mut load, None);
    let mut costs_ns = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time / 4 || costs_ns.len() < 4 {
        costs_ns.push(drain.round(free, ROUND)?.near_ns as f64 / ROUND as f64);
    }
    load.close(free)?;
    lane.close(free)?;
    let rounds = costs_ns.len();
    let median = Summary::of(costs_ns).map_or(f64::NAN, |summary| summary.median);
    println!("{:<24}{batch:>6}{:>8}{median:>10.1}{:>8}{rounds:>8}", "null", "", "");
    Ok(())
}
