//! Random flags: good and bad values, of flags that can be combined and of those that cannot.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::pick;

/// Values that no flag takes, or hardly any.
const ODD: [&str; 16] = [
    "",
    " ",
    ",",
    "-1",
    "0",
    "1e9",
    "NaN",
    "inf",
    "18446744073709551616",
    "1..",
    "..8",
    "8..1",
    "all",
    "\u{1b}[31m",
    "é,é",
    "--",
];

/// Flags of a plan, each with values that it takes, and after a `!` those that are always or mostly refused.
const PLAN: &[(&str, &[&str])] = &[
    (
        "--backend",
        &[
            "null",
            "plain",
            "mmsg",
            "uring",
            "null,plain",
            "uring:single",
            "uring:send-zc",
            "plain:gso",
            "mmsg:gso+gro",
            "!uring:zc",
        ],
    ),
    ("--scenario", &["drain", "send", "drain,send", "flood", "pace", "echo", "relay", "!drain,drain"]),
    ("--batch", &["1", "8", "32", "1,16", "1Ki", "3,5..20", "!1025"]),
    ("--payload", &["32", "64", "1472", "1473", "9000", "!31", "64,1400"]),
    ("--round", &["!1", "64", "!1000", "64,128", "4096"]),
    ("--rate", &["100k", "1M", "100000000", "!0"]),
    ("--burst", &["1", "7", "1024", "!1025"]),
    ("--fanout", &["1", "1..4", "!1,1", "!0", "!1025"]),
    ("--min-wait", &["off", "8:50", "off,2:100us", "!8", "!8:0", "!0:50"]),
    ("--window", &["1", "8", "1024", "1,2"]),
    ("--wait", &["spin", "block", "spin,block"]),
    ("--addressing", &["connected", "unconnected", "connected,unconnected"]),
    ("--fd-table", &["shared", "own", "own,shared"]),
    ("--work", &["0", "5us", "1..4", "0,1000"]),
    ("--fill-core", &["same", "other", "same,other"]),
    ("--sockets", &["1", "2", "50", "1,3", "1..4", "!0", "!32769"]),
    ("--active", &["all", "1", "all,1", "!0"]),
    ("--flows", &["1", "1,16", "1..8", "!4", "!0", "!32769"]),
    ("--sharding", &["ports", "!reuseport", "!single", "!ports,single", "!hash"]),
    ("--steer", &["hash", "!cpu", "!hash,cpu", "!core"]),
    ("--skew", &["0", "1", "0,0.5", "!-1", "!5"]),
    ("--verify", &["header", "full", "!none"]),
    ("--trials", &["1", "2", "!100001"]),
    ("--warmup", &["0", "1ms", "!3601"]),
    ("--workers", &["1", "2", "!3", "!257"]),
    ("--generators", &["1", "2", "64", "!65"]),
    ("--port", &["0", "47123", "!65535", "!65536"]),
    ("--bind", &["127.0.0.1", "127.1.2.3", "::1", "!224.0.0.1", "!10.255.255.1", "!localhost", "!127.255.255.255"]),
    ("--cpu", &["0", "1", "!0,1", "!1023", "!1024"]),
    ("--generator-cpu", &["0", "1", "!0,1", "!999"]),
    ("--ring", &["!1", "!8", "64", "1024", "4096"]),
    ("--buffers", &["1", "64", "512", "1024", "!48"]),
    ("--rcvbuf", &["1", "4096", "1073741823", "!1073741824"]),
    ("--sndbuf", &["1", "4096", "1073741823"]),
    ("--seed", &["0", "7", "18446744073709551615", "!18446744073709551616"]),
    ("--label", &["lab", "a b", "\"quoted\"", "!", "!=1+1", "!two\nlines", "!\u{7}"]),
    ("--time", &["0.1", "0.2", "!0.05", "!3601", "!-1"]),
    ("--state", &["powersave", "a,b", "!", "!@now", "!a\tb"]),
    ("--pair", &["1", "4294967295", "!0", "!4294967296"]),
    ("--wait-quiet", &["0", "0.05", "!3601"]),
    ("--hlog", &["out.hlog", "!nowhere/out.hlog", "!/dev/full"]),
    ("--plan", &["/dev/null", "!out.csv", "!nowhere.toml", "!/dev/zero", "!."]),
];

/// Flags without a value.
const SWITCHES: [&str; 10] = [
    "--handoff",
    "--append",
    "--resume",
    "--force",
    "--force-plan",
    "--no-gates",
    "--strict",
    "--quiet",
    "--verbose",
    "--dry-run",
];

