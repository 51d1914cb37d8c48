//! The log of histograms, read by another implementation of HdrHistogram: Python's.

mod common;

use std::process::Command;
use std::time::Duration;

use common::needs;
use hdrhistogram::Histogram;
use hpbench::measure::outcome::latency_histogram;
use hpbench::record::hlog::Hlog;
use hpbench::record::locked::Existing;

/// Prints per histogram: tag, time, length, count, p50, p99, maximum.
const READ: &str = "
import sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 60 * 10**9, 3))
while (h := reader.get_next_interval_histogram()) is not None:
    start_s = h.get_start_time_stamp() / 1000 - reader.get_start_time_sec()
    length_s = (h.get_end_time_stamp() - h.get_start_time_stamp()) / 1000
    percentiles = [h.get_value_at_percentile(p) for p in (50, 99)]
    print(h.get_tag(), start_s, length_s, h.get_total_count(), *percentiles, h.get_max_value())
";

/// Round-trip times as measured: many alike, a few long ones, the slowest 10 times `typical_ns` and more.
fn histogram(typical_ns: u64, count: u64) -> Histogram<u64> {
    let mut histogram = latency_histogram();
    for i in 0..count {
        let long = if i % 50 == 0 { typical_ns * (10 + i % 7) } else { 0 };
        histogram.record(typical_ns + i * typical_ns / count + long).expect("below the limit");
    }
    histogram
}

#[test]
fn python_reads_what_was_written() {
    let Some(python) = needs::python_with("hdrh", &["hdrh.log"]) else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("run.hlog");
    let mut hlog = Hlog::open(&path, Existing::Refuse).expect("a new file");
    hlog.begin().expect("there is room");
    let all = [
        ("echo uring:multishot, 32", "echo_uring:multishot__32", histogram(6_000, 100_000)),
        ("one", "one", histogram(250, 1)),
        ("slow", "slow", histogram(900_000_000, 1_000)),
    ];
    for (i, (tag, _, histogram)) in all.iter().enumerate() {
        if i == 2 {
            // As with --resume: from here on, times count from the second start.
            drop(hlog);
            std::thread::sleep(Duration::from_millis(100));
            hlog = Hlog::open(&path, Existing::Append).expect("a log");
            hlog.begin().expect("there is room");
        }
        hlog.write(tag, 0.5 + i as f64, Duration::from_millis(250), histogram).expect("there is room");
    }

    let output = Command::new(python).args(["-c", READ]).arg(&path).output().expect("it ran before");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert_eq!(stdout.lines().count(), all.len(), "{stdout}");
    for (i, (line, (_, tag, histogram))) in stdout.lines().zip(&all).enumerate() {
        let (found_tag, values) = line.split_once(' ').expect("a tag and values");
        assert_eq!(found_tag, *tag);
        let values: Vec<f64> = values.split(' ').map(|value| value.parse().expect("a number")).collect();
        let [start_s, length_s, count, p50, p99, max] = values[..] else { panic!("{line}") };
        assert!((start_s - 0.5 - i as f64).abs() < 0.002 && (length_s - 0.25).abs() < 0.002, "{line}");
        assert_eq!(count, histogram.len() as f64, "{line}");
        for (found, ours) in
            [(p50, histogram.value_at_quantile(0.5)), (p99, histogram.value_at_quantile(0.99)), (max, histogram.max())]
        {
            assert!((found - ours as f64).abs() <= ours as f64 / 1000.0, "{found} is not {ours}: {line}");
        }
    }
}
