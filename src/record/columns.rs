//! The columns of the CSV: one row per trial. Each is declared here, once. Its place in the file, its name in a row,
//! its use in comparisons and reports, and its documentation follow from that.

use serde::{Deserialize, Serialize};

use crate::gates::reason::Reasons;
use crate::measure::host::BothHosts;
use crate::record::column::Better::{Higher, Lower};
use crate::record::column::{Field, FieldType, Group, Role, columns};
use crate::record::lat_tail::LatTail;

columns! {
    beside {
        /// Calls of `rx` by what they returned, see [`crate::measure::driver::Polls`].
        batch_sizes: [u64; 11];
        /// What the rounds took per packet on the worker's and on the peer's side, without those that took most and
        /// least: see [`crate::stats::trimmed_mean_of_sorted`].
        trimmed_ns_per_packet: [Option<f64>; 2];
        /// Whether something speaks against the trial that only the whole run shows, or that causes no repeat.
        marked: bool;
        /// The counters of the worker's and of the peer's host that say what `drop_host` is.
        hosts: BothHosts;
    }
    Identity {
        /// Version of the columns: 1.
        schema: u32, Other;
        /// Identifies the run.
        run_id: String, Side;
        /// When the trial started (UTC).
        started_at: String, Other;
        /// What was measured: `drain`, `send`, `flood`, `pace`, `echo`, `serve` or `relay`.
        scenario: String, Axis;
        /// On which backend: `plain`, `mmsg`, `uring` or `null`; or an async runtime, e.g. `tokio`.
        backend: String, Axis;
        /// How the backend works, every dimension spelled out.
        variant: String, Axis;
        /// How the worker waits for datagrams: `spin` or `block`.
        wait: String, Axis;
        /// Whether the worker's sockets are `connected` or `unconnected`.
        addressing: String, Axis;
        /// Address of the sockets.
        bind: String, Axis;
        /// Most datagrams per `rx` or `tx` call; in `echo`, never more than `window`.
        batch: usize, Axis;
        /// UDP payload in bytes, the header of 32 included.
        payload: usize, ConditionalAxis;
        /// Datagrams per round in effect (`drain`, `send`).
        round: Option<usize>, ConditionalAxis;
        /// Offered datagrams per second and worker (`pace`, `serve`, `relay`).
        rate_pps: Option<u64>, Axis;
        /// Datagrams per tick (`pace`, `serve`, `relay`).
        burst: Option<u64>, Axis;
        /// Datagrams in flight (`echo`).
        window: Option<usize>, Axis;
        /// Number of workers.
        workers: usize, Axis;
        /// Number of generators of each worker (`flood`).
        generators: Option<usize>, Axis;
        /// 1 if the app had a thread of its own.
        handoff: u8, Axis;
        /// Real-time priority in effect.
        fifo: Option<u8>, Axis;
        /// Slots of each ring.
        ring: usize, Axis;
        /// Entries of io_uring's buffer ring, of the variants that have one.
        buffers: Option<usize>, Axis;
        /// What is checked of each datagram: `header` or `full`.
        verify: String, Axis;
        /// Length of the trial asked for, in seconds; empty with `--packets`.
        duration_target_s: Option<f64>, Axis;
        /// Discarded time before the measured phase, in seconds.
        warmup_s: f64, Axis;
        /// Block: the number of the pass through the plan, from 1 on.
        trial: usize, Other;
        /// Attempt at this trial, from 1 on; the last one counts.
        attempt: usize, Other;
        /// Position in the run, from 1 on.
        order: usize, Other;
        /// What decided the order of the cells.
        seed: u64, Side, "seed of the order of trials";
    }
    Result {
        /// Length of the measured phase, all of its parts, in seconds.
        duration_s: Option<f64>, Other;
        /// Datagrams sent over the whole life of the trial's sockets. In `relay` all counts of datagrams are of copies: what the
        /// generator sends is there `fanout` times, and so is what is lost on its way to the worker.
        sent: Option<u64>, Other;
        /// Datagrams received over the whole life of the trial's sockets, unique and intact.
        received: Option<u64>, Other;
        /// Datagrams sent in the measured phase; except in rounds, each carries a flag in its header that says so.
        measured_sent: Option<u64>, Other;
        /// Datagrams received in the measured phase, unique and intact.
        measured_received: Option<u64>, Other;
        /// `measured_sent` per second of `duration_s`. In `drain` and `send` worker and peer share the time: use `ns_per_packet`.
        tx_pps: Option<f64>, Metric("pps", Higher);
        /// `measured_received` per second of `duration_s`.
        rx_pps: Option<f64>, Metric("pps", Higher);
        /// Payload received, in megabits per second of `duration_s`.
        rx_mbps: Option<f64>, Metric("Mbit/s", Higher);
        /// Share of `measured_sent` that was never received, not even after the measured phase, in percent.
        loss_pct: Option<f64>, Metric("%", Lower);
        /// Share of measured time in turns of the loop that moved a datagram, in percent; empty where workers wait in the
        /// kernel.
        busy_pct: Option<f64>, Other;
        /// 1 if the load was too small to show what a worker can do: a worker less than 95% busy in `flood`; less than
        /// 99% of the offered rate sent in `pace`, `serve` and `relay`.
        generator_limited: Option<u8>, Other;
    }
    Ledger {
        /// Datagrams that the kernel dropped at the sockets.
        drop_socket: Option<u64>, Metric("datagrams", Lower);
        /// Datagrams dropped because a ring was full, or with a train that also held what is not ours.
        drop_ring: Option<u64>, Metric("datagrams", Lower);
        /// Datagrams that arrived again; not counted in `received`.
        duplicate: Option<u64>, Other;
        /// Datagrams received after one with a higher number.
        reordered: Option<u64>, Other;
        /// Datagrams of the trial that arrived damaged; not counted in `received`.
        corrupt: Option<u64>, Other;
        /// Datagrams longer than a frame; also counted as `corrupt` or `foreign`.
        truncated: Option<u64>, Other;
        /// Datagrams that arrived and do not belong to the trial.
        foreign: Option<u64>, Other;
        /// Datagrams that were sent, but neither received nor counted as dropped; anything but 0 is an error.
        unexplained: Option<i64>, Other;
        /// Sends postponed because there was no room.
        send_eagain: Option<u64>, Other;
        /// Transient errors, such as ECONNREFUSED.
        io_errors: Option<u64>, Other;
    }
    Cost {
        /// Time of the timed side of a round, in ns per datagram: mean.
        ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// The same: median over rounds.
        ns_per_packet_p50: Option<f64>, Metric("ns", Lower);
        /// The same: least over rounds.
        ns_per_packet_min: Option<f64>, Metric("ns", Lower);
        /// Time of the peer of the round, in ns per datagram: it fills in `drain`, and receives in `send`.
        peer_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// Time of the worker's thread on its core, in ns per datagram; in `drain` and `send`, only in the timed parts;
        /// never that of an app with a thread of its own.
        cpu_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// The same in user mode; empty where the kernel only estimates it by ticks, unless the trial lasts 5 s.
        user_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// The same in kernel mode.
        sys_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// Time of io_uring's kernel threads, and of the thread that smol's reactor has, in ns per datagram.
        kthread_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// Time of the generators, in ns per datagram that they sent; in `relay`, per copy that is made of them.
        generator_cpu_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// The backend's system calls in the measured phase; empty for async runtimes, which make some that nobody counts.
        syscalls: Option<u64>, Other;
        /// The same per datagram.
        syscalls_per_packet: Option<f64>, Metric("calls", Lower);
        /// Cycles of the worker's thread per datagram; empty where the machine has no counters or `perf_event_paranoid` forbids
        /// them.
        cycles_per_packet: Option<f64>, Metric("cycles", Lower);
        /// Instructions of the worker's thread per datagram.
        instructions_per_packet: Option<f64>, Metric("instructions", Lower);
        /// Instructions of the peer of a round per datagram.
        peer_instructions_per_packet: Option<f64>, Metric("instructions", Lower);
        /// Times that the worker's thread left its core.
        context_switches: Option<u64>, Metric("switches", Lower);
    }
    Latency {
        /// Number of latencies: round-trip times of `echo`, time since due of `pace`, `serve` and `relay` (of each copy).
        lat_samples: Option<u64>, Other;
        /// The least of them, in ns.
        lat_min_ns: Option<u64>, Metric("ns", Lower);
        /// Their mean, in ns.
        lat_mean_ns: Option<f64>, Metric("ns", Lower);
        /// Their median, in ns.
        lat_p50_ns: Option<u64>, Metric("ns", Lower);
        /// Their 90th percentile, in ns.
        lat_p90_ns: Option<u64>, Metric("ns", Lower);
        /// Their 99th percentile, in ns.
        lat_p99_ns: Option<u64>, Metric("ns", Lower);
        /// Their 99.9th percentile, in ns.
        lat_p999_ns: Option<u64>, Metric("ns", Lower);
        /// Their 99.99th percentile, in ns.
        lat_p9999_ns: Option<u64>, Metric("ns", Lower);
        /// The largest of them, in ns.
        lat_max_ns: Option<u64>, Metric("ns", Lower);
        /// How far a generator with a schedule was behind it, in ns: 99th percentile.
        late_p99_ns: Option<u64>, Metric("ns", Lower);
    }
    Mechanism {
        /// Datagrams per `rx` call that returned any.
        batch_mean: Option<f64>, Other;
        /// Datagrams per system call that brought any.
        kernel_batch_mean: Option<f64>, Other;
        /// `rx` calls that returned nothing.
        empty_polls: Option<u64>, Other;
        /// Multishot receives of io_uring that were armed again.
        rearms: Option<u64>, Other;
        /// Of these, those for lack of buffers.
        enobufs: Option<u64>, Other;
        /// Completions of io_uring that found the queue full.
        cq_overflow: Option<u64>, Other;
        /// Workers (io-wq) of io_uring.
        io_workers: Option<u64>, Other;
    }
    Environment {
        /// Name of the machine, or what `--label` calls it. It has no control characters, and does not begin with `=`, `+`,
        /// `-` or `@`, which makes a text a formula in some spreadsheets.
        host: String, Condition, "name of the machine";
        /// Release of the kernel.
        kernel: String, Circumstance, "kernel";
        /// Build of the kernel.
        kernel_build: String, Circumstance, "its build";
        /// Architecture.
        arch: String, Circumstance, "architecture";
        /// Model of the processor.
        cpu_model: String, Circumstance, "processor";
        /// Cores that are online.
        ncpu: Option<usize>, Circumstance, "cores";
        /// Hypervisor and container.
        virt: String, Circumstance, "virtual machine or container";
        /// How the guest of `hpbench lab` was run, e.g. `icount`; empty elsewhere.
        accel: String, Condition, "how it is emulated";
        /// Version of QEMU that ran that guest.
        qemu: String, Circumstance, "version of QEMU";
        /// Frequency governor.
        governor: String, Circumstance, "frequency governor";
        /// Clock source; both, if it changed in the trial.
        clocksource: String, Circumstance, "clock source";
        /// The kernel's option against attacks on processors: `auto`, `off`, …
        mitigations: String, Circumstance, "mitigations of processor bugs";
        /// Receive buffer that the kernel granted each socket, in its own (doubled) bytes.
        rcvbuf: Option<u32>, Condition, "receive buffer, bytes granted";
        /// Send buffer that the kernel granted, in its own (doubled) bytes.
        sndbuf: Option<u32>, Circumstance, "send buffer, bytes granted";
        /// Cores of the workers.
        worker_cpu: String, Side, "cores of the workers";
        /// Cores of the generators.
        generator_cpu: String, Side, "cores of the generators";
        /// How these cores are related.
        cpu_relation: String, Condition, "how these cores are related";
        /// How the load was sent: `gso`, `sendmmsg` (without GSO, or where the path would fragment) or `memory`.
        fill: String, Condition, "how queues were filled";
        /// The setup flags of io_uring that took effect.
        uring_flags: String, Side, "io_uring's flags in effect";
        /// With `fifo`: 1 if the kernel stops real-time threads now and then.
        rt_limited: Option<u8>, Other, "real-time threads throttled";
    }
    Program {
        /// Version of this program.
        hpbench: String, Circumstance, "version of hpbench";
        /// Its revision; `-dirty` if changed.
        git_rev: String, Circumstance, "its revision";
        /// The compiler.
        rustc: String, Circumstance, "its compiler";
    }
    Quality {
        /// Share of the cores' time that the host of a virtual machine took, in percent.
        steal_pct: Option<f64>, Other;
        /// Time that the worker's thread was ready to run and another one had its core, in ns.
        run_delay_ns: Option<u64>, Other;
        /// How long a fixed piece of work took before and after the trial, relative to the run's first trial.
        canary_ratio: Option<f64>, Other;
        /// 1 if the measured phase began like the rest of it.
        steady: Option<u8>, Other;
        /// 1 if the trial counts.
        valid: u8, Other;
        /// Why it does not count.
        invalid_reason: Reasons, Other;
        /// Why there is no result.
        error: String, Other;
        /// Whose descriptor table the worker used: `shared` with the threads of the process, or its `own`; empty for `null`.
        fd_table: String, Axis;
        /// The state of the machine, for a run that alternated with others: what `--state` says.
        state: String, Side, "state of the machine";
        /// The number of the pair that the run belongs to, from 1 on: what `--pair` says.
        pair: Option<u32>, Other;
        /// In scenarios with two threads: how long a cache line took between the worker's and the generator's core
        /// before the block, one way, in ns. A hypervisor moves virtual cores; 50 and 210 ns are two states of one
        /// machine.
        core_transfer_ns: Option<f64>, Other;
        /// What the kernel does not report, so such disturbances go unnoticed: `run_delay`, `steal`, or both.
        unknown: String, Other;
        /// The latencies in a form that can be merged with those of other trials: the upper tenth within 1/64, in ns, and the
        /// rest as nine values. `1/64 12288:3 1 0 2 20480:1` says that 3 are in the bucket that begins at 12,288 ns, 1 in the
        /// next one, none in the one after it, and so on. `1/32` and so forth have wider buckets, where the text would be
        /// longer than 2,000 bytes.
        lat_tail: LatTail, Other;
        /// The command that repeats the plan: the flags that were given, except those for files, for what is shown and
        /// for the machine's name. `--plan` takes it from here. Empty in the rows of `lab` and `selftest`.
        command: String, Other;
        /// How long entering the kernel 300 times took before and after the trial, relative to the run's first trial.
        kernel_canary_ratio: Option<f64>, Other;
        /// Time in softirqs of the receiving host's cores, in ns per datagram received: the network stack's own work, of which
        /// only a part is in the worker's time. With `--peer`, the peer's host receives in `send`, and both in `echo`, `serve` and `relay`.
        /// Counted are the cores with at least a hundredth of the receiving softirqs (NET_RX). The kernel counts it in ticks of 10 ms, so it is empty where there are fewer than ten of them; use `-t 5`.
        softirq_ns_per_packet: Option<f64>, Metric("ns", Lower);
        /// Whether the kernel of the receiving host measures time in interrupts: `yes` or `no`; `no yes` or `yes no` where the
        /// peer's differs and both receive (`echo`, `serve`, `relay`); empty if unknown. Without it, softirqs are only
        /// estimated by looking at each timer tick what a core does, and those on the worker's core are also in the worker's
        /// time.
        irq_time_accounting: String, Circumstance, "interrupts timed exactly";
        /// The interface by which datagrams reach the peer; `lo` for an address of the same machine, whatever interface has it.
        interface: String, Circumstance, "interface";
        /// The interface's driver, e.g. `virtio_net`; empty for `lo`.
        driver: String, Circumstance, "its driver";
        /// With `--peer`: datagrams that were sent, and that neither the sockets nor the rings admit to have dropped or
        /// received: lost on the way between two processes. Then `sent` is the sum of `received`, `drop_socket`,
        /// `drop_ring`, `lost` and `unexplained`, and `unexplained` has what came damaged, or too often.
        lost: Option<u64>, Metric("datagrams", Lower);
        /// With `--peer`: the name of the peer's host, which may be this one.
        peer_host: String, Condition, "host of the peer";
        /// With `--peer`: the release of the kernel there.
        peer_kernel: String, Circumstance, "kernel of the peer";
        /// Where the peer of a round was (`drain`, `send`): on the `same` core as the worker, on an `other` one of the machine,
        /// or on a `remote` machine.
        fill_core: String, ConditionalAxis;
        /// Packets that the counters of the worker's host, and of the peer's, say that they dropped during the trial:
        /// queueing disciplines and statistics of the interface, and datagrams to ports that nobody has. Whoever uses
        /// the interface is in it, and a train is one packet. It explains a part of `lost`, and is no part of a sum: what a
        /// queueing discipline drops is sent again. `--verbose` names the counters. Empty where the kernel does not tell.
        drop_host: Option<u64>, Metric("packets", Lower);
        /// Sockets of each worker; empty for `null`.
        sockets: Option<usize>, Axis;
        /// How many of them have traffic.
        active: Option<usize>, Axis;
        /// How unevenly these have it: the exponent of Zipf's law, 0 if all have the same share.
        skew: Option<f64>, Axis;
        /// The kernel's limits of the memory of all UDP sockets together (`net.ipv4.udp_mem`), in pages: below the first nothing
        /// is limited, above the last datagrams are dropped.
        udp_mem: String, Circumstance, "memory of all UDP sockets, pages";
        /// How long the app worked on each datagram that it received, in ns: it spun so long.
        work: Option<u64>, Axis;
        /// Answers that came more than 100 ms after their request was due (`serve`, `relay`); they are in the latencies, too.
        late_answers: Option<u64>, Metric("answers", Lower);
        /// The longest time between two looks of the client for answers in the measured phase, in ns (`serve`, `relay`). A latency may
        /// be too long by as much: the client saw the answer so much later.
        poll_gap_max_ns: Option<u64>, Other;
        /// Source ports of each generator: clients of the worker's socket (`flood`, `pace`, `serve`, `relay`).
        flows: Option<usize>, Axis;
        /// How the workers come by datagrams (`flood`, `pace`, `serve`, `relay`): at `ports` of their own, from one port with a socket for each
        /// (`reuseport`), or from a `single` socket.
        sharding: String, Axis;
        /// With `reuseport`: what the kernel chooses a socket by, the `hash` of addresses and ports, or the `cpu` that delivers a
        /// datagram.
        steer: String, Axis;
        /// With several workers that receive from generators: what the one that received most in the measured phase received,
        /// relative to an equal share. 1 is even; as many as there are workers means that one received everything.
        balance: Option<f64>, Other;
        /// By how many datagrams the queues of the path grew in the measured phase (`pace`, `serve`, `relay`): those that were sent in it
        /// and came after it, without those that were sent before and came in it. A worker that keeps up has a few, in either
        /// direction; one that does not has as many as it lacks.
        queue_growth: Option<i64>, Other;
        /// What a search looks for, e.g. `loss 0.5% p99 10ms trial 0.25s sum 3s exceed 0.5 width 2%`; with several goals, those of
        /// loss are separated by commas. Empty in other runs.
        goal: String, Other;
        /// In a search, whether the trial met its goal: `yes`, or the main reason why not: `loss`, `queue` (it grew), `p99` or
        /// `generator` (it did not offer the load, or not take what came back); one word for each goal, in their order. Empty if the
        /// trial says nothing, because it was disturbed and did not hold, or failed.
        goal_met: String, Other;
        /// Of a backend on an async runtime: the versions of the runtime's crates, and the link-time optimisation that hpbench was
        /// built with, or `debug`.
        runtime: String, Side, "async runtime";
        /// Copies of each datagram that the worker sends on (`relay`).
        fanout: Option<usize>, Axis;
        /// Datagrams, not copies, that the worker of `relay` received, unique and intact. `sent` divided by `fanout`, less
        /// this, is what did not reach it.
        relayed: Option<u64>, Other;
        /// Copies that the kernel took from the worker of `relay`: `fanout` times `relayed`, without what was dropped at its ring.
        /// What is missing of it in `received` was lost at the generator's socket, or on the way there.
        forwarded: Option<u64>, Other;
        /// For how many completions a worker that sleeps waits at once, and for how many microseconds at most, such as `8:50`; `off`
        /// is the first one. Empty where nothing waits so.
        min_wait: String, Axis;
    }
}

