//! `scripts/fleet`: Ansible's playbooks over real `sshd` processes, each in a network namespace of its own.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use common::{Bench, HPBENCH, Running, needs, parse, read};
use rustix::process::{Pid, Signal, kill_process};

const FLEET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/fleet");

/// Fleets wait for their hosts most of the time, so there may be several; the one that is timed is alone.
static ALONE: RwLock<()> = RwLock::new(());

/// Hosts h1, h2, …: namespaces on a bridge in that of the controller, with an `sshd` each.
struct Fleet {
    bench: Bench,
    ansible: String,
    prefix: String,
    hosts: usize,
    servers: Vec<Child>,
    others: Option<RwLockReadGuard<'static, ()>>,
}

/// Writes a script of the shell.
fn write_script(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("it is ours");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// Runs a command, which is split at spaces.
fn does(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("it is installed");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Fleet {
    /// `None` where there can be none.
    fn new(name: &str, hosts: usize) -> Option<Self> {
        let others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
        let mut fleet = Self::beside_others(name, hosts)?;
        fleet.others = Some(others);
        Some(fleet)
    }

    /// The same, whatever other tests do.
    fn beside_others(name: &str, hosts: usize) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            needs::skip("rig", &"network namespaces need root");
            return None;
        }
        let ansible = needs::ansible()?;
        let prefix = format!("fleet{}{name}", std::process::id());
        if !needs::works("sshd", &["sh", "-c", "PATH=$PATH:/usr/sbin; command -v sshd ssh ssh-keygen"])
            || !needs::works("rig", &["ip", "netns", "add", &format!("{prefix}-0")])
        {
            return None;
        }
        let mut fleet = Self { bench: Bench::new(), ansible, prefix, hosts, servers: Vec::new(), others: None };
        fleet.start();
        Some(fleet)
    }

    fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn at(&self, name: &str) -> String {
        self.bench.beside(name).display().to_string()
    }

    fn start(&mut self) {
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &self.at(key)]).status();
            assert!(made.is_ok_and(|status| status.success()));
        }
        // Where sshd gives up its privileges; Debian's package makes it when it is started by init.
        fs::create_dir_all("/run/sshd").expect("root may");
        let controller = self.namespace(0);
        for command in
            ["link set lo up", "link add br0 type bridge", "address add 10.78.0.100/24 dev br0", "link set br0 up"]
        {
            does(&format!("ip -n {controller} {command}"));
        }
        for host in 1..=self.hosts {
            let netns = self.namespace(host);
            does(&format!("ip netns add {netns}"));
            does(&format!("ip -n {controller} link add h{host} type veth peer name eth0 netns {netns}"));
            does(&format!("ip -n {controller} link set h{host} master br0 up"));
            for command in ["link set lo up", &format!("address add 10.78.0.{host}/24 dev eth0"), "link set eth0 up"] {
                does(&format!("ip -n {netns} {command}"));
            }
            let config = format!(
                "SetEnv PATH={}:/usr/bin:/bin:/usr/sbin:/sbin FAKE={}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n\
                 ListenAddress 10.78.0.{host}\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
                self.at("tools"),
                self.at(&format!("boot-h{host}")),
                self.at("host"),
                self.at("user.pub")
            );
            fs::write(self.bench.beside(&format!("config{host}")), config).expect("a file");
            let script =
                format!("PATH=$PATH:/usr/sbin; exec $(command -v sshd) -D -e -f {}", self.at(&format!("config{host}")));
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &netns, "sh", "-c", &script]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.servers.push(command.spawn().expect("ip is there"));
        }
        fs::write(self.bench.path("inventory.yml"), self.inventory(&|_| String::new())).expect("a file");
    }

    /// The words of ssh that need no configuration, and give up soon.
    fn ssh(&self) -> String {
        format!(
            "-F none -i {} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
             -o ConnectTimeout=3",
            self.at("user")
        )
    }

    /// An inventory; `more` are variables of a host.
    fn inventory(&self, more: &dyn Fn(usize) -> String) -> String {
        let hosts: String = (1..=self.hosts)
            .map(|host| format!("    h{host}: {{ansible_host: 10.78.0.{host}{}}}\n", more(host)))
            .collect();
        // A shim in the path may be found first, and not work.
        let python = Path::new(&self.ansible).with_file_name("python");
        let python = if python.exists() { python.display().to_string() } else { "/usr/bin/python3".into() };
        format!(
            "all:\n  vars:\n    ansible_user: root\n    ansible_python_interpreter: {python}\n    ansible_ssh_retries: 0\n    \
             ansible_ssh_common_args: {}\n    fleet_dir: {}-{{{{ inventory_hostname }}}}\n  hosts:\n{hosts}",
            self.ssh(),
            self.at("dir")
        )
    }

    /// What is in the directory on a host.
    fn on(&self, host: usize, name: &str) -> PathBuf {
        self.bench.beside(&format!("dir-h{host}")).join(name)
    }

    /// Starts a playbook in the namespace of the controller; `vars` are in JSON.
    fn play(&self, playbook: &str, vars: &serde_json::Value) -> Running<'_> {
        self.play_with(playbook, vars, &[])
    }

    /// The same with more options.
    fn play_with(&self, playbook: &str, vars: &serde_json::Value, options: &[&str]) -> Running<'_> {
        let playbook = format!("{FLEET}/{playbook}");
        let (netns, vars) = (self.namespace(0), vars.to_string());
        // Another test's hosts have the same addresses: connections are not shared with it.
        let environment = [
            format!("ANSIBLE_CONFIG={FLEET}/ansible.cfg"),
            format!("ANSIBLE_HOME={}", self.at("ansible")),
            format!("ANSIBLE_SSH_CONTROL_PATH_DIR={}", self.at("cp")),
            "ANSIBLE_NOCOLOR=1".into(),
            // A connection that is cut is given up sooner than by ansible.cfg.
            "ANSIBLE_SSH_ARGS=-o ControlMaster=auto -o ControlPersist=120s -o ServerAliveInterval=2 -o ServerAliveCountMax=3".into(),
        ];
        let environment = environment.iter().map(String::as_str);
        let words = ["ip", "netns", "exec", &netns, "env"].into_iter().chain(environment);
        let words = words
            .chain([self.ansible.as_str(), "-i", "inventory.yml", &playbook, "-e", &vars])
            .chain(options.iter().copied());
        self.bench.start_beside(&words.collect::<Vec<_>>(), "")
    }

    /// Ends what still runs on a host with this word in its command line.
    fn kill(&self, host: usize, word: &str) {
        let pids = self.processes(host).into_iter().filter(|(_, command)| command.contains(word));
        let pids: Vec<Pid> = pids.map(|(pid, _)| pid).collect();
        assert!(!pids.is_empty(), "{word} does not run on h{host}");
        // One may have ended because of another.
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// The processes on a host, with their command lines.
    fn processes(&self, host: usize) -> Vec<(Pid, String)> {
        let output = Command::new("ip").args(["netns", "pids", &self.namespace(host)]).output().expect("ip is there");
        let pids = String::from_utf8_lossy(&output.stdout).into_owned();
        let pids = pids.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        let command = |pid: Pid| fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok();
        pids.filter_map(|pid| Some((pid, String::from_utf8_lossy(&command(pid)?).replace('\0', " ")))).collect()
    }

    /// Fails if anything is left on the hosts.
    #[track_caller]
    fn assert_clean(&self) {
        for host in 1..=self.hosts {
            assert!(!self.on(host, "").exists(), "the directory of h{host} is left");
            let others: Vec<_> =
                self.processes(host).into_iter().filter(|(_, command)| !command.contains("sshd")).collect();
            assert!(others.is_empty(), "h{host}: {others:?}");
        }
    }

    /// The rows of the runs, by host.
    fn rows(&self) -> BTreeMap<String, Vec<common::Row>> {
        let mut found: BTreeMap<String, Vec<common::Row>> = BTreeMap::new();
        for entry in fs::read_dir(self.bench.path("results/runs")).expect("it is there") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "csv") {
                for row in parse(&read(&path)) {
                    found.entry(row.text("host").to_owned()).or_default().push(row);
                }
            }
        }
        found
    }

    /// A program that sleeps instead of measuring, and says when. `seconds` may be a shell's expression; `doctor` is what it says
    /// first of a host. The real program must take what it is called with; a pair's flags need a real peer, which another test has.
    fn stub(&self, seconds: &str, doctor: &str) -> String {
        let path = self.bench.beside("stub");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = doctor ]; then\n    case $PWD in\n{doctor}\n    *) ok=true name=cores ;;\n    esac\n    \
             echo '{{\"verdict\":{{\"rates\":true}},\"checks\":[{{\"name\":\"'$name'\",\"ok\":'$ok',\"state\":\"so\",\"affects\":[\"rates\"]}}]}}'\n    \
             exit\nfi\ncase $* in *--peer*) ;; *) {HPBENCH} \"$@\" --dry-run >/dev/null || exit ;; esac\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && file=$2; shift; done\nbegan=$(date +%s.%N)\nsleep {seconds}\n\
             echo \"$file $began $(date +%s.%N)\" >>{}\necho a >\"$file\"\n",
            self.at("log")
        );
        fs::write(&path, script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        path.display().to_string()
    }

    /// When the stub slept, by run.
    fn slept(&self) -> BTreeMap<String, (f64, f64)> {
        let log = read(&self.bench.beside("log"));
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [began, ended] = [1, 2].map(|at| words[at].parse().expect("seconds"));
            (words[0].trim_end_matches(".csv").to_owned(), (began, ended))
        };
        log.lines().map(line).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for host in 0..=self.hosts {
            // Nobody else is in this namespace.
            for (pid, _) in self.processes(host) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(host)]).status();
        }
    }
}

