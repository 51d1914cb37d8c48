//! Kernel images: where they are, and which release they hold.

use std::fs;
use std::path::{Path, PathBuf};

use crate::compare::releases;
use crate::console::printable_path;

/// A kernel to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The image.
    pub path: PathBuf,
    /// The release from its header, e.g. `6.12.94+deb13-cloud-amd64`; else the name of the file.
    pub release: String,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file is something else.
    #[error("{0} is not a bootable kernel image (a bzImage, such as /boot/vmlinuz-…)", printable_path(path))]
    NoImage {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {0}: {error}", printable_path(path))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is none with this version.
    #[error(
        "{wanted} is neither a file nor the version of a kernel in {0}{there}; `scripts/fetch-kernels {wanted}` \
        downloads one, and any vmlinuz can be named by its path",
        printable_path(cache)
    )]
    Unknown {
        /// The version that was requested.
        wanted: String,
        /// Where it was searched for.
        cache: PathBuf,
        /// What was found there.
        there: String,
    },
}

/// The prefix of each image's name in the cache; its release follows.
const PREFIX: &str = "vmlinuz-";

/// The kernel that `wanted` names: the path of an image, or a version, for which the newest match in `cache` is taken.
///
/// # Errors
///
/// If there is none, or the file is something else.
pub fn find(wanted: &str, cache: &Path) -> Result<Kernel, KernelError> {
    let path = Path::new(wanted);
    // A version could also be the name of a file; a file must then be named by more than that.
    if path.is_file() {
        return open(path);
    }
    let unknown = |there| KernelError::Unknown { wanted: wanted.to_owned(), cache: cache.to_owned(), there };
    let names = releases_in(cache);
    if names.is_empty() {
        return Err(unknown(", which holds none".into()));
    }
    let newest = newest_of(wanted, &names).ok_or_else(|| unknown(format!(" ({})", names.join(", "))))?;
    open(&cache.join(format!("{PREFIX}{newest}")))
}

/// Releases of the images in a folder, oldest first.
fn releases_in(cache: &Path) -> Vec<String> {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut releases: Vec<String> = names
        .filter(|name| !name.ends_with(".part"))
        .filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned))
        .collect();
    releases.sort_by(|a, b| releases::compare(a, b));
    releases
}

/// The last of `releases` with the version `wanted`: 6.1 means 6.1.0 and 6.1.9, but not 6.12.
fn newest_of<'a>(wanted: &str, releases: &'a [String]) -> Option<&'a str> {
    let is_of = |release: &&String| match release.strip_prefix(wanted) {
        Some(rest) => !wanted.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit()),
        None => wanted == "newest",
    };
    releases.iter().rfind(is_of).map(String::as_str)
}

fn open(path: &Path) -> Result<Kernel, KernelError> {
    let bytes = fs::read(path).map_err(|error| KernelError::Read { path: path.into(), error })?;
    // "HdrS", see Documentation/arch/x86/boot.rst.
    if bytes.get(0x202..0x206) != Some(b"HdrS") {
        return Err(KernelError::NoImage { path: path.into() });
    }
    let name = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Kernel { path: path.into(), release: release_in(&bytes).unwrap_or_else(name) })
}

/// The first word of the version that the header of an image points to.
fn release_in(bytes: &[u8]) -> Option<String> {
    let at = usize::from(u16::from_le_bytes(*bytes.get(0x20e..)?.first_chunk()?));
    let text = bytes.get(at + 0x200..).filter(|_| at > 0)?;
    let end = text.iter().position(|&byte| byte == b' ' || byte == 0)?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    (!release.is_empty() && end < 100).then(|| release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn releases() -> Vec<String> {
        let mut releases: Vec<String> =
            ["6.12.94+deb13", "5.10.0-32", "6.1.0-9", "6.1.0-50", "7.3.4", "6.12.107+deb13"]
                .map(str::to_owned)
                .to_vec();
        releases.sort_by(|a, b| releases::compare(a, b));
        releases
    }

    #[test]
    fn a_version_means_its_newest_release() {
        let releases = releases();
        assert_eq!(releases[0], "5.10.0-32");
        for (wanted, found) in [
            ("6.1", Some("6.1.0-50")),
            ("6.12", Some("6.12.107+deb13")),
            ("6.12.94", Some("6.12.94+deb13")),
            ("6.1.0-9", Some("6.1.0-9")),
            ("6", Some("6.12.107+deb13")),
            ("newest", Some("7.3.4")),
            ("6.2", None),
            ("5.1", None),
            ("", None),
        ] {
            assert_eq!(newest_of(wanted, &releases), found, "{wanted}");
        }
    }

    #[test]
    fn an_image_tells_its_release_and_other_files_are_refused() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut image = vec![0; 0x1000];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        image[0x500..0x50f].copy_from_slice(b"6.9.1-x (us) #1");
        let path = home.path().join("vmlinuz-6.9.1-x");
        fs::write(&path, &image).expect("a file");
        assert_eq!(
            find("6.9", home.path()).expect("an image"),
            Kernel { path: path.clone(), release: "6.9.1-x".into() }
        );
        assert_eq!(find(path.to_str().expect("UTF-8"), home.path()).expect("an image").release, "6.9.1-x");
        let unknown = find("6.10", home.path()).expect_err("not there").to_string();
        assert!(unknown.contains("fetch-kernels 6.10") && unknown.contains("6.9.1-x"), "{unknown}");
        fs::write(&path, b"text").expect("a file");
        let refused = find("6.9", home.path()).expect_err("no image").to_string();
        assert!(refused.contains("not a bootable kernel image"), "{refused}");
    }

    #[test]
    fn an_image_whose_header_says_nothing_is_named_by_its_file() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(release_in(&image), None);
        image[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(release_in(&image), None, "it points past the end");
    }
}
