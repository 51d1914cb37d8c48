//! Checks of the network's settings.

use hpbench_backends::features::{self, Feature};

use super::given::has;
use crate::commands::doctor::files::Files;
use crate::commands::doctor::remedy::Remedy;
use crate::commands::doctor::report::{BOTH, Check, NOTHING, RATES, Topic};
use crate::plan::args::RunArgs;

/// The kernel's own default.
const BACKLOG_MIN: i64 = 1000;

pub(super) fn all(files: &Files, features: &[Feature]) -> Vec<Check> {
    // What a run asks for by default.
    let run = RunArgs::from_words::<&str>([]).expect("every flag has a default");
    let forced = has(features, "SO_RCVBUFFORCE");
    vec![
        loopback(),
        buffer(files, "net.core.rmem_max", run.rcvbuf, forced),
        buffer(files, "net.core.wmem_max", run.sndbuf, forced),
        backlog(files),
        busy(files, "net.core.busy_read"),
        busy(files, "net.core.busy_poll"),
        steering(files),
    ]
}

/// All that hpbench measures goes over it.
fn loopback() -> Check {
    let topic = Topic::new("loopback", "it delivers datagrams", BOTH);
    match features::try_loopback() {
        Ok(()) => topic.good("it delivers datagrams"),
        Err(error) => topic.bad(format!("it does not deliver datagrams: {error}"), "sudo ip link set lo up"),
    }
}

fn value(files: &Files, name: &str) -> Result<i64, String> {
    files.number(&format!("/proc/sys/{}", name.replace('.', "/")))
}

fn buffer(files: &Files, name: &'static str, wanted: usize, forced: bool) -> Check {
    let topic = Topic::new(name, format!("at least {wanted}, or CAP_NET_ADMIN"), NOTHING);
    match value(files, name) {
        Ok(found) if found >= wanted as i64 => topic.good(found.to_string()),
        Ok(found) if forced => topic.good(format!("{found}, which CAP_NET_ADMIN passes over")),
        Ok(found) => topic.hint(found.to_string(), Remedy::sysctl(name, wanted)),
        Err(reason) => topic.unknown(reason),
    }
}

/// Loopback's datagrams go through a core's backlog. If it is full, they are dropped, and no socket counts them.
fn backlog(files: &Files) -> Check {
    let name = "net.core.netdev_max_backlog";
    let topic = Topic::new(name, format!("at least {BACKLOG_MIN}"), RATES);
    match value(files, name) {
        Ok(found) if found >= BACKLOG_MIN => topic.good(found.to_string()),
        Ok(found) => topic.bad(found.to_string(), Remedy::sysctl(name, BACKLOG_MIN)),
        Err(reason) => topic.unknown(reason),
    }
}

fn busy(files: &Files, name: &'static str) -> Check {
    let topic = Topic::new(name, "0: waiting sleeps, and --wait spin spins", NOTHING);
    match value(files, name) {
        Ok(0) => topic.good("0"),
        Ok(found) => topic.hint(found.to_string(), Remedy::sysctl(name, 0)),
        Err(reason) => topic.unknown(reason),
    }
}

/// Receive packet steering passes datagrams to cores other than the sender's.
fn steering(files: &Files) -> Check {
    let topic = Topic::new("rps_on_loopback", "off", BOTH);
    const QUEUES: &str = "/sys/class/net/lo/queues";
    let queues = files.names(QUEUES).into_iter().filter(|name| name.starts_with("rx-"));
    let mut masks = Vec::new();
    for queue in queues {
        let path = format!("{QUEUES}/{queue}/rps_cpus");
        match files.text(&path) {
            Ok(mask) => masks.push((path, mask)),
            Err(reason) => return topic.unknown(reason),
        }
    }
    let is_off = |mask: &str| mask.chars().all(|digit| matches!(digit, '0' | ','));
    match masks.iter().find(|(_, mask)| !is_off(mask)) {
        None if masks.is_empty() => topic.unknown(format!("there is no {QUEUES}")),
        None => topic.good("off"),
        Some((path, mask)) => topic.bad(format!("on, for the cores {mask}"), Remedy::write(path, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::named;
    use super::*;
    use crate::commands::doctor::files::Fixture;
    use hpbench_backends::features::State;

    fn machine(rmem_max: &str, backlog: &str, busy_read: &str, rps: &str) -> Fixture {
        let core = "/proc/sys/net/core";
        Fixture::new(&[
            (&format!("{core}/rmem_max"), rmem_max),
            (&format!("{core}/wmem_max"), "212992\n"),
            (&format!("{core}/netdev_max_backlog"), backlog),
            (&format!("{core}/busy_read"), busy_read),
            (&format!("{core}/busy_poll"), "0\n"),
            ("/sys/class/net/lo/queues/rx-0/rps_cpus", rps),
        ])
    }

    #[test]
    fn small_limits_matter_to_those_who_must_keep_them() {
        let machine = machine("212992\n", "1000\n", "0\n", "00,00000000\n");
        let files = machine.files();
        let checks = all(&files, &[]);
        let check = named(&checks, "net.core.rmem_max");
        assert!(check.is_bad() && check.affects.is_empty() && check.state == "212992", "{check:?}");
        assert!(check.mend().is_some_and(|way| way.starts_with("sudo sysctl net.core.rmem_max=")));
        assert_eq!(named(&checks, "rps_on_loopback").ok, Some(true));
        let force = Feature { name: "SO_RCVBUFFORCE", since: "2.6.14", state: State::Yes };
        assert_eq!(named(&all(&files, &[force]), "net.core.rmem_max").ok, Some(true));
    }

    #[test]
    fn what_spoils_is_named_with_the_way_out() {
        let checks = all(&machine("1000000000\n", "100\n", "50\n", "0\n").files(), &[]);
        assert_eq!(named(&checks, "net.core.rmem_max").ok, Some(true));
        assert!(named(&checks, "net.core.busy_read").is_bad());
        let check = named(&checks, "net.core.netdev_max_backlog");
        assert!(check.is_bad() && check.affects == RATES);
        let check = steering(&machine("1\n", "1\n", "1\n", "00,00000003\n").files());
        assert!(check.is_bad() && check.mend().is_some_and(|way| way.contains("rx-0/rps_cpus")));
    }

    #[test]
    fn a_network_without_settings_is_unknown() {
        let checks = all(&Fixture::new(&[]).files(), &[]);
        let mut checks = checks.iter().filter(|check| check.name != "loopback");
        assert!(checks.all(|check| check.ok.is_none() && check.state.contains("there is no")));
    }
}
