//! `echo`, `serve` and `relay`: a worker that sends back what it receives, in `relay` several copies of it, and a generator that
//! asks: a few datagrams in flight, or what a schedule says; see [`peer::echo`] and [`peer::serve`].
//!
//! The account of `relay` is in copies: a datagram that the generator sends, or that is lost on its way to the worker, counts as
//! often as it was to be sent on.

use std::ops::ControlFlow::{Break, Continue};
use std::thread;

use hpbench_backends::{AsyncBackend, Counters, FreeList, Pool};

use crate::gates::reason::Reason;
use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase, StopAtEnd};
use crate::measure::cost::{Disturbance, Side, Watch};
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::host::BothHosts;
use crate::measure::near::Near;
use crate::measure::order::Order;
use crate::measure::outcome::{Outcome, Relayed, TrialError};
use crate::measure::peer;
use crate::measure::peer::load::Way;
use crate::measure::peer::serve::FINISH_NS;
use crate::measure::remote::message::{Counted, Report};
use crate::measure::scenario::stream::LOOK_NS;
use crate::measure::senders::Senders;
use crate::measure::threads;
use crate::measure::trial::{Far, Part};
use crate::plan::cells::Wait;
use crate::traffic::app::{App, Echo};
use crate::traffic::ledger::{Arrivals, Ledger, Tally};

/// How long no request may reach workers that share a port before none is left: a client that is late may still ask for so long,
/// and a request may have to wait for another host, or for the thread that delivers it.
const IDLE_NS: u64 = 2 * FINISH_NS;
/// How many turns in a row must then find nothing. What a turn found before the thread was kept from its core says nothing.
const IDLE_TURNS: u32 = 16;

/// More than any trial sends: all that is missing.
const ALL: u64 = 1 << 48;

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let (near, far) = part.streams()?;
    let (control, order) = (Control::new(1, part.interrupt), part.order(0));
    let mut far_free = free.split_off(if part.peer.is_none() { order.frames() } else { 0 });
    let outcome: Result<(Outcome, Report), TrialError> = thread::scope(|scope| {
        // If only one of the two can be started, it still ends.
        let _stop = StopAtEnd(&control);
        let far_free = &mut far_free;
        let generator = threads::spawn(scope, || match &far {
            Senders::One(Far::Here(far, targets)) => {
                here(&order, Way::to(far, targets.as_ref()), &control, (part.pool, far_free))
            }
            Senders::One(Far::There(session, _)) => session.echo(&control),
            Senders::Flows(clients) => here(&order, Way::FromMany(&clients[0]), &control, (part.pool, far_free)),
        })?;
        let (near, control, free) = (&near, &control, &mut *free);
        let worker = threads::spawn(scope, move || {
            let _stop = StopAtEnd(control);
            part.on_worker_core(|| worker::<B>(part, near, control, free))
        })?;
        let worked = threads::join(worker);
        let generated = threads::join(generator);
        // An agent that is lost is why the worker ended.
        match generated {
            Err(TrialError::Peer(lost)) => Err(lost.into()),
            generated => Ok((worked?, generated?)),
        }
    });
    free.absorb(far_free);
    let (worked, report) = outcome?;
    let (trips, copies) = (report.trips.unwrap_or_default(), part.cell.copies());
    let info = near.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?;
    // Both hosts receive; what is read on one machine holds for all of it.
    let softirq_ticks = match part.peer {
        Some(peer) if !peer.link.shares_clock() => {
            let ticks = worked.disturbance.softirq_ticks.zip(trips.disturbance.softirq_ticks);
            ticks.map(|(own, others)| own.saturating_add(others))
        }
        _ => worked.disturbance.softirq_ticks,
    };
    let mut ledger = Ledger {
        sent: trips.sent * copies,
        arrived: trips.arrived,
        drop_socket: part.accounted(info.drops) * copies + report.counted.drop_socket,
        drop_ring: trips.drop_ring + worked.ledger.drop_ring * copies,
    };
    ledger.arrived.duplicate += worked.ledger.arrived.duplicate;
    ledger.arrived.corrupt += worked.ledger.arrived.corrupt * copies;
    // Unrelated senders reach the worker if its socket is not connected; the generator's is.
    ledger.arrived.foreign += worked.ledger.arrived.foreign + near.unrelated() + report.unrelated;
    let served = trips.served.clone();
    let train = served.as_ref().filter(|_| part.cell.receives_trains()).map(|served| served.train as u64);
    // Of workers that share what comes, only the sum of the accounts shows what is missing.
    if let Some(train) = train.filter(|_| part.shards.is_none()) {
        ledger.note_dropped(ledger.drop_socket, train);
    }
    Ok(Outcome {
        train: train.filter(|_| part.shards.is_some()),
        fill: served.as_ref().map_or_else(String::new, |served| served.fill.clone()),
        late_answers: served.as_ref().map(|served| served.late_answers),
        poll_gap_ns: served.as_ref().map(|served| served.poll_gap_ns),
        late: served.map(|served| served.late.into()),
        ledger,
        measured_ns: trips.measured_ns,
        measured_sent: trips.measured_sent * copies,
        measured_lost: (trips.measured_sent * copies).saturating_sub(trips.arrived.measured),
        measured_received: trips.measured_received,
        refused: trips.refused,
        hosts: BothHosts { own: None, peer: report.host },
        generator_cpu_ns: Some(trips.cpu_ns),
        disturbance: Disturbance { softirq_ticks, ..worked.disturbance.merge(trips.disturbance) },
        steady: trips.steady,
        latency: Some(trips.latency.into()),
        rcvbuf: Some(info.rcvbuf),
        sndbuf: Some(info.sndbuf),
        ..worked
    })
}

