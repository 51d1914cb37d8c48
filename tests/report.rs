//! `hpbench report`: what is on the page, files damaged in many ways, malicious labels, and files of many rows.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::pages::{self, HOSTILE};
use common::rows::{self, bench, drain, latency, text};
use common::{Bench, Done, HPBENCH, needs, read};
use hpbench::record::row::Row;

/// Ten blocks of three backends at two batches of `drain`, and of `echo`; mmsg is slower at batch 1.
fn backends() -> Vec<Row> {
    let with_echo = |row: Row| {
        let echo = latency("echo", &row.backend, row.batch, row.trial);
        [row, echo]
    };
    rows::backends().into_iter().flat_map(with_echo).collect()
}

/// The page for some rows.
#[track_caller]
fn page(rows: &[Row]) -> String {
    let bench = bench("run.csv", &text(rows));
    bench.run("report run.csv -o page.html").expect(0);
    let page = read(&bench.path("page.html"));
    pages::assert_self_contained(&page);
    // What is embedded as base64 may contain any letters.
    let after = |part: &str| part.split_once('"').map_or_else(String::new, |(_, rest)| rest.to_owned());
    let mut parts = page.split("base64,");
    let shown: String = parts.next().into_iter().map(str::to_owned).chain(parts.map(after)).collect();
    assert!(!shown.contains("NaN"), "{page}");
    page
}

/// Every SVG file of a directory, by name, after a check that each is well-formed XML.
#[track_caller]
fn charts(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).expect("a directory");
    let mut charts: Vec<(String, String)> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), read(&entry.path())))
        .collect();
    charts.sort();
    assert!(!charts.is_empty(), "no chart in {}", folder.display());
    for (name, chart) in &charts {
        let document = roxmltree::Document::parse(chart).unwrap_or_else(|error| panic!("{name}: {error}\n{chart}"));
        assert!(document.root_element().has_tag_name(("http://www.w3.org/2000/svg", "svg")), "{name}");
        let numbers = document.descendants().flat_map(|node| node.attributes());
        numbers.for_each(|attribute| {
            assert!(pages::ATTRIBUTES.contains(&attribute.name()), "{name}: {attribute:?}");
            let is_place = ["d", "x", "y", "cx", "cy", "r", "transform", "viewBox"].contains(&attribute.name());
            let infinite = is_place && attribute.value().contains("inf");
            let finite = !infinite && !attribute.value().contains("NaN");
            assert!(finite, "{name}: {attribute:?}");
        });
    }
    charts
}

/// The title of a chart, without its figure's title.
fn title(chart: &str) -> &str {
    let titles = chart.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let (_, title) = titles.and_then(|(titles, _)| titles.split_once(": ")).expect("a title");
    title
}

#[test]
fn a_page_begins_with_the_conclusion_and_has_everything_behind_it() {
    let bench = bench("run.csv", &text(&backends()));
    let done = bench.run("report run.csv -o page.html --svg charts").expect(0);
    assert!(done.stdout.starts_with("page.html: ") && done.stdout.contains(" of 240 trials, "), "{}", done.stdout);
    assert_eq!(done.stderr, "");
    assert_eq!(bench.files(), ["charts", "page.html", "run.csv"].map(str::to_owned).into());
    let page = read(&bench.path("page.html"));
    pages::assert_self_contained(&page);
    let told = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what:?} in the page"));
    // In this order.
    let places = [
        "<h1>hpbench: plain, mmsg, uring on lab</h1>",
        "mmsg 27% slower at batch 1",
        "<h2>Cost per datagram</h2>",
        "<h2>The peer's cost</h2>",
        "<h2>Latency by percentile</h2>",
        "<h2>Trials in time order</h2>",
        "<h2>Environment</h2>",
        "<h2>Gates</h2>",
        "download=\"run.csv.gz\"",
    ]
    .map(told);
    assert!(places.is_sorted(), "{places:?}");
    for what in [
        "rate under full load (--scenario flood)",
        "uring, batch 32: 40",
        "99.9%",
        "prefers-color-scheme: dark",
        "@media print",
    ] {
        told(what);
    }
    let names: Vec<String> = charts(&bench.path("charts")).into_iter().map(|(name, _)| name).collect();
    for name in ["cost-drain.svg", "peer-drain.svg", "percentiles-echo-batch-1.svg", "timeline-drain.svg"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
}

