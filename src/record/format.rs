//! How rows are written: the columns, the lines, and the fields in a line.

use csv::{ByteRecord, StringRecord};
use serde::Serialize;

use crate::record::columns::Column;

/// What a spreadsheet begins a file of UTF-8 text with. It is not part of the first column's name.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The header line.
pub fn header() -> Vec<u8> {
    let names: Vec<&str> = Column::declarations().iter().map(|column| column.name).collect();
    (names.join(",") + "\n").into_bytes()
}

/// One row, with its line end, after the header if `with_header`.
pub(crate) fn encode(row: &impl Serialize, with_header: bool) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().has_headers(with_header).from_writer(Vec::new());
    writer.serialize(row).expect("a row has only plain fields, and memory takes them");
    writer.into_inner().expect("memory takes all bytes")
}

/// The names in a header, none of which needs quotes.
pub(crate) fn columns(header: &[u8]) -> Vec<&str> {
    std::str::from_utf8(header).unwrap_or_default().trim_end().split(',').collect()
}

/// The fields of one row.
pub(crate) fn fields(record: &[u8]) -> Result<StringRecord, String> {
    Splitter::new().split(record)
}

/// Splits rows into fields. Making a CSV reader takes longer than reading a row, so there is one for all rows.
#[derive(Debug)]
pub(super) struct Splitter {
    core: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Splitter {
    pub(super) fn new() -> Self {
        let core = csv_core::ReaderBuilder::new().terminator(csv_core::Terminator::Any(b'\n')).build();
        Self { core, text: Vec::new(), ends: Vec::new() }
    }

    /// The fields of a row, or what is wrong with it.
    pub(super) fn split(&mut self, record: &[u8]) -> Result<StringRecord, String> {
        // A spreadsheet ends lines with CR LF; a field of ours that ends with a CR is in quotes.
        let record = record.strip_suffix(b"\r\n").unwrap_or(record);
        self.core.reset();
        self.text.resize(record.len() + 1, 0);
        self.ends.resize(record.iter().filter(|&&byte| byte == b',').count() + 2, 0);
        let (result, read, mut written, mut count) = self.core.read_record(record, &mut self.text, &mut self.ends);
        if read < record.len() {
            return Err("a quote is out of place".into());
        }
        if result == csv_core::ReadRecordResult::InputEmpty {
            // It has no line end, or a quote that is not closed.
            let (text, ends) = (&mut self.text[written..], &mut self.ends[count..]);
            let (_, _, more, others) = self.core.read_record(&[], text, ends);
            (written, count) = (written + more, count + others);
        }
        if count == 0 {
            return Err("it is empty".into());
        }
        let mut fields = ByteRecord::with_capacity(written, count);
        let mut start = 0;
        for &end in &self.ends[..count] {
            fields.push_field(&self.text[start..end]);
            start = end;
        }
        StringRecord::from_byte_record(fields).map_err(|_| "it is not UTF-8 text".to_owned())
    }
}
