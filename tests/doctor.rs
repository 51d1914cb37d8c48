//! `hpbench doctor`: whether its answers are right, under filters, with low limits and without privileges.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::filters::{filtered, filtered_by};
use common::{Bench, Done, HPBENCH, needs};
use serde_json::Value;

/// What the doctor says.
struct Answers(Value);

impl Answers {
    #[track_caller]
    fn of(done: &Done) -> Self {
        Self(serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", done.stdout)))
    }

    #[track_caller]
    fn list(&self, key: &str) -> &[Value] {
        self.0[key].as_array().unwrap_or_else(|| panic!("{key} is no list"))
    }

    #[track_caller]
    fn entry(&self, list: &str, key: &str, name: &str) -> &Value {
        let entry = self.list(list).iter().find(|entry| entry[key] == name);
        entry.unwrap_or_else(|| panic!("no {name} among the {list}"))
    }

    #[track_caller]
    fn feature(&self, name: &str) -> &Value {
        self.entry("features", "name", name)
    }

    #[track_caller]
    fn mode(&self, backend: &str) -> &Value {
        self.entry("modes", "backend", backend)
    }

    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        self.entry("checks", "name", name)
    }
}

#[track_caller]
fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_else(|| panic!("{key} of {entry} is no text"))
}

#[track_caller]
fn examine(bench: &Bench) -> Answers {
    let done = bench.run("doctor --json").expect(0);
    assert_eq!(done.stderr, "");
    Answers::of(&done)
}

/// The features of io_uring: those before the first one of sockets.
fn uring_features(answers: &Answers) -> Vec<&Value> {
    let list = answers.list("features").iter();
    list.take_while(|feature| !text(feature, "name").starts_with("SO_")).collect()
}

#[test]
fn json_has_its_keys_and_agrees_with_itself() {
    let answers = examine(&Bench::new());
    for feature in answers.list("features") {
        assert!(!text(feature, "name").is_empty() && text(feature, "since").contains('.'));
        assert_eq!(feature["available"] == true, feature["why"].is_null(), "{feature}");
        assert_eq!(feature["available"] == false, feature["remedy"].is_string(), "{feature}");
    }
    for mode in answers.list("modes") {
        assert!(!text(mode, "variant").is_empty());
        assert_eq!(mode["available"].as_bool().expect("yes or no"), mode["why"].is_null(), "{mode}");
        assert!(mode.as_object().is_some_and(|mode| mode.contains_key("in_effect")), "{mode}");
    }
    let backends: Vec<&str> = answers.list("modes").iter().map(|mode| text(mode, "backend")).collect();
    assert!(["null", "plain", "mmsg", "uring"].iter().all(|name| backends.contains(name)), "{backends:?}");
    let mut spoilt = BTreeSet::new();
    for check in answers.list("checks") {
        assert!(!text(check, "state").is_empty() && !text(check, "wanted").is_empty(), "{check}");
        assert_eq!(check["ok"] == false, check["remedy"].is_string(), "{check}");
        assert_eq!(check["ok"].is_null(), text(check, "state").starts_with("unknown: "), "{check}");
        let affects = check["affects"].as_array().expect("a list").iter();
        let affects: Vec<&str> = affects.map(|what| what.as_str().expect("a text")).collect();
        assert!(affects.iter().all(|what| ["rates", "latency"].contains(what)), "{check}");
        if check["ok"] == false {
            spoilt.extend(affects);
        }
    }
    let verdict = &answers.0["verdict"];
    assert_eq!(
        (&verdict["rates"], &verdict["latency"]),
        (&Value::Bool(!spoilt.contains("rates")), &Value::Bool(!spoilt.contains("latency")),)
    );
    let reasons = verdict["reasons"].as_array().expect("a list").iter();
    let reasons: Vec<&Value> = reasons.filter(|reason| !reason.to_string().contains("not known: ")).collect();
    assert_eq!(
        reasons.is_empty(),
        spoilt.is_empty() && answers.list("modes").iter().all(|mode| mode["available"] == true)
    );
}