#[test]
fn percentiles_far_out_are_of_all_trials_together() {
    // One block in ten has slow samples, which most trials have none of.
    let tail = |block: usize| if block.is_multiple_of(10) { "1/64 8192:800 2097152:200" } else { "1/64 8192:1000" };
    let row = |block| Row {
        lat_samples: Some(1000),
        lat_tail: tail(block).parse().expect("a tail"),
        ..latency("echo", "plain", 1, block)
    };
    let page = page(&(1..=60).map(row).collect::<Vec<Row>>());
    let told = |what: &str| page.matches(what).count();
    let table = page.split("90%").nth(1).map(|rest| rest.chars().take(300).collect::<String>());
    let found = (told("the percentile of all trials together"), told("99.9%</td>"));
    assert_eq!(found, (1, 0), "fewer than 100 samples are above");
    assert_eq!(told("99%</td><td class=\"number\">211"), 1, "{table:?}");
}

#[test]
fn the_conclusion_is_never_stronger_than_the_verdicts() {
    let few: Vec<Row> = backends().into_iter().filter(|row| row.trial <= 5).collect();
    let page_of_few = page(&few);
    assert!(page_of_few.contains("5 trials of a cell are too few for a verdict") && !page_of_few.contains("slower"));
    let one: Vec<Row> = backends().into_iter().filter(|row| row.backend == "uring").collect();
    assert!(page(&one).contains("Nothing to compare: all trials are of uring."));
    let null: Vec<Row> = one.into_iter().map(|row| Row { backend: "null".into(), ..row }).collect();
    assert!(page(&null).contains("No conclusion: all trials are of the null backend"));
    let mut invalid = backends();
    invalid.iter_mut().for_each(|row| (row.valid, row.invalid_reason) = (0, "disturbed: a cat".into()));
    let page = page(&invalid);
    assert!(!page.contains("% slower") && page.contains("disturbed: a cat"));
}

#[test]
fn labels_that_mean_harm_stay_labels() {
    for hostile in HOSTILE {
        let bench = bench("run.csv", &text(&pages::hostile(hostile)));
        bench.run("report run.csv -o page.html --svg charts").expect(0);
        let page = read(&bench.path("page.html"));
        pages::assert_self_contained(&page);
        let charts = charts(&bench.path("charts"));
        assert!(charts.len() > 4, "{charts:?}");
        for (name, chart) in &charts {
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)), "{name}");
            let document = roxmltree::Document::parse(chart).expect("parsed before");
            let known = ["svg", "title", "style", "rect", "text", "g", "path", "circle"];
            let foreign = |node: &roxmltree::Node| node.is_element() && !known.contains(&node.tag_name().name());
            assert!(!document.descendants().any(|node| foreign(&node)), "{name}: {chart}");
        }
    }
}

