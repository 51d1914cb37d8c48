//! Costs, rates and latencies against the batch or the offered load.

use crate::commands::report::charts::figure::{Figure, FigureOrMissing, Missing, Table, legend, limited, parted};
use crate::commands::report::charts::grouping::{self, Group, LineBy};
use crate::commands::report::charts::units::{Unit, short, short_tick};
use crate::commands::report::data::{Cell, Data, Estimate};
use crate::commands::report::svg::Chart;
use crate::commands::report::svg::axis::Axis;
use crate::commands::report::svg::dots::{Dots, Row};
use crate::commands::report::svg::lines::{Line, Lines, Point};
use crate::commands::report::svg::marks::Key;
use crate::commands::report::svg::marks::Look;
use crate::commands::report::svg::scale::{self, Scale, Spread};
use crate::compare::axes;
use crate::compare::counts;
use crate::compare::releases;
use crate::record::columns::Column;

/// Linear axes from here on would press the small values together.
const LOG_FROM: f64 = 20.0;

/// The same of latencies, whose high percentiles are far off.
const LOG_TIMES_FROM: f64 = 3.0;

/// What to draw.
pub(super) struct Request<'a> {
    /// The name of the figure.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// Which cells.
    pub cells: Vec<usize>,
    /// What of each cell, by the name that the chart has for it, if it has one.
    pub values: &'a [(&'static str, Unit, Get<'a>)],
    /// The column of the horizontal axis.
    pub x: Column,
    /// What lines are.
    pub line: LineBy,
}

/// A figure of a cell.
pub(super) type Get<'a> = &'a dyn Fn(usize) -> Option<Estimate>;

/// The cells of which this is true.
pub(super) fn cells(data: &Data, wanted: impl Fn(&Cell) -> bool) -> Vec<usize> {
    let all = data.cells.iter().enumerate();
    // Without a kernel in the way figures are so small that they only stretch the axes.
    all.filter(|(_, cell)| axes::has_socket(cell.get(Column::backend)) && wanted(cell)).map(|(at, _)| at).collect()
}

fn is_of_rounds(cell: &Cell) -> bool {
    ["drain", "send"].contains(&cell.get(Column::scenario))
}

/// The cost of receiving and sending.
pub(super) fn cost(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| is_of_rounds(cell) && !cell.is_counted());
    let get = |trial: usize| data.set.value(trial, Column::ns_per_packet_p50);
    let counted = data.cells.iter().any(Cell::is_counted);
    figure(
        data,
        Request {
            name: "cost",
            title: "Cost per packet",
            notes: vec!["Time to receive (drain) or send a datagram; less is better.".into()],
            cells,
            values: &[("", Unit::Cost, &|cell| data.estimate(cell, get))],
            x: Column::batch,
            line: LineBy::Series,
        },
    )
    .map_err(|()| (!counted).then_some(Missing { what: "cost per packet", remedy: "--scenario drain,send" }))
}