/// The keys are a contract: existing ones stay, and a new one is documented.
#[test]
fn json_has_the_keys_that_are_documented() {
    let answers = examine(&Bench::new());
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    let these = |names: &str| names.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(keys(&answers.0), these("machine features modes checks verdict"));
    assert_eq!(keys(&answers.0["machine"]), these("kernel arch cpu_model ncpu"));
    assert_eq!(keys(&answers.0["verdict"]), these("rates latency reasons"));
    for (list, names) in [
        ("features", "name since available why remedy"),
        ("modes", "backend variant available why in_effect"),
        ("checks", "name state wanted ok affects remedy measure"),
    ] {
        assert!(answers.list(list).iter().all(|entry| keys(entry) == these(names)), "{list}");
    }
}

#[test]
fn the_text_says_what_the_json_says_in_80_columns() {
    let bench = Bench::new();
    let answers = examine(&bench);
    let done = bench.run("doctor").expect(0);
    for line in done.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
        assert!(line.chars().all(|character| !character.is_control()), "no colours but on a terminal: {line:?}");
    }
    for feature in answers.list("features") {
        let yes = if feature["available"] == true { "yes" } else { "no" };
        assert!(done.shows(&format!("{yes} {} {}", text(feature, "name"), text(feature, "since"))), "{feature}");
    }
    for mode in answers.list("modes") {
        let yes = if mode["available"] == true { "yes" } else { "no" };
        assert!(done.shows(&format!("{yes} {} {}", text(mode, "backend"), text(mode, "variant"))), "{mode}");
    }
    // Measured values differ between two runs.
    let measured = ["irq_affinity", "steal", "other_programs", "core_distance"];
    for check in answers.list("checks").iter().filter(|check| !measured.contains(&text(check, "name"))) {
        let name = text(check, "name");
        let title = if name.contains('.') { name.to_owned() } else { name.replace('_', " ") };
        assert!(done.shows(&format!("{title} {}", text(check, "state"))) || check["ok"].is_null(), "{check}");
        let reason = text(check, "state").trim_start_matches("unknown: ");
        assert!(done.shows(&format!("{title}: {reason}")) || !check["ok"].is_null(), "{check}");
        if check["ok"] == false {
            assert!(done.shows(&format!("fix {}", text(check, "remedy"))), "{check}");
        }
    }
    for beyond in ["AF_XDP", "DPDK", "RDMA"] {
        assert!(done.stdout.contains(beyond));
    }
    let last = done.stdout.lines().last().expect("there are lines");
    assert!(last.starts_with("Fit for "), "{last}");
}

/// Runs the doctor, which must need no more than two seconds. Most of that is spent asleep or reading the clock, so a
/// busy machine adds little; but it may add that once, or twice.
#[track_caller]
fn in_two_seconds(bench: &Bench, args: &str) -> Done {
    const TRIES: usize = 5;
    for tries_left in (0..TRIES).rev() {
        let start = Instant::now();
        let done = bench.start(args).wait().expect(0);
        let is_in_time = start.elapsed() < Duration::from_secs(2);
        if is_in_time || tries_left == 0 {
            if !is_in_time {
                needs::skip("quiet", &format!("hpbench {args} took more than two seconds, {TRIES} times"));
            }
            return done;
        }
    }
    unreachable!("the last try returns")
}

#[test]
fn two_seconds_are_enough_and_nothing_is_left_behind() {
    let bench = Bench::new();
    in_two_seconds(&bench, "doctor");
    assert!(bench.files().is_empty(), "{:?}", bench.files());
}