#[test]
fn a_name_of_a_file_means_no_harm_either() {
    let bench = Bench::new();
    let name = "\"><script>alert(1)<'&.csv".replace('/', "");
    fs::write(bench.path(&name), text(&backends())).expect("a file");
    let words = [HPBENCH, "report", &name, "-o", "page.html"];
    bench.run_command(&words).expect(0);
    let page = read(&bench.path("page.html"));
    pages::assert_self_contained(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;"), "{page}");
}

#[test]
fn what_is_missing_is_left_out_and_named() {
    // Only an identity: no figures at all.
    let bare = vec![Row { peer_ns_per_packet: None, ns_per_packet_p50: None, ..drain("plain", 1, 1, 1.0) }];
    let page_of_bare = page(&bare);
    let chart = "class=\"chart\" viewBox=\"0 0 380";
    assert!(!page_of_bare.contains(chart), "{page_of_bare}");
    assert!(page_of_bare.contains("cost per datagram (--scenario drain,send)"), "{page_of_bare}");
    // One row with a value.
    let page_of_one = page(&[drain("uring", 32, 1, 400.0)]);
    assert!(page_of_one.contains("<h2>Cost per datagram</h2>") && page_of_one.contains("400.0 ns"), "{page_of_one}");
    assert!(page_of_one.contains(chart), "{page_of_one}");
    // A trial that could not be run.
    let failed = Row { error: "io_uring is refused here".into(), valid: 0, ..Row::default() };
    let failed = Row { schema: 1, scenario: "drain".into(), backend: "uring".into(), ..failed };
    let page_of_failed = page(&[failed]);
    assert!(page_of_failed.contains("io_uring is refused here"), "{page_of_failed}");
    // All values equal, and zero.
    let zero: Vec<Row> = (1..=6).map(|block| drain("plain", 1, block, 0.0)).collect();
    page(&zero);
    // The same under two kernels: a change from 0 has no percentage.
    let kernel = |kernel: &str, ns: f64| {
        let row = move |block| Row { kernel: kernel.into(), ..drain("plain", 1, block, ns) };
        (1..=6).map(row).collect::<Vec<_>>()
    };
    let change = |known: [Vec<Row>; 2]| {
        let mut rows = known.concat();
        // Without a line from kernel to kernel there is no table, so another cell has one.
        let other = |row: &Row| Row { batch: 32, ns_per_packet_p50: Some(400.0), order: row.order + 1, ..row.clone() };
        rows.extend(rows.iter().map(other).collect::<Vec<_>>());
        page(&rows)
    };
    for later in [0.0, 5.0] {
        let page = change([kernel("6.1", 0.0), kernel("6.12", later)]);
        assert!(page.contains("<h2>From kernel to kernel</h2>") && !page.contains("inf%"), "{page}");
        assert!(!page.contains("<td>+inf") && !page.contains(">inf"), "{page}");
    }
}

#[test]
fn a_spinning_thread_has_no_processor_time_to_show() {
    let rows = |wait: &str| -> Vec<Row> {
        let row =
            |block| Row { wait: wait.into(), cpu_ns_per_packet: Some(5000.0), ..latency("echo", "plain", 1, block) };
        (1..=6).map(row).collect()
    };
    assert!(!page(&rows("spin")).contains("<h2>Processor time per datagram</h2>"));
    assert!(page(&rows("spin")).contains("processor time per datagram (--wait block"));
    assert!(page(&rows("block")).contains("<h2>Processor time per datagram</h2>"));
}

#[test]
fn latency_against_load_needs_several_rates() {
    let rows = |rates: &[u64]| -> Vec<Row> {
        let row = |(rate, block)| Row { rate_pps: Some(rate), ..latency("pace", "plain", 32, block) };
        rates.iter().flat_map(|&rate| (1..=6).map(move |block| (rate, block))).map(row).collect()
    };
    assert!(page(&rows(&[10_000])).contains("latency against offered load (--scenario pace with several rates"));
    let page = page(&rows(&[10_000, 50_000, 200_000]));
    assert!(page.contains("<h2>Latency against offered load</h2>") && page.contains(">200k</text>"), "{page}");
}

#[test]
fn reasons_are_told_with_what_is_an_example_and_how_many_more_there_are() {
    let mut rows = backends();
    for (at, row) in rows.iter_mut().take(25).enumerate() {
        (row.valid, row.invalid_reason) = (0, "x".repeat(at + 1).into());
    }
    rows[0].invalid_reason = "3 datagrams unexplained".into();
    rows[1].invalid_reason = "5 datagrams unexplained".into();
    let page = page(&rows);
    for what in ["<td>such as: 3 datagrams unexplained</td>", "<td>xxx</td>", "4 rows more, for other reasons"] {
        assert!(page.contains(what), "{what}");
    }
    assert!(!page.contains("why (example; values vary)"));
}

#[test]
fn repeated_invalid_and_marked_trials_are_told_apart() {
    let mut rows = backends();
    let again = Row { attempt: 2, ..rows[0].clone() };
    (rows[0].valid, rows[0].invalid_reason) = (0, "disturbed: another thread had the core".into());
    rows.push(again);
    (rows[2].valid, rows[2].invalid_reason) = (0, "3 datagrams unexplained".into());
    rows[4].steady = Some(0);
    let page = page(&rows);
    for what in [
        "class=\"repeated\"",
        "mark hollow",
        "class=\"ring\"",
        "tried again: disturbed",
        "invalid: 3 datagrams unexplained",
        "marked: unusual conditions",
        "Of 241 rows:",
    ] {
        assert!(page.contains(what), "{what}");
    }
    // The page's legend has one of each in any case: a chart in its own file has only those of its trials.
    let bench = bench("run.csv", &text(&rows));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    charts(&bench.path("charts"));
    let chart = read(&bench.path("charts/timeline-drain.svg"));
    for what in ["class=\"repeated\"", "class=\"mark hollow\"", "class=\"ring\""] {
        assert_eq!(chart.matches(what).count(), 1, "{what}: {chart}");
    }
    // All other trials are unmarked; three series have a name.
    assert_eq!(chart.matches("class=\"mark\"").count(), 121 - 2 + 3, "{chart}");
}

/// The text between the first two marks found.
#[track_caller]
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?} in {text}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to:?} after {from:?}")).0
}