/// The program under test, for the hosts: without what debuggers read, which is most of it.
fn program() -> &'static str {
    static STRIPPED: OnceLock<String> = OnceLock::new();
    STRIPPED.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fleet-hpbench").display().to_string();
        does(&format!("strip -o {path} {HPBENCH}"));
        path
    })
}

/// Variables for the program under test, which is judged fit whatever runs beside the tests.
fn measured(more: serde_json::Value) -> serde_json::Value {
    let mut vars = serde_json::json!({
        "fleet_program": program(), "fleet_here": HPBENCH, "fleet_results": "results", "fleet_needs": [], "fleet_poll": 1, "fleet_runs": 1,
    });
    let more = more.as_object().expect("an object").clone();
    vars.as_object_mut().expect("an object").extend(more);
    vars
}

/// Variables for the stub.
fn stubbed(stub: &str, more: serde_json::Value) -> serde_json::Value {
    let mut vars =
        measured(serde_json::json!({ "fleet_program": stub, "fleet_here": "true", "fleet_needs": ["rates"] }));
    vars.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    vars
}

const TRIALS: usize = 40;

/// The rows of a host are those of the plan, each once.
#[track_caller]
fn assert_whole(rows: &[common::Row]) {
    let trial = |row: &common::Row| (row.text("backend").to_owned(), row.count("trial"), row.count("attempt"));
    let trials: BTreeSet<_> = rows.iter().map(trial).collect();
    assert_eq!((rows.len(), trials.len()), (2 * TRIALS, 2 * TRIALS));
    let runs: BTreeSet<&str> = rows.iter().map(|row| row.text("run_id")).collect();
    assert_eq!(runs.len(), 1, "a second start continues the run");
}

