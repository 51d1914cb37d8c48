//! Variants: how a backend does its work, one mode for each dimension.

use std::fmt;

/// The backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// No socket: packets go through memory. It shows what the harness itself costs.
    Null,
    /// One datagram per system call: `recvfrom` and `sendto`.
    Plain,
    /// One batch per system call: `recvmmsg` and `sendmmsg`.
    Mmsg,
    /// io_uring.
    Uring,
}

impl Kind {
    /// All backends.
    pub const ALL: [Self; 4] = [Self::Null, Self::Plain, Self::Mmsg, Self::Uring];

    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Plain => "plain",
            Self::Mmsg => "mmsg",
            Self::Uring => "uring",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One way of doing one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Through memory: no system call at all.
    Memory,
    /// `recvfrom`; with [`Mode::Gro`] `recvmsg`, for the segment size comes in a control message.
    Recvfrom,
    /// `sendto`; with [`Mode::Gso`] `sendmsg`, which gathers a train from several frames.
    Sendto,
    /// `recvmmsg`.
    Recvmmsg,
    /// `sendmmsg`.
    Sendmmsg,
    /// One RECV that stays armed, with buffers from a registered ring (Linux 6.0).
    Multishot,
    /// The same with `MSG_DONTWAIT`: it ends when the queue is empty, so that nothing stays armed.
    MultishotDontwait,
    /// One RECVMSG that stays armed: brings addresses and control messages, too (6.0).
    RecvmsgMultishot,
    /// A batch of RECV requests, one for each datagram.
    Single,
    /// A batch of RECVMSG requests.
    SingleRecvmsg,
    /// A batch of READ_FIXED requests into registered memory.
    Fixed,
    /// A batch of SEND requests.
    Send,
    /// A batch of SENDMSG requests.
    Sendmsg,
    /// A batch of SEND_ZC requests (6.0): the kernel sends from our memory, and tells when it is done with it.
    SendZc,
    /// A batch of WRITE_FIXED requests from registered memory.
    WriteFixed,
    /// Completions wait for calls of ours (DEFER_TASKRUN, 6.1), or the nearest to it that the kernel has.
    Defer,
    /// Completions do not interrupt us (COOP_TASKRUN, 5.19).
    Coop,
    /// No flag about completions: what a program gets that asks for nothing.
    Default,
    /// A thread of the kernel submits and receives; it spins on a core of its own (unprivileged since 5.13).
    Sqpoll,
    /// Trains of datagrams are cut by the kernel on their way out (UDP_SEGMENT, 4.18).
    Gso,
    /// Trains of datagrams are received as they came (UDP_GRO, 5.0).
    Gro,
}

impl Mode {
    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Recvfrom => "recvfrom",
            Self::Sendto => "sendto",
            Self::Recvmmsg => "recvmmsg",
            Self::Sendmmsg => "sendmmsg",
            Self::Multishot => "multishot",
            Self::MultishotDontwait => "multishot-dontwait",
            Self::RecvmsgMultishot => "recvmsg-multishot",
            Self::Single => "single",
            Self::SingleRecvmsg => "single-recvmsg",
            Self::Fixed => "fixed",
            Self::Send => "send",
            Self::Sendmsg => "sendmsg",
            Self::SendZc => "send-zc",
            Self::WriteFixed => "write-fixed",
            Self::Defer => "defer",
            Self::Coop => "coop",
            Self::Default => "default",
            Self::Sqpoll => "sqpoll",
            Self::Gso => "gso",
            Self::Gro => "gro",
        }
    }
}

/// A dimension in which a backend may vary.
struct Dimension {
    name: &'static str,
    concerns: Concerns,
    /// The default first; of a dimension that is off by default, its only mode.
    modes: &'static [Mode],
    off_by_default: bool,
}

/// What a dimension makes a difference to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concerns {
    Receiving,
    Sending,
    Both,
}

/// The most dimensions that a backend has.
const DIMENSIONS: usize = 5;

const fn receive(modes: &'static [Mode]) -> Dimension {
    Dimension { name: "receive", concerns: Concerns::Receiving, modes, off_by_default: false }
}

const fn send(modes: &'static [Mode]) -> Dimension {
    Dimension { name: "send", concerns: Concerns::Sending, modes, off_by_default: false }
}

const fn both(name: &'static str, modes: &'static [Mode]) -> Dimension {
    Dimension { name, concerns: Concerns::Both, modes, off_by_default: false }
}

