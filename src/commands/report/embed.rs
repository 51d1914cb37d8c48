//! The rows within the page: each file as compressed CSV, behind a link that needs no network. In base64, no part of a
//! file can be mistaken for markup.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use csv::StringRecord;
use flate2::Compression;
use flate2::write::GzEncoder;

/// The largest piece behind one link, before base64: browsers refuse to save more than 2 MiB of such a link.
const PIECE_MAX: usize = 1 << 20;

/// The most bytes of all files within the page, compressed.
const ALL_MAX: usize = 6 << 20;

/// How many bytes go to the compressing thread at a time, and how many such chunks may wait for it.
const CHUNK: usize = 1 << 16;
const WAITING_MAX: usize = 16;

/// A file on its way into the page. A thread of its own compresses it, which takes as long as reading it.
#[derive(Debug)]
pub(crate) struct Packer {
    name: String,
    writer: Option<csv::Writer<Pipe>>,
    compressing: JoinHandle<Option<Vec<u8>>>,
    rows: usize,
}

/// Passes bytes to the compressing thread.
#[derive(Debug)]
struct Pipe(SyncSender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses all that arrives; `None` if the result is larger than `room`.
fn compress(pieces: &Receiver<Vec<u8>>, room: usize) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        encoder.write_all(&piece).expect("memory takes all bytes");
        if encoder.get_ref().len() > room {
            return None;
        }
    }
    Some(encoder.finish().expect("memory takes all bytes")).filter(|gzip| gzip.len() <= room)
}

/// A file in the page.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The name of the file.
    pub name: String,
    /// How many rows it has.
    pub rows: usize,
    /// Its compressed content; none if that is too large.
    gzip: Option<Vec<u8>>,
}

impl Packer {
    /// For a file of this name, of which `room` bytes may be kept.
    ///
    /// # Errors
    ///
    /// If the limits allow no thread.
    pub(crate) fn new(name: &str, room: usize) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
        let compressing = std::thread::Builder::new().spawn(move || compress(&receiver, room))?;
        let writer = csv::WriterBuilder::new().buffer_capacity(CHUNK).from_writer(Pipe(sender));
        Ok(Self { name: name.to_owned(), writer: Some(writer), compressing, rows: 0 })
    }

    /// How much of all files may be kept.
    pub(crate) fn room_for_all() -> usize {
        ALL_MAX
    }

    /// Adds a row; `columns` are those of the file.
    pub(crate) fn add(&mut self, columns: &[String], fields: &StringRecord) {
        if let Some(writer) = &mut self.writer {
            let header = if self.rows == 0 { writer.write_record(columns) } else { Ok(()) };
            // If the file has become too large, nobody receives this.
            if header.and_then(|()| writer.write_record(fields)).is_err() {
                self.writer = None;
            }
        }
        self.rows += 1;
    }

    /// The file, once all rows are there.
    pub(crate) fn finish(mut self) -> Packed {
        let is_whole = self.writer.take().is_some_and(|mut writer| writer.flush().is_ok());
        let gzip = self.compressing.join().expect("compressing does not panic");
        Packed { name: self.name, rows: self.rows, gzip: gzip.filter(|_| is_whole) }
    }
}

impl Packed {
    /// How many bytes it takes.
    pub(crate) fn len(&self) -> usize {
        self.gzip.as_ref().map_or(0, Vec::len)
    }

    /// Whether it is in the page.
    pub(crate) fn is_kept(&self) -> bool {
        self.gzip.is_some()
    }

    /// The names and links of its pieces, one if it is small. Concatenated, they are the file.
    pub(crate) fn links(&self) -> Vec<(String, String)> {
        let pieces = self.gzip.iter().flat_map(|gzip| gzip.chunks(PIECE_MAX));
        let count = pieces.clone().count();
        let link = |(index, piece): (usize, &[u8])| {
            let part = if count > 1 { format!(".part{}", index + 1) } else { String::new() };
            let name = format!("{}.gz{part}", self.name);
            (name, format!("data:application/gzip;base64,{}", STANDARD.encode(piece)))
        };
        pieces.enumerate().map(link).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn packed(rows: usize, room: usize) -> Packed {
        let mut packer = Packer::new("a.csv", room).expect("a thread");
        let columns = ["a".to_owned(), "b".to_owned()];
        for row in 0..rows {
            packer.add(&columns, &StringRecord::from(vec![row.to_string(), "</script>,\"x\"".into()]));
        }
        packer.finish()
    }

    fn unpacked(links: &[(String, String)]) -> String {
        let bytes = |(_, link): &(String, String)| {
            let text = link.strip_prefix("data:application/gzip;base64,").expect("a link");
            STANDARD.decode(text).expect("base64")
        };
        let gzip: Vec<u8> = links.iter().flat_map(bytes).collect();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_string(&mut text).expect("gzip");
        text
    }

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        let links = packed(2, 10_000).links();
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].0, "a.csv.gz");
        assert_eq!(unpacked(&links), "a,b\n0,\"</script>,\"\"x\"\"\"\n1,\"</script>,\"\"x\"\"\"\n");
        let link = &links[0].1;
        assert!(link.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=:;,".contains(&byte)), "{link}");
    }

    #[test]
    fn a_file_that_is_too_large_is_left_out() {
        let left_out = packed(100_000, 1000);
        assert!(!left_out.is_kept() && left_out.links().is_empty() && left_out.rows == 100_000);
        assert_eq!(left_out.len(), 0);
    }
}
