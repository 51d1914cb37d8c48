//! Files of made-up rows, shared by the tests of `hpbench compare` and `hpbench report`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hpbench::record::row::Row;

use super::{Bench, Done, HPBENCH, needs};

/// How many cells the rows of [`run_on_many`] have.
pub(crate) const CELLS: usize = 2500;

/// A row of `drain`, for a backend in a block.
pub(crate) fn drain(backend: &str, batch: usize, block: usize, ns: f64) -> Row {
    let variant = match backend {
        "plain" => "recvfrom+sendto",
        "mmsg" => "recvmmsg+sendmmsg",
        _ => "multishot+send+defer",
    };
    Row {
        schema: 1,
        run_id: "f00d".into(),
        started_at: format!("2026-11-23T01:02:{block:02}.5Z"),
        scenario: "drain".into(),
        backend: backend.into(),
        variant: variant.into(),
        wait: "spin".into(),
        bind: "127.0.0.1".into(),
        batch,
        payload: 64,
        round: Some(1024),
        workers: 1,
        trial: block,
        attempt: 1,
        order: 10_000 * batch + 100 * block + backend.len(),
        ns_per_packet_p50: Some(ns),
        peer_ns_per_packet: Some(300.0),
        kernel_batch_mean: Some(batch as f64),
        host: "lab".into(),
        kernel: "6.18".into(),
        fill: "gso".into(),
        rcvbuf: Some(1 << 20),
        valid: 1,
        ..Row::default()
    }
}

/// A row of `echo` or `pace`.
pub(crate) fn latency(scenario: &str, backend: &str, batch: usize, block: usize) -> Row {
    let ns = |factor: u64| Some(factor * (1000 + (block * 7 + backend.len()) as u64 % 11));
    Row {
        scenario: scenario.into(),
        round: None,
        window: Some(1),
        ns_per_packet_p50: None,
        peer_ns_per_packet: None,
        lat_samples: Some(20_000),
        lat_p50_ns: ns(5),
        lat_p90_ns: ns(6),
        lat_p99_ns: ns(12),
        lat_p999_ns: ns(60),
        lat_p9999_ns: ns(300),
        ..drain(backend, batch, block, 1.0)
    }
}

/// Twenty blocks of `drain` with three backends at two batches; mmsg is slower at batch 1.
pub(crate) fn backends() -> Vec<Row> {
    let mut rows = Vec::new();
    for block in 1..=20 {
        for batch in [1, 32] {
            for backend in ["plain", "mmsg", "uring"] {
                let slow = if (backend, batch) == ("mmsg", 1) { 1.27 } else { 1.0 };
                let noise = 1.0 + 0.0005 * ((block * 7 + backend.len()) % 11) as f64;
                rows.push(drain(backend, batch, block, 400.0 * slow * noise));
            }
        }
    }
    rows
}

/// A hundred thousand rows: twenty blocks of two backends in [`CELLS`] cells.
fn many() -> Vec<Row> {
    let mut rows = Vec::new();
    for block in 1..=20 {
        for cell in 0..CELLS {
            for backend in ["plain", "mmsg"] {
                let mut row = drain(backend, 32, block, 400.0 + ((block * 31 + cell * 17) % 23) as f64);
                (row.ring, row.order) = (1024 + cell, rows.len() + 1);
                rows.push(row);
            }
        }
    }
    assert_eq!(rows.len(), 100_000);
    rows
}

/// Runs hpbench with `args` on `big.csv`, with a hundred thousand rows, in 300 MB of memory. Nothing if memory cannot
/// be limited.
pub(crate) fn run_on_many(args: &[&str]) -> Option<(Bench, Done)> {
    if !needs::command("prlimit") {
        return None;
    }
    let bench = bench("big.csv", &text(&many()));
    let start = Instant::now();
    let words = [&["prlimit", "--as=300000000", HPBENCH], args].concat();
    let done = bench.start_command(&words).wait_at_most(Duration::from_secs(300)).expect(0);
    // Time is judged only if the machine is known to be quiet, and the build is optimised.
    if let Ok(limit) = std::env::var("HPBENCH_COMPARE_SECONDS") {
        let limit = limit.parse().expect("a number of seconds");
        assert!(start.elapsed().as_secs_f64() < limit, "{:?}", start.elapsed());
    }
    Some((bench, done))
}

/// Removes the marks of disturbances by other programs from a file of rows: all trials that ran to their end
/// count.
pub(crate) fn pardon(path: &Path) {
    let is_disturbed =
        |row: &super::Row| row.text("invalid_reason").split("; ").all(|why| why.starts_with("disturbed:"));
    let pardoned = changed(&super::read(path), |row, column| match column {
        "valid" if is_disturbed(row) => Some("1"),
        "invalid_reason" if is_disturbed(row) => Some(""),
        "canary_ratio" | "steady" if row.text("error").is_empty() => Some("1"),
        _ => None,
    });
    fs::write(path, pardoned).expect("it is ours");
}

/// The text of a file of rows, with other fields in the named columns.
pub(crate) fn with(text: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    changed(text, |_, column| fields.iter().find(|(name, _)| *name == column).map(|(_, field)| *field))
}

/// The text of a file of rows, with the fields of each row that `field` returns for their columns.
fn changed<'f>(text: &str, field: impl Fn(&super::Row, &str) -> Option<&'f str>) -> Vec<u8> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().expect("a header").clone();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&columns).expect("memory takes all bytes");
    for (record, row) in reader.records().zip(super::parse(text)) {
        let record = record.expect("as many fields as columns");
        let fields = columns.iter().zip(&record).map(|(column, old)| field(&row, column).unwrap_or(old));
        writer.write_record(fields).expect("memory takes all bytes");
    }
    writer.into_inner().expect("memory takes all bytes")
}

/// The rows of a file.
pub(crate) fn text(rows: &[Row]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().for_each(|row| writer.serialize(row).expect("a row"));
    writer.into_inner().expect("memory takes all bytes")
}

/// A directory with a file.
pub(crate) fn bench(name: &str, content: &[u8]) -> Bench {
    let bench = Bench::new();
    fs::write(bench.path(name), content).expect("a file");
    bench
}
