//! Libraries that move datagrams past the kernel for programs that call the C library. hpbench makes its system calls
//! itself, so it does not measure such a library if one is preloaded.

use std::path::Path;

/// How their names begin, up to the first dot.
const BYPASSES: [&str; 12] = [
    "libvma",
    "libxlio",
    "libonload",
    "libsdp",
    "librspreload",
    "libexasock",
    "libdbl",
    "libsmc-preload",
    "libvcl_ldpreload",
    "libff_syscall",
    "libtas_interpose",
    "liblkl-hijack",
];

/// The file that names the libraries that every program loads.
pub(crate) const FOR_ALL: &str = "/etc/ld.so.preload";

/// Says which of them are preloaded, by the environment or by the text of [`FOR_ALL`], if any is.
pub(crate) fn preloaded(environment: &str, for_all: &str) -> Option<String> {
    let of_environment = named(environment).map(|name| format!("{name} (LD_PRELOAD)"));
    let of_file = for_all.lines().map(|line| line.split('#').next().unwrap_or_default());
    let of_file = of_file.flat_map(named).map(|name| format!("{name} ({FOR_ALL})"));
    let found: Vec<String> = of_environment.chain(of_file).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// The same for this process.
pub(crate) fn preloaded_here() -> Option<String> {
    preloaded(&environment(), &std::fs::read_to_string(FOR_ALL).unwrap_or_default())
}

/// What this process's environment has preloaded.
pub(crate) fn environment() -> String {
    std::env::var_os("LD_PRELOAD").unwrap_or_default().to_string_lossy().into_owned()
}

/// Those of the libraries in a list that are bypasses: their file names.
fn named(list: &str) -> impl Iterator<Item = &str> {
    let files = list.split([' ', '\t', '\n', ':']).filter_map(|path| Path::new(path).file_name()?.to_str());
    files.filter(|file| BYPASSES.contains(&file.split('.').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bypasses_are_told_from_other_libraries() {
        assert_eq!(preloaded("", ""), None);
        assert_eq!(preloaded("/usr/lib/libjemalloc.so.2:libvmalloc.so", "# libvma.so\n/lib/libx.so\n"), None);
        assert_eq!(preloaded("libx.so /opt/lib/libvma.so.9.8", "").as_deref(), Some("libvma.so.9.8 (LD_PRELOAD)"));
        let both = preloaded("libxlio.so", "/usr/lib64/libonload.so # for the trading hosts\n");
        assert_eq!(both.as_deref(), Some("libxlio.so (LD_PRELOAD), libonload.so (/etc/ld.so.preload)"));
    }
}
