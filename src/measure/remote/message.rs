//! What coordinator and agent tell each other.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::console::{is_formula, printable};
use crate::measure::control::Phase;
use crate::measure::cost::Disturbance;
use crate::measure::host::HostCounts;
use crate::measure::order::{Offered, Order, RoundTrips};
use crate::measure::remote::consent::Token;
use crate::plan::address::RemoteAddress;
use crate::plan::cells::{Scenario, Until};
use crate::plan::command;
use crate::plan::cores;
use crate::plan::spread::Spread;
use crate::traffic::ledger::Tally;
use crate::traffic::wire::HEADER_LEN;

/// How often the coordinator renews the agent's lease.
pub const RENEWED_EVERY: Duration = Duration::from_millis(500);

/// How long a lease lasts; also how long the agent may be silent.
pub const LEASE: Duration = Duration::from_secs(3);

/// No count, of datagrams or of nanoseconds (three days), is beyond this: what is, is no count, and would overflow sums.
const COUNT_MAX: u64 = 1 << 48;

/// A message, and the trial that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About<T> {
    /// The number that the coordinator has given to the trial; 0 if the message is about none.
    pub trial: u64,
    /// What is said.
    pub message: T,
}

/// Who an agent is: its first frame, before all messages. It has this form in all versions, so that one that cannot be spoken
/// with is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// Version and revision, as `--version` prints them.
    pub version: String,
    /// Its host.
    pub host: String,
    /// The release of its kernel.
    pub kernel: String,
    /// Whose clocks it has: which boot of which machine, and which namespace of times. Empty if unknown.
    pub clock: String,
    /// The cores that it may run on.
    pub cores: Vec<usize>,
    /// Whether its kernel measures time in interrupts: `yes` or `no`; empty if unknown.
    pub irq_time_accounting: String,
}

impl Hello {
    /// Of this process, on the host of this name, whose kernel measures time in interrupts (`yes`), or not (`no`).
    pub fn of_this_process(host: String, irq_time_accounting: String) -> Self {
        let uname = rustix::system::uname();
        Self {
            version: command::version().into(),
            host,
            kernel: uname.release().to_string_lossy().into_owned(),
            clock: clock(),
            cores: cores::allowed().unwrap_or_default(),
            irq_time_accounting,
        }
    }

    /// The same with names that may stand in a table: an agent may send anything.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        for name in [&mut self.host, &mut self.kernel] {
            let text: String = printable(name).chars().take(NAME_MAX).collect();
            *name = if is_formula(&text) { format!("_{text}") } else { text };
        }
        if !["yes", "no"].contains(&self.irq_time_accounting.as_str()) {
            self.irq_time_accounting.clear();
        }
        self
    }
}

/// The longest name of a host, in characters.
const NAME_MAX: usize = 100;

fn clock() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    if boot.trim().is_empty() { String::new() } else { format!("{} {}", boot.trim(), namespace.display()) }
}

/// A trial that an agent is to take part in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// What to do: an order for each generator. They differ in flow and core only.
    pub orders: Vec<Order>,
    /// The worker's sockets, each of which is to consent.
    pub spread: Spread,
    /// How many source ports each generator has, each a flow of its own; if none is named, they share one.
    pub ports: Option<usize>,
    /// The address of the agent's sockets.
    pub bind: RemoteAddress,
    /// Buffers to ask for, in bytes: receive and send.
    pub buffers: [usize; 2],
    /// What a request for load must show.
    pub nonce: Token,
    /// When it ends at the latest, from its beginning.
    pub within: Duration,
    /// How many datagrams it sends at most; one train of each generator may exceed it.
    pub datagrams: u64,
}

/// The most generators of a worker.
const GENERATORS_MAX: usize = 1024;

/// The most flows that a worker tells apart.
const FLOWS_MAX: usize = 1 << 16;

/// The most challenges in a message.
pub const CONSENTS_MAX: usize = 4096;