/// The same in instructions, where an emulator counted them.
pub(super) fn counted(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| is_of_rounds(cell) && cell.is_counted());
    let get = |trial: usize| data.set.value(trial, Column::instructions_per_packet);
    figure(
        data,
        Request {
            name: "instructions",
            title: "Instructions per packet",
            notes: vec![
            "Counted by an emulator, which has no time and so no rates or latencies; less is better. A chart for each \
             backend and mode: compare the kernels within one chart, never one chart with another."
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

/// The cost of the other side of the same rounds.
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
        name: "other-side",
        title: "The other side's cost",
        notes: vec![
            "What the same rounds cost the other side: in drain whoever fills the queue, in send whoever receives. Some \
             ways of receiving make it costlier to send to them. Less is better."
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
            "Hollow points (≥): the generators could not keep the worker busy. The rate is what they offered, and ranks \
             nothing."
                .into(),
        );
    }
    figure(
        data,
        Request {
            name: "rate",
            title: "Rate under full load",
            notes,
            cells,
            values: &[("", Unit::Rate, &|cell| data.estimate(cell, get))],
            x: Column::batch,
            line: LineBy::Series,
        },
    )
    .map_err(|()| Some(Missing { what: "rate under full load", remedy: "--scenario flood" }))
}

/// Latency against the offered rate.
pub(super) fn load(data: &Data) -> FigureOrMissing {
    let cells = cells(data, |cell| cell.get(Column::scenario) == "pace");
    let [p50, p99] = [Column::lat_p50_ns, Column::lat_p99_ns].map(|column| move |cell| data.latency(cell, column));
    let several = data.distinct(Column::rate_pps).len() > 1;
    let request = Request {
        name: "load",
        title: "Latency against offered load",
        notes: vec![
            "From when each datagram was due to its receipt, by how many were due per second; less is better. Hollow \
             points: the generator could not keep the rate."
                .into(),
        ],
        cells: if several { cells } else { Vec::new() },
        values: &[("median", Unit::Time, &p50), ("99th percentile", Unit::Time, &p99)],
        x: Column::rate_pps,
        line: LineBy::Series,
    };
    let remedy = "--scenario pace with several rates, e.g. --rate 10000,50000,200000";
    figure(data, request).map_err(|()| Some(Missing { what: "latency against offered load", remedy }))
}

/// Processor time, where it is not the time of a thread that spins.
pub(super) fn cpu(data: &Data) -> FigureOrMissing {
    let is_meant = |cell: &Cell| !is_of_rounds(cell) && cell.get(Column::wait) == "block" && !cell.is_counted();
    let get = |trial: usize| {
        Some(
            data.set.value(trial, Column::cpu_ns_per_packet)?
                + data.set.value(trial, Column::kthread_ns_per_packet).unwrap_or(0.0),
        )
    };
    let (blocking, paced) = (cells(data, is_meant), data.distinct(Column::rate_pps).len() > 1);
    let only_rates = blocking.iter().all(|&cell| data.cells[cell].get(Column::scenario) == "pace");
    figure(data, Request {
        name: "cpu",
        title: "Processor time per packet",
        notes: vec![
            "Of the worker, and of io_uring's kernel threads where there are any; less is better. Shown for workers that \
             sleep while nothing comes (--wait block): one that spins uses its whole core whatever it does, so that its \
             time per packet is merely one over the rate. In drain and send, where the worker computes all the time, it \
             is the cost above and that of kernel threads."
                .into(),
        ],
        cells: blocking,
        values: &[("", Unit::Cost, &|cell| data.estimate(cell, get))],
        x: if paced && only_rates { Column::rate_pps } else { Column::batch },
        line: LineBy::Series,
    })
    .map_err(|()| {
        let remedy = "--wait block with --scenario pace, flood or echo: a thread that spins uses its whole core, and \
                      its time per packet is merely one over the rate";
        Some(Missing { what: "processor time per packet", remedy })
    })
}

/// A point of a line: where it is, and what is known there.
type Known = (f64, usize, Estimate);

/// Draws; nothing where there are no values.
pub(super) fn figure(data: &Data, request: Request<'_>) -> Result<Figure, ()> {
    let mut charts = Vec::new();
    let mut table =
        Table::new(vec!["cell", "line", axis_of(request.x), "value", "95% interval", "trials", "per call"], 2);
    table.header[3] = request.values.first().map_or("value", |(_, unit, _)| unit.column());
    table.header[1] = if request.line == LineBy::Kernel { "kernel" } else { "backend" };
    let groups = grouping::groups(data, &request.cells, Some(request.x), request.line);
    let kernels = releases::short_names(&data.distinct(Column::kernel));
    for group in &groups {
        for (what, unit, get) in request.values {
            let lines: Vec<(Key, Vec<Known>)> = known(data, group, &request, &kernels, get);
            let title = match *what {
                "" => group.title.clone(),
                what => format!("{}: {what}", group.title),
            };
            for (key, points) in &lines {
                for (x, _, estimate) in points {
                    table.push(|| figures(&title, key, request.x, *x, *unit, estimate));
                }
            }
            let axis = value_axis(lines.iter().flat_map(|(_, points)| points).map(|(.., estimate)| estimate), *unit);
            charts.extend(parted(&title, &lines, |title, lines| draw(title, lines, &request, *unit, axis.clone())));
        }
    }
    if charts.is_empty() {
        return Err(());
    }
    let (charts, left_out) = limited(charts);
    let mut notes = request.notes;
    notes.extend(grouping::common(data, &request.cells));
    Ok(Figure { name: request.name, title: request.title, notes, legend: legend(&charts), charts, left_out, table })
}

fn known(
    data: &Data,
    group: &Group,
    request: &Request<'_>,
    kernels: &[String],
    get: Get<'_>,
) -> Vec<(Key, Vec<Known>)> {
    let line = |(&line, cells): (&usize, &Vec<usize>)| {
        let name = match request.line {
            LineBy::Series => data.series[line].name.clone(),
            LineBy::Kernel => kernels.get(line).cloned().unwrap_or_default(),
        };
        let x = |cell: usize| data.cells[cell].get(request.x).parse::<f64>().ok().filter(|x| x.is_finite());
        let point = |&cell: &usize| Some((x(cell)?, cell, get(cell)?));
        let mut points: Vec<Known> = cells.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (!points.is_empty()).then_some((Key { name, style: line }, points))
    };
    group.lines.iter().filter_map(line).collect()
}

fn axis_of(x: Column) -> &'static str {
    if x == Column::batch { "batch" } else { "offered per second" }
}

