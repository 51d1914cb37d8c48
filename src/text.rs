//! Text in 80 columns: notes, tables and numbers.

use comfy_table::{ContentArrangement, Table, presets};
use textwrap::{Options, WordSplitter};

/// How wide text is.
pub(crate) const WIDTH: usize = 80;

/// How many characters a text has.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Breaks a note into lines, the second and later ones indented; ends it with a line end.
pub(crate) fn wrap(note: &str) -> String {
    // Neither names of files nor flags are cut.
    let options = Options::new(WIDTH).subsequent_indent("  ").break_words(false);
    format!("{}\n", textwrap::fill(note, options.word_splitter(WordSplitter::NoHyphenation)))
}

/// Asks whether one of the known words was meant, at the end of a message that refuses a word; says nothing if none is
/// like it.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // The likeness that clap demands of flag names.
    const ALIKE: f64 = 0.7;
    let likeness = known.into_iter().map(|known| (strsim::jaro(word, known), known));
    let best = likeness.filter(|(likeness, _)| *likeness > ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map_or_else(String::new, |(_, known)| format!("; did you mean '{known}'?"))
}

/// A table without lines, as wide as it needs to be.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Without spaces at the ends of lines.
pub(crate) fn trim_lines(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A number with at least three significant digits, in few characters.
pub(crate) fn digits(value: f64) -> String {
    match value {
        ..100.0 => format!("{value:.2}"),
        ..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A number without the dust of binary fractions: the middle of 473.96 and 473.97 is 473.965, not 473.96500000000003. It has
/// 15 significant digits, which any parser of decimal numbers reads as the same value.
pub(crate) fn decimal(value: f64) -> f64 {
    format!("{value:.*e}", f64::DIGITS as usize - 1).parse().expect("a number was written")
}

/// A count of things: `1 core`, `2 cores`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A whole number with spaces between thousands, so that it can be read.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A fraction in percent, with no more digits than it has, and four decimals at most unless it is smaller.
pub(crate) fn percent(fraction: f64) -> String {
    let rounded = (fraction * 1e6).round() / 1e4;
    format!("{}%", if rounded == 0.0 { decimal(100.0 * fraction) } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn notes_are_broken_between_words_only() {
        assert_eq!(wrap(""), "\n");
        assert_eq!(wrap("≥  two spaces stay"), "≥  two spaces stay\n");
        let (left, right) = ("a".repeat(70), "non-breaking-hyphens");
        assert_eq!(wrap(&format!("{left} {right} x")), format!("{left}\n  {right} x\n"));
        let long = "/a/path/".repeat(20);
        assert_eq!(wrap(&format!("see {long} x")), format!("see\n  {long}\n  x\n"));
        // Characters count, not bytes.
        let full = "µ".repeat(78);
        assert_eq!(wrap(&format!("{full} →")), format!("{full} →\n"));
    }

    #[test]
    fn numbers_have_no_more_digits_than_they_need() {
        assert_eq!([12.345, 123.45, 1234.5].map(digits), ["12.35", "123.5", "1234"]);
        assert_eq!([12.0, 1_234_567.0].map(thousands), ["12", "1 234 567"]);
        assert_eq!([0.03, 0.005, 0.0, 1e-7].map(percent), ["3%", "0.5%", "0%", "0.00001%"]);
    }

    proptest! {
        #[test]
        fn the_middle_of_two_decimal_numbers_is_one(low in 0..1_000_000_000_u32, apart in 0..100_000_u32) {
            let (low, high) = (u64::from(low), u64::from(low + apart));
            let middle = decimal(low as f64 / 1e3 + (high as f64 / 1e3 - low as f64 / 1e3) * 0.5);
            prop_assert_eq!(middle.to_string(), ((low + high) as f64 / 2e3).to_string());
            prop_assert_eq!(serde_json::from_str::<f64>(&middle.to_string()).expect("a number"), middle);
        }
    }
}
