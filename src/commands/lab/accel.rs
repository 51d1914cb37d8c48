//! How QEMU runs a guest, and which of its measurements are usable then.

use std::fmt;

use clap::ValueEnum;

use crate::record::row::Row;

/// How QEMU runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// Emulated; one instruction is one nanosecond of the guest's clock
    Icount,
    /// On the processor itself, in real time; needs KVM
    Kvm,
    /// Emulated, with the host's clock: shows what works, measures nothing
    Tcg,
}

impl Accel {
    /// The name in flags and in the column `accel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Icount => "icount",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// The accelerator with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Icount, Self::Kvm, Self::Tcg].into_iter().find(|accel| accel.name() == name)
    }

    /// Keeps in a guest's row only what its clock can measure: if times are instruction counts, the costs of both
    /// sides, as instructions per datagram; if they are an emulator's real times, nothing.
    ///
    /// The trimmed mean over rounds counts. If rounds of two kinds alternate, a median would jump from one to the
    /// other; and a mean would include what a kernel does once a second, if that falls into the trial.
    pub fn judge(self, row: &mut Row) {
        if self == Self::Kvm {
            return;
        }
        let [near, far] = row.trimmed_ns_per_packet;
        if self == Self::Tcg {
            forget_disturbances(row);
        }
        for time in [
            &mut row.duration_s,
            &mut row.tx_pps,
            &mut row.rx_pps,
            &mut row.rx_mbps,
            &mut row.busy_pct,
            &mut row.ns_per_packet,
            &mut row.ns_per_packet_p50,
            &mut row.ns_per_packet_min,
            &mut row.peer_ns_per_packet,
            &mut row.cpu_ns_per_packet,
            &mut row.user_ns_per_packet,
            &mut row.sys_ns_per_packet,
            &mut row.kthread_ns_per_packet,
            &mut row.generator_cpu_ns_per_packet,
            &mut row.cycles_per_packet,
            &mut row.instructions_per_packet,
            &mut row.peer_instructions_per_packet,
            &mut row.steal_pct,
            &mut row.canary_ratio,
            &mut row.kernel_canary_ratio,
            &mut row.softirq_ns_per_packet,
        ] {
            *time = None;
        }
        row.run_delay_ns = None;
        if self == Self::Icount {
            (row.instructions_per_packet, row.peer_instructions_per_packet) = (near, far);
        } else {
            row.steady = None;
        }
    }
}

/// Removes reasons against a trial that depend on an unusable clock.
fn forget_disturbances(row: &mut Row) {
    row.invalid_reason.retain(|reason| !reason.is_disturbance());
    row.valid = u8::from(row.invalid_reason.is_empty() && row.error.is_empty());
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::format;

    /// All columns of a row that are not empty.
    fn filled(row: &Row) -> Vec<String> {
        let text = format::encode(row, true);
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let names = reader.headers().expect("a header").clone();
        let values = reader.records().next().expect("a row").expect("whole");
        names.iter().zip(&values).filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.to_owned()).collect()
    }

    fn measured() -> Row {
        let some = Some(1.5);
        Row {
            trimmed_ns_per_packet: [Some(100.0), Some(200.0)],
            ns_per_packet: Some(101.0),
            peer_ns_per_packet: Some(203.0),
            duration_s: some,
            tx_pps: some,
            rx_pps: some,
            rx_mbps: some,
            ns_per_packet_p50: some,
            ns_per_packet_min: some,
            cpu_ns_per_packet: some,
            kthread_ns_per_packet: some,
            canary_ratio: some,
            kernel_canary_ratio: some,
            softirq_ns_per_packet: some,
            run_delay_ns: Some(7),
            syscalls_per_packet: some,
            ..Row::default()
        }
    }

    #[test]
    fn counted_instructions_fill_their_columns_and_no_other() {
        let mut row = measured();
        Accel::Icount.judge(&mut row);
        assert_eq!((row.instructions_per_packet, row.peer_instructions_per_packet), (Some(100.0), Some(200.0)));
        let times: Vec<String> = filled(&row)
            .into_iter()
            .filter(|name| name.contains("ns") || name.ends_with("pps") || name.ends_with("_s") && name != "warmup_s")
            .filter(|name| !name.contains("instructions"))
            .collect();
        assert_eq!(times, ["warmup_s"; 0], "no time and no rate");
        assert_eq!(row.syscalls_per_packet, Some(1.5), "what the guest counts stays");
    }

    #[test]
    fn an_emulator_measures_nothing_and_a_processor_does() {
        let mut row = measured();
        Accel::Tcg.judge(&mut row);
        assert_eq!((row.instructions_per_packet, row.ns_per_packet), (None, None));
        let mut row = measured();
        Accel::Kvm.judge(&mut row);
        assert_eq!(row, measured());
    }
}