/// One host fails in mid-run, and the way to another one is cut. The rest completes; a second start completes those two.
#[test]
fn a_second_start_continues_what_failed() {
    let Some(fleet) = Fleet::new("r", 4) else { return };
    let plan = format!(
        "scenario = 'drain'\nbackend = ['plain', 'mmsg']\ntrials = {TRIALS}\nduration = 0.05\nno-gates = true\nforce-plan = true\n"
    );
    fs::write(fleet.bench.path("plan.toml"), plan).expect("a file");
    write_script(
        fleet.bench.beside("tools/base64"),
        "[ -e \"$FAKE/cut\" ] && [ $# = 0 ] || exec /usr/bin/base64 \"$@\"\n/usr/bin/base64 | head -c 1000\nrm \"$FAKE/cut\"\n\
         kill -9 $(cut -d' ' -f4 \"/proc/$PPID/stat\")",
    );
    fs::create_dir(fleet.bench.beside("boot-h3")).expect("it is ours");
    let plan = fleet.bench.path("plan.toml").display().to_string();
    let results = fleet.bench.path("results").display().to_string();
    let vars = measured(serde_json::json!({ "fleet_plan": plan, "fleet_results": results }));
    // Another start has these results: this process. Then another process has its number.
    fs::create_dir(&results).expect("it is ours");
    let lock = fleet.bench.path("results/lock");
    let started = fs::read_to_string("/proc/self/stat").expect("it is there");
    let started = started.rsplit(')').next().and_then(|rest| rest.split(' ').nth(20)).expect("when it was started");
    let ours = std::process::id();
    fs::write(&lock, format!("{ours} {started}")).expect("a file");
    let done = fleet.play("run.yml", &vars).wait().expect(2);
    let told = format!("the process {ours} measures with");
    assert!(done.stdout.contains(&told) && !done.stdout.contains("of 4 runs"), "{}", done.stdout);
    fs::write(&lock, format!("{ours} 1")).expect("a file");
    let mut running = fleet.play("run.yml", &vars);
    let rows_on = |host: usize| {
        fs::read_to_string(fleet.on(host, &format!("h{host}.1.csv"))).map_or(0, |text| text.lines().count())
    };
    running.wait_until("h2 and h3 have measured", || rows_on(2) > 5 && rows_on(3) > 5);
    assert!(read(&lock).starts_with(&format!("{} ", running.id())));
    fleet.kill(2, "hpbench --plan");
    // The next rows of h3 are cut in the middle, with the connection that they come over.
    let cut = fleet.bench.beside("boot-h3/cut");
    fs::write(&cut, "").expect("a file");
    running.wait_until("a fetch is cut", || !cut.exists());
    does(&format!("ip -n {} link set h3 down", fleet.namespace(0)));
    let done = running.wait().expect(2);
    for told in
        ["2 of 4 runs are not whole", "h2.1: it is gone", "h3.1: it is out of reach", "h3: ", "may still be there"]
    {
        assert!(done.stdout.contains(told), "{told}: {}", done.stdout);
    }
    if std::env::var("HPBENCH_WRITE_DOCS").is_ok() {
        let told = done.stdout.lines().rfind(|line| line.starts_with("fatal: [localhost]")).expect("the end");
        let (_, list) = told.split_once("\"msg\": [").expect("what is not whole");
        let list: Vec<String> =
            serde_json::from_str(&format!("[{}", list.trim_end_matches('}'))).expect("a list of texts");
        let recorded = Path::new(FLEET).join("../../results/docs/fleet-run.txt");
        // Where it is by default.
        let directory = fleet.on(3, "").display().to_string();
        let named = |line: &str| line.replace(directory.trim_end_matches('/'), "/var/tmp/hpbench-fleet-h3");
        let list: String = list.iter().map(|line| named(line) + "\n").collect();
        fs::write(
            recorded,
            format!("$ ansible-playbook -i inventory.yml run.yml -e fleet_plan=$PWD/plan.toml\n\n{list}"),
        )
        .expect("it is ours");
    }
    let first = fleet.rows();
    assert_whole(&first["h1"]);
    assert_whole(&first["h4"]);
    let before = first["h2"].len();
    assert!((5..2 * TRIALS).contains(&before), "{before} rows were fetched");
    assert!(!fleet.on(2, "").exists(), "nothing is left on h2");

    does(&format!("ip -n {} link set h3 up", fleet.namespace(0)));
    let done = fleet.play("run.yml", &vars).wait().expect(0);
    assert!(done.stdout.contains("2 of 4 runs are to be done"), "{}", done.stdout);
    let second = fleet.rows();
    second.values().for_each(|rows| assert_whole(rows));
    assert_eq!(second.keys().collect::<Vec<_>>(), ["h1", "h2", "h3", "h4"], "hosts have the inventory's names");
    for host in ["h2", "h3"] {
        let same = first.get(host).into_iter().flatten().zip(&second[host]);
        same.for_each(|(a, b)| assert_eq!(a.text("started_at"), b.text("started_at"), "no row is measured again"));
    }
    fleet.assert_clean();
    assert!(fleet.bench.path("results/comparison.txt").exists() && fleet.bench.path("results/report.html").exists());

    // What a start could not remove is noted, and removed by one that has nothing else to do.
    let left = |host: usize| fleet.bench.path("results/left").join(format!("h{host}"));
    assert!(!left(3).exists());
    fs::create_dir(fleet.on(1, "")).expect("it is ours");
    fs::copy(fleet.bench.path("results/id"), fleet.on(1, "owner")).expect("an owner");
    fs::write(left(1), "it could not be removed").expect("a file");
    let done = fleet.play("run.yml", &vars).wait().expect(0);
    assert!(!left(1).exists() && fleet.bench.path("results/left").exists());
    fleet.assert_clean();
    assert!(done.stdout.contains("0 of 4 runs are to be done"), "{}", done.stdout);
    fs::write(fleet.bench.path("plan.toml"), "trials = 3\n").expect("a file");
    let done = fleet.play("run.yml", &vars).wait().expect(2);
    assert!(done.stdout.contains("another program or another plan"), "{}", done.stdout);
}