#[test]
fn attempts_that_were_repeated_are_no_trials() {
    let mut rows = backends();
    let again = Row { attempt: 2, ..rows[0].clone() };
    (rows[0].valid, rows[0].invalid_reason) = (0, "disturbed: another thread had the core".into());
    rows.push(again);
    let bench = bench("run.csv", &text(&rows));
    let done = bench.run("report run.csv -o page.html").expect(0);
    assert!(done.stdout.contains(" of 240 trials, "), "{}", done.stdout);
    let page = read(&bench.path("page.html"));
    assert!(page.contains("240 trials in 1 run") && page.contains("Of 241 rows:"), "{page}");
}

#[test]
fn changes_are_drawn_against_the_base_with_the_threshold_as_a_band() {
    let bench = bench("run.csv", &text(&rows::backends()));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    let page = read(&bench.path("page.html"));
    let table = between(&page, "id=\"change\"", "</section>");
    // A row for each batch, a column for each backend but the base.
    for what in ["<td>batch 1</td>", "<td>batch 32</td>", "<th class=\"number\">mmsg</th>", "worse</td>", "same</td>"] {
        assert!(table.contains(what), "{what}: {table}");
    }
    assert!(!table.contains(">plain</th>"), "{table}");
    charts(&bench.path("charts"));
    let chart = read(&bench.path("charts/change-drain.svg"));
    assert!(chart.contains("class=\"zone\"") && chart.contains("change against plain, %"), "{chart}");
    assert!(chart.contains("mmsg, batch 1: +"), "{chart}");
}

#[test]
fn spinning_and_blocking_are_on_one_chart() {
    let rows = |wait: &'static str| {
        let of = move |(batch, block)| Row { wait: wait.into(), ..drain("plain", batch, block, 400.0 + block as f64) };
        [1, 32].into_iter().flat_map(|batch| (1..=6).map(move |block| (batch, block))).map(of)
    };
    let both: Vec<Row> = rows("spin").chain(rows("block")).collect();
    let bench = bench("run.csv", &text(&both));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    let names: Vec<String> = charts(&bench.path("charts")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("cost-")).count(), 1, "{names:?}");
    let chart = read(&bench.path("charts/cost-drain.svg"));
    let page = read(&bench.path("page.html"));
    assert!(page.contains("section:has(.s0:hover) .series:not(.s0)") && page.contains("<li class=\"s0\">"), "{page}");
    // One colour, two kinds of dashes.
    for what in ["plain, spinning", "plain, blocking", "series s0 c0 d0", "series s0 c0 d1"] {
        assert!(chart.contains(what), "{what}: {chart}");
    }
}

