//! `echo` and `serve`: a worker that sends back what it receives, and a generator that asks: a few datagrams in flight, or
//! what a schedule says; see [`peer::echo`] and [`peer::serve`].

use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::thread;

use hpbench_backends::{AsyncBackend, Counters, FreeList, Pool, Socket};

use crate::measure::clock::now_ns;
use crate::measure::control::{Control, Phase, StopAtEnd};
use crate::measure::cost::{Disturbance, Side, Watch};
use crate::measure::driver::{self, Lane, Polls};
use crate::measure::handoff;
use crate::measure::host::BothHosts;
use crate::measure::near::Near;
use crate::measure::order::Order;
use crate::measure::outcome::{Outcome, TrialError};
use crate::measure::peer;
use crate::measure::remote::message::{Counted, Report};
use crate::measure::scenario::stream::LOOK_NS;
use crate::measure::targets::Targets;
use crate::measure::threads;
use crate::measure::trial::{Far, Part};
use crate::plan::cells::Wait;
use crate::traffic::app::{App, Echo};
use crate::traffic::ledger::{Arrivals, Ledger, Tally};

/// Runs a trial on threads of its own.
///
/// # Errors
///
/// Why there is no result.
pub fn run<'p, B: AsyncBackend<'p>>(part: &Part<'_, 'p>, free: &mut FreeList<'p>) -> Result<Outcome, TrialError> {
    let (near, far) = part.ends()?;
    let (control, order) = (Control::new(1, part.interrupt), part.order(0));
    let mut far_free = free.split_off(if part.peer.is_none() { order.frames() } else { 0 });
    let outcome: Result<(Outcome, Report), TrialError> = thread::scope(|scope| {
        // If only one of the two can be started, it still ends.
        let _stop = StopAtEnd(&control);
        let far_free = &mut far_free;
        let generator = threads::spawn(scope, || match &far {
            Far::Here(far, targets) => here(&order, (far, targets.as_ref()), &control, (part.pool, far_free)),
            Far::There(session) => session.echo(&control),
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
    let trips = report.trips.unwrap_or_default();
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
        sent: trips.sent,
        arrived: trips.arrived,
        drop_socket: info.drops + report.counted.drop_socket,
        drop_ring: trips.drop_ring + worked.ledger.drop_ring,
    };
    ledger.arrived.duplicate += worked.ledger.arrived.duplicate;
    ledger.arrived.corrupt += worked.ledger.arrived.corrupt;
    // Unrelated senders reach the worker if its socket is not connected; the generator's is.
    ledger.arrived.foreign += worked.ledger.arrived.foreign + near.unrelated() + report.unrelated;
    let served = trips.served.clone();
    if let Some(served) = served.as_ref().filter(|_| part.cell.receives_trains()) {
        ledger.note_dropped(ledger.drop_socket, served.train as u64);
    }
    Ok(Outcome {
        fill: served.as_ref().map_or_else(String::new, |served| served.fill.clone()),
        late_answers: served.as_ref().map(|served| served.late_answers),
        poll_gap_ns: served.as_ref().map(|served| served.poll_gap_ns),
        late: served.map(|served| served.late.into()),
        ledger,
        measured_ns: trips.measured_ns,
        measured_sent: trips.measured_sent,
        measured_lost: trips.measured_sent.saturating_sub(trips.arrived.measured),
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
    (far, targets): (&Arc<Socket>, Option<&Targets>),
    control: &Control,
    frames: (&'p Pool, &mut FreeList<'p>),
) -> Result<Report, TrialError> {
    let trips = peer::ask_to(order, (far, targets), control, frames)?;
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
    let mut echo = Echo::new(part.tag, part.work()).with(Arrivals::of_sockets(1, part.cell.sockets()));
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
    let closed = lane.close(free);
    let (outcome, echo) = worked?;
    closed.map_err(TrialError::io("closing the backend"))?;
    // What the generator cannot see: it was not sent back.
    let Tally { foreign, duplicate, corrupt, .. } = echo.arrivals.tally();
    let arrived = Tally { foreign, duplicate, corrupt, ..Tally::default() };
    let ledger = Ledger { arrived, drop_ring: drop_ring + echo.dropped, ..Ledger::default() };
    Ok(Outcome { ledger, counters_total, in_effect, ..outcome })
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
            control.report_dropped(near.meminfo().map_or(0, |info| info.drops));
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
        }
        if phase == Phase::Stop { Break(()) } else { Continue(()) }
    });
    ended.map_err(TrialError::io("echoing"))?;
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
