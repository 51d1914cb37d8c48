//! Whether there are ports for all sockets.

use std::fs;

/// Where the kernel says which ports it chooses from.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What hpbench and others take of these ports besides.
const SPARE: usize = 256;

/// Refuses more sockets than there are ports to choose from. A first port that was named has been checked.
///
/// # Errors
///
/// How many there are, and what to do.
pub(crate) fn check(port: usize, sockets: usize) -> anyhow::Result<()> {
    let text = fs::read_to_string(RANGE).unwrap_or_default();
    let Some(count) = count(&text).filter(|_| port == 0) else { return Ok(()) };
    anyhow::ensure!(
        sockets + SPARE <= count || sockets == 1,
        "{sockets} sockets need as many ports, and the kernel chooses from {count}; `sysctl \
         net.ipv4.ip_local_port_range=\"1024 65535\"` gives it more, or use fewer --sockets or --flows"
    );
    Ok(())
}

/// How many ports a range has.
fn count(text: &str) -> Option<usize> {
    let mut ends = text.split_whitespace().map(|end| end.parse::<usize>().ok());
    let (first, last) = (ends.next()??, ends.next()??);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_sockets_than_ports_are_refused() {
        assert_eq!([count("32768\t60999\n"), count("7 3"), count("")], [Some(28_232), None, None]);
        assert!(check(0, 1).is_ok() && check(0, 65_535).is_err() && check(1024, 60_000).is_ok());
        assert!(check(0, 65_535).is_err_and(|error| error.to_string().contains("ip_local_port_range")));
    }
}
