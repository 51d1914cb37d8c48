//! The example is a contestant like those of hpbench: it runs every scenario, and every datagram is accounted for.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

/// Runs the example; its exit status is `status`.
fn run(words: &str, status: i32) -> Output {
    let folder = tempdir();
    let output = Command::new(env!("CARGO_BIN_EXE_hpbench-example"))
        .args(words.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the example runs");
    assert_eq!(output.status.code(), Some(status), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn tempdir() -> &'static str {
    env!("CARGO_TARGET_TMPDIR")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_runs_beside_the_backends_of_hpbench_and_balances() {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        eprintln!("SKIPPED: two cores are needed");
        return;
    }
    for wait in ["spin", "block"] {
        let words = format!(
            "--backend plain,std --scenario drain,send,flood,pace,echo,serve,relay --fanout 3 --rate 2000 --wait {wait} --trials 1 -t 0.1 \
             --warmup 0.005 --no-gates --quiet -o -"
        );
        let csv = text(&run(&words, 0).stdout);
        let mut lines = csv.trim_start_matches('\u{feff}').lines();
        let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
        let column = |name: &str| header.iter().position(|column| *column == name).expect("a column");
        let [backend, unexplained, received] = ["backend", "unexplained", "received"].map(column);
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
        let of_example: Vec<_> = rows.iter().filter(|row| row[backend] == "std").collect();
        assert_eq!((rows.len(), of_example.len()), (14, 7), "{csv}");
        for row in of_example {
            assert_eq!(row[unexplained], "0", "{row:?}");
            assert!(row[received].parse::<u64>().is_ok_and(|received| received > 0), "{row:?}");
        }
    }
}

#[test]
fn help_and_doctor_know_it_and_what_it_cannot_do_is_said() {
    let help = text(&run("--help", 0).stdout);
    assert!(help.contains("std: std::net::UdpSocket, an example"), "{help}");
    assert!(text(&run("doctor", 0).stdout).contains("std"));
    let refused = text(&run("--backend std --sockets 2", 2).stderr);
    assert!(refused.contains("std with more than one socket"), "{refused}");
}