/// A filter answers EPERM, or ENOSYS like that of an old container runtime.
#[test]
fn io_uring_behind_a_filter_is_refused_by_the_filter() {
    if !needs::uring() {
        return;
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        let answers = filtered(&[libc::SYS_io_uring_setup], errno, || examine(&Bench::new()));
        let uring = uring_features(&answers);
        assert!(uring.len() > 10 && uring.iter().all(|feature| feature["available"] == false));
        let why = text(answers.feature("io_uring"), "why");
        assert!(why.contains("seccomp filter"), "{why}");
        assert!(text(answers.feature("multishot recv"), "remedy").contains("seccomp"));
        assert_eq!(answers.feature("UDP_SEGMENT (GSO)")["available"], needs::gso());
        assert_eq!(answers.mode("uring")["available"], false);
        assert!(["null", "plain", "mmsg"].iter().all(|backend| answers.mode(backend)["available"] == true));
        let seccomp = answers.check("seccomp");
        assert_eq!(seccomp["ok"], false, "{seccomp}");
        let reasons = answers.0["verdict"]["reasons"].to_string();
        assert!(reasons.contains("uring"), "{reasons}");
        let done = filtered(&[libc::SYS_io_uring_setup], errno, || Bench::new().run("doctor").expect(0));
        assert_eq!(done.stdout.matches("io_uring itself is not available").count(), 1, "one reason is told once");
        assert!(done.shows(&format!("no uring {}", text(answers.mode("uring"), "variant"))), "{}", done.stdout);
    }
}

/// Rings can be created here, but nothing can be registered with them.
#[test]
fn a_filter_of_one_call_takes_away_what_needs_that_call() {
    if !needs::uring() {
        return;
    }
    let answers = filtered(&[libc::SYS_io_uring_register], libc::EPERM, || examine(&Bench::new()));
    let needy = ["registered files", "READ_FIXED, WRITE_FIXED", "registered ring fd", "buffer rings", "multishot recv"];
    for feature in uring_features(&answers) {
        let name = text(feature, "name");
        if needy.contains(&name) {
            assert_eq!(feature["available"], false, "{feature}");
            assert!(text(feature, "why").contains("io_uring_register is refused"), "{feature}");
            assert!(text(feature, "remedy").contains("seccomp"), "{feature}");
        }
    }
    // A bare ring needs no registration.
    assert_eq!(answers.feature("io_uring")["available"], true);
    assert_eq!(answers.feature("SUBMIT_ALL")["available"], true);
    let answers = filtered(&[libc::SYS_io_uring_enter], libc::EPERM, || examine(&Bench::new()));
    assert!(text(answers.feature("io_uring"), "why").contains("io_uring_enter"), "{}", answers.feature("io_uring"));
}

/// Filters that answer as older kernels do to unknown requests.
#[test]
fn what_an_older_kernel_lacks_names_the_release_that_brought_it() {
    let without =
        |arguments: &[(u8, i32)], call| filtered_by(call, arguments, libc::ENOPROTOOPT, || examine(&Bench::new()));
    let (before_gso, before_gro) =
        ([(1, libc::SOL_UDP), (2, libc::UDP_SEGMENT)], [(1, libc::SOL_UDP), (2, libc::UDP_GRO)]);
    const SO_MEMINFO: i32 = 55;
    let lacks = |answers: &Answers, name: &str, since: &str| {
        let feature = answers.feature(name);
        assert_eq!(feature["available"], false, "{feature}");
        assert!(text(feature, "why").contains("does not have it"), "{feature}");
        assert!(text(feature, "remedy").contains(&format!("Linux {since}")), "{feature}");
    };
    let answers = without(&before_gso, libc::SYS_setsockopt);
    lacks(&answers, "UDP_SEGMENT (GSO)", "4.18");
    assert!(answers.feature("UDP_GRO")["available"].is_null(), "without trains it cannot be tried");
    lacks(&without(&before_gro, libc::SYS_setsockopt), "UDP_GRO", "5.0");
    lacks(&without(&[(2, SO_MEMINFO)], libc::SYS_getsockopt), "SO_MEMINFO", "4.12");
    if !needs::uring() {
        return;
    }
    const REGISTER_PBUF_RING: i32 = 22;
    let answers =
        filtered_by(libc::SYS_io_uring_register, &[(1, REGISTER_PBUF_RING)], libc::EINVAL, || examine(&Bench::new()));
    lacks(&answers, "buffer rings", "5.19");
    lacks(&answers, "multishot recv", "6.0");
    assert_eq!(answers.feature("registered files")["available"], true, "that is another operation");
    assert!(text(answers.mode("uring"), "why").contains("5.19"), "{}", answers.mode("uring"));
}

