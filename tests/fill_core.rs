//! `--fill-core`: the queue of `drain` is filled on the worker's core, or on another one.

mod common;

use common::{Bench, assert_balanced, needs};

#[test]
fn the_queue_is_filled_by_the_worker_or_by_a_thread_on_an_other_core() {
    let Some([worker, other]) = needs::two_cores() else { return };
    let backends = if needs::uring() { "plain,mmsg,uring,uring:gro,null" } else { "plain,mmsg,null" };
    let args = format!(
        "--backend {backends} --scenario drain,send --fill-core same,other --fd-table shared,own \
         --cpu {worker} --generator-cpu {other} --trials 2"
    );
    let rows = Bench::new().tiny(&args).expect(0).rows();
    let mut filled_elsewhere = 0;
    for row in &rows {
        assert_balanced(row);
        let elsewhere = row.text("fill_core") == "other";
        filled_elsewhere += usize::from(elsewhere);
        let (cores, relation) = (row.text("generator_cpu"), row.text("cpu_relation"));
        assert_eq!(cores == other.to_string(), elsewhere, "{}: {cores}", row.name());
        assert_eq!(relation.is_empty(), !elsewhere, "{}: {relation}", row.name());
        assert!(row.number("peer_ns_per_packet") > 0.0, "{}", row.name());
        // What another thread counts is in no column of the worker's.
        assert!(!elsewhere || row.text("peer_instructions_per_packet").is_empty(), "{}", row.name());
    }
    let with_sockets = backends.split(',').count() - 1;
    assert_eq!(
        filled_elsewhere,
        with_sockets * 2 * 2,
        "each backend that has a socket, with either table, in drain alone"
    );
}

#[test]
fn cells_that_were_filled_elsewhere_are_not_compared_unless_that_is_the_question() {
    if needs::two_cores().is_none() {
        return;
    }
    let bench = Bench::new();
    for core in ["same", "other"] {
        let out = bench.path(core);
        bench.tiny(&format!("--backend plain --scenario drain --fill-core {core} -o {}", out.display())).expect(0);
    }
    let files = [bench.path("same"), bench.path("other")].map(|path| path.display().to_string()).join(" ");
    let refused = bench.run(&format!("compare {files}")).expect(2);
    assert!(refused.stderr.contains("fill_core"), "{}", refused.stderr);
    let asked = bench.run(&format!("compare --by fill_core --base same {files}")).expect(0);
    assert!(asked.stdout.contains("other against same"), "{}", asked.stdout);
}

#[test]
fn what_it_cannot_do_is_refused() {
    for (args, reason) in [
        ("--scenario send --fill-core other", "only drain fills"),
        ("--scenario drain --fill-core other --peer agent", "--peer-cpu"),
        ("--fill-core elsewhere", "neither same nor other"),
    ] {
        let refused = Bench::new().run(&format!("--backend plain {args}")).expect(2);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
    let core = needs::cores()[0].to_string();
    let alone = Bench::under(["taskset", "-c", &core]);
    let row = alone.tiny("--backend plain --scenario drain --fill-core other").expect(1).rows();
    assert!(row[0].text("error").contains("--fill-core same"), "{}", row[0].text("error"));
}