fn figures(title: &str, key: &Key, x_column: Column, x: f64, unit: Unit, estimate: &Estimate) -> Vec<String> {
    let interval = estimate.median.interval;
    let interval = interval.map_or_else(String::new, |(low, high)| format!("{} – {}", unit.cell(low), unit.cell(high)));
    let limit = if estimate.is_limited { "≥ " } else { "" };
    vec![
        title.to_owned(),
        key.name.clone(),
        if x_column == Column::batch { format!("{x}") } else { crate::text::thousands(x) },
        format!("{limit}{}", unit.cell(estimate.median.value)),
        interval,
        estimate.trials.to_string(),
        estimate.per_call.map_or_else(String::new, |calls| format!("{calls:.1}")),
    ]
}

/// What is told of a point.
pub(super) fn tip(name: &str, place: &str, unit: Unit, estimate: &Estimate) -> String {
    let limit = if estimate.is_limited { "≥ " } else { "" };
    let mut tip = format!("{name}, {place}: {limit}{}", unit.text(estimate.median.value));
    if let Some((low, high)) = estimate.median.interval {
        tip += &format!(" (95% interval {} to {})", unit.text(low), unit.text(high));
    }
    let s = if estimate.trials == 1 { "" } else { "s" };
    tip += &format!(", {} trial{s}", estimate.trials);
    if let Some(calls) = estimate.per_call {
        tip += &format!(", {calls:.1} datagrams per system call");
    }
    tip
}

fn draw(title: String, lines: &[(Key, Vec<Known>)], request: &Request<'_>, unit: Unit, axis: Axis) -> Chart {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let mut places: Vec<f64> = all().map(|(x, ..)| *x).collect();
    places.sort_unstable_by(f64::total_cmp);
    places.dedup();
    let place = |x: f64| if request.x == Column::batch { format!("batch {x}") } else { format!("{}/s", short(x)) };
    let look = |estimate: &Estimate| if estimate.is_limited { Look::Hollow } else { Look::Plain };
    if let [x] = places[..] {
        let row = |(key, points): &(Key, Vec<Known>)| {
            let estimate = points.first().map(|(.., estimate)| *estimate)?;
            Some(Row {
                key: key.clone(),
                x: estimate.median.value,
                interval: estimate.median.interval,
                text: format!("{}{}", if estimate.is_limited { "≥ " } else { "" }, unit.text(estimate.median.value)),
                look: look(&estimate),
                tip: tip(&key.name, &place(x), unit, &estimate),
            })
        };
        return Chart::Dots(Dots { title, x: axis, rows: lines.iter().filter_map(row).collect() });
    }
    let label =
        if request.x == Column::batch { "batch: datagrams asked for per call" } else { "datagrams due per second" };
    let (low, high) = (places[0], places[places.len() - 1]);
    let x = Axis::new(Scale::new(Spread::Log, low, high), places, label, short_tick);
    let line = |(key, points): &(Key, Vec<Known>)| Line {
        key: key.clone(),
        points: points
            .iter()
            .map(|(x, _, estimate)| Point {
                x: *x,
                y: estimate.median.value,
                interval: estimate.median.interval,
                look: look(estimate),
                tip: tip(&key.name, &place(*x), unit, estimate),
            })
            .collect(),
        is_joined: true,
    };
    let lines = lines.iter().map(line).collect();
    Chart::Lines(Lines { title, x, y: axis, lines, rules: Vec::new(), level: None })
}

/// An axis for medians and their intervals; for what spreads wide, by the logarithm.
pub(super) fn value_axis<'a>(estimates: impl Iterator<Item = &'a Estimate>, unit: Unit) -> Axis {
    let values = estimates.flat_map(|estimate| {
        let (low, high) = estimate.median.interval.unwrap_or((estimate.median.value, estimate.median.value));
        [low, high, estimate.median.value]
    });
    let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let wide = low > 0.0 && high / low >= if unit == Unit::Time { LOG_TIMES_FROM } else { LOG_FROM };
    let (scale, ticks) = if wide { scale::log(low, high) } else { scale::linear(low, high, 5) };
    Axis::new(scale, ticks, unit.axis(), |value, step| unit.tick(value, step))
}