/// Each pair has its hosts to itself: the worker's host starts the agent on the other by ssh.
#[test]
fn pairs_are_measured_over_ssh() {
    let Some(fleet) = Fleet::new("p", 4) else { return };
    let plan = "scenario = ['drain', 'echo']\nbackend = 'plain'\ntrials = 2\nduration = 0.02\nno-gates = true\nforce-plan = true\n";
    fs::write(fleet.bench.path("plan.toml"), plan).expect("a file");
    let vars = measured(serde_json::json!({
        "fleet_plan": fleet.bench.path("plan.toml"), "fleet_results": fleet.bench.path("results"),
        "fleet_pairs": [["h1", "h2"], ["h3", "h4"], ["h2", "h3"]], "fleet_ssh": format!("ssh {}", fleet.ssh()),
    }));
    let done = fleet.play("run.yml", &vars).wait().expect(0);
    let rows = fleet.rows();
    let labels: Vec<&String> = rows.keys().collect();
    assert_eq!(labels, ["h1--h2", "h2--h3", "h3--h4"], "{}", done.stdout);
    for rows in rows.values() {
        assert_eq!(rows.len(), 4);
        common::assert_sound(rows);
        assert!(rows.iter().all(|row| row.text("interface") == "eth0" && !row.text("peer_host").is_empty()));
    }
    fleet.assert_clean();

    let mistyped = measured(serde_json::json!({
        "fleet_results": fleet.bench.path("others"), "fleet_pairs": [["h1", "h2"], ["h3", "h44"]],
    }));
    let done = fleet.play_with("run.yml", &mistyped, &["--check"]).wait().expect(2);
    assert!(done.stdout.contains("fleet_pairs: there is no host h44"), "{}", done.stdout);
}

