//! What the tests of reports share: rows to make pages of, some of which mean harm, and what every page must be.

use hpbench::record::Row;

/// Labels that would do harm if they were taken for markup.
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

/// A row of `drain`, of a backend in a block.
pub(crate) fn drain(backend: &str, batch: usize, block: usize, ns: f64) -> Row {
    let variant = match backend {
        "plain" => "recvfrom+sendto",
        "mmsg" => "recvmmsg+sendmmsg",
        _ => "multishot+send+defer",
    };
    Row {
        schema: 1,
        run_id: "f00d".into(),
        started_at: format!("2026-11-23T01:02:{block:02}.5Z"),
        scenario: "drain".into(),
        backend: backend.into(),
        variant: variant.into(),
        wait: "spin".into(),
        bind: "127.0.0.1".into(),
        batch,
        payload: 64,
        round: Some(1024),
        workers: 1,
        trial: block,
        attempt: 1,
        order: 10_000 * batch + 100 * block + backend.len(),
        ns_per_packet_p50: Some(ns),
        peer_ns_per_packet: Some(300.0),
        kernel_batch_mean: Some(batch as f64),
        host: "lab".into(),
        kernel: "6.18".into(),
        fill: "gso".into(),
        rcvbuf: Some(1 << 20),
        valid: 1,
        ..Row::default()
    }
}

/// A row of `echo` or `pace`.
pub(crate) fn latency(scenario: &str, backend: &str, batch: usize, block: usize) -> Row {
    let ns = |factor: u64| Some(factor * (1000 + (block * 7 + backend.len()) as u64 % 11));
    Row {
        scenario: scenario.into(),
        round: None,
        window: Some(1),
        ns_per_packet_p50: None,
        peer_ns_per_packet: None,
        lat_samples: Some(20_000),
        lat_p50_ns: ns(5),
        lat_p90_ns: ns(6),
        lat_p99_ns: ns(12),
        lat_p999_ns: ns(60),
        lat_p9999_ns: ns(300),
        ..drain(backend, batch, block, 1.0)
    }
}

/// Rows in which every text is a label that means harm.
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
            (row.valid, row.invalid_reason) = (0, label.to_owned());
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

/// The rows of a file.
pub(crate) fn text(rows: &[Row]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().for_each(|row| writer.serialize(row).expect("a row"));
    writer.into_inner().expect("memory takes all bytes")
}

/// Fails unless a page is one file that loads nothing, runs nothing, and has no markup but that of reports.
#[track_caller]
pub(crate) fn assert_self_contained(page: &str) {
    const KNOWN: [&str; 45] = [
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
    const ATTRIBUTES: [&str; 28] = [
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
        "scope",
        "open",
        "xmlns",
        "title",
    ];
    assert!(page.starts_with("<!DOCTYPE html>"), "{}", &page[..page.len().min(200)]);
    let controls: Vec<char> = page.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert!(controls.is_empty(), "control characters {controls:?}");
    assert!(!page.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\u{fffe}']), "marks of direction");
    // Between `<` and `>` there is nothing but what reports are made of.
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