/// The limit of processes applies to unprivileged users, and counts all processes of the user.
#[test]
fn too_few_descriptors_or_threads_are_no_reason_to_stop() {
    for limit in ["--nofile=4:4", "--nofile=6:6", "--nproc=0:0"] {
        let Some(wrapper) = needs::no_capabilities() else { return };
        let answers = examine(&Bench::under(wrapper.into_iter().chain(["prlimit", limit])));
        for feature in answers.list("features").iter().filter(|feature| feature["available"] == false) {
            assert!(feature.to_string().contains("CAP_NET_ADMIN"), "{limit}: a limit is no proof: {feature}");
        }
    }
}

/// The doctor and a run must agree on io_uring, whatever obstructs it.
#[test]
fn a_run_can_do_what_the_doctor_says() {
    let args = "--backend uring --scenario drain --packets 64 --warmup 0 --round 64";
    let agree = |run: &dyn Fn(&str) -> Done, case: &str| {
        let available = &Answers::of(&run("doctor --json").expect(0)).mode("uring")["available"] == true;
        let done = run(&common::tiny(args));
        assert_eq!(done.status == 0, available, "{case}: {}", done.stdout);
    };
    agree(&|args| Bench::new().run(args), "as it is");
    agree(&|args| filtered(&[libc::SYS_io_uring_setup], libc::EPERM, || Bench::new().run(args)), "behind a filter");
    let Some(wrapper) = needs::no_capabilities() else { return };
    agree(&|args| Bench::under(wrapper.iter().copied()).run(args), "without capabilities");
    let limited = || wrapper.iter().copied().chain(["prlimit", "--memlock=0:0"]);
    agree(&|args| Bench::under(limited()).run(args), "without locked memory");
}

#[test]
fn low_limits_are_told_with_the_way_out() {
    let Some(wrapper) = needs::no_capabilities() else { return };
    let limits = ["prlimit", "--memlock=0:0", "--rtprio=0:0"];
    let bench = Bench::under(wrapper.iter().copied().chain(limits));
    let answers = Answers::of(&in_two_seconds(&bench, "doctor --json"));
    let memory = answers.check("locked_memory");
    assert_eq!(memory["ok"], false, "{memory}");
    assert!(text(memory, "remedy").contains("ulimit -l"), "{memory}");
    let priority = answers.check("rt_priority");
    assert_eq!(priority["ok"], false, "{priority}");
    assert!(text(priority, "remedy").contains("ulimit -r"), "{priority}");
    // Since 6.13 every ring counts; before, small ones did not.
    let uring = answers.feature("io_uring");
    if needs::uring() && uring["available"] == false {
        assert!(text(uring, "why").contains("locked") && text(uring, "remedy").contains("ulimit -l"), "{uring}");
        assert!(text(answers.mode("uring"), "why").contains("ulimit -l"));
    }
}

/// A limit that is enough for one small ring, but not for what follows, must not make features vanish.
#[test]
fn what_a_small_limit_hides_is_unknown_and_not_missing() {
    let Some(wrapper) = needs::no_capabilities() else { return };
    if !needs::uring() {
        return;
    }
    let all = examine(&Bench::new());
    for pages in [1, 2, 4, 6] {
        let limit = format!("--memlock={0}:{0}", pages * rustix::param::page_size());
        let answers = examine(&Bench::under(wrapper.iter().copied().chain(["prlimit", &limit])));
        let none = answers.feature("io_uring")["available"] == false;
        for feature in uring_features(&answers) {
            let there = all.feature(text(feature, "name"))["available"] == true;
            assert!(!there || none || feature["available"] != false, "{pages} pages: {feature}");
            assert!(feature["available"] == true || feature.to_string().contains("ulimit -l"), "{pages}: {feature}");
        }
    }
}