/// The declaration of a column.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// The column.
    pub column: Column,
    /// Its name in the header.
    pub name: &'static str,
    /// What it means, with its unit.
    meaning: &'static str,
    /// Which columns it stands with.
    pub group: Group,
    /// What it is for in a comparison.
    pub role: Role,
    /// What is in its fields.
    pub field_type: FieldType,
    /// What a report calls it in the table of machines, if it is there.
    pub label: Option<&'static str>,
    number: fn(&Row) -> Option<f64>,
    is_same: fn(&Row, &Row) -> bool,
}

impl Declaration {
    /// What the column means, with its unit.
    pub fn meaning(&self) -> String {
        self.meaning.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Column {
    /// How many there are.
    pub const COUNT: usize = DECLARATIONS.len();

    /// All declarations, in the order of the file.
    pub fn declarations() -> &'static [Declaration] {
        DECLARATIONS
    }

    /// Its declaration.
    pub fn declaration(self) -> &'static Declaration {
        &DECLARATIONS[self as usize]
    }

    /// All columns that are `wanted`, in the order of the file.
    pub fn all(wanted: impl Fn(&Declaration) -> bool) -> impl Iterator<Item = Self> {
        DECLARATIONS.iter().filter(move |declaration| wanted(declaration)).map(|declaration| declaration.column)
    }

    /// The column of this name.
    pub fn find(name: &str) -> Option<Self> {
        DECLARATIONS.iter().find(|declaration| declaration.name == name).map(|declaration| declaration.column)
    }

    /// Its name in the header.
    pub fn name(self) -> &'static str {
        self.declaration().name
    }

    /// What its fields hold.
    pub(crate) fn field_type(self) -> FieldType {
        self.declaration().field_type
    }

    /// What it is for in a comparison.
    pub fn role(self) -> Role {
        self.declaration().role
    }

    /// Its value in a row, if that is a number.
    pub fn number(self, row: &Row) -> Option<f64> {
        (self.declaration().number)(row)
    }

    /// Whether two rows have the same value in it.
    pub(crate) fn is_same(self, a: &Row, b: &Row) -> bool {
        (self.declaration().is_same)(a, b)
    }

    /// Its text among the fields of a row.
    pub(crate) fn text(self, fields: &csv::StringRecord) -> &str {
        fields.get(self as usize).unwrap_or_default()
    }
}
