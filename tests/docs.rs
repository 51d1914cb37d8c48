//! The documents match the declarations and the recorded runs, their links lead somewhere, and their examples work.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Bench, HPBENCH, needs, read};
use hpbench::record::document;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The documents of the repository.
fn documents() -> Vec<PathBuf> {
    let of = |folder: &str| fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
    let recorded = of("results").map(|entry| entry.expect("an entry").path().join("README.md"));
    let found = [".", "docs", "results"].into_iter().flat_map(of).map(|entry| entry.expect("an entry").path());
    let is_document = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|end| end == "md");
    found.chain(recorded).filter(is_document).collect()
}

/// The examples of one language in a document.
fn examples(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn splice_docs(python: &str, args: &[&str]) -> Output {
    Command::new(python).arg(Path::new(ROOT).join("scripts/splice-docs")).args(args).output().expect("it ran before")
}

#[test]
fn the_columns_are_documented_as_they_are_declared() {
    let path = Path::new(ROOT).join("docs/csv.md");
    let made = document::csv_md();
    if std::env::var_os("HPBENCH_WRITE_DOCS").is_some() {
        fs::write(&path, &made).expect("docs can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/csv.md is not what the columns are declared as: HPBENCH_WRITE_DOCS=1 cargo test --test docs"
    );
}

#[test]
fn the_documents_show_what_was_recorded() {
    let Some(python) = needs::python() else { return };
    let done = splice_docs(&python, &["--check"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_document_that_is_not_current_is_named_and_made_current() {
    let Some(python) = needs::python() else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| home.path().join(name);
    fs::create_dir_all(file("results/docs")).expect("a directory");
    let recorded = "$ hpbench\n\ndrain: ns\nplain  1\n\nsend: ns\nplain  2\n\necho: µs\nplain  3\n";
    fs::write(file("results/docs/first.txt"), recorded).expect("a file");
    let mark = "<!-- spliced by scripts/splice-docs: text results/docs/first.txt drain: echo: -->";
    let readme = file("README.md");
    let write = |text: &str| fs::write(&readme, text).expect("a file");
    write(&format!("# Title\n{mark}\nold\n<!-- end of splice -->\nrest\n"));
    let root = home.path().to_str().expect("UTF-8");

    let done = splice_docs(&python, &["--check", "--root", root]);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("README.md is not current"), "{done:?}");
    assert!(read(&readme).contains("old"), "--check writes nothing");

    assert_eq!(splice_docs(&python, &["--root", root]).status.code(), Some(0));
    let block = "```text\n$ hpbench\ndrain: ns\nplain  1\n\necho: µs\nplain  3\n```";
    assert_eq!(read(&readme), format!("# Title\n{mark}\n{block}\n<!-- end of splice -->\nrest\n"));
    assert_eq!(splice_docs(&python, &["--check", "--root", root]).status.code(), Some(0));

    for (mark, told) in [
        (mark.replace("first.txt", "none.txt"), "there is no results/docs/none.txt"),
        (mark.replace("echo:", "flood:"), "no paragraph that begins with `flood:`"),
        (mark.replace("text", "picture"), "a kind"),
    ] {
        write(&format!("{mark}\n<!-- end of splice -->\n"));
        let done = splice_docs(&python, &["--root", root]);
        assert_eq!(done.status.code(), Some(2), "{mark}");
        assert!(String::from_utf8_lossy(&done.stderr).contains(told), "{done:?}");
    }
    write(&format!("{mark}\nno end\n"));
    let done = splice_docs(&python, &["--check", "--root", root]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("has no end"), "{done:?}");
}

#[test]
fn figures_are_recorded_and_put_into_the_documents_by_one_command() {
    if needs::python().is_none() {
        return;
    }
    let bench = Bench::new();
    fs::create_dir(bench.path("scripts")).expect("a directory");
    for name in ["common.bash", "record-docs", "splice-docs"] {
        fs::copy(Path::new(ROOT).join("scripts").join(name), bench.path("scripts").join(name)).expect("a script");
    }
    let mark = "<!-- spliced by scripts/splice-docs: text results/docs/tables-compare.txt -->";
    fs::write(bench.path("README.md"), format!("{mark}\n<!-- end of splice -->\n")).expect("a file");
    let run = |args: &str| {
        let hpbench = format!("HPBENCH={HPBENCH}");
        let words = ["env", hpbench.as_str(), "scripts/record-docs"].into_iter().chain(args.split_whitespace());
        bench.run_command(&words.collect::<Vec<_>>())
    };
    run("tables -- --trials 2 -t 0.005 --warmup 0.001 --backend plain,mmsg --no-gates").expect(0);
    let shown = read(&bench.path("README.md"));
    assert!(shown.contains("$ hpbench compare --by fd_table --base own tables.csv"), "{shown}");
    assert!(shown.contains("ns_per_packet_p50"), "{shown}");
    assert_eq!(bench.rows("results/docs/tables.csv").len(), 2 * 2 * 2 * 2 * 2);
    let env: serde_json::Value =
        serde_json::from_str(&read(&bench.path("results/docs/env-tables.json"))).expect("JSON");
    assert!(env["doctor"]["machine"]["kernel"].is_string(), "{env}");

    let before = read(&bench.path("results/docs/tables.txt"));
    run("tables -- --no-such-flag").expect(1);
    assert_eq!(read(&bench.path("results/docs/tables.txt")), before, "a step that fails changes nothing");
    assert!(run("nothing").expect(2).stderr.contains("unknown step nothing"));
}

/// The headings of a document, as its links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        if let (false, Some(heading)) = (in_code, line.strip_prefix('#')) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
            found.insert(kept.map(|sign| if sign == ' ' { '-' } else { sign }).collect());
        }
    }
    found
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            assert!(path.exists(), "{}: {target} leads nowhere", document.display());
            let is_there = anchor.is_empty() || anchors(&read(&path)).contains(anchor);
            assert!(is_there, "{}: {target} names no heading", document.display());
        }
    }
    assert!(count > 20, "{count} links were found");
}