#[test]
fn capabilities_make_the_difference_that_the_kernel_says() {
    let Some(wrapper) = needs::no_capabilities() else { return };
    let without = examine(&Bench::under(wrapper));
    assert_eq!(without.check("capabilities")["ok"], false);
    assert!(text(without.check("capabilities"), "remedy").contains("setcap cap_net_admin,"));
    let force = without.feature("SO_RCVBUFFORCE");
    assert_eq!(force["available"], false, "{force}");
    assert!(text(force, "why").contains("CAP_NET_ADMIN"), "{force}");
    let Some(rmem_max) = needs::rmem_max(u64::MAX) else { return };
    let check = without.check("net.core.rmem_max");
    assert_eq!(text(check, "state"), rmem_max.to_string());
    assert_eq!(check["ok"] == false, rmem_max < 16_777_216, "{check}");
    if rustix::process::geteuid().is_root() {
        let with = examine(&Bench::new());
        assert_eq!(with.check("net.core.rmem_max")["ok"] == true, with.feature("SO_RCVBUFFORCE")["available"] == true);
    }
}

/// An ordinary user, who owns nothing here.
#[test]
fn another_user_is_told_the_same_of_the_machine() {
    if !rustix::process::geteuid().is_root() || !needs::command("setpriv") {
        return needs::skip("setpriv", &"only root can become another user");
    }
    // Other users may not enter the directory in which the program was built.
    let home = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let program = home.path().join("hpbench");
    fs::copy(HPBENCH, &program).expect("a copy of the program");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["doctor", "--json"])
        .current_dir("/")
        .stdin(Stdio::null())
        .output();
    let output = output.expect("setpriv is there");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let user = Answers(serde_json::from_slice(&output.stdout).expect("JSON"));
    let root = examine(&Bench::new());
    for name in ["cores", "smt_siblings", "clock_source", "net.core.netdev_max_backlog", "virtualization"] {
        assert_eq!(user.check(name)["ok"], root.check(name)["ok"], "{name}");
    }
    for name in ["UDP_SEGMENT (GSO)", "UDP_GRO", "SO_MEMINFO"] {
        assert_eq!(user.feature(name)["available"], root.feature(name)["available"], "{name}");
    }
}

#[test]
fn what_proc_says_is_what_the_doctor_says() {
    let answers = examine(&Bench::new());
    for name in ["net.core.netdev_max_backlog", "net.core.busy_read", "net.core.busy_poll"] {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        match fs::read_to_string(&path) {
            Ok(value) => assert_eq!(text(answers.check(name), "state"), value.trim()),
            Err(_) => assert!(answers.check(name)["ok"].is_null()),
        }
    }
    assert_eq!(answers.feature("UDP_SEGMENT (GSO)")["available"], needs::gso());
    assert_eq!(answers.mode("uring")["available"], needs::uring());
    let in_effect = answers.mode("uring")["in_effect"].as_str().unwrap_or_default();
    for flag in ["SUBMIT_ALL", "SINGLE_ISSUER", "DEFER_TASKRUN", "NO_SQARRAY"] {
        let took_effect = in_effect.split('|').any(|name| name == flag);
        assert_eq!(took_effect, needs::uring() && answers.feature(flag)["available"] == true, "{flag}: {in_effect}");
    }
    let allowed = needs::cores();
    assert_eq!(answers.check("cores")["ok"], allowed.len() > 1);
}