/// Whether two times overlap.
fn overlap(a: (f64, f64), b: (f64, f64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// No two runs share a host or a link at a time.
#[test]
fn runs_that_share_something_are_in_different_rounds() {
    let Some(fleet) = Fleet::new("s", 4) else { return };
    let inventory =
        fleet.inventory(&|host| if host < 3 { ", fleet_link: rack1".into() } else { ", fleet_link: rack2".into() });
    fs::write(fleet.bench.path("inventory.yml"), inventory).expect("a file");
    let stub = fleet.stub("1", "");
    let results = fleet.bench.path("results");
    let vars = stubbed(&stub, serde_json::json!({ "fleet_results": results, "fleet_pairs": "all" }));
    fleet.play("run.yml", &vars).wait().expect(0);
    let slept = fleet.slept();
    let all: Vec<(&str, (f64, f64))> = slept.iter().map(|(run, times)| (run.trim_end_matches(".1"), *times)).collect();
    assert_eq!(
        all.iter().map(|(run, _)| *run).collect::<Vec<_>>(),
        ["h1--h2", "h1--h3", "h1--h4", "h2--h3", "h2--h4", "h3--h4"]
    );
    for (at, (a, of_a)) in all.iter().enumerate() {
        for (b, of_b) in &all[at + 1..] {
            // Only the two pairs within the racks have nothing in common.
            let apart = [*a, *b] == ["h1--h2", "h3--h4"];
            assert!(apart || !overlap(*of_a, *of_b), "{a} and {b}: {all:?}");
        }
    }
    fleet.assert_clean();
}

/// A look that fails ends no run: until the next start, no other one begins on its host. Another fleet's directory is left alone; and
/// hosts that are unfit or busy are named and left out.
#[test]
fn a_host_out_of_sight_has_no_second_run() {
    let Some(fleet) = Fleet::new("o", 5) else { return };
    let long = fleet.at("long");
    fs::write(&long, "60\n").expect("a file");
    let unfit = fleet.at("unfit");
    fs::write(&unfit, "").expect("a file");
    let doctor = format!(
        "    *h4) name=cpu_quota; [ ! -e {unfit} ] && ok=true || ok=false ;;\n    *h5) name=other_programs; [ ! -e {unfit} ] && ok=true || ok=false ;;"
    );
    let stub = fleet.stub(&format!("$([ $file = h2.1.csv ] && cat {long} || echo 0.5)"), &doctor);
    let vars = stubbed(&stub, serde_json::json!({ "fleet_results": fleet.bench.path("results"), "fleet_runs": 2 }));
    fs::create_dir(fleet.on(3, "")).expect("it is ours");
    fs::write(fleet.on(3, "owner"), "another\n").expect("a file");
    fs::write(fleet.on(3, "h1.csv"), "rows\n").expect("a file");
    let mut running = fleet.play("run.yml", &vars);
    running.wait_until("h2 measures", || fleet.on(2, "h2.1.pid").exists());
    // What a run has written when the looks have ended is fetched before it is removed.
    fs::write(fleet.on(2, "h2.1.csv"), "a row\n").expect("a file");
    does(&format!("ip -n {} link set h2 down", fleet.namespace(0)));
    running.wait_until("the other host goes on", || fleet.on(1, "h1.2.pid").exists());
    does(&format!("ip -n {} link set h2 up", fleet.namespace(0)));
    let done = running.wait().expect(2);
    for told in [
        "h2.1: it is out of reach",
        "h2.2: it was not started, because h2.1 may still go on",
        "h3 is left out: busy, or left by another fleet",
        "h4 is left out: unfit: cpu_quota: so",
        "h5 is left out: busy: other_programs: so",
        "h5.2: h5 is left out",
        "8 of 10 runs are not whole",
    ] {
        assert!(done.stdout.contains(told), "{told}: {}", done.stdout);
    }
    assert_eq!(fleet.slept().keys().collect::<Vec<_>>(), ["h1.1", "h1.2"]);
    let rows = fleet.bench.path("results/runs/h2.1.csv");
    assert_eq!(read(&rows), "a row\n");
    fs::remove_file(rows).expect("they are no rows of hpbench");
    assert_eq!(read(&fleet.on(3, "h1.csv")), "rows\n");

    fs::remove_dir_all(fleet.on(3, "")).expect("it is ours");
    fs::write(&long, "0.5\n").expect("a file");
    fs::remove_file(&unfit).expect("it is ours");
    fleet.play("run.yml", &vars).wait().expect(0);
    let slept = fleet.slept();
    let all: Vec<String> = (1..=5).flat_map(|host| [1, 2].map(|run| format!("h{host}.{run}"))).collect();
    assert!(slept.keys().eq(&all), "{slept:?}");
    assert!((2..=5).all(|host| !overlap(slept[&format!("h{host}.1")], slept[&format!("h{host}.2")])), "{slept:?}");
    fleet.assert_clean();
}

/// Ansible itself takes little: eight hosts with runs of a minute take hardly longer than one. Here a run ends once it has seen those
/// of all other hosts begin; the rest of the minute would be the same for one host and for eight.
#[test]
fn eight_hosts_take_little_longer_than_one() {
    const RUN: Duration = Duration::from_secs(60);
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    let Some(fleet) = Fleet::beside_others("e", 8) else { return };
    let inventory = fleet.inventory(&|_| String::new()) + "  children:\n    one: {hosts: {h1: }}\n";
    fs::write(fleet.bench.path("inventory.yml"), inventory).expect("a file");
    let time = |group: &str, hosts: usize| {
        let begun = fleet.at(group);
        fs::create_dir(&begun).expect("it is ours");
        let all_have_begun =
            format!("0; touch {begun}/$file; until [ $(ls {begun} | wc -l) = {hosts} ]; do sleep 0.1; done");
        let results = fleet.bench.path(&format!("results-{group}"));
        let vars = serde_json::json!({ "fleet_results": results, "fleet_group": group, "fleet_limit": 100 });
        let vars = stubbed(&fleet.stub(&all_have_begun, ""), vars);
        let start = Instant::now();
        // A run that does not see all others is ended, and is not whole.
        fleet.play("run.yml", &vars).wait().expect(0);
        start.elapsed()
    };
    let (one, eight) = (time("one", 1), time("all", 8));
    fleet.assert_clean();
    eprintln!("eight hosts took {eight:.1?} longer than their runs, one {one:.1?}");
    if eight + RUN > (one + RUN).mul_f64(1.3) {
        needs::skip(
            "quiet",
            &format!("eight hosts took {eight:.1?}, one {one:.1?}: Ansible had too little of the cores"),
        );
    }
}

const KERNELS: [&str; 2] = ["6.1.0-40-amd64", "6.12.48-amd64"];

/// The menu of a Debian host: the newest kernel, and the others below.
const GRUB_CFG: &str = "\
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
\tlinux\t/boot/vmlinuz-6.18.1-amd64 root=/dev/vda ro
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-1' {
\tmenuentry 'Debian, with Linux 6.12.48-amd64' $menuentry_id_option 'gnulinux-6.12.48-amd64-advanced-1' {
\t\tlinux\t/boot/vmlinuz-6.12.48-amd64 root=/dev/vda ro
\t}
\tmenuentry 'Debian, with Linux 6.12.48-amd64 (recovery mode)' $menuentry_id_option 'gnulinux-6.12.48-amd64-recovery-1' {
\t\tlinux\t/boot/vmlinuz-6.12.48-amd64 root=/dev/vda ro single
\t}
\tmenuentry 'Debian, with Linux 6.1.0-40-amd64' $menuentry_id_option 'gnulinux-6.1.0-40-amd64-advanced-1' {
\t\tlinux\t/boot/vmlinuz-6.1.0-40-amd64 root=/dev/vda ro
\t}
}
";

/// What its first entry boots.
const NEWEST: &str = "/boot/vmlinuz-6.18.1-amd64";

/// Tools that only note what is asked of them, and a boot that takes no time. $FAKE is the directory of the host.
const TOOLS: [(&str, &str); 5] = [
    ("grub-editenv", "[ $2 = list ] || exec rm -f \"$FAKE/next\"; cat \"$FAKE/env\""),
    (
        "grub-reboot",
        "[ ! -e \"$FAKE/refuses\" ] || [ $(cat \"$FAKE/log\" 2>/dev/null | grep -c boot) -lt 3 ] || exit 1\necho \"once $1\" >>\"$FAKE/log\"; echo \"$1\" >\"$FAKE/next\"",
    ),
    (
        "bootctl",
        "[ -d \"$FAKE/sys/firmware/efi\" ] || exit 1\n[ \"$*\" != 'set-oneshot ' ] || exec rm -f \"$FAKE/next\"\ncase $1 in\nset-oneshot) echo \"once $2\" >>\"$FAKE/log\"; echo \"$2\" >\"$FAKE/next\" ;;\n\
         list) echo '[{\"id\":\"a-6.18.1-amd64.conf\",\"isDefault\":true},{\"id\":\"a-6.12.48-amd64.conf\",\"isDefault\":false},\
         {\"id\":\"a-6.1.0-40-amd64.conf\",\"isDefault\":false}]' ;;\nesac",
    ),
    ("fake-uname", "cat \"$FAKE/running\""),
    (
        "fake-reboot",
        "next=$(cat \"$FAKE/next\" 2>/dev/null); rm -f \"$FAKE/next\"\n\
         case $next in *6.12.48*) kernel=6.12.48-amd64 ;; *6.1.0*) kernel=6.1.0-40-amd64 ;; *) kernel=6.18.1-amd64 ;; esac\n\
         echo \"boot $kernel\" >>\"$FAKE/log\"\n[ ! -e \"$FAKE/fails\" ] || [ $(grep -c boot \"$FAKE/log\") -lt 2 ] || exit 0\n\
         [ ! -e \"$FAKE/moves\" ] || [ $(grep -c boot \"$FAKE/log\") -lt 4 ] || sed -i s/6.18.1/6.18.2/ \"$FAKE/boot/grub/grub.cfg\"\n\
         echo \"$kernel\" >\"$FAKE/running\"; date +%s.%N >\"$FAKE/boot_id\"",
    ),
];

/// Gives the hosts boot loaders: GRUB, systemd-boot, one that does not come back from its second boot, one without `panic=`, and
/// one that refuses its fourth one-time entry.
fn give_kernels(fleet: &Fleet) {
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().expect("a directory")).expect("it is ours");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    for (name, script) in TOOLS {
        write_script(fleet.bench.beside("tools").join(name), script);
    }
    for host in 1..=5 {
        let root = fleet.bench.beside(&format!("boot-h{host}"));
        let panic = if host == 4 { "" } else { " panic=30" };
        for (name, text) in [
            ("proc/cmdline", format!("root=/dev/vda ro{panic} quiet\n").as_str()),
            ("dev/watchdog0", ""),
            ("etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=30\n"),
            ("etc/default/grub", "GRUB_DEFAULT=saved\n"),
            ("boot/grub/grub.cfg", GRUB_CFG),
            ("env", "saved_entry=gnulinux-simple-1\n"),
            ("running", "6.18.1-amd64\n"),
            ("boot_id", "0\n"),
        ] {
            write(root.join(name), text);
        }
        match host {
            1 => write(root.join("moves"), ""),
            2 => fs::create_dir_all(root.join("sys/firmware/efi")).expect("it is ours"),
            3 => write(root.join("fails"), ""),
            5 => write(root.join("refuses"), ""),
            _ => {}
        }
    }
}