#[test]
fn a_cell_without_a_value_stays_and_says_why() {
    let mut rows = rows::backends();
    let is_meant = |row: &&mut Row| row.backend == "uring" && row.batch == 32;
    rows.iter_mut().filter(is_meant).for_each(|row| {
        (row.valid, row.error) = (0, "io_uring is refused here".into());
    });
    let bench = bench("run.csv", &text(&rows));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    let page = read(&bench.path("page.html"));
    let table = between(&page, "id=\"cost\"", "</section>");
    assert!(table.contains(">- (failed: io_uring is refused here)</td>"), "{table}");
    let chart = read(&bench.path("charts/cost-drain.svg"));
    assert!(chart.contains("uring, batch 32: nothing, failed: io_uring is refused here"), "{chart}");
}

#[test]
fn a_percentile_curve_that_is_missing_says_why_itself() {
    let mut rows: Vec<Row> =
        (1..=6).flat_map(|block| ["plain", "uring"].map(|backend| latency("echo", backend, 1, block))).collect();
    rows.iter_mut().filter(|row| row.backend == "uring").for_each(|row| {
        (row.valid, row.error) = (0, "io_uring is refused here".into());
    });
    let page = page(&rows);
    let table = between(&page, "id=\"percentiles\"", "</section>");
    assert!(table.contains(">- (failed: io_uring is refused here)</td>"), "{table}");
}

#[test]
fn latencies_are_in_microseconds_and_all_percentile_curves_have_one_axis() {
    let row = |batch: usize, block, ns: u64| {
        let (lat_p50_ns, lat_p90_ns) = (Some(ns + block as u64), Some(2 * ns));
        Row { lat_p50_ns, lat_p90_ns, ..latency("echo", "plain", batch, block) }
    };
    let rows: Vec<Row> = (1..=6).flat_map(|block| [row(1, block, 900), row(32, block, 5_000_000)]).collect();
    let bench = bench("run.csv", &text(&rows));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    let all = charts(&bench.path("charts"));
    let ticks = |name: &str| -> Vec<String> {
        let chart = &all.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}")).1;
        assert!(chart.contains("latency, µs") && !chart.contains(" ms") && chart.contains(" µs"), "{chart}");
        chart
            .split("<text class=\"")
            .skip(1)
            .filter(|text| text.starts_with("end\"") || text.starts_with("middle\""))
            .map(|text| between(text, ">", "<").to_owned())
            .collect()
    };
    let first = ticks("percentiles-echo-batch-1.svg");
    assert!(first.len() >= 6, "{first:?}");
    assert_eq!(first, ticks("percentiles-echo-batch-32.svg"));
}

#[test]
fn counted_instructions_rank_nothing() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/kernels-2026-12-01/kernels.csv");
    let bench = Bench::new();
    fs::copy(kernels, bench.path("kernels.csv")).expect("the recorded run");
    bench.run("report kernels.csv -o page.html --svg charts").expect(0);
    let page = read(&bench.path("page.html"));
    pages::assert_self_contained(&page);
    for what in [
        "<h2>Instructions per datagram</h2>",
        "<h2>Kernels and modes</h2>",
        "<h2>From kernel to kernel</h2>",
        "ins/packet",
        "do not rank backends",
        "5 kernels: ",
        "6.1 → 6.12: +",
        "charts more left out: ",
    ] {
        assert!(page.contains(what), "{what}");
    }
    // The map is shown, the lines behind it are collapsed, and the list of changes begins with the worker.
    let map = between(&page, "<section id=\"heat\">", "</section>");
    for what in [">▲<", ">▽<", "uring, 5.10: - (failed: ", "class=\"heat up3\""] {
        assert!(map.contains(what), "{what}: {map}");
    }
    for folded in ["instructions", "peer", "kernels", "timeline"] {
        assert!(page.contains(&format!("<section id=\"{folded}\" class=\"folded\">")), "{folded}");
    }
    assert!(!between(&page, "<ul class=\"steps\">", "</ul>").contains("peer"), "{page}");
    for what in [">ns per datagram", "datagrams per second", "<h2>Cost per datagram</h2>", "% slower", "% faster"] {
        assert!(!page.contains(what), "{what}");
    }
    charts(&bench.path("charts"));
}