/// The dimensions of each backend.
fn dimensions(kind: Kind) -> &'static [Dimension] {
    use Mode::*;
    const GSO: Dimension = Dimension { name: "trains sent", off_by_default: true, ..send(&[Gso]) };
    const GRO: Dimension = Dimension { name: "trains received", off_by_default: true, ..receive(&[Gro]) };
    const NULL: &[Dimension] = &[both("link", &[Memory])];
    const PLAIN: &[Dimension] = &[receive(&[Recvfrom]), send(&[Sendto]), GSO, GRO];
    const MMSG: &[Dimension] = &[receive(&[Recvmmsg]), send(&[Sendmmsg]), GSO, GRO];
    const URING: &[Dimension] = &[
        receive(&[Multishot, MultishotDontwait, RecvmsgMultishot, Single, SingleRecvmsg, Fixed]),
        send(&[Send, Sendmsg, SendZc, WriteFixed]),
        both("setup", &[Defer, Coop, Default, Sqpoll]),
        GSO,
        GRO,
    ];
    match kind {
        Kind::Null => NULL,
        Kind::Plain => PLAIN,
        Kind::Mmsg => MMSG,
        Kind::Uring => URING,
    }
}

/// Whether sockets know their peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addressing {
    /// The socket is connected: datagrams come from its peer only, and go there.
    #[default]
    Connected,
    /// Each datagram comes with the address of its sender, and goes to an address of its own.
    Unconnected,
}

impl Addressing {
    /// The name in flags and columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Unconnected => "unconnected",
        }
    }
}

/// The modes that were asked for; a dimension that was left out is still open.
///
/// What it becomes depends on the others: a train's segment size and a sender's address come in messages, so that
/// io_uring's default is RECVMSG and SENDMSG where these are wanted, and RECV and SEND elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    kind: Kind,
    modes: [Option<Mode>; DIMENSIONS],
}

impl Choice {
    /// Nothing in particular.
    pub fn default_of(kind: Kind) -> Self {
        Self { kind, modes: [None; DIMENSIONS] }
    }

    /// Reads modes joined by `+`; empty means none in particular.
    ///
    /// # Errors
    ///
    /// A message that names the unknown or repeated mode and lists what there is.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        let mut choice = Self::default_of(kind);
        for name in text.split('+').filter(|_| !text.is_empty()) {
            let modes = dimensions(kind)
                .iter()
                .enumerate()
                .flat_map(|(index, dimension)| dimension.modes.iter().map(move |&mode| (index, dimension.name, mode)));
            let Some((index, dimension, mode)) = modes.into_iter().find(|(_, _, mode)| mode.name() == name) else {
                return Err(format!("the {kind} backend has no mode '{name}' ({})", Self::list(kind)));
            };
            if choice.modes[index].replace(mode).is_some() {
                return Err(format!("two modes for '{dimension}' of the {kind} backend in '{text}'"));
            }
        }
        Ok(choice)
    }

    /// All modes of a backend, by dimension.
    fn list(kind: Kind) -> String {
        let line = |dimension: &Dimension| {
            let names: Vec<&str> = dimension.modes.iter().map(|mode| mode.name()).collect();
            format!("{}: {}", dimension.name, names.join(", "))
        };
        dimensions(kind).iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The default, and every mode that differs from it in one dimension: one change at a time.
    pub fn alternatives(kind: Kind) -> Vec<Self> {
        let mut choices = vec![Self::default_of(kind)];
        for (index, dimension) in dimensions(kind).iter().enumerate() {
            for &mode in dimension.modes.iter().skip(usize::from(!dimension.off_by_default)) {
                let mut choice = Self::default_of(kind);
                choice.modes[index] = Some(mode);
                choices.push(choice);
            }
        }
        choices
    }

    /// The backend whose modes these are.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Whether the choice differs from the default in how datagrams are received, and in how they are sent.
    pub fn concerns(self) -> (bool, bool) {
        let differs = |concern| {
            let mut chosen = dimensions(self.kind).iter().zip(&self.modes).filter(|(_, mode)| mode.is_some());
            chosen.any(|(dimension, _)| [concern, Concerns::Both].contains(&dimension.concerns))
        };
        (differs(Concerns::Receiving), differs(Concerns::Sending))
    }

    fn has(self, mode: Mode) -> bool {
        self.modes.contains(&Some(mode))
    }

    /// Fills in what was left open.
    ///
    /// # Errors
    ///
    /// Why the modes do not go together, and which one does.
    pub fn resolve(self, addressing: Addressing) -> Result<Variant, String> {
        let needs_address = (addressing == Addressing::Unconnected).then_some("--addressing unconnected");
        let mut modes = self.modes;
        for (slot, dimension) in modes.iter_mut().zip(dimensions(self.kind)) {
            if slot.is_none() && !dimension.off_by_default {
                *slot = dimension.modes.first().copied();
            }
        }
        if self.kind == Kind::Uring {
            let gro = self.has(Mode::Gro).then_some("gro");
            let why = "no address and no control message, in which a train's segment size comes";
            let able = [Mode::RecvmsgMultishot, Mode::SingleRecvmsg];
            self.settle(&mut modes[0], gro.or(needs_address), &able, why)?;
            let gso = self.has(Mode::Gso).then_some("gso");
            let why = "one piece of memory and no address, and a train is gathered from several";
            self.settle(&mut modes[1], gso.or(needs_address), &[Mode::Sendmsg], why)?;
            let why = "no way to cut a train that is to be sent back";
            self.settle(&mut modes[1], gro, &[Mode::Send, Mode::Sendmsg], why)?;
        }
        Ok(Variant { kind: self.kind, modes })
    }

    /// Makes a dimension one of the modes that are `able` to do what `reason` wants, if there is a reason.
    fn settle(self, slot: &mut Option<Mode>, reason: Option<&str>, able: &[Mode], why: &str) -> Result<(), String> {
        let Some(reason) = reason.filter(|_| !slot.is_some_and(|mode| able.contains(&mode))) else { return Ok(()) };
        if let Some(mode) = slot.filter(|&mode| self.has(mode)) {
            let names: Vec<&str> = able.iter().map(|mode| mode.name()).collect();
            let (mode, kind) = (mode.name(), self.kind);
            return Err(format!("{kind}:{mode} with {reason}: {mode} has {why}; use {}", names.join(" or ")));
        }
        *slot = able.first().copied();
        Ok(())
    }
}

