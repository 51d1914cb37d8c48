//! Shared by the tests of reports: hostile rows, and what every page must be.

use hpbench::record::row::Row;

use super::rows::{drain, latency};

/// Labels that would do harm if they were treated as markup.
pub(crate) const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\" onmouseover=\"alert(1)\" x=\"",
    "' autofocus onfocus='alert(1)",
    "</title></style></svg></details><img src=http://evil.example/x onerror=alert(1)>",
    "]]><!--<!DOCTYPE a [<!ENTITY b SYSTEM \"http://evil.example/\">]>&b;",
    "\u{0}\u{1}\u{8}\u{b}\u{1b}[31m\u{7f}\u{85}\u{fffe}\u{202e}lmth\u{2066}\u{200f}\u{2028}",
    "a\"b,c\r\n<svg/onload=alert(1)>",
    "@import url(http://evil.example/x.css); } body { display: none",
];

/// The attributes that elements of reports and charts have.
pub(crate) const ATTRIBUTES: [&str; 29] = [
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "rel",
    "href",
    "id",
    "class",
    "download",
    "tabindex",
    "viewBox",
    "role",
    "aria-label",
    "aria-hidden",
    "d",
    "x",
    "y",
    "cx",
    "cy",
    "r",
    "transform",
    "width",
    "height",
    "colspan",
    "scope",
    "open",
    "xmlns",
    "title",
];

/// Rows in which every text is a hostile label.
pub(crate) fn hostile(label: &str) -> Vec<Row> {
    let spoil = |mut row: Row, number: usize| {
        let own = format!("{label}{number}");
        for text in [&mut row.variant, &mut row.wait, &mut row.addressing, &mut row.bind, &mut row.run_id] {
            *text = own.clone();
        }
        for text in [&mut row.host, &mut row.kernel_build, &mut row.cpu_model, &mut row.started_at, &mut row.rustc] {
            *text = label.to_owned();
        }
        if row.trial.is_multiple_of(5) {
            (row.valid, row.invalid_reason) = (0, label.into());
        }
        if row.trial.is_multiple_of(7) {
            (row.valid, row.error) = (0, label.to_owned());
        }
        if number == 2 {
            (row.backend, row.kernel) = (label.to_owned(), label.to_owned());
        }
        row
    };
    let numbers = (1..=10).flat_map(|block| [1, 2].map(|number| (block, number)));
    let rows = numbers.flat_map(|(block, number)| {
        let rows =
            [drain("uring", 1, block, 400.0), drain("uring", 8, block, 300.0), latency("echo", "mmsg", 1, block)];
        rows.map(|row| spoil(row, number))
    });
    rows.collect()
}

/// Fails unless a page is one file that loads nothing, runs nothing, and has no markup but that of reports.
#[track_caller]
pub(crate) fn assert_self_contained(page: &str) {
    const KNOWN: [&str; 46] = [
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "main",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "dl",
        "div",
        "dt",
        "dd",
        "nav",
        "a",
        "section",
        "ul",
        "li",
        "details",
        "summary",
        "strong",
        "span",
        "code",
        "figure",
        "figcaption",
        "svg",
        "g",
        "path",
        "circle",
        "rect",
        "text",
        "caption",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "footer",
        "br",
        "em",
        "small",
    ];
    assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..page.len().min(200)]);
    let controls: Vec<char> = page.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert!(controls.is_empty(), "control characters {controls:?}");
    assert!(!page.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\u{fffe}']), "marks of direction");
    // Between `<` and `>` there are only the tags and attributes of reports.
    let body = page.strip_prefix("<!DOCTYPE html>").expect("seen above");
    for piece in body.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap_or_else(|| panic!("<{piece} is not closed"));
        let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
        assert!(KNOWN.contains(&name), "<{tag}>");
        let mut rest = &tag[tag.find(' ').unwrap_or(tag.len())..];
        while let Some((attribute, value)) = rest.split_once("=\"") {
            let attribute = attribute.trim();
            assert!(ATTRIBUTES.contains(&attribute), "{attribute} in <{tag}>");
            let (value, after) = value.split_once('"').unwrap_or_else(|| panic!("<{tag}> has a quote that is open"));
            let local = value.starts_with('#') || value.starts_with("data:");
            assert!(attribute != "href" || local, "{value} in <{tag}>");
            rest = after;
        }
        assert_eq!(rest.trim(), "", "<{tag}>");
    }
    // The style loads nothing.
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    for loading in ["url(", "@import", "http", "src"] {
        assert!(!style.contains(loading), "{loading} in the style");
    }
}
