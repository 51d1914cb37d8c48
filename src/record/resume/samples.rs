//! A plan and its rows, for tests.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use hpbench_backends::{Addressing, Choice, Kind};
use tempfile::TempDir;

use super::{Begun, ResumeError};
use crate::measure::truesizes::Truesizes;
use crate::plan::cells::{self, Axes, Cell, Options, Scenario, Until, Waited};
use crate::plan::cores::{Cores, Place};
use crate::plan::schedule::{Planned, Schedule};
use crate::record::environment::Environment;
use crate::record::format;
use crate::record::row::{Row, Run};
use crate::traffic::wire::Verify;

pub(super) fn run() -> Run {
    let options = Options {
        until: Some(Until::Elapsed(Duration::from_millis(250))),
        warmup: Some(Duration::from_millis(50)),
        verify: Verify::Header,
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        port: 0,
        ring: 1024,
        rcvbuf: 1 << 20,
        sndbuf: 1 << 20,
        generators: 1,
        gso: true,
        handoff: false,
        fifo: None,
        at_ticks: false,
        added_ns: None,
        cores: Cores {
            places: vec![Place { worker: 0, app: None, generators: vec![1] }],
            relation: "distinct-cores",
            shared: None,
        },
    };
    let environment = Environment { host: "lab".into(), kernel: "6.18".into(), ..Environment::default() };
    Run {
        id: "f00d".into(),
        seed: 7,
        environment,
        options,
        rt_limited: None,
        canary_ns: std::cell::OnceCell::new(),
        command: String::new(),
        truesizes: Truesizes::default(),
        peer: None,
    }
}

pub(super) fn cells() -> Vec<Cell> {
    let axes = Axes {
        backends: [Kind::PLAIN, Kind::URING]
            .map(|kind| crate::plan::cells::Asked::named(Choice::default_of(kind)))
            .to_vec(),
        scenarios: Scenario::ALL.to_vec(),
        batches: vec![1, 32],
        payloads: vec![64],
        rounds: vec![1024],
        windows: vec![1],
        rates: vec![1000],
        bursts: vec![1],
        fanouts: vec![1],
        waits: None,
        min_waits: vec![Waited(None)],
        addressings: vec![Addressing::Connected],
        buffers: vec![512],
        fd_tables: vec![cells::FdTable::Shared],
        fill_cores: vec![cells::FillCore::Same],
        spreads: vec![crate::plan::spread::Spread::ONE],
        works: vec![0],
        flows: vec![1],
        shardings: vec![crate::plan::shards::Sharding::Ports],
    };
    axes.cells().expect("they go together")
}

/// The rows of a finished run, in the order of its plan.
pub(super) fn finished(run: &Run) -> Vec<Row> {
    let row = |planned: Planned| Row {
        valid: 1,
        ..Row::planned(run, &cells()[planned.cell], planned, "2026-01-01T00:00:00Z".into())
    };
    Schedule::new(cells().len(), 2, run.seed).iter().map(row).collect()
}

pub(super) fn csv(rows: &[Row]) -> Vec<u8> {
    rows.iter().fold(format::header(), |mut text, row| {
        text.extend(format::encode(row, false));
        text
    })
}

pub(super) fn file(content: &[u8]) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("out.csv");
    fs::write(&path, content).expect("a file");
    (home, path)
}

pub(super) fn read(content: &[u8]) -> Result<Begun, ResumeError> {
    let (_home, path) = file(content);
    Begun::read(Some(&path))
}