/// As after `--backend`.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modes = join(&self.modes);
        f.pad(&if modes.is_empty() { self.kind.to_string() } else { format!("{}:{modes}", self.kind) })
    }
}

/// A backend and one mode for each of its dimensions.
///
/// [`fmt::Display`] writes the canonical form: all modes, joined by `+`. The dimensions `gso` and `gro` have one mode
/// each: that it is not written means that it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    kind: Kind,
    modes: [Option<Mode>; DIMENSIONS],
}

impl Variant {
    /// The default variant of a backend.
    pub fn default_of(kind: Kind) -> Self {
        let choice = Choice::default_of(kind).resolve(Addressing::Connected);
        choice.unwrap_or(Self { kind, modes: [None; DIMENSIONS] })
    }

    /// Reads `modes` joined by `+`; what is left out becomes the default for connected sockets.
    ///
    /// # Errors
    ///
    /// As [`Choice::parse`] and [`Choice::resolve`].
    pub fn parse(kind: Kind, modes: &str) -> Result<Self, String> {
        Choice::parse(kind, modes)?.resolve(Addressing::Connected)
    }

    /// The modes that make the variant, and no more: the default has none.
    pub fn brief(self, addressing: Addressing) -> String {
        let mut choice = Choice { kind: self.kind, modes: self.modes };
        for index in 0..DIMENSIONS {
            let without = Choice {
                modes: {
                    let mut modes = choice.modes;
                    modes[index] = None;
                    modes
                },
                ..choice
            };
            if without.resolve(addressing) == Ok(self) {
                choice = without;
            }
        }
        join(&choice.modes)
    }

    /// The backend that this is a variant of.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Whether a mode is part of the variant.
    pub fn has(self, mode: Mode) -> bool {
        self.modes.contains(&Some(mode))
    }

    /// Whether it receives into buffers of a registered ring.
    pub fn has_buffer_ring(self) -> bool {
        [Mode::Multishot, Mode::MultishotDontwait, Mode::RecvmsgMultishot].into_iter().any(|mode| self.has(mode))
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&join(&self.modes))
    }
}

