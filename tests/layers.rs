//! Imports run downward: a file imports from its own folder or from floors below, and no files import each other in a
//! cycle.
//!
//! Sources are read as tokens, so that paths inside macros count as well. Code for tests (`#[cfg(test)]`) does not count,
//! nor do `mod` declarations.

#[path = "layers/imports.rs"]
mod imports;

use std::path::Path;

use imports::{Sources, circle};

/// The floors of `src/` from the top down. A name is a file or a folder; those on one floor do not import each other.
const HPBENCH: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &[
        "commands/run",
        "commands/search",
        "commands/compare",
        "commands/show",
        "commands/report",
        "commands/doctor",
        "commands/selftest",
        "commands/lab",
        "commands/agent",
    ],
    &["commands/found"],
    &["commands/bench", "commands/plan_file", "commands/table"],
    &["compare"],
    &["record"],
    &["measure"],
    &["plan"],
    &["traffic", "gates"],
    &["place"],
    &["stats", "text", "console"],
    &["fixtures"],
];

/// Stands for the backends that `dispatch.rs` lists.
const IMPLEMENTATIONS: &[&str] = &[];

/// The floors of `backends/src/`.
const BACKENDS: &[&[&str]] = &[
    &["bare"],
    &["features", "offer"],
    &["dispatch"],
    IMPLEMENTATIONS,
    &["sending"],
    &["outbox", "batches"],
    &["message", "ready", "runtime"],
    &["backend"],
    &["variant"],
    &["declaration"],
    &["kernel"],
    &["frames"],
];

/// Files on no floor: they only declare and re-export.
const EXEMPT: [&str; 2] = ["lib.rs", "commands/mod.rs"];

/// What is wrong with the imports of a crate.
fn problems(sources: &Sources, floors: &[&[&str]]) -> Vec<String> {
    let is_exempt = |name: &str| EXEMPT.contains(&name);
    let (imports, mut problems) = sources.imports();
    let homeless = sources.names().filter(|name| !is_exempt(name) && place(name, floors).is_none());
    problems.extend(homeless.map(|name| format!("{name} is on no floor; declare it in tests/layers.rs")));
    for import in imports.iter().filter(|import| !is_exempt(&import.from)) {
        let (from, line, to) = (&import.from, import.line, &import.to);
        match (place(from, floors), place(to, floors)) {
            (Some(own), Some(other)) if other.0 < own.0 => {
                problems.push(format!("{from}:{line} imports {to}, which is on a floor above"));
            }
            (Some(own), Some(other)) if other.0 == own.0 && other.1 != own.1 => {
                problems.push(format!("{from}:{line} imports {to}, which is another part of its floor"));
            }
            _ if is_exempt(to) => problems.push(format!("{from}:{line} imports {to}, which has nothing of its own")),
            _ => {}
        }
    }
    problems.extend(circle(&imports).map(|files| format!("a circle: {} -> {}", files.join(" -> "), files[0])));
    problems
}

/// Which floor a file is on, counted from the top, and in which part of it.
fn place(name: &str, floors: &[&[&str]]) -> Option<(usize, usize)> {
    let is_in = |part: &str| name.strip_prefix(part).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
    let on = |floor: &[&str]| floor.iter().position(|part| is_in(part));
    floors.iter().enumerate().find_map(|(at, floor)| on(floor).map(|part| (at, part)))
}

fn check(folder: &str, floors: &[&[&str]]) {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let problems = problems(&sources, floors);
    assert!(problems.is_empty(), "{folder}:\n{}", problems.join("\n"));
}

#[test]
fn hpbench_imports_downward_without_circles() {
    check("src", HPBENCH);
}

#[test]
fn the_backends_import_downward_without_circles() {
    let dispatch = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/backends/src/dispatch.rs"));
    let dispatch = dispatch.expect("the list of backends");
    let (_, list) = dispatch.split_once("\nbackends! {\n").expect("it is a list");
    let lines = list.lines().take_while(|line| *line != "}");
    let listed: Vec<&str> = lines.filter_map(|line| Some(line.split_once(" = ")?.1.split_once("::")?.0)).collect();
    assert!(listed.contains(&"uring"), "{listed:?}");
    let floors = BACKENDS.iter().map(|floor| if floor.is_empty() { &*listed } else { floor });
    check("backends/src", &floors.collect::<Vec<_>>());
}

#[test]
fn an_upward_import_and_a_circle_are_found() {
    const FLOORS: &[&[&str]] = &[&["top"], &["left", "right"], &["ground"]];
    let good = [
        ("lib.rs", "pub mod top; pub mod left; pub mod right; pub mod ground; pub use left::deep::Leaf;"),
        ("top.rs", "use crate::left::{Named, deep::Leaf}; fn f() { crate::right::f(); }"),
        ("left/mod.rs", "pub mod deep; pub use deep::Leaf as Named; #[cfg(test)] mod tests { use crate::top; }"),
        ("left/deep.rs", "use crate::ground; pub struct Leaf; fn f() { ground::f(); }"),
        ("right.rs", "/// As [`crate::top`].\n#[cfg(test)] use crate::top; pub fn f() {}"),
        ("ground.rs", "pub fn f() { println!(\"crate::top\"); }"),
    ];
    let problems = |changed: &str, text: &str| {
        let files = good.iter().map(|&(name, old)| (name, if name == changed { text } else { old }));
        problems(&Sources::of(files.map(|(name, text)| (name.to_owned(), text.to_owned()))), FLOORS)
    };
    assert_eq!(problems("", ""), Vec::<String>::new());
    for (changed, text, told) in [
        ("ground.rs", "use crate::top;", "ground.rs:1 imports top.rs, which is on a floor above"),
        (
            "ground.rs",
            "fn f() {\n    assert!(crate::right::f());\n}",
            "ground.rs:2 imports right.rs, which is on a floor above",
        ),
        (
            "ground.rs",
            "use crate::{left as l};\nfn f() { l::Named }",
            "ground.rs:2 imports left/deep.rs, which is on a floor above",
        ),
        ("ground.rs", "use crate::Leaf;", "ground.rs:1 imports left/deep.rs, which is on a floor above"),
        ("right.rs", "use super::left::Named;", "right.rs:1 imports left/deep.rs, which is another part of its floor"),
        ("left/deep.rs", "use super::helper;", "a circle: left/deep.rs -> left/mod.rs -> left/deep.rs"),
        ("right.rs", "use crate::nowhere::f;", "right.rs:1 names crate::nowhere, which is no file of the crate"),
    ] {
        let problems = problems(changed, text);
        assert!(problems.iter().any(|problem| problem == told), "{told}: {problems:#?}");
    }
    let stray = Sources::of([("stray.rs".to_owned(), String::new())].into_iter());
    assert_eq!(self::problems(&stray, FLOORS), ["stray.rs is on no floor; declare it in tests/layers.rs"]);
}
