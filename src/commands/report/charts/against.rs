//! Costs, rates, latencies and processor time against the batch or the offered load.

use crate::commands::report::charts::figure::{FigureOrMissing, Missing};
use crate::commands::report::charts::grouping::LineBy;
use crate::commands::report::charts::plot::{Request, cells, figure, is_of_rounds, missing};
use crate::commands::report::charts::units::Unit;
use crate::commands::report::data::{Cell, Data};
use crate::compare::counts;
use crate::record::columns::Column;

/// The cost of receiving and sending.
pub(super) fn cost(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| is_of_rounds(cell) && !cell.is_counted());
    let get = |trial: usize| data.set.value(trial, Column::ns_per_packet_p50);
    let counted = data.cells.iter().any(Cell::is_counted);
    figure(
        data,
        Request {
            name: "cost",
            title: "Cost per datagram",
            notes: vec!["Time to receive (drain) or send a datagram; less is better.".into()],
            cells: cells.clone(),
            values: &[("", Unit::Cost, &|cell| data.estimate(cell, get))],
            x: Column::batch,
            line: LineBy::Series,
        },
    )
    .map_err(|()| (!counted).then(|| missing(data, &cells, "cost per datagram", "--scenario drain,send")))
}

/// The same in instructions, where an emulator counted them.
pub(super) fn counted(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| is_of_rounds(cell) && cell.is_counted());
    let get = |trial: usize| data.set.value(trial, Column::instructions_per_packet);
    figure(
        data,
        Request {
            name: "instructions",
            title: "Instructions per datagram",
            notes: vec![
            "Counted by an emulator, which has no real time and so no rates or latencies; less is better. Each backend \
             and mode has its own chart: compare the kernels within a chart, never one chart with another."
                .into(),
            counts::RANKS_NOTHING.into(),
        ],
            cells,
            values: &[("", Unit::Instructions, &|cell| data.estimate(cell, get))],
            x: Column::batch,
            line: LineBy::Kernel,
        },
    )
    .map_err(|()| None)
}

/// The peer's cost in the same rounds.
pub(super) fn peer(data: &Data) -> FigureOrMissing {
    let is_timed = data.cells.iter().any(|cell| is_of_rounds(cell) && !cell.is_counted());
    // Counts and times are never mixed.
    let cells = cells(data, |cell| is_of_rounds(cell) && cell.is_counted() != is_timed);
    let (value, unit, line) = if is_timed {
        (Column::peer_ns_per_packet, Unit::Cost, LineBy::Series)
    } else {
        (Column::peer_instructions_per_packet, Unit::Instructions, LineBy::Kernel)
    };
    let get = |trial: usize| data.set.value(trial, value);
    let request = Request {
        name: "peer",
        title: "The peer's cost",
        notes: vec![
            "What the same rounds cost the peer, which fills the queue in drain and receives in send. Some ways of \
             receiving make sending to them more expensive. Less is better."
                .into(),
        ],
        cells,
        values: &[("", unit, &|cell| data.estimate(cell, get))],
        x: Column::batch,
        line,
    };
    figure(data, request).map_err(|()| None)
}

/// The rate under full load.
pub(super) fn rate(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| cell.get(Column::scenario) == "flood" && !cell.is_counted());
    let get = |trial: usize| data.set.value(trial, Column::rx_pps);
    let limited = cells.iter().any(|&cell| data.estimate(cell, get).is_some_and(|estimate| estimate.is_limited));
    let mut notes =
        vec!["Datagrams received per second while generators send as fast as they can; more is better.".to_owned()];
    if limited {
        notes.push(
            "Hollow points (≥): the generators could not keep the worker busy. The rate is what they offered, and \
             cannot rank the backends."
                .into(),
        );
    }
    figure(
        data,
        Request {
            name: "rate",
            title: "Rate under full load",
            notes,
            cells: cells.clone(),
            values: &[("", Unit::Rate, &|cell| data.estimate(cell, get))],
            x: Column::batch,
            line: LineBy::Series,
        },
    )
    .map_err(|()| Some(missing(data, &cells, "rate under full load", "--scenario flood")))
}

/// Whether load is offered at a rate.
fn has_rate(cell: &Cell) -> bool {
    ["pace", "serve", "relay"].contains(&cell.get(Column::scenario))
}