/// The generator on the calling thread. Reports as an agent would.
fn here<'p>(
    order: &Order,
    way: Way<'_>,
    control: &Control,
    frames: (&'p Pool, &mut FreeList<'p>),
) -> Result<Report, TrialError> {
    let (trips, far) = (peer::ask(order, way, control, frames)?, way.near());
    let drop_socket = far.meminfo().map_err(TrialError::io("reading SO_MEMINFO"))?.drops;
    let counted = Counted { drop_socket, ..Counted::default() };
    Ok(Report { trips: Some(trips), counted, unrelated: far.unrelated(), ..Report::default() })
}

/// The worker: echoes until the generator is done.
fn worker<'p, B: AsyncBackend<'p>>(
    part: &Part<'_, 'p>,
    near: &Near,
    control: &Control,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    let mut lane = Lane::<B>::open(&part.config(), near.port(), part.pool, part.options.ring)?;
    let echo = Echo::new(part.tag, part.work());
    let mut echo = echo.with(Arrivals::of_sockets(part.senders(), part.cell.flows_of_generator()));
    let worked = match part.app_core() {
        None => work(&mut lane, &mut echo, (part, near), control, free).map(|outcome| (outcome, echo)),
        Some(core) => handoff::run(
            &mut lane,
            echo,
            free,
            || part.pin_beside(core),
            |lane, app, free| work(lane, app, (part, near), control, free),
        )
        .and_then(|done| done.outcome()),
    };
    let (counters_total, in_effect, drop_ring) = (lane.counters().0, lane.in_effect(), lane.dropped());
    let forwarded = lane.sent();
    let closed = lane.close(free);
    let (outcome, echo) = worked?;
    closed.map_err(TrialError::io("closing the backend"))?;
    // What the generator cannot see: it was not sent back.
    let Tally { received, foreign, duplicate, corrupt, .. } = echo.arrivals.tally();
    let arrived = Tally { foreign, duplicate, corrupt, ..Tally::default() };
    let ledger = Ledger { arrived, drop_ring: drop_ring + echo.dropped, ..Ledger::default() };
    let relayed = part.cell.fanout.map(|_| Relayed { received, forwarded });
    let is_unbalanced = relayed.is_some() && forwarded != (received - echo.dropped) * part.cell.copies();
    let invalid = is_unbalanced.then_some(Reason::UnbalancedWorker);
    Ok(Outcome { ledger, counters_total, in_effect, relayed, invalid, ..outcome })
}