#[test]
fn charts_of_one_backend_say_which_mode_they_are_of() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/kernels-2026-12-01/kernels.csv");
    let mut lines: Vec<String> = read(&kernels).lines().map(str::to_owned).collect();
    let mut at = 0;
    lines.retain(|line| {
        at += 1;
        at == 1 || line.split(',').nth(4) == Some("uring")
    });
    let bench = bench("uring.csv", (lines.join("\n") + "\n").as_bytes());
    bench.run("report uring.csv -o page.html --svg charts").expect(0);
    let charts = charts(&bench.path("charts"));
    let titles: BTreeSet<&str> = charts.iter().map(|(_, chart)| title(chart)).collect();
    assert!(titles.contains("drain, uring") && titles.contains("drain, uring:coop"), "{titles:?}");
    let of_modes = charts.iter().filter(|(name, _)| name.starts_with("instructions-"));
    let modes: Vec<&str> = of_modes.map(|(_, chart)| title(chart)).collect();
    assert_eq!(modes.iter().collect::<BTreeSet<_>>().len(), modes.len(), "each has a title of its own: {modes:?}");
}

#[test]
fn a_default_is_one_series_whatever_follows_from_the_addressing() {
    let mut rows: Vec<Row> = (1..=6).map(|block| drain("uring", 32, block, 400.0 + block as f64)).collect();
    rows.iter_mut().for_each(|row| (row.addressing, row.buffers) = ("connected".into(), Some(512)));
    let unconnected = |row: &Row| Row {
        addressing: "unconnected".into(),
        variant: "recvmsg-multishot+sendmsg+defer".into(),
        order: row.order + 10,
        ..row.clone()
    };
    rows.extend(rows.iter().map(unconnected).collect::<Vec<_>>());
    let bench = bench("run.csv", &text(&rows));
    bench.run("report run.csv -o page.html --svg charts").expect(0);
    charts(&bench.path("charts"));
    // One with an entry in the legend, and no mention of the buffers, which are the same.
    let timeline = read(&bench.path("charts/timeline-drain.svg"));
    assert_eq!(timeline.matches(">uring</text>").count(), 1, "{timeline}");
    for addressing in ["connected", "unconnected"] {
        assert!(bench.path(&format!("charts/cost-drain-{addressing}.svg")).exists(), "{addressing}");
    }
}

#[test]
fn each_change_counts_even_if_several_are_told_together() {
    let rows = |kernel: &str, factor: f64| -> Vec<Row> {
        // Runs in pairs: one run on each side gives no verdict.
        let of = |pair: u32| {
            let change = move |row: Row| Row {
                kernel: kernel.into(),
                run_id: format!("{kernel}-{pair}"),
                pair: Some(pair),
                ns_per_packet_p50: row.ns_per_packet_p50.map(|ns| ns * factor),
                ..row
            };
            rows::backends().into_iter().filter(|row| row.backend == "plain").map(change)
        };
        (1..=8).flat_map(of).collect()
    };
    let page = page(&[rows("6.1", 1.0), rows("6.12", 1.2)].concat());
    assert!(page.contains("2 kernels: 2 changes of 3% or more"), "{page}");
    assert!(page.contains("(drain, 64 bytes, batches 1, 32)"), "{page}");
}

#[test]
fn files_that_differ_are_told_apart() {
    let other: Vec<Row> =
        backends().into_iter().map(|row| Row { kernel: "6.12".into(), run_id: "beef".into(), ..row }).collect();
    let bench = bench("old.csv", &text(&backends()));
    fs::write(bench.path("new.csv"), text(&other)).expect("a file");
    bench.run("report old.csv new.csv -o page.html").expect(0);
    let page = read(&bench.path("page.html"));
    for what in ["6.18<span class=\"of\"> (old.csv)", "6.12<span class=\"of\"> (new.csv)", "drain, Linux 6.12"] {
        assert!(page.contains(what), "{what}: {page}");
    }
    assert!(page.contains("download=\"old.csv.gz\"") && page.contains("download=\"new.csv.gz\""));
}

