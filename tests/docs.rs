//! The documentation that is made of declarations is as they make it.

use std::path::Path;

use hpbench::record::document;

#[test]
fn the_columns_are_documented_as_they_are_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/csv.md");
    let made = document::csv_md();
    if std::env::var_os("HPBENCH_WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/csv.md is not what the columns are declared as: HPBENCH_WRITE_DOCS=1 cargo test --test docs"
    );
}