#[test]
fn one_core_is_fit_for_neither() {
    let core = needs::cores()[0].to_string();
    let answers = examine(&Bench::under(["taskset", "-c", &core]));
    let check = answers.check("cores");
    assert_eq!(check["ok"], false);
    assert!(text(check, "state").contains(&core), "{check}");
    assert_eq!((&answers.0["verdict"]["rates"], &answers.0["verdict"]["latency"]), (&false.into(), &false.into()));
}

/// A container that hides most of `/proc` and `/sys`.
#[test]
fn what_cannot_be_read_is_unknown() {
    let hide = "mount -t tmpfs none /sys && mount -t tmpfs none /proc";
    let user = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let probe = Command::new("unshare").args([user, "sh", "-c", hide]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return needs::skip("mounts", &"`unshare -m` does not let this test hide /proc and /sys");
    }
    let script = format!("{hide} && exec \"$0\" \"$@\"");
    let bench = Bench::under(["unshare", user, "sh", "-c", &script]);
    let answers = examine(&bench);
    // What is tried, what a system call reports, and what is elsewhere.
    let known =
        ["cores", "loopback", "locked_memory", "rt_priority", "capabilities", "perf_counters", "bypass_libraries"];
    // Whether the distance of cores can be measured depends on what else runs on them.
    for check in answers.list("checks").iter().filter(|check| text(check, "name") != "core_distance") {
        let name = text(check, "name");
        let shown = name == "kernel.io_uring_disabled" && needs::uring();
        assert_eq!(check["ok"].is_null(), !known.contains(&name) && !shown, "{check}");
    }
    let reasons = answers.0["verdict"]["reasons"].to_string();
    assert!(reasons.contains("not known: ") && reasons.contains("virtualization"), "{reasons}");
    if needs::two_cores().is_some() {
        let verdict = &answers.0["verdict"];
        assert!(verdict["rates"].is_null() && verdict["latency"].is_null(), "unknown is not good: {verdict}");
        let text = bench.run("doctor").expect(0).stdout;
        assert!(text.lines().last().is_some_and(|line| line.starts_with("Not known to be fit: ")), "{text}");
    }
}

/// A container that hides `/proc` only: nothing shows whether trials are disturbed.
#[test]
fn where_disturbances_cannot_be_seen_nothing_is_fit() {
    let hide = "mount -t tmpfs none /proc";
    let user = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let probe = Command::new("unshare").args([user, "sh", "-c", hide]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return needs::skip("mounts", &"`unshare -m` does not let this test hide /proc");
    }
    let script = format!("{hide} && exec \"$0\" \"$@\"");
    let bench = Bench::under(["unshare", user, "sh", "-c", &script]);
    let answers = examine(&bench);
    assert!(answers.0["verdict"]["rates"] != true && answers.0["verdict"]["latency"] != true);
    if needs::two_cores().is_some() {
        let text = bench.run("doctor").expect(0).stdout;
        assert!(text.lines().last().is_some_and(|line| line.contains("checks not known")), "{text}");
    }
}

#[test]
fn without_loopback_nothing_can_be_measured() {
    let Some(wrapper) = needs::netns("ip link set lo down && exec \"$0\" \"$@\"") else { return };
    let answers = examine(&Bench::under(wrapper.iter().map(String::as_str)));
    let check = answers.check("loopback");
    assert!(check["ok"] == false && text(check, "remedy").contains("lo up"), "{check}");
    assert_eq!((&answers.0["verdict"]["rates"], &answers.0["verdict"]["latency"]), (&false.into(), &false.into()));
    for feature in answers.list("features") {
        assert!(feature["available"] != false, "what could not be tried is not missing: {feature}");
    }
}

#[test]
fn a_closed_output_ends_it_quietly() {
    for args in ["doctor", "doctor --json"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let bench = Bench::new();
        let done = bench.start_to(args, writer.into()).wait().expect(141);
        assert_eq!(done.stderr, "");
    }
}
