//! What a user sees: the help, the plan, the table, and more or less of it on demand.

mod common;

use common::{Bench, HPBENCH, needs, parse, tiny};

/// The flags: a contract.
const FLAGS: [&str; 29] = [
    "--backend",
    "--scenario",
    "--batch",
    "--payload",
    "--round",
    "--window",
    "--verify",
    "--trials",
    "--duration",
    "--packets",
    "--warmup",
    "--workers",
    "--generators",
    "--port",
    "--bind",
    "--cpu",
    "--generator-cpu",
    "--ring",
    "--rcvbuf",
    "--sndbuf",
    "--seed",
    "--out",
    "--append",
    "--force",
    "--label",
    "--strict",
    "--dry-run",
    "--quiet",
    "--verbose",
];

/// Fails if a line is wider than `columns`.
#[track_caller]
fn assert_fits(text: &str, columns: usize) {
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > columns).collect();
    assert!(wide.is_empty(), "wider than {columns} columns:\n{}", wide.join("\n"));
}

#[test]
fn the_help_names_every_flag_and_fits_the_screen() {
    let help = Bench::new().run("--help").expect(0).stdout;
    assert_fits(&help, 100);
    for flag in FLAGS {
        assert!(help.split([' ', ',', '\n', '=']).any(|word| word == flag), "{flag} is not in\n{help}");
    }
    for short in ["-t", "-w", "-p", "-o"] {
        assert!(help.contains(&format!("{short}, --")), "{short} is not in\n{help}");
    }
    let short = Bench::new().run("-h").expect(0).stdout;
    assert!(short.lines().count() <= 50, "{short}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = Bench::new().run("--version").expect(0).stdout;
    // Its revision is in brackets, if known.
    let rest = version.strip_prefix(concat!("hpbench ", env!("CARGO_PKG_VERSION"))).expect("name and version");
    assert!(rest == "\n" || rest.starts_with(" (") && rest.ends_with(")\n"), "{version}");
}

#[test]
fn a_dry_run_tells_the_plan_and_runs_nothing() {
    let bench = Bench::new();
    let done =
        bench.run("--dry-run --batch 1..8 --payload 64,1472 --trials 3 --backend plain,mmsg --window 1,8").expect(0);
    // Two backends, four batches and two payloads; echo has two windows.
    let cells = 2 * 4 * 2 * (3 + 2);
    let text = done.stdout;
    assert!(text.contains(&format!("{cells} cells × 3 trials = {} trials", 3 * cells)), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("payload")).count(), cells, "a line for each cell");
    assert!(text.contains("plain:recvfrom+sendto") && text.contains("mmsg:recvmmsg+sendmmsg"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.contains(" s")), "the estimated time: {text}");
    assert_fits(&text, 80);
    assert!(text.lines().all(|line| line.trim_end() == line), "no spaces at the ends of lines:\n{text}");
    assert!(bench.files().is_empty(), "{:?}", bench.files());

    let text = bench.run("--dry-run --packets 777").expect(0).stdout;
    assert!(text.contains("777"), "the count that ends a trial: {text}");
}

#[test]
fn the_table_fits_into_80_columns() {
    if needs::two_cores().is_none() || !needs::rcvbuf(1 << 20) {
        return;
    }
    let args = format!(
        "--backend {} --batch 1,32,1024 --window 1,64 --scenario drain,send,flood,pace,echo --rate 20000,12345 --wait spin,block --trials 2 --packets 200 --verbose",
        needs::backends()
    );
    let table = Bench::new().tiny_undisturbed(&args).expect(0).stdout;
    for title in ["drain, send: ", "flood: ", "pace: ", "echo: "] {
        assert!(table.lines().any(|line| line.starts_with(title)), "{title} is not in\n{table}");
    }
    assert_fits(&table, 80);
    assert!(table.lines().all(|line| line.trim_end() == line), "no spaces at the ends of lines:\n{table}");
}

#[test]
fn the_table_has_a_line_for_each_cell_in_series() {
    let args = "--backend null,plain --scenario drain --batch 4,16 --round 64";
    let table = Bench::new().tiny_undisturbed(args).expect(0).stdout;
    let cells: Vec<[&str; 2]> = table
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>())
        .map_while(|words| <[&str; 2]>::try_from(words).ok())
        .take(4)
        .collect();
    assert_eq!(cells, [["plain", "4"], ["plain", "16"], ["null", "4"], ["null", "16"]], "{table}");
}

#[test]
fn verbose_adds_to_the_table() {
    let args = "--backend plain --scenario drain,send";
    let bench = Bench::new();
    let short = bench.tiny_undisturbed(args).expect(0).stdout;
    let long = bench.show_undisturbed(&format!("{args} --verbose")).expect(0).stdout;
    assert!(!short.contains("empty polls"), "{short}");
    assert!(long.contains("empty polls") && long.contains("calls each"), "{long}");
}

/// Progress is drawn only on a terminal, and not if it is turned off.
#[test]
fn progress_is_drawn_on_a_terminal_unless_quiet() {
    let args = "--backend null --scenario drain --trials 21";
    let done = Bench::new().tiny(args).expect(0);
    assert!(!done.stderr.contains("left"), "no progress in a file: {}", done.stderr);
    if !needs::command("script") {
        return;
    }
    for (quiet, drawn) in [("", true), ("--quiet", false)] {
        // `script` gives hpbench a terminal for both outputs, and copies what appears there.
        let bench = Bench::new();
        // One trial is already there, and counts: there is a table even if another program disturbs all others.
        bench.tiny_undisturbed("--backend null --scenario drain").expect(0);
        let command = format!("{HPBENCH} {}", tiny(&format!("{args} --resume {quiet}")));
        let screen = bench.run_command(&["script", "-qec", &command, "/dev/null"]).expect(0).stdout;
        assert_eq!(screen.contains("/20 trials"), drawn, "{quiet}: {screen:?}");
        assert!(screen.contains("drain: "), "the table is printed all the same");
        assert_eq!(bench.rows("out.csv").len(), 21);
    }
}

#[test]
fn rounds_that_were_asked_for_are_rows_of_their_own() {
    let bench = Bench::new();
    let run = bench.tiny("--backend null --scenario drain --round 128,1024 --trials 3 --label 007").expect(0);
    let rows = parse(&bench.run("show --summary csv out.csv").expect(0).stdout);
    let told: Vec<_> = rows.iter().map(|row| (row.text("round"), row.text("trials"))).collect();
    assert_eq!(told, [("128", "3"), ("1024", "3")], "{}", run.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&bench.run("show --summary json out.csv").expect(0).stdout).expect("JSON");
    let cell = &json["cells"][1];
    assert_eq!((&cell["host"], &cell["round"]), (&"007".into(), &1024.into()), "a host is no number");
}
