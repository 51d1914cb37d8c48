//! What `--backend all` leaves out, because a backend declares that it cannot do it.

use hpbench_backends::{Addressing, Variant};

use crate::plan::cells::{Asked, Axes, FdTable, Scenario, Wait};

/// A line for each reason; none if nothing is left out. Modes that are ways to do what others do as well need no line.
pub(crate) fn notes(axes: &Axes) -> Vec<String> {
    let has_some = |asked: &Asked, applies: fn(&Axes, Scenario) -> bool| {
        let mut own = axes.scenarios.iter().filter(|scenario| scenario.suits(asked.choice.kind()));
        own.any(|&scenario| asked.concerns(scenario) && applies(axes, scenario))
    };
    let of_all: Vec<&Asked> = axes.backends.iter().filter(|asked| asked.is_one_of_all).collect();
    let names = |cannot: &dyn Fn(&Asked) -> bool| -> Vec<String> {
        of_all.iter().filter(|asked| cannot(asked)).map(|asked| asked.choice.to_string()).collect()
    };
    let variant = |asked: &Asked| asked.choice.resolve(Addressing::Connected).ok();
    let mut notes = Vec::new();
    let mut note = |names: Vec<String>, text: &str| {
        if !names.is_empty() {
            notes.push(format!("{} left out {text}", names.join(", ")));
        }
    };
    let has_single = axes.spreads.iter().any(|spread| spread.sockets == 1);
    let is_single = |asked: &Asked| has_single && variant(asked).is_some_and(Variant::is_one_at_a_time);
    let singles = names(&|asked| is_single(asked) && has_some(asked, has_batches));
    note(singles, "above a batch of 1: one datagram is moved per await; add 1 to --batch for them");
    let sleepers = names(&|asked| asked.choice.kind().declaration().only_waits.is_some() && has_some(asked, spins));
    note(sleepers, "with --wait spin: there is no way to look without waiting; add block to --wait for them");
    if axes.spreads.iter().any(|spread| spread.sockets > 1) {
        let single = names(&|asked| !asked.choice.kind().declaration().owns_many_sockets);
        note(single, "with more than one socket: one is all that they own");
    }
    if axes.fd_tables.contains(&FdTable::Own) {
        let sharing = names(&|asked| asked.choice.kind().declaration().shares_descriptors.is_some());
        note(sharing, "with --fd-table own: they need the table that all threads share");
    }
    notes
}

/// Whether more than one datagram may be asked for at once in this scenario: no more than are in flight are.
fn has_batches(axes: &Axes, scenario: Scenario) -> bool {
    let is_many = |values: &[usize]| values.iter().any(|&value| value > 1);
    is_many(&axes.batches) && (scenario != Scenario::Echo || is_many(&axes.windows))
}

/// Whether workers spin in this scenario; in rounds nobody waits.
fn spins(axes: &Axes, scenario: Scenario) -> bool {
    !scenario.has_rounds() && axes.waits.as_ref().is_some_and(|waits| waits.contains(&Wait::Spin))
}

#[cfg(all(test, feature = "runtimes"))]
mod tests {
    use super::*;
    use crate::plan::args::RunArgs;
    use crate::plan::request;

    fn notes_of(flags: &str) -> String {
        let args = RunArgs::from_words(flags.split_whitespace()).expect("good flags");
        notes(&request::axes(&args)).join("\n")
    }

    #[test]
    fn what_all_leaves_out_is_said_with_its_reason() {
        let told = notes_of("--backend all --scenario echo --window 1,8");
        assert!(told.contains("compio") && told.contains("monoio") && told.contains("above a batch of 1"), "{told}");
        assert!(!told.contains("tokio") && !told.contains("compio:multi,"), "{told}");
        assert_eq!(notes_of("--backend all --batch 1"), "");
        assert_eq!(notes_of("--backend plain:all,compio"), "", "it was named");
        assert_eq!(notes_of("--backend all --scenario echo"), "", "one is in flight, so the batch is 1");
        assert_eq!(notes_of("--backend all --batch 1 --scenario drain,send --wait spin"), "", "nobody waits in rounds");
        let told = notes_of("--backend all --batch 1 --scenario drain,pace --wait spin,block --sockets 1,2");
        assert!(told.contains("monoio:one-task left out with --wait spin"), "{told}");
        assert!(!told.contains("quinn-udp") && !told.contains("one is all"), "{told}");
        let told = notes_of("--backend all --sockets 2 --scenario drain");
        assert!(!told.contains("above a batch of 1"), "a batch is of all sockets: {told}");
        let told = notes_of("--backend all --batch 1 --fd-table shared,own");
        assert!(told.starts_with("smol, ") && told.contains("--fd-table own"), "{told}");
    }
}