fn join(modes: &[Option<Mode>]) -> String {
    let names: Vec<&str> = modes.iter().flatten().map(|mode| mode.name()).collect();
    names.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(kind: Kind, text: &str) -> String {
        Variant::parse(kind, text).expect("a known variant").to_string()
    }

    #[test]
    fn the_canonical_form_spells_every_dimension() {
        for text in ["", "multishot", "defer+multishot", "multishot+send+defer"] {
            assert_eq!(canonical(Kind::Uring, text), "multishot+send+defer");
        }
        assert_eq!(canonical(Kind::Uring, "sqpoll+single"), "single+send+sqpoll");
        assert_eq!(canonical(Kind::Mmsg, "gro+gso"), "recvmmsg+sendmmsg+gso+gro");
        assert_eq!(canonical(Kind::Plain, "gro"), "recvfrom+sendto+gro");
        assert_eq!(canonical(Kind::Null, ""), "memory");
    }

    #[test]
    fn what_is_left_out_suits_the_rest() {
        assert_eq!(canonical(Kind::Uring, "gro"), "recvmsg-multishot+send+defer+gro");
        assert_eq!(canonical(Kind::Uring, "gso+gro"), "recvmsg-multishot+sendmsg+defer+gso+gro");
        assert_eq!(canonical(Kind::Uring, "single-recvmsg+gro"), "single-recvmsg+send+defer+gro");
        let unconnected = |kind, text| {
            let choice = Choice::parse(kind, text).expect("known modes");
            choice.resolve(Addressing::Unconnected).map(|variant| variant.to_string())
        };
        assert_eq!(unconnected(Kind::Uring, "").as_deref(), Ok("recvmsg-multishot+sendmsg+defer"));
        assert_eq!(unconnected(Kind::Plain, "").as_deref(), Ok("recvfrom+sendto"));
        for (text, told) in [("multishot", "recvmsg-multishot"), ("fixed", "single-recvmsg"), ("send-zc", "sendmsg")] {
            let error = unconnected(Kind::Uring, text).expect_err("it has no address");
            assert!(error.contains(told) && error.contains("unconnected"), "{error}");
        }
    }

    #[test]
    fn the_brief_form_has_what_is_not_the_default() {
        for text in ["", "single", "gro", "gso+gro", "sendmsg+sqpoll", "single-recvmsg+gro"] {
            let variant = Variant::parse(Kind::Uring, text).expect("known modes");
            assert_eq!(variant.brief(Addressing::Connected), text);
            assert_eq!(Variant::parse(Kind::Uring, &variant.brief(Addressing::Connected)), Ok(variant));
        }
        let unconnected = Choice::default_of(Kind::Uring).resolve(Addressing::Unconnected).expect("it goes together");
        assert_eq!(unconnected.brief(Addressing::Unconnected), "");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (text, told) in [
            ("multishot+gro", "recvmsg-multishot"),
            ("gro+fixed", "single-recvmsg"),
            ("send+gso", "sendmsg"),
            ("gro+send-zc", "sendmsg"),
        ] {
            let error = Variant::parse(Kind::Uring, text).expect_err("impossible");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn unknown_and_repeated_modes_are_named() {
        let unknown = Variant::parse(Kind::Mmsg, "multishot").expect_err("not a mode of mmsg");
        assert!(unknown.contains("'multishot'") && unknown.contains("recvmmsg"), "{unknown}");
        assert!(Variant::parse(Kind::Uring, "send+send").is_err());
        assert!(Variant::parse(Kind::Uring, "single+fixed").is_err());
        assert!(Variant::parse(Kind::Uring, "send+").is_err());
    }

    #[test]
    fn alternatives_change_one_thing_at_a_time() {
        let names = |kind| -> Vec<String> { Choice::alternatives(kind).iter().map(Choice::to_string).collect() };
        assert_eq!(names(Kind::Mmsg), ["mmsg", "mmsg:gso", "mmsg:gro"]);
        assert_eq!(names(Kind::Null), ["null"]);
        let uring = names(Kind::Uring);
        assert_eq!(uring.len(), 1 + 5 + 3 + 3 + 2, "{uring:?}");
        for kind in Kind::ALL {
            for choice in Choice::alternatives(kind) {
                assert!(choice.resolve(Addressing::Connected).is_ok(), "{choice}");
            }
        }
    }

    #[test]
    fn what_a_choice_concerns() {
        let concerns = |text| Choice::parse(Kind::Uring, text).expect("known modes").concerns();
        assert_eq!(concerns(""), (false, false));
        assert_eq!(concerns("single"), (true, false));
        assert_eq!(concerns("gso"), (false, true));
        assert_eq!(concerns("gro"), (true, false));
        assert_eq!(concerns("sqpoll"), (true, true));
    }
}