/// Flags that are safe only if nothing is run.
const DRY: &[(&str, &[&str])] = &[
    ("--backend", &["all", "uring:all"]),
    ("--fifo", &["1", "50", "99", "!100"]),
    ("--time", &["3600"]),
    ("--precision", &["0.5", "5%", "!0", "!-1", "!100"]),
    ("--duration", &["0.001", "3600", "!3601"]),
    ("--trials", &["100000"]),
    ("--batch", &["1..1024"]),
    ("--payload", &["65507", "!65508", "32,64,128,256,512,1024,2048,4096"]),
    ("--round", &["1..1048576"]),
    ("--window", &["1..1024"]),
    ("--burst", &["1..1024"]),
    ("--rate", &["1", "!1..67108864"]),
    ("--ring", &["1048576", "!1048577"]),
    ("--buffers", &["1..32768"]),
];

/// Other commands, with words that they take and some that they do not.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "compare",
        &[
            "out.csv",
            "good.csv",
            "--by",
            "batch",
            "backend",
            "--force",
            "--paired",
            "--format",
            "json",
            "--fail-on",
            "worse",
        ],
    ),
    ("report", &["out.csv", "-o", "-", "page.html", "--force", "--svg", "svg"]),
    ("lab", &["--dry-run", "--kernel", "newest", "--accel", "icount", "kvm", "--jobs", "1"]),
    ("selftest", &["--trials", "0", "--threshold", "-1", "--help", "--scenario", "echo"]),
    ("doctor", &["--help", "--format", "json", "--nothing"]),
    ("completions", &["bash", "zsh", "nothing", "--help"]),
    ("help", &["run", "compare", "nothing"]),
];

/// The words of a command.
pub(crate) fn draw(random: &mut ChaCha8Rng) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if random.random_ratio(1, 12) {
        let (command, known) = OTHERS[random.random_range(0..OTHERS.len())];
        words.push(command.into());
        // Long-running commands are only run for their help, or with a flag that is refused.
        words.extend(match command {
            "selftest" => vec!["--trials=0".to_owned()],
            "lab" => vec!["--dry-run".to_owned()],
            "doctor" => vec!["--nothing".to_owned()],
            _ => vec![],
        });
        (0..random.random_range(0..6)).for_each(|_| words.push(value(random, known)));
        return words;
    }
    let is_dry = random.random_ratio(1, 3);
    for (flag, values) in PLAN.iter().chain(if is_dry { DRY } else { &[] }) {
        if random.random_ratio(1, 6) {
            words.extend([(*flag).to_owned(), value(random, values)]);
        }
    }
    for switch in SWITCHES {
        if random.random_ratio(1, 16) {
            words.push(switch.into());
        }
    }
    if is_dry {
        words.push("--dry-run".into());
    }
    let has = |flag: &str| words.iter().any(|word| word == flag);
    // Nothing is run for long.
    let mut rest: Vec<&str> = Vec::new();
    for (flag, value) in [("--warmup", "0"), ("-o", "out.csv")] {
        rest.extend(if has(flag) { vec![] } else { vec![flag, value] });
    }
    if !["--trials", "--time", "--precision"].into_iter().any(has) {
        rest.extend(["--trials", "1"]);
    }
    // One of these needs the other.
    match (has("--state"), has("--pair")) {
        (true, false) => rest.extend(["--pair", "1"]),
        (false, true) => rest.extend(["--state", "as it is"]),
        _ => {}
    }
    if !has("--duration") {
        rest.extend(["--packets", pick(random, &["1", "20", "300", "0"])]);
    }
    if !is_dry && !has("--backend") {
        rest.extend(["--backend", pick(random, &["null", "null", "plain", "mmsg", "uring"])]);
    }
    if !is_dry && !has("--rate") {
        rest.extend(["--rate", "1000000"]);
    }
    // One attempt per trial: on a busy machine, all would be repeated.
    rest.extend(if has("--no-gates") { vec![] } else { vec!["--no-gates"] });
    words.extend(rest.into_iter().map(str::to_owned));
    words
}

/// One of the values, rarely a refused or odd one: most commands should get as far as running.
fn value(random: &mut ChaCha8Rng, values: &[&str]) -> String {
    if random.random_ratio(1, 30) {
        let any = pick(random, &[values, &ODD].concat());
        return any.trim_start_matches('!').to_owned();
    }
    let good: Vec<&str> = values.iter().copied().filter(|value| !value.starts_with('!')).collect();
    pick(random, &good).to_owned()
}