/// The order of one-time entries, with tools that only note them: no real kernel is booted here.
#[test]
fn kernels_are_booted_in_turn_by_one_time_entries() {
    let Some(fleet) = Fleet::new("k", 5) else { return };
    give_kernels(&fleet);
    let root = fleet.at("boot");
    let inventory = fleet.inventory(&|host| format!(", fleet_root: {root}-h{host}"));
    fs::write(fleet.bench.path("inventory.yml"), inventory).expect("a file");
    let stub = fleet.stub("0.1", "");
    let vars = stubbed(
        &stub,
        serde_json::json!({
            "fleet_results": fleet.bench.path("results"), "fleet_kernels": KERNELS, "fleet_boots": 2, "fleet_boot_timeout": 6,
            "fleet_reboot_command": format!("{}/fake-reboot", fleet.at("tools")), "fleet_uname": "fake-uname",
            "fleet_boot_id": "cat $FAKE/boot_id",
        }),
    );
    let log = |host: usize| fs::read_to_string(fleet.bench.beside(&format!("boot-h{host}/log"))).unwrap_or_default();
    let done = fleet.play_with("compare-kernels.yml", &vars, &["--check"]).wait().expect(0);
    let order = "h1.1 6.1.0-40-amd64, h2.1 6.1.0-40-amd64, h3.1 6.1.0-40-amd64, h4.1 6.1.0-40-amd64, h5.1";
    assert!(done.stdout.contains(order) && done.stdout.contains("h1.4 6.1.0-40-amd64, h2.4"), "{}", done.stdout);
    assert!((1..=5).all(|host| log(host).is_empty() && !fleet.on(host, "").exists()), "check mode touches no host");

    let done = fleet.play("compare-kernels.yml", &vars).wait().expect(2);
    let [a, b] = KERNELS;
    let boots = |entry: &dyn Fn(&str) -> String| {
        let once = [a, b, b, a].map(|kernel| format!("once {}\nboot {kernel}\n", entry(kernel)));
        once.concat() + "boot 6.18.1-amd64\n"
    };
    let grub = |kernel: &str| format!("gnulinux-advanced-1>gnulinux-{kernel}-advanced-1");
    assert_eq!(log(1), boots(&grub), "{}", done.stdout);
    assert_eq!(log(2), boots(&|kernel| format!("a-{kernel}.conf")));
    let lost = format!("once {}\nboot {a}\nonce {}\nboot {b}\n", grub(a), grub(b));
    assert_eq!(log(3), lost, "it is not touched again");
    assert_eq!(log(4), "");
    let refused = boots(&grub).replacen(&format!("once {}\nboot {a}\nboot 6.18.1", grub(a)), "boot 6.18.1", 1);
    assert_eq!(log(5), refused, "it is booted into its default, though the last round did not boot it");
    // Debian's first entry has the same name, and another kernel.
    let moved = "h1: the default entry has moved: it was gnulinux-simple-1 /boot/vmlinuz-6.18.1-amd64, and is gnulinux-simple-1 /boot/vmlinuz-6.18.2-amd64";
    for told in [
        "h4 is left out: panic=SECONDS is not on the kernel command line",
        "h3.2: it did not come back after the boot of 6.12.48-amd64, and is not touched again",
        "h5.4: the one-time entry gnulinux-advanced-1>gnulinux-6.1.0-40-amd64-advanced-1 is refused",
        moved,
    ] {
        assert!(done.stdout.contains(told), "{told}: {}", done.stdout);
    }
    assert!((2..=5).all(|host| !done.stdout.contains(&format!("h{host}: the default entry"))), "{}", done.stdout);
    for host in 1..=5 {
        assert_eq!(read(&fleet.bench.beside(&format!("boot-h{host}/env"))), "saved_entry=gnulinux-simple-1\n");
        assert_eq!(fleet.on(host, "").exists(), host == 3, "only what is not touched is left: h{host}");
    }
    let runs = fleet.slept();
    let ran: Vec<&String> = runs.keys().collect();
    assert_eq!(ran, ["h1.1", "h1.2", "h1.3", "h1.4", "h2.1", "h2.2", "h2.3", "h2.4", "h3.1", "h5.1", "h5.2", "h5.3"]);
}