#[test]
fn trials_are_in_the_order_in_which_they_ran_whatever_that_of_the_files() {
    let run = |run_id: &str, minute: u32, ns: f64| -> Vec<Row> {
        let started_at = |block: usize| format!("2026-11-23T01:{minute:02}:{block:02}.5Z");
        let row = |block| Row {
            run_id: run_id.into(),
            started_at: started_at(block),
            ..drain("plain", 1, block, ns + block as f64)
        };
        (1..=6).map(row).collect()
    };
    let bench = bench("early.csv", &text(&run("a", 1, 400.0)));
    fs::write(bench.path("late.csv"), text(&run("b", 2, 800.0))).expect("a file");
    let tips = |files: &str, folder: &str| -> Vec<String> {
        bench.run(&format!("report {files} -o {folder}.html --svg {folder}")).expect(0);
        charts(&bench.path(folder));
        let chart = read(&bench.path(&format!("{folder}/timeline-drain.svg")));
        let mut tips: Vec<String> =
            chart.split("<title>row ").skip(1).filter_map(|rest| Some(rest.split_once('<')?.0.to_owned())).collect();
        tips.sort();
        tips
    };
    let sorted = tips("early.csv late.csv", "sorted");
    assert_eq!(sorted.len(), 12, "{sorted:?}");
    // For the cell of its own file, whose median is 403.5 ns.
    assert!(sorted.contains(&"1, plain, batch 1: -0.6%".to_owned()), "{sorted:?}");
    assert_eq!(tips("late.csv early.csv", "reversed"), sorted);
}

#[test]
fn nothing_is_overwritten_unless_asked_for() {
    let bench = bench("run.csv", &text(&backends()));
    fs::write(bench.path("page.html"), "mine").expect("a file");
    let message = bench.run("report run.csv -o page.html").expect(2).stderr;
    assert!(message.contains("page.html exists") && message.contains("--force"), "{message}");
    assert_eq!(read(&bench.path("page.html")), "mine");
    bench.run("report run.csv -o page.html --force --svg charts").expect(0);
    assert!(read(&bench.path("page.html")).starts_with("<!DOCTYPE html>"));
    let message = bench.run("report run.csv -o other.html --svg charts").expect(2).stderr;
    assert!(message.contains("charts/") && message.contains("exists"), "{message}");
    assert!(!bench.path("other.html").exists());
    bench.run("report run.csv -o page.html --force --svg charts").expect(0);
    let done = bench.run("report run.csv -o -").expect(0);
    assert!(done.stdout.starts_with("<!DOCTYPE html>") && done.stdout.trim_end().ends_with("</html>"));
    // The same rows make the same page.
    assert_eq!(done.stdout, read(&bench.path("page.html")));
}

#[test]
fn a_page_that_cannot_be_written_is_not_half_there() {
    let bench = bench("run.csv", &text(&backends()));
    let message = bench.run("report run.csv -o missing/page.html").expect(1).stderr;
    assert!(message.contains("cannot write missing/page.html"), "{message}");
    let message = bench.run("report run.csv -o /dev/full").expect(1).stderr;
    assert!(message.contains("cannot write /dev/full") && message.contains("No space left"), "{message}");
    if !needs::command("prlimit") {
        return;
    }
    fs::write(bench.path("page.html"), "mine").expect("a file");
    let script = "trap '' XFSZ; exec \"$@\"";
    let words = [
        "prlimit",
        "--fsize=1000",
        "sh",
        "-c",
        script,
        "sh",
        HPBENCH,
        "report",
        "run.csv",
        "-o",
        "page.html",
        "--force",
    ];
    let message = bench.run_command(&words).expect(1).stderr;
    assert!(message.contains("cannot write page.html"), "{message}");
    assert_eq!(read(&bench.path("page.html")), "mine");
    assert_eq!(bench.files(), ["page.html", "run.csv"].map(str::to_owned).into(), "nothing is left behind");
}

