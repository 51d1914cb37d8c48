//! The clock of all threads, and of all processes of a host.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds: since the host was booted, and the same for every process on it.
#[inline]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_as_the_standard_library_says() {
        let (start_ns, start) = (now_ns(), std::time::Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(5));
        let (passed_ns, least_ns) = (now_ns() - start_ns, start.elapsed().as_nanos() as u64);
        assert!(passed_ns >= 5_000_000 && passed_ns.abs_diff(least_ns) < 1_000_000_000, "{passed_ns} {least_ns}");
    }
}