impl Open {
    /// Whether an order can be carried out: it may come from anybody.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let Some(order) = self.orders.first() else { return Err("an order names no generator".into()) };
        let most = if order.scenario == Scenario::Flood { GENERATORS_MAX } else { 1 };
        let first = |it: &Order| Order { flow: order.flow, core: order.core, ..*it } == *order;
        let ports = self.ports.unwrap_or(1);
        let has_flows = |it: &Order| usize::from(it.flow) + self.spread.sockets * ports <= FLOWS_MAX;
        let has_ports = self.ports.is_none() || order.scenario.has_flows() && self.spread.sockets == 1;
        let hour = Duration::from_secs(3600);
        let until = match order.until {
            Until::Elapsed(duration) => duration <= hour,
            Until::Datagrams(count) => count <= COUNT_MAX,
        };
        let is_sane = self.orders.len() <= most
            && self.orders.iter().all(first)
            && self.spread.is_sane()
            && has_ports
            && (1..=FLOWS_MAX).contains(&ports)
            && self.orders.len() * ports <= FLOWS_MAX
            && self.orders.iter().all(has_flows)
            && (HEADER_LEN..=65_507).contains(&order.payload)
            && (1..=1024).contains(&order.fanout)
            && (1..=1024).contains(&order.window)
            && (1..=100_000_000).contains(&order.rate_pps)
            && (1..=1024).contains(&order.burst)
            && order.warmup <= hour
            && self.within <= 4 * hour
            && self.datagrams <= COUNT_MAX
            && self.buffers.iter().all(|&bytes| bytes < 1 << 31)
            && until;
        if is_sane { Ok(()) } else { Err(format!("the order is not one that hpbench gives: {order:?}")) }
    }
}

/// From the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Go on for another [`LEASE`].
    Lease,
    /// Begin a trial.
    Open(Box<Open>),
    /// The worker's next sockets have had these challenges: at most [`CONSENTS_MAX`] of them.
    Consent(Vec<Token>),
    /// The worker of `echo` is ready.
    Ready,
    /// A phase that the worker decides on has begun.
    Phase(Phase),
    /// What the kernel has dropped at the worker's socket so far, in `echo`.
    Dropped(u64),
    /// Fill the worker's queue with so many datagrams.
    Fill {
        /// How many.
        count: usize,
    },
    /// Say what has arrived.
    Count,
    /// End the trial.
    Close,
}

/// From the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// It has got a lease.
    Alive,
    /// The trial can begin: where requests for load are heard.
    Opened(SocketAddr),
    /// Consent was given by all sockets of the worker.
    Agreed(Agreed),
    /// All generators are ready.
    Ready,
    /// A phase that the generator decides on has begun.
    Phase(Phase),
    /// How many datagrams were sent so far.
    Sent(u64),
    /// The worker's queue was filled.
    Filled(Filled),
    /// What has arrived.
    Counted(Counted),
    /// The trial is over.
    Report(Box<Report>),
    /// Why the trial cannot go on.
    Failed(String),
}

/// What was granted to an agent's socket, and what its clock shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    /// Bytes of its receive buffer, doubled by the kernel.
    pub rcvbuf: u32,
    /// The most datagrams in a train, and how they are sent; in `send` and `echo`, nothing.
    pub train: usize,
    /// `gso` or `sendmmsg`.
    pub method: String,
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds.
    pub offset_ns: i64,
    /// Packets that the receiving ring of its device holds, if there is one.
    pub receive_ring: Option<usize>,
}

/// What a filling took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// How many datagrams went.
    pub sent: u64,
    /// How long it took, in nanoseconds.
    pub ns: u64,
}

/// What an agent has received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What arrived.
    pub tally: Tally,
    /// Dropped by the kernel at its socket.
    pub drop_socket: u64,
    /// Dropped because its ring was full.
    pub drop_ring: u64,
    /// Time in calls that brought datagrams, in nanoseconds.
    pub ns: u64,
}