#[test]
fn bad_usage_and_damage_are_told_with_file_and_line() {
    let bench = bench("run.csv", &text(&backends()));
    let good = String::from_utf8(text(&backends())).expect("text");
    let damaged: [(&str, Vec<u8>, &str); 6] = [
        ("cut", good.as_bytes()[..good.len() - 40].to_vec(), "line 241 of bad.csv is truncated"),
        ("empty", Vec::new(), "line 1 of bad.csv"),
        ("another table", b"a,b\n1,2\n".to_vec(), "line 1 of bad.csv"),
        (
            "no number",
            good.replacen(",64,", ",many,", 1).into_bytes(),
            "line 2 of bad.csv is not a row of hpbench: payload",
        ),
        ("NaN", good.replacen(",300.0,", ",NaN,", 1).into_bytes(), "peer_ns_per_packet is NaN"),
        (
            "other schema",
            good.replacen("\n1,", "\n2,", 1).into_bytes(),
            "line 2 of bad.csv is not a row of hpbench: its schema",
        ),
    ];
    for (name, content, told) in damaged {
        fs::write(bench.path("bad.csv"), content).expect("a file");
        for args in ["report bad.csv -o page.html --svg charts", "report run.csv bad.csv -o page.html"] {
            let Done { stdout, stderr, .. } = bench.run(args).expect(2);
            assert_eq!(stderr.matches(told).count(), 1, "{name}: {stderr}");
            assert!(stdout.is_empty() && !stderr.contains("panicked"), "{name}: {stdout}{stderr}");
        }
    }
    for (args, told) in [
        ("report", "FILE"),
        ("report run.csv", "--out"),
        ("report missing.csv -o page.html", "missing.csv"),
        ("report run.csv -o page.html --svg run.csv", "cannot create the directory run.csv"),
    ] {
        let message = bench.run(args).expect(2).stderr;
        assert!(message.contains(told), "{args}: {message}");
    }
    assert_eq!(bench.files(), ["bad.csv", "run.csv"].map(str::to_owned).into());
}

#[test]
fn a_pipe_will_do_whatever_is_in_it() {
    let other = |row: Row| Row { kernel: "6.12".into(), ..row };
    let several = [backends(), backends().into_iter().map(other).collect()].concat();
    let bench = bench("one.csv", &text(&backends()));
    fs::write(bench.path("several.csv"), text(&several)).expect("a file");
    for (file, told) in [("one.csv", "mmsg 27% slower"), ("several.csv", "2 kernels: ")] {
        let script = format!("cat {file} | exec {HPBENCH} report /dev/stdin -o page.html --force");
        bench.run_command(&["sh", "-c", &script, "sh"]).expect(0);
        assert!(read(&bench.path("page.html")).contains(told), "{file}");
    }
}

#[test]
fn a_hundred_thousand_rows_make_a_moderate_page() {
    let Some((bench, _)) = rows::run_on_many(&["report", "big.csv", "-o", "page.html"]) else { return };
    let page = read(&bench.path("page.html"));
    assert!(page.len() < 12 << 20, "{} bytes", page.len());
    assert!(page.contains("more left out") && page.contains("rows 1 to "), "it is thinned, and says so");
    let charts = page.matches("<figure>").count();
    assert!(charts < 60, "{charts} charts");
}

/// A file of two receive buffers: the same cells, each on a chart of its own.
#[test]
fn conditions_that_differ_are_told_apart() {
    let of = |rcvbuf: u32| {
        backends().into_iter().map(move |row| Row { rcvbuf: Some(rcvbuf), run_id: rcvbuf.to_string(), ..row })
    };
    let both: Vec<Row> = of(1 << 20).chain(of(212_992)).collect();
    let page = page(&both);
    assert!(page.contains("rcvbuf 1048576") || page.contains("rcvbuf 1 048 576"), "the page names the buffers");
    assert!(page.contains("rcvbuf 212992") || page.contains("rcvbuf 212 992"), "the page names the buffers");
}
