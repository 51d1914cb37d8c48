//! What the help says about the backends, from their declarations: their list, and the help of `--backend`.

use hpbench_backends::Kind;
use hpbench_backends::declaration::Dimension;

/// The names of all backends, as in a sentence.
pub(crate) fn names() -> String {
    Kind::by_use().map(Kind::name).collect::<Vec<_>>().join(", ")
}

/// The backends that `all` means: those that go through the kernel.
pub(crate) fn all() -> Vec<Kind> {
    Kind::by_use().filter(|kind| kind.has_socket()).collect()
}

/// The names of those, as in a sentence.
fn names_of_all() -> String {
    let names: Vec<&str> = all().into_iter().map(Kind::name).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// The help of `--backend` in a line.
pub(crate) fn short_help() -> String {
    "E.g. uring,uring:single".to_owned()
}

/// The help of `--backend` with every backend and every mode.
pub(crate) fn long_help() -> String {
    let mut text = format!(
        "Backends: {}; each with optional modes, e.g. uring:single+sendmsg or mmsg:gso+gro; uring:all means each of its modes in \
         turn, all means that for {}.\n\nName at most one mode of each group. The first of a group is its default; gso, gro and the ways to \
         find ready sockets are off unless named. A number is the Linux release that the mode needs.\n",
        names(),
        names_of_all()
    );
    for kind in Kind::by_use() {
        text += &format!("\n{kind}: {}\n", kind.declaration().about);
        text.extend(kind.declaration().dimensions.iter().map(modes));
    }
    text
}

/// A line for each mode of a dimension, under its name.
fn modes(dimension: &Dimension) -> String {
    let line = |mode: &hpbench_backends::Mode| {
        format!("    {:<20}{:<6}{}\n", mode.name, mode.since.unwrap_or_default(), mode.about)
    };
    format!("  {}\n{}", dimension.name, dimension.modes.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_every_backend_and_every_mode_with_its_release() {
        let help = long_help();
        for kind in Kind::ALL {
            let declared = kind.declaration();
            assert!(help.contains(&format!("\n{kind}: {}\n", declared.about)), "{kind} is not in\n{help}");
            for mode in declared.dimensions.iter().flat_map(|dimension| dimension.modes) {
                let words = [mode.name, mode.since.unwrap_or_default(), mode.about].join(" ");
                let is_it = |line: &str| line.split_whitespace().eq(words.split_whitespace());
                assert!(help.lines().any(is_it), "{kind}:{words} is not in\n{help}");
            }
        }
    }
}