impl Counted {
    /// Datagrams that have come, or will not.
    pub fn known(&self) -> u64 {
        self.tally.received + self.drop_socket + self.drop_ring
    }

    /// Whether sums of the counts cannot overflow.
    pub fn is_sane(&self) -> bool {
        let Tally { received, reordered, measured, duplicate, corrupt, foreign } = self.tally;
        let counts = [received, reordered, measured, duplicate, corrupt, foreign];
        counts.iter().chain([&self.drop_socket, &self.drop_ring, &self.ns]).all(|&count| count <= COUNT_MAX)
    }
}

/// What an agent has done in a trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Datagrams sent, by generators of `flood` and `pace` and by the filling of `drain`.
    pub sent: u64,
    /// What it has received, in `send`; the drops at its socket, always.
    pub counted: Counted,
    /// Datagrams of unrelated senders before its socket was connected.
    pub unrelated: u64,
    /// Length of the measured phase by its clock, in nanoseconds (`flood`, `pace`).
    pub measured_ns: u64,
    /// Of the generators of `flood` or `pace`.
    pub offered: Option<Offered>,
    /// Of the generator of `echo`.
    pub trips: Option<RoundTrips>,
    /// Time in softirqs of its host's cores that received, in ticks, in the measured phase of `send`.
    pub softirq_ticks: Option<u64>,
    /// What its host's counters say that it dropped in the trial.
    pub host: Option<HostCounts>,
}

