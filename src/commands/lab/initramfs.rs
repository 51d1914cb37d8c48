//! The guest's file system: a cpio archive in the `newc` format, which the kernel unpacks into memory at boot.
//!
//! The format is described in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Type bits of a mode.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. Its parent must already have been added.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file that everybody may read, and run if it is `executable`.
    pub fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> &mut Self {
        self.entry(path, REGULAR | if executable { 0o755 } else { 0o644 }, (0, 0), content)
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) -> &mut Self {
        self.entry(path, CHARACTER | 0o600, (major, minor), &[])
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) -> &mut Self {
        // One link each, except for the trailer. Owner, group and time are 0, so equal files make equal archives.
        let (inode, links) = if path == TRAILER { (0, 1) } else { (self.entries + 1, 1) };
        let (size, name_size) = (content.len() as u32, path.len() as u32 + 1);
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
        self.entries += 1;
        self
    }

    /// Names and contents are padded to four bytes.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device numbers and content.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// Reads an archive back.
    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let whole = bytes.len();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * index..][..8]).expect("ASCII");
                u32::from_str_radix(text, 16).expect("hexadecimal")
            };
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).expect("UTF-8");
            assert_eq!(bytes[110 + name_size - 1], 0);
            let start = (110 + name_size).next_multiple_of(4);
            let entry = (name, field(1), (field(9), field(10)), bytes[start..start + size].to_vec());
            bytes = &bytes[(start + size).next_multiple_of(4)..];
            assert!((whole - bytes.len()).is_multiple_of(4));
            if entry.0 == TRAILER {
                assert!(bytes.is_empty());
                return entries;
            }
            entries.push(entry);
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut archive = Initramfs::new();
        archive.directory("dev").device("dev/console", 5, 1);
        for length in 0..5 {
            archive.file(&"n".repeat(length + 1), length == 0, &vec![b'x'; length]);
        }
        let entries = read(&archive.finish());
        assert_eq!(entries[0], ("dev".into(), 0o040_755, (0, 0), vec![]));
        assert_eq!(entries[1], ("dev/console".into(), 0o020_600, (5, 1), vec![]));
        assert_eq!(entries[2], ("n".into(), 0o100_755, (0, 0), vec![]));
        assert_eq!(entries[6], ("nnnnn".into(), 0o100_644, (0, 0), b"xxxx".to_vec()));
    }

    #[test]
    fn other_readers_understand_it() {
        let mut archive = Initramfs::new();
        archive.directory("lab").file("lab/plan", false, b"five!");
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("archive");
        std::fs::write(&path, archive.finish()).expect("a file");
        let file = std::fs::File::open(&path).expect("it was written");
        let run =
            std::process::Command::new("cpio").args(["-i", "--to-stdout", "--quiet", "lab/plan"]).stdin(file).output();
        match run {
            Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "five!", "{output:?}"),
            Err(error) => crate::fixtures::skip("cpio", &format!("cpio does not run here: {error}")),
        }
    }
}