/// Sends back what comes, and notes where the counters stand when the phase changes.
fn work<'p, B: AsyncBackend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    (part, near): (&Part<'_, 'p>, &Near),
    control: &Control,
    free: &mut FreeList<'p>,
) -> Result<Outcome, TrialError> {
    driver::poll_once(lane, app, free).map_err(TrialError::io("echoing"))?;
    part.meet()?;
    let mut watch = Watch::begin(&part.cores());
    let mut disturbance = Disturbance::default();
    let mut side = Side::new();
    control.report_ready();
    let mut phase = Phase::Setup;
    let mut marks: [(Counters, Polls, u64); 2] = Default::default();
    let (mut busy_ns, mut last_ns, mut looked_ns) = (0, now_ns(), now_ns());
    let ended = driver::turns(lane, app, free, |lane, _, moved| {
        let now_ns = now_ns();
        if moved > 0 {
            busy_ns += now_ns - last_ns;
        }
        last_ns = now_ns;
        if phase == Phase::Settle && moved == 0 || now_ns - looked_ns > LOOK_NS {
            looked_ns = now_ns;
            // The generator waits no longer for what was dropped here.
            let drops = near.meminfo().map_or(0, |info| info.drops);
            if part.shards.is_none() {
                control.report_dropped(drops * part.cell.copies());
            }
        }
        let next = control.phase();
        if next != phase {
            let (counters, polls) = lane.counters();
            // If the next phase is over already, the thread was kept from its core, which the watch must show.
            if phase < Phase::Warmup && next == Phase::Warmup {
                watch = Watch::begin(&part.cores());
            }
            if phase < Phase::Measure && next >= Phase::Measure {
                marks[0] = (counters, polls, busy_ns);
                side.begin();
            }
            if phase < Phase::Settle && next >= Phase::Settle {
                side.end();
                marks[1] = (counters, polls, busy_ns);
                disturbance = watch.end();
            }
            phase = next;
            // Workers that share a port go on in another loop.
            if phase == Phase::Stop || phase == Phase::Settle && part.shards.is_some() {
                return Break(());
            }
        }
        Continue(())
    });
    ended.map_err(TrialError::io("echoing"))?;
    if part.shards.is_some() {
        answer_others(lane, app, (part, near), control, free)?;
    }
    let [before, after] = marks;
    Ok(Outcome {
        counters: after.0.since(before.0),
        polls: after.1.since(before.1),
        busy_ns: (part.cell.wait == Wait::Spin).then_some(after.2 - before.2),
        usage: side.usage,
        counts: side.counts(),
        disturbance,
        ..Outcome::default()
    })
}

/// Goes on after the measured phase, as a worker that answers other workers' clients, too: until all clients have ended.
///
/// None knows what becomes of a request that another worker got, or dropped. When no client asks any more, and all workers have
/// been idle for a while since, no request is left, and the clients wait no longer.
fn answer_others<'p, B: AsyncBackend<'p>, A: App<'p>>(
    lane: &mut Lane<'p, B>,
    app: &mut A,
    (part, near): (&Part<'_, 'p>, &Near),
    control: &Control,
    free: &mut FreeList<'p>,
) -> Result<(), TrialError> {
    let (together, mut is_idle, mut is_over) = (part.together, false, false);
    let (mut now, mut moved_ns, mut looked_ns, mut vain) = (now_ns(), now_ns(), now_ns(), 0);
    together.report_asked();
    let ended = driver::turns(lane, app, free, |_, _, moved| {
        let began_ns = now;
        now = now_ns();
        if now - looked_ns > LOOK_NS {
            looked_ns = now;
            if let Err(error) = near.meminfo() {
                return Break(Err(TrialError::io("reading SO_MEMINFO")(error)));
            }
        }
        if moved > 0 || together.is_asking() {
            (moved_ns, vain) = (now, 0);
        } else if began_ns.saturating_sub(moved_ns) > IDLE_NS {
            vain += 1;
        }
        if is_idle != (vain >= IDLE_TURNS) {
            is_idle = !is_idle;
            together.report_idle(is_idle);
        }
        if is_idle && together.is_idle() {
            control.report_dropped(ALL);
        }
        if !is_over && control.phase() == Phase::Stop {
            is_over = true;
            together.report_offered();
        }
        if is_over && !together.is_offering() { Break(Ok(())) } else { Continue(()) }
    });
    ended.map_err(TrialError::io("echoing"))?
}
