//! Notes on the comparisons.

use crate::compare::cells::Matched;
use crate::compare::judge::Comparison;
use crate::compare::messages::{Messages, Similar};
use crate::compare::trials::Trials;
use crate::compare::warnings::Reason;
use crate::record::cell::MAY_DIFFER;
use crate::record::row::State;

/// The most reasons listed why cells are not compared.
const UNCOMPARED_MAX: usize = 8;

/// The notes, in their order.
pub(crate) fn of(trials: &Trials<'_>, sides: &[u32], matched: &Matched, comparisons: &[Comparison]) -> Vec<String> {
    let mut notes = Vec::new();
    for (state, what) in [(State::Failed, "failed"), (State::Invalid, "are invalid and left out")] {
        let (messages, all) = (trials.reasons(state), trials.list.len());
        for Similar { count, first, differ, .. } in messages.kinds {
            let others = if differ { " (example; values vary)" } else { "" };
            notes.push(format!("{count} of {all} trials {what}: {first}{others}"));
        }
        if messages.others > 0 {
            notes.push(format!("{} of {all} trials {what}, for other reasons", messages.others));
        }
    }
    notes.extend(uncompared(matched));
    if trials.is_without_null {
        notes.push(
            "The null backend is left out: it does not use the kernel, and shows only the harness's own cost.".into(),
        );
    }
    notes.extend(decided_variants(trials, sides));
    for column in MAY_DIFFER.iter().copied().filter(|column| !trials.by.frees(*column)) {
        let values = |side: &u32| trials.circumstances(*side, column).join(" or ");
        if sides.iter().any(|side| values(side) != values(&sides[0])) {
            let told = sides.iter().map(|side| format!("{} of {}", values(side), trials.side(*side)));
            notes.push(format!("{} differs: {}", column.name(), told.collect::<Vec<_>>().join(", ")));
        }
    }
    let reasons = comparisons.iter().filter_map(|comparison| comparison.reason.as_ref());
    notes.extend(without_verdict(reasons, comparisons.len()));
    notes.extend(warned(comparisons));
    notes
}

/// The cells that are in no comparison, and why.
fn uncompared(matched: &Matched) -> Vec<String> {
    let mut kinds: Vec<(&Reason, usize)> = Vec::new();
    // Failed trials are already reported.
    for reason in matched.uncompared().filter(|reason| **reason != Reason::NothingRan) {
        match kinds.iter().position(|(known, _)| *known == reason) {
            Some(at) => kinds[at].1 += 1,
            None if kinds.len() < UNCOMPARED_MAX => kinds.push((reason, 1)),
            None => {}
        }
    }
    let told = |(reason, count): (&Reason, usize)| {
        let cells = if count == 1 { "1 cell is".into() } else { format!("{count} cells are") };
        match reason {
            Reason::OneSided => format!("{cells} on one side only, and not compared."),
            _ => format!("{cells} not compared: {reason}."),
        }
    };
    kinds.into_iter().map(told).collect()
}

/// A note if different variants are compared, because they follow from what distinguishes the sides.
fn decided_variants(trials: &Trials<'_>, sides: &[u32]) -> Option<String> {
    let elsewhere = |variant: &String| sides.iter().any(|side| !trials.variants(*side).contains(variant));
    let own = |side: &u32| trials.variants(*side).iter().find(|variant| elsewhere(variant));
    let told: Vec<String> = sides
        .iter()
        .filter(|_| trials.by.decides_variants())
        .filter_map(|side| Some(format!("{} if {}", own(side)?, trials.side(*side))))
        .collect();
    let by = trials.by.name();
    (!told.is_empty()).then(|| format!("Modes that were not asked for follow from the {by}: {}.", told.join(", ")))
}

/// Why rows have no verdict; reasons that differ only in numbers are reported once.
pub(crate) fn without_verdict<'a>(reasons: impl Iterator<Item = &'a Reason>, rows: usize) -> Vec<String> {
    let told = |Similar { first, count, .. }: Similar<()>| match count {
        1 => format!("1 row has no verdict: {first}."),
        _ if count == rows => format!("No verdict: {first}."),
        _ => format!("{count} rows have no verdict, the first of them: {first}."),
    };
    let messages = Messages::of(reasons.map(|reason| ((), reason.to_string())));
    let others = (messages.others > 0).then(|| format!("{} rows have no verdict for other reasons.", messages.others));
    messages.kinds.into_iter().map(told).chain(others).collect()
}

/// The warnings of all rows; those that differ only in numbers are reported once.
fn warned(comparisons: &[Comparison]) -> Vec<String> {
    let warnings = comparisons.iter().flat_map(|comparison| &comparison.warnings);
    let told = |Similar { first, count, .. }: Similar<()>| match count {
        1 => format!("1 row: {first}"),
        _ if count == comparisons.len() => format!("All rows: {first}"),
        _ => format!("{count} rows, the first of them: {first}"),
    };
    let messages = Messages::of(warnings.map(|warning| ((), warning.to_string())));
    let others =
        (messages.others > 0).then(|| format!("{} other warnings; --format csv has them all.", messages.others));
    messages.kinds.into_iter().map(told).chain(others).collect()
}