/// A default entry that something has moved: nothing is booted.
#[test]
fn a_host_whose_default_has_moved_is_not_booted() {
    let boot = format!("{FLEET}/roles/fleet/files/boot.sh");
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    fs::create_dir_all(at("boot/grub")).expect("it is ours");
    fs::write(at("boot/grub/grub.cfg"), GRUB_CFG).expect("a file");
    let save = |entry: &str| fs::write(at("env"), format!("saved_entry={entry}\n")).expect("a file");
    for (name, script) in TOOLS {
        write_script(at(name), script);
    }
    let run = |words: &str| {
        let script = format!("root=$FAKE; . {boot}; {words}");
        let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh").args(["-c", &script]).env("FAKE", home.path()).env("PATH", path).output();
        let output = output.expect("sh is there");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let old = "/boot/vmlinuz-6.1.0-40-amd64";
    for entry in [
        "gnulinux-advanced-1>gnulinux-6.1.0-40-amd64-advanced-1",
        "Advanced options>Debian, with Linux 6.1.0-40-amd64",
        "1>2",
    ] {
        save(entry);
        assert_eq!(run("default"), (Some(0), format!("{entry} {old}")));
    }
    let moved = format!("the default entry has moved: it was gnulinux-simple-1 {NEWEST}, and is 1>2 {old}");
    assert_eq!(run(&format!("once 6.12.48-amd64 'gnulinux-simple-1 {NEWEST}'")), (Some(24), moved));
    save("gnulinux-simple-1");
    let default = format!("gnulinux-simple-1 {NEWEST}");
    assert_eq!(run("default"), (Some(0), default.clone()));
    assert_eq!(run(&format!("once 6.12 '{default}'")), (Some(25), "there is no entry for the kernel 6.12".into()));
    assert!(!at("log").exists(), "no one-time entry was made");
    assert_eq!(run(&format!("once 6.12.48-amd64 '{default}'")), (Some(0), String::new()));
    assert!(at("next").exists());
    assert_eq!(run("never"), (Some(0), String::new()));
    assert!(!at("next").exists());
    // The same entry, of a newer kernel.
    fs::write(at("boot/grub/grub.cfg"), GRUB_CFG.replace("6.18.1-amd64", "6.18.2-amd64")).expect("a file");
    assert_eq!(run(&format!("once 6.12.48-amd64 '{default}'")).0, Some(24));
    assert_eq!(read(&at("log")), "once gnulinux-advanced-1>gnulinux-6.12.48-amd64-advanced-1\n");
}

/// A host of the functions in host.sh: this one.
struct Host(tempfile::TempDir);

impl Host {
    /// Calls functions, and returns the status and the output; `dir` is where the fleet is.
    fn call(&self, dir: &str, words: &str) -> (Option<i32>, String) {
        let script = format!("dir={dir} owner=me patience=10; . {FLEET}/roles/fleet/files/host.sh; {words}");
        let output = Command::new("sh").args(["-c", &script]).current_dir(self.0.path()).output().expect("sh is there");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The words that start a run.
    fn start(command: &str) -> String {
        format!("prepare && start run '' 100 '{command}'")
    }

    fn wait_for(&self, file: &str) {
        let start = Instant::now();
        while !self.0.path().join(file).exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "never {file}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What does not end by TERM ends by KILL: first the run of scripts/ab, so that it restores the first state.
#[test]
fn a_run_that_does_not_end_is_killed() {
    let host = Host(tempfile::tempdir().expect("a directory"));
    write_script(
        host.0.path().join("hpbench"),
        "case $* in *--dry-run*) exit ;; esac\ntrap \"\" TERM\ntouch ../measures\nwhile :; do sleep 0.05; done",
    );
    let scripts = Path::new(FLEET).parent().expect("scripts").display();
    let ab = format!(
        "mkdir scripts; cp ../hpbench .; cp {scripts}/ab {scripts}/common.bash scripts; \
         HPBENCH=./hpbench bash scripts/ab --a \"echo A >>../states\" --b \"echo B >>../states\" -o run.csv"
    );
    assert_eq!(host.call("dir", &Host::start(&ab)), (Some(0), String::new()));
    host.wait_for("measures");
    assert_eq!(host.call("dir", "look run 0 0").1, "running 0");
    assert_eq!(host.call("dir", "finish"), (Some(0), String::new()));
    assert!(!host.0.path().join("dir").exists());
    assert!(read(&host.0.path().join("states")).ends_with("A\n"), "{}", read(&host.0.path().join("states")));
    // Without scripts/ab, and though nothing heeds TERM.
    assert_eq!(
        host.call("dir", &Host::start("trap \"\" TERM; touch ../begun; while :; do sleep 0.05; done")).0,
        Some(0)
    );
    host.wait_for("begun");
    assert_eq!(host.call("dir", "finish"), (Some(0), String::new()));
    assert!(!host.0.path().join("dir").exists());
}

/// The directory of a fleet may be a link, to a directory that is not there yet.
#[test]
fn a_fleets_directory_may_be_a_link() {
    let host = Host(tempfile::tempdir().expect("a directory"));
    let [link, target] = ["link", "target"].map(|name| host.0.path().join(name));
    std::os::unix::fs::symlink("target", &link).expect("it is ours");
    for _ in 0..2 {
        assert_eq!(host.call("link", &Host::start("touch ../begun; exec sleep 100")), (Some(0), String::new()));
        host.wait_for("begun");
        fs::remove_file(host.0.path().join("begun")).expect("it is ours");
        assert_eq!(host.call("link", "look run 0 0").1, "running 0");
        assert_eq!(host.call("link", "finish"), (Some(0), String::new()));
        assert!(!target.exists() && link.is_symlink());
    }
}

/// A run is gone if another process has its number; and rows are sent from where they differ from those that are known.
#[test]
fn a_look_is_at_the_run_itself_and_sends_what_is_new() {
    let host = Host(tempfile::tempdir().expect("a directory"));
    let at = |name: &str| host.0.path().join("dir").join(name);
    assert_eq!(host.call("dir", &Host::start("exec sleep 100")).0, Some(0));
    assert_eq!(host.call("dir", "look run 0 0").1, "running 0");
    fs::write(at("run.pid"), format!("{}\n", std::process::id())).expect("a file");
    fs::write(at("err"), "so\n").expect("a file");
    assert_eq!(host.call("dir", "look run 0 0").1, "lost 0 so");
    fs::write(at("run.csv"), "head\nrow\n").expect("a file");
    let sum = |text: &str| {
        let output = Command::new("sh").args(["-c", &format!("printf '{text}' | sha256sum | cut -c1-64")]).output();
        String::from_utf8(output.expect("sh is there").stdout).expect("a sum").trim().to_owned()
    };
    let sent = |known: &str| {
        let length = known.replace("\\n", "\n").len();
        let (_, told) = host.call("dir", &format!("look run {length} {}", sum(known)));
        told.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sent("head\\n"), ["5", "cm93Cg=="]);
    assert_eq!(sent("hand\\n"), ["0", "aGVhZApyb3cK"]);
    assert_eq!(sent("head\\nrow\\n"), Vec::<String>::new());
    assert_eq!(host.call("dir", "finish run.csv=5").1, "run");
    assert!(at("run.csv").exists(), "rows that nobody has stay");
    assert_eq!(host.call("dir", "finish run.csv=9"), (Some(0), String::new()));
    assert!(!at("").exists());
}

/// `scripts/ab` on each host.
#[test]
fn a_setting_is_compared_on_each_host() {
    let Some(fleet) = Fleet::new("a", 2) else { return };
    let state = fleet.at("state");
    let vars = measured(serde_json::json!({
        "fleet_results": fleet.bench.path("results"), "fleet_a": format!("echo A >>{state}"), "fleet_b": format!("echo B >>{state}"),
        "fleet_ab_options": "--pairs 6 --seed 3",
        "fleet_options": "--backend plain --trials 2 -t 0.001 --warmup 0 --round 32 --batch 8 --no-gates --force-plan",
    }));
    let done = fleet.play("ab.yml", &vars).wait().expect(0);
    let rows = fleet.rows();
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["h1", "h2"], "{}", done.stdout);
    for rows in rows.values() {
        let runs: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.text("pair"), row.text("state"))).collect();
        assert_eq!((rows.len(), runs.len()), (6 * 2 * 2, 12));
    }
    assert!(read(Path::new(&state)).ends_with("A\n"), "the first state is restored");
    fleet.assert_clean();
}