#[test]
fn the_first_page_is_short_and_its_commands_come_first() {
    let text = read(&Path::new(ROOT).join("README.md"));
    assert!(text.lines().count() <= 150, "{} lines; the rest belongs into docs/", text.lines().count());
    let first = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let commands: Vec<&str> = first.lines().map(|line| line.split(" #").next().unwrap_or(line).trim_end()).collect();
    assert_eq!(commands, ["cargo run --release", "cargo test --workspace"]);
}

/// Runs the SQL of a file, statement by statement, and prints the results.
const RUN_SQL: &str = "
import duckdb
for statement in open('example.sql').read().split(';'):
    if statement.strip():
        result = duckdb.sql(statement)
        print(result.columns, result.fetchall())
";

#[test]
fn pandas_and_duckdb_read_the_csv_as_documented() {
    let Some(python) = needs::python_with("pandas", &["pandas", "duckdb"]) else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    let csv = Path::new(ROOT).join("results/batch-2026-11-30/run.csv");
    fs::copy(csv, home.path().join("run.csv")).expect("a recorded run");
    let text = document::csv_md();
    let sql = examples(&text, "sql");
    assert!(sql.contains("\"window\"") && sql.contains("\"order\""), "{sql}");
    fs::write(home.path().join("example.sql"), sql).expect("a file");
    let run = |code: &str| {
        let done = Command::new(&python).args(["-c", code]).current_dir(home.path()).output().expect("it ran before");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let shown = run(&(examples(&text, "python") + "print(rows['backend'].eq('null').sum(), rows['seed'].dtype)\n"));
    // 574.0 is what results/batch-2026-11-30/table.txt has for `mmsg` at batch 1.
    assert!(shown.contains("573.95"), "{shown}");
    assert!(!shown.contains("\n0 UInt64"), "the rows of `null` are there: {shown}");
    let shown = run(RUN_SQL);
    assert!(shown.contains("('drain', 'mmsg', 1, 573.95"), "{shown}");
    assert!(shown.contains("'drain', 'null', 1, "), "{shown}");
}