impl FromAgent {
    /// Whether all counts are possible: an agent may send anything.
    pub fn is_sane(&self) -> bool {
        let small = |counts: &[u64]| counts.iter().all(|&count| count <= COUNT_MAX);
        let is_method = |name: &str| ["", "gso", "sendmmsg"].contains(&name);
        let calm = |it: &Disturbance| small(&[it.watched_ns, it.major_faults, it.context_switches]);
        match self {
            Self::Sent(sent) => small(&[*sent]),
            Self::Agreed(agreed) => {
                is_method(&agreed.method) && agreed.train <= 1 << 16 && agreed.receive_ring != Some(0)
            }
            Self::Filled(filled) => small(&[filled.sent, filled.ns]),
            Self::Counted(counted) => counted.is_sane(),
            Self::Report(report) => {
                let offered = report.offered.as_ref().is_none_or(|it| {
                    small(&[it.measured_sent, it.refused, it.cpu_ns, it.train as u64])
                        && is_method(&it.fill)
                        && calm(&it.disturbance)
                });
                let trips = report.trips.as_ref().is_none_or(|it| {
                    let counted = Counted { tally: it.arrived, drop_ring: it.drop_ring, ..Counted::default() };
                    small(&[it.sent, it.measured_sent, it.measured_received, it.refused, it.measured_ns, it.cpu_ns])
                        && counted.is_sane()
                        && calm(&it.disturbance)
                        && it.served.as_ref().is_none_or(|it| {
                            small(&[it.train as u64, it.late_answers, it.poll_gap_ns]) && is_method(&it.fill)
                        })
                });
                small(&[report.sent, report.unrelated, report.measured_ns, report.softirq_ticks.unwrap_or(0)])
                    && report.host.as_ref().is_none_or(|host| host.is_sane(COUNT_MAX))
                    && report.counted.is_sane()
                    && offered
                    && trips
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::order::Served;
    use crate::measure::remote::frame;
    use crate::traffic::wire::{Tag, Verify, Wire};
    use hpbench_backends::SOCKETS_MAX;
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;

    #[test]
    fn names_may_stand_in_a_table() {
        let cleaned = |name: &str| Hello { host: name.into(), ..Hello::default() }.cleaned().host;
        assert_eq!(["lab 2", "=1+1", "a\u{1b}[31m"].map(cleaned), ["lab 2", "_=1+1", "a\\u001b[31m"]);
        assert_eq!(cleaned(&"é".repeat(1000)).chars().count(), NAME_MAX);
        let accounting = |text: &str| Hello { irq_time_accounting: text.into(), ..Hello::default() }.cleaned();
        assert_eq!(["yes", "no", "=1"].map(|text| accounting(text).irq_time_accounting), ["yes", "no", ""]);
    }

    #[test]
    fn an_order_that_nobody_gives_is_refused() {
        let order = Order {
            scenario: Scenario::Pace,
            wire: Wire { tag: Tag::new(1), verify: Verify::Full },
            flow: 0,
            payload: 64,
            gso: true,
            rate_pps: 1000,
            burst: 1,
            fanout: 1,
            window: 1,
            warmup: Duration::ZERO,
            until: Until::Elapsed(Duration::from_secs(1)),
            core: Some(0),
            fifo: None,
        };
        let (bind, nonce) = (RemoteAddress::from(std::net::IpAddr::from([127, 0, 0, 1])), Token::draw());
        let all = |orders: &[Order]| Open {
            orders: orders.to_vec(),
            spread: Spread::ONE,
            ports: None,
            bind: bind.clone(),
            buffers: [1; 2],
            nonce,
            within: Duration::from_secs(9),
            datagrams: 9,
        };
        let open = |order| all(&[order]);
        assert_eq!(open(order).check(), Ok(()));
        let flood = Order { scenario: Scenario::Flood, ..order };
        assert_eq!(all(&[flood, Order { flow: 1, core: Some(1), ..flood }]).check(), Ok(()));
        for bad in [&[][..], &[order; 2], &[flood, Order { payload: 65, ..flood }], &[flood; GENERATORS_MAX + 1]] {
            assert!(all(bad).check().is_err(), "{}", bad.len());
        }
        for bad in [
            Order { payload: 0, ..order },
            Order { payload: 1 << 20, ..order },
            Order { rate_pps: 0, ..order },
            Order { burst: 0, ..order },
            Order { window: 1 << 40, ..order },
            Order { fanout: 0, ..order },
            Order { warmup: Duration::MAX, ..order },
            Order { until: Until::Elapsed(Duration::MAX), ..order },
            Order { until: Until::Datagrams(u64::MAX), ..order },
        ] {
            assert!(open(bad).check().is_err(), "{bad:?}");
        }
        let many = Spread { sockets: SOCKETS_MAX, active: 7, ..Spread::ONE };
        assert_eq!(Open { spread: many, ..open(order) }.check(), Ok(()));
        for spread in [
            Spread { sockets: 0, ..many },
            Spread { sockets: SOCKETS_MAX + 1, ..many },
            Spread { active: 0, ..many },
            Spread { sockets: 6, ..many },
        ] {
            assert!(Open { spread, ..open(order) }.check().is_err(), "{spread:?}");
        }
        let ports = |ports| Open { ports: Some(ports), ..open(order) };
        assert_eq!([ports(1), ports(FLOWS_MAX)].map(|open| open.check()), [Ok(()), Ok(())]);
        for bad in [ports(0), ports(FLOWS_MAX + 1), ports(usize::MAX), Open { spread: many, ..ports(1) }] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(Open { ports: Some(1), ..open(Order { scenario: Scenario::Echo, ..order }) }.check().is_err());
        let last = Order { flow: u16::MAX, ..order };
        assert_eq!(open(last).check(), Ok(()));
        assert!(Open { spread: many, ..open(last) }.check().is_err(), "a flow has 16 bits");
        assert!(Open { within: Duration::MAX, ..open(order) }.check().is_err());
        assert!(Open { datagrams: u64::MAX, ..open(order) }.check().is_err());
    }

    #[test]
    fn impossible_counts_are_no_message() {
        let offered = |offered| FromAgent::Report(Box::new(Report { offered: Some(offered), ..Report::default() }));
        let trips = |trips| FromAgent::Report(Box::new(Report { trips: Some(trips), ..Report::default() }));
        let served = |served| RoundTrips { served: Some(served), ..RoundTrips::default() };
        let many = Tally { received: u64::MAX, ..Tally::default() };
        for bad in [
            FromAgent::Sent(u64::MAX),
            FromAgent::Filled(Filled { sent: u64::MAX, ns: 0 }),
            FromAgent::Counted(Counted { tally: many, ..Counted::default() }),
            FromAgent::Agreed(Agreed { method: "=1+1".into(), ..Agreed::default() }),
            offered(Offered { measured_sent: u64::MAX, ..Offered::default() }),
            offered(Offered { fill: "=1+1".into(), ..Offered::default() }),
            FromAgent::Report(Box::new(Report { softirq_ticks: Some(u64::MAX), ..Report::default() })),
            trips(RoundTrips { arrived: many, ..RoundTrips::default() }),
            trips(served(Served { fill: "=1+1".into(), ..Served::default() })),
            trips(served(Served { late_answers: u64::MAX, ..Served::default() })),
        ] {
            assert!(!bad.is_sane(), "{bad:?}");
        }
        for good in
            [FromAgent::Alive, FromAgent::Sent(1 << 40), offered(Offered::default()), trips(RoundTrips::default())]
        {
            assert!(good.is_sane(), "{good:?}");
        }
    }

    /// A message of each kind to an agent, with these numbers and this text in it.
    fn to_agent([a, b]: [u64; 2], text: &str) -> Vec<ToAgent> {
        let order = Order {
            scenario: if a % 2 == 0 { Scenario::Flood } else { Scenario::Echo },
            wire: Wire { tag: Tag::new(a as u32), verify: Verify::Full },
            flow: b as u16,
            payload: a as usize,
            gso: b % 2 == 0,
            rate_pps: b,
            burst: a,
            fanout: b as usize,
            window: b as usize,
            warmup: Duration::from_nanos(a),
            until: if b % 2 == 0 { Until::Datagrams(a) } else { Until::Elapsed(Duration::from_nanos(a)) },
            core: (a % 3 > 0).then_some(b as usize),
            fifo: (b % 3 > 0).then_some(a as u8),
        };
        let open = Open {
            orders: vec![order; (a % 4) as usize],
            spread: Spread { sockets: a as usize, active: b as usize, ..Spread::ONE },
            ports: (b % 3 > 0).then_some(a as usize),
            bind: format!("fe80::{:x}%{text}", a as u16).parse().expect("text is no zone's end"),
            buffers: [a as usize, b as usize],
            nonce: Token::draw(),
            within: Duration::from_nanos(b),
            datagrams: b,
        };
        vec![
            ToAgent::Lease,
            ToAgent::Open(Box::new(open)),
            ToAgent::Consent((0..a % 3).map(|_| Token::draw()).collect()),
            ToAgent::Ready,
            ToAgent::Phase(Phase::Measure),
            ToAgent::Dropped(a),
            ToAgent::Fill { count: b as usize },
            ToAgent::Count,
            ToAgent::Close,
        ]
    }

    /// Which of them one is. One that is added must be added above, too.
    fn kind_to(message: &ToAgent) -> usize {
        match message {
            ToAgent::Lease => 0,
            ToAgent::Open(_) => 1,
            ToAgent::Consent(_) => 2,
            ToAgent::Ready => 3,
            ToAgent::Phase(_) => 4,
            ToAgent::Dropped(_) => 5,
            ToAgent::Fill { .. } => 6,
            ToAgent::Count => 7,
            ToAgent::Close => 8,
        }
    }

    /// The same from an agent.
    fn from_agent([a, b]: [u64; 2], text: &str) -> Vec<FromAgent> {
        let tally = Tally { received: a, reordered: b, measured: a, duplicate: b, corrupt: a, foreign: b };
        let counted = Counted { tally, drop_socket: a, drop_ring: b, ns: a };
        let mut histogram = crate::measure::outcome::latency_histogram();
        histogram.saturating_record_n(a.max(1), b % 1000);
        let late = Some((&histogram).into());
        let offered = Offered { fill: text.into(), train: a as usize, measured_sent: b, late, ..Offered::default() };
        let latency = (&histogram).into();
        let served = Served { fill: text.into(), late_answers: a, poll_gap_ns: b, ..Served::default() };
        let served = (a % 2 == 0).then_some(served);
        let trips = RoundTrips { sent: a, arrived: tally, measured_ns: b, latency, served, ..RoundTrips::default() };
        let report = Report {
            sent: a,
            counted,
            unrelated: b,
            measured_ns: a,
            offered: (a % 2 == 0).then_some(offered),
            trips: (b % 2 == 0).then_some(trips),
            softirq_ticks: (a % 2 == 0).then_some(b),
            host: (b % 2 == 0).then(HostCounts::default),
        };
        let receive_ring = (a % 2 == 0).then_some(b as usize);
        let agreed =
            Agreed { rcvbuf: a as u32, train: b as usize, method: text.into(), offset_ns: a as i64, receive_ring };
        vec![
            FromAgent::Alive,
            FromAgent::Opened(([0xfe80, 0, 0, 0, 0, 0, 0, a as u16], b as u16).into()),
            FromAgent::Agreed(agreed),
            FromAgent::Ready,
            FromAgent::Phase(Phase::Stop),
            FromAgent::Sent(a),
            FromAgent::Filled(Filled { sent: a, ns: b }),
            FromAgent::Counted(counted),
            FromAgent::Report(Box::new(report)),
            FromAgent::Failed(text.into()),
        ]
    }

    fn kind_from(message: &FromAgent) -> usize {
        match message {
            FromAgent::Alive => 0,
            FromAgent::Opened(_) => 1,
            FromAgent::Agreed(_) => 2,
            FromAgent::Ready => 3,
            FromAgent::Phase(_) => 4,
            FromAgent::Sent(_) => 5,
            FromAgent::Filled(_) => 6,
            FromAgent::Counted(_) => 7,
            FromAgent::Report(_) => 8,
            FromAgent::Failed(_) => 9,
        }
    }

    #[test]
    fn there_is_an_example_of_each_message() {
        let to = to_agent([1; 2], "x");
        assert!(to.iter().map(kind_to).eq(0..9) && from_agent([1; 2], "x").iter().map(kind_from).eq(0..10));
    }

    /// A message comes through the pipe as it is, and damaged it does no harm.
    fn passes<T>(message: T, (at, byte): (usize, u8), look: impl Fn(&T)) -> Result<(), TestCaseError>
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let (about, mut pipe) = (About { trial: 7, message }, Vec::new());
        frame::write(&mut pipe, &about).expect("memory");
        prop_assert_eq!(&frame::read::<About<T>>(&mut &pipe[..]).expect("it was written"), &about);
        look(&about.message);
        let at = at % pipe.len();
        pipe[at] = byte;
        let _ = frame::read::<About<T>>(&mut &pipe[..]).map(|about| look(&about.message));
        pipe.truncate(at);
        prop_assert!(frame::read::<About<T>>(&mut &pipe[..]).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn every_message_passes_and_a_damaged_one_does_no_harm(
            numbers in any::<[u64; 2]>(),
            text in "[^%]{1,20}",
            damage in any::<(usize, u8)>(),
        ) {
            for message in to_agent(numbers, &text) {
                passes(message, damage, |message| {
                    if let ToAgent::Open(open) = message {
                        let _ = (open.check(), open.bind.here());
                    }
                })?;
            }
            for message in from_agent(numbers, &text) {
                passes(message, damage, |message| _ = message.is_sane())?;
            }
            let hello = Hello { version: text.clone(), host: text, cores: vec![damage.0], ..Hello::default() };
            passes(hello, damage, |hello| _ = hello.clone().cleaned())?;
        }
    }
}
