//! Runs with `--precision`: one that reaches it, and one that never can. Neither depends on how busy the machine is:
//! blocks are added until enough of them count.

mod common;

use common::Bench;

/// Trials of a millisecond, few of which are disturbed by other programs.
const SHORT: &str = "--backend plain,mmsg --batch 4 -t 0.001 --warmup 0 --no-gates -o out.csv";

#[test]
fn a_run_ends_when_it_is_precise() {
    let bench = Bench::new();
    let done = bench.run(&format!("--scenario drain --round 64 --precision 90% {SHORT}")).expect(0);
    assert!(done.stderr.contains("precise to ±"), "{}", done.stderr);
    let rows = bench.rows("out.csv");
    let blocks = rows.iter().map(|row| row.number("trial") as usize).max().expect("some rows");
    assert!(blocks >= 100 && rows.len() == 2 * blocks, "no look before 100 blocks: {} of {blocks}", rows.len());
    assert!(done.stderr.contains(&format!("after {blocks} blocks")), "{}", done.stderr);
    // If there are enough blocks for a look, there are for compare.
    let compared = bench.run("compare --by backend --format csv --metric ns_per_packet_p50 out.csv").expect(0);
    let row = common::parse(&compared.stdout).swap_remove(0);
    let half = (row.number("ratio_high") / row.number("ratio_low")).ln() / 2.0;
    assert!(half <= 0.9, "{half}");
}

/// No generator offers twenty million datagrams a second: its load is the limit, and there will be no verdict.
#[test]
fn a_run_that_can_never_be_precise_ends_and_says_so() {
    let bench = Bench::new();
    let done = bench.run(&format!("--scenario pace --rate 20000000 --precision 90% {SHORT}")).expect(1);
    assert!(done.complaints().contains("no comparison can reach --precision"), "{}", done.stderr);
    assert_eq!(bench.rows("out.csv").len(), 200, "the first look is after 100 blocks");
}
