//! What the command says, and why it ends.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anstream::{AutoStream, ColorChoice};

/// Writes a line to standard error, without control characters. Errors are ignored: standard error may be closed.
macro_rules! tell {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", $crate::console::safe_lines(&format!($($part)*), false));
    }};
}

pub(crate) use tell;

/// Why the command ends with a status other than that of its trials.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bad usage, or an impossible request: nothing was run.
    Usage(anyhow::Error),
    /// Something broke.
    Broken(anyhow::Error),
    /// Standard output was closed.
    Closed,
}

/// Bad usage.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

/// Something broke.
pub(crate) fn broken(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Broken(error.into())
}

/// Writes to standard output, without control characters other than colours, if it takes them.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let text = safe_lines(text, is_coloured());
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
        Err(error) => Err(Failure::Broken(anyhow::Error::new(error).context("cannot write to standard output"))),
    }
}

/// Writes a text with colours to standard error, without other control characters.
pub(crate) fn complain(text: &str) {
    let is_coloured = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let plain = if is_coloured { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() };
    let _ = io::stderr().write_all(safe_lines(&plain, is_coloured).as_bytes());
}

/// Whether standard output takes colours: it is a terminal, and `NO_COLOR` or `TERM=dumb` does not forbid them.
pub(crate) fn is_coloured() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// How a text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether it may have colours.
    pub coloured: bool,
    /// Whether marks may be characters outside ASCII.
    pub unicode: bool,
}

/// How a text for standard output may look: plain unless it is a terminal, whose locale says whether it can show more
/// than ASCII.
pub(crate) fn look() -> Look {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_string_lossy().to_lowercase();
    let unicode = io::stdout().is_terminal() && (locale.contains("utf-8") || locale.contains("utf8"));
    Look { coloured: is_coloured(), unicode }
}

/// A text, without its colours if standard output takes none.
pub(crate) fn for_stdout(text: &str) -> String {
    if is_coloured() { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() }
}

/// Whether a character commands a terminal, changes the direction or the place of the characters around it, or is not
/// seen: two texts that look alike are alike.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a spreadsheet that opens a CSV file would evaluate a text as a formula.
pub(crate) fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@'])
}

/// A text from elsewhere, for a message or a table, with its control characters written as in JSON (`\u001b`).
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_control)
}

/// The name of a file, for a message.
pub(crate) fn printable_path(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) || !text.contains(&is_bad) {
        return text.into();
    }
    let mut all = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' if is_bad(c) => all += "\\n",
            _ if is_bad(c) => all += &format!("\\u{:04x}", u32::from(c)),
            _ => all.push(c),
        }
    }
    all.into()
}

/// Our own lines, without the control characters of the texts in them. Line ends and tabs stay, and so do colours
/// `with_colours`.
pub(crate) fn safe_lines(text: &str, with_colours: bool) -> Cow<'_, str> {
    let is_bad = |c: char| is_control(c) && c != '\n' && c != '\t';
    if !with_colours || !text.contains('\u{1b}') {
        return escaped(text, is_bad);
    }
    let mut pieces = text.split('\u{1b}');
    let mut all = escaped(pieces.next().unwrap_or_default(), is_bad).into_owned();
    for piece in pieces {
        let parameters = piece.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        let is_colour = parameters.is_some_and(|(numbers, _)| numbers.bytes().all(|b| b.is_ascii_digit() || b == b';'));
        all += if is_colour { "\u{1b}" } else { "\\u001b" };
        all += &escaped(piece, is_bad);
    }
    all.into()
}