/// Latency against the offered rate.
pub(super) fn load(data: &Data) -> FigureOrMissing {
    let cells = cells(data, has_rate);
    let [p50, p99] = [Column::lat_p50_ns, Column::lat_p99_ns].map(|column| move |cell| data.latency(cell, column));
    let several = data.distinct(Column::rate_pps).len() > 1;
    let request = Request {
        name: "load",
        title: "Latency against offered load",
        notes: vec![
            "The time from when a datagram was due to its receipt (pace), to the answer (serve), or to a copy of it (relay), by how many were due \
             per second; less is better. Hollow points: the generator could not keep the rate."
                .into(),
        ],
        cells: if several { cells.clone() } else { Vec::new() },
        values: &[("median", Unit::Time, &p50), ("99th percentile", Unit::Time, &p99)],
        x: Column::rate_pps,
        line: LineBy::Series,
    };
    let remedy = "--scenario pace with several rates, e.g. --rate 10000,50000,200000";
    let cells = if several { cells } else { Vec::new() };
    figure(data, request).map_err(|()| Some(missing(data, &cells, "latency against offered load", remedy)))
}

/// How many cores the worker and the kernel's threads used at each offered rate.
pub(super) fn cores(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| has_rate(cell) && !cell.is_counted());
    let several = data.distinct(Column::rate_pps).len() > 1;
    let get = |trial: usize| Some(cpu_ns(data, trial)? * data.set.value(trial, Column::rx_pps)? / 1e9);
    let request = Request {
        name: "cores",
        title: "Cores used against offered load",
        notes: vec![
            "Processor time per second of the workers, of io_uring's kernel threads if there are any, and of softirqs \
             where their time is known and not in the workers'; less is better. A worker that spins uses its whole core whatever it does."
                .into(),
        ],
        cells: if several { cells } else { Vec::new() },
        values: &[("", Unit::Cores, &|cell| data.estimate(cell, get))],
        x: Column::rate_pps,
        line: LineBy::Series,
    };
    figure(data, request).map_err(|()| None)
}

/// Processor time per datagram, of the worker, of the kernel threads that work for it, and of softirqs, as far as they are
/// known and not in the worker's time.
fn cpu_ns(data: &Data, trial: usize) -> Option<f64> {
    let kernel_threads = data.set.value(trial, Column::kthread_ns_per_packet).unwrap_or(0.0);
    let is_apart = data.set.text(&data.set.attempts[trial], Column::irq_time_accounting) == "yes";
    let softirqs = data.set.value(trial, Column::softirq_ns_per_packet).filter(|_| is_apart).unwrap_or(0.0);
    Some(data.set.value(trial, Column::cpu_ns_per_packet)? + kernel_threads + softirqs)
}

/// Processor time per datagram, of threads that do not spin, if there is no chart of cores.
pub(super) fn cpu(data: &Data) -> FigureOrMissing {
    let has_cores = data.distinct(Column::rate_pps).len() > 1;
    let is_meant = |cell: &Cell| {
        let is_sleeping = !is_of_rounds(cell) && cell.get(Column::wait) == "block" && !cell.is_counted();
        is_sleeping && !(has_cores && has_rate(cell))
    };
    let request = Request {
        name: "cpu",
        title: "Processor time per datagram",
        notes: vec![
            "Of the worker, and of io_uring's kernel threads if there are any; less is better. Shown for workers that \
             sleep while no datagram arrives (--wait block): one that spins uses its whole core whatever it does, and \
             its time per datagram is merely one over the rate. In drain and send the worker never waits, and this is \
             the cost above plus that of kernel threads."
                .into(),
        ],
        cells: cells(data, is_meant),
        values: &[("", Unit::Cost, &|cell| data.estimate(cell, |trial| cpu_ns(data, trial)))],
        x: Column::batch,
        line: LineBy::Series,
    };
    figure(data, request).map_err(|()| {
        let remedy = "--wait block with --scenario pace, flood, echo or serve: a thread that spins uses its whole core, and \
                      its time per datagram is merely one over the rate";
        (!has_cores).then_some(Missing { what: "processor time per datagram", remedy })
    })
}
