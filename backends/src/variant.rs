//! Variants: how a backend does its work, one mode for each dimension.

use std::fmt;

use crate::declaration::{Concerns, Dimension, Kind, Mode, Rule, Want};

/// The dimensions of a backend.
fn dimensions(kind: Kind) -> &'static [Dimension] {
    kind.declaration().dimensions
}

/// Whether sockets are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addressing {
    /// The socket is connected: datagrams come from its peer only, and go there.
    #[default]
    Connected,
    /// Each datagram arrives with the address of its sender, and goes to an address of its own.
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

/// The modes that were named; a dimension that was left out is still open.
///
/// Its mode then depends on the others, see [`Rule`]: io_uring's default is RECVMSG and SENDMSG if addresses or
/// trains are needed, and RECV and SEND otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    kind: Kind,
    modes: [Option<&'static Mode>; Kind::DIMENSIONS_MAX],
}

impl Choice {
    /// No mode is named.
    pub fn default_of(kind: Kind) -> Self {
        Self { kind, modes: [None; Kind::DIMENSIONS_MAX] }
    }

    /// Reads modes joined by `+`; empty text names none.
    ///
    /// # Errors
    ///
    /// A message that names the unknown or repeated mode and lists the existing ones.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        let mut choice = Self::default_of(kind);
        for name in text.split('+').filter(|_| !text.is_empty()) {
            let modes = dimensions(kind)
                .iter()
                .enumerate()
                .flat_map(|(index, dimension)| dimension.modes.iter().map(move |mode| (index, dimension.name, mode)));
            let Some((index, dimension, mode)) = modes.into_iter().find(|(_, _, mode)| mode.name == name) else {
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
            let names: Vec<&str> = dimension.modes.iter().map(|mode| mode.name).collect();
            format!("{}: {}", dimension.name, names.join(", "))
        };
        dimensions(kind).iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The default, and every mode that differs from it in one dimension: one change at a time.
    pub fn alternatives(kind: Kind) -> Vec<Self> {
        let mut choices = vec![Self::default_of(kind)];
        for (index, dimension) in dimensions(kind).iter().enumerate() {
            for mode in dimension.modes.iter().skip(usize::from(!dimension.off_by_default)) {
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
        self.modes.contains(&Some(&mode))
    }

    /// Fills in the open dimensions.
    ///
    /// # Errors
    ///
    /// Why the modes cannot be combined, and which mode can.
    pub fn resolve(self, addressing: Addressing) -> Result<Variant, String> {
        self.resolve_for(addressing, 1)
    }

    /// As [`Choice::resolve`], for a backend that owns this many sockets.
    ///
    /// # Errors
    ///
    /// As [`Choice::resolve`].
    pub fn resolve_for(self, addressing: Addressing, sockets: usize) -> Result<Variant, String> {
        if sockets > 1 && !self.kind.declaration().owns_many_sockets {
            return Err(format!("{} with more than one socket: it owns one; use another backend", self.kind));
        }
        let mut modes = self.modes;
        for (slot, dimension) in modes.iter_mut().zip(dimensions(self.kind)) {
            if slot.is_none() && !dimension.off_by_default {
                *slot = dimension.modes.first();
            }
        }
        for rule in self.kind.declaration().rules {
            if let Some(reason) = rule.wanted_by.iter().find_map(|want| self.wants(want, addressing, sockets)) {
                self.settle(&mut modes, rule, reason)?;
            }
        }
        Ok(Variant { kind: self.kind, modes })
    }

    /// The reason that applies, in the user's words, if any.
    fn wants(self, want: &Want, addressing: Addressing, sockets: usize) -> Option<&'static str> {
        match *want {
            Want::Mode(mode) => self.has(mode).then_some(mode.name),
            Want::Addresses => (addressing == Addressing::Unconnected).then_some("--addressing unconnected"),
            Want::Sockets => (sockets > 1).then_some("more than one socket"),
        }
    }

    /// Sets the dimension of a rule to one of the modes that can do what `reason` requires.
    fn settle(self, modes: &mut [Option<&'static Mode>], rule: &'static Rule, reason: &str) -> Result<(), String> {
        let is_meant = |dimension: &Dimension| dimension.modes.iter().any(|mode| rule.able.contains(mode));
        let mut slots = modes.iter_mut().zip(dimensions(self.kind));
        let Some((slot, _)) = slots.find(|(_, dimension)| is_meant(dimension)) else { return Ok(()) };
        match *slot {
            Some(mode) if rule.able.contains(mode) => {}
            Some(mode) if self.has(*mode) => {
                let names: Vec<&str> = rule.able.iter().map(|mode| mode.name).collect();
                let (mode, kind, why) = (mode.name, self.kind, rule.others_have);
                return Err(format!("{kind}:{mode} with {reason}: {mode} has {why}; use {}", names.join(" or ")));
            }
            _ => *slot = rule.able.first(),
        }
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
/// [`fmt::Display`] writes the canonical form: all modes, joined by `+`. The dimensions of `gso`, `gro` and `epoll` are
/// off by default; one with no mode written is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    kind: Kind,
    modes: [Option<&'static Mode>; Kind::DIMENSIONS_MAX],
}

impl Variant {
    /// The default variant of a backend.
    pub fn default_of(kind: Kind) -> Self {
        let choice = Choice::default_of(kind).resolve(Addressing::Connected);
        choice.unwrap_or(Self { kind, modes: [None; Kind::DIMENSIONS_MAX] })
    }

    /// Reads `modes` joined by `+`; a dimension that is left out gets its default for connected sockets.
    ///
    /// # Errors
    ///
    /// As [`Choice::parse`] and [`Choice::resolve`].
    pub fn parse(kind: Kind, modes: &str) -> Result<Self, String> {
        Choice::parse(kind, modes)?.resolve(Addressing::Connected)
    }

    /// The modes that must be named to get the variant: none for the default.
    pub fn brief(self, addressing: Addressing) -> String {
        self.brief_for(addressing, 1)
    }

    /// As [`Variant::brief`], for a backend that owns this many sockets.
    pub fn brief_for(self, addressing: Addressing, sockets: usize) -> String {
        let mut choice = Choice { kind: self.kind, modes: self.modes };
        for index in 0..Kind::DIMENSIONS_MAX {
            let without = Choice {
                modes: {
                    let mut modes = choice.modes;
                    modes[index] = None;
                    modes
                },
                ..choice
            };
            if without.resolve_for(addressing, sockets) == Ok(self) {
                choice = without;
            }
        }
        join(&choice.modes)
    }

    /// The backend of this variant.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Whether a mode is part of the variant.
    pub fn has(self, mode: Mode) -> bool {
        self.modes.contains(&Some(&mode))
    }

    /// The first of its modes for which a predicate holds.
    fn mode_that(self, is_it: impl Fn(&Mode) -> bool) -> Option<&'static Mode> {
        self.modes.into_iter().flatten().find(|mode| is_it(mode))
    }

    /// Whether it receives into buffers of a registered ring.
    pub fn has_buffer_ring(self) -> bool {
        self.mode_that(|mode| mode.has_buffer_ring).is_some()
    }

    /// Whether it can wait for many datagrams at once, see [`Config::min_wait`](crate::Config::min_wait).
    pub fn waits_for_many(self) -> bool {
        self.mode_that(|mode| mode.waits_for_many).is_some()
    }

    /// Whether the kernel writes a header of its own in front of each payload.
    pub fn has_header(self) -> bool {
        self.mode_that(|mode| mode.has_header).is_some()
    }

    /// Whether it finds the sockets that have datagrams in a way that was named, or that several sockets need.
    pub fn finds_sockets(self) -> bool {
        self.mode_that(|mode| mode.finds_sockets).is_some()
    }

    /// Whether it moves one datagram of a socket per call, so that larger batches mean nothing for one socket.
    pub fn is_one_at_a_time(self) -> bool {
        self.mode_that(|mode| mode.one_at_a_time).is_some()
    }

    /// The mode that has a kernel thread work beside the worker.
    pub fn kernel_thread(self) -> Option<&'static Mode> {
        self.mode_that(|mode| mode.has_kernel_thread)
    }

    /// The mode that cannot wait in the kernel, and the first of its dimension that can.
    pub fn never_waits(self) -> Option<(&'static Mode, Option<&'static Mode>)> {
        let mode = self.mode_that(|mode| mode.never_waits)?;
        let dimension = dimensions(self.kind).iter().find(|dimension| dimension.modes.contains(mode));
        Some((mode, dimension.and_then(|dimension| dimension.modes.iter().find(|mode| !mode.never_waits))))
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&join(&self.modes))
    }
}

fn join(modes: &[Option<&'static Mode>]) -> String {
    let names: Vec<&str> = modes.iter().flatten().map(|mode| mode.name).collect();
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
            assert_eq!(canonical(Kind::URING, text), "multishot+send+defer");
        }
        assert_eq!(canonical(Kind::URING, "sqpoll+single"), "single+send+sqpoll");
        assert_eq!(canonical(Kind::MMSG, "gro+gso"), "recvmmsg+sendmmsg+gso+gro");
        assert_eq!(canonical(Kind::PLAIN, "gro"), "recvfrom+sendto+gro");
        assert_eq!(canonical(Kind::NULL, ""), "memory");
    }

    #[test]
    fn what_is_left_out_suits_the_rest() {
        assert_eq!(canonical(Kind::URING, "gro"), "recvmsg-multishot+send+defer+gro");
        assert_eq!(canonical(Kind::URING, "gso+gro"), "recvmsg-multishot+sendmsg+defer+gso+gro");
        assert_eq!(canonical(Kind::URING, "single-recvmsg+gro"), "single-recvmsg+send+defer+gro");
        let unconnected = |kind, text| {
            let choice = Choice::parse(kind, text).expect("known modes");
            choice.resolve(Addressing::Unconnected).map(|variant| variant.to_string())
        };
        assert_eq!(unconnected(Kind::URING, "").as_deref(), Ok("recvmsg-multishot+sendmsg+defer"));
        assert_eq!(unconnected(Kind::PLAIN, "").as_deref(), Ok("recvfrom+sendto"));
        for (text, told) in [("multishot", "recvmsg-multishot"), ("fixed", "single-recvmsg"), ("send-zc", "sendmsg")] {
            let error = unconnected(Kind::URING, text).expect_err("it has no address");
            assert!(error.contains(told) && error.contains("unconnected"), "{error}");
        }
    }

    #[test]
    fn several_sockets_need_a_way_to_find_those_that_are_ready() {
        let several = |kind, text| {
            let choice = Choice::parse(kind, text).expect("known modes");
            let resolved = choice.resolve_for(Addressing::Connected, 2);
            resolved.map(|variant| (variant.to_string(), variant.brief_for(Addressing::Connected, 2)))
        };
        let found = |form: &str, brief: &str| Ok((form.to_owned(), brief.to_owned()));
        assert_eq!(several(Kind::MMSG, ""), found("recvmmsg+sendmmsg+epoll", ""));
        assert_eq!(several(Kind::PLAIN, "scan"), found("recvfrom+sendto+scan", "scan"));
        assert_eq!(several(Kind::URING, ""), found("multishot+send+defer", ""));
        assert_eq!(several(Kind::URING, "poll+gro"), found("poll+send+defer+gro", "poll+gro"));
        for text in ["single", "fixed", "multishot-dontwait"] {
            let error = several(Kind::URING, text).expect_err("it is for one socket");
            assert!(error.contains("more than one socket") && error.contains("multishot"), "{error}");
        }
        assert_eq!(canonical(Kind::MMSG, ""), "recvmmsg+sendmmsg", "one socket needs none");
        assert!(Variant::parse(Kind::MMSG, "epoll").is_ok_and(Variant::finds_sockets), "but may have one");
    }

    #[test]
    fn the_brief_form_has_what_is_not_the_default() {
        for text in ["", "single", "gro", "gso+gro", "sendmsg+sqpoll", "single-recvmsg+gro"] {
            let variant = Variant::parse(Kind::URING, text).expect("known modes");
            assert_eq!(variant.brief(Addressing::Connected), text);
            assert_eq!(Variant::parse(Kind::URING, &variant.brief(Addressing::Connected)), Ok(variant));
        }
        let unconnected = Choice::default_of(Kind::URING).resolve(Addressing::Unconnected).expect("it goes together");
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
            let error = Variant::parse(Kind::URING, text).expect_err("impossible");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn unknown_and_repeated_modes_are_named() {
        let unknown = Variant::parse(Kind::MMSG, "multishot").expect_err("not a mode of mmsg");
        assert!(unknown.contains("'multishot'") && unknown.contains("recvmmsg"), "{unknown}");
        assert!(Variant::parse(Kind::URING, "send+send").is_err());
        assert!(Variant::parse(Kind::URING, "single+fixed").is_err());
        assert!(Variant::parse(Kind::URING, "send+").is_err());
    }

    #[test]
    fn alternatives_change_one_thing_at_a_time() {
        let names = |kind| -> Vec<String> { Choice::alternatives(kind).iter().map(Choice::to_string).collect() };
        let several = ["mmsg:epoll", "mmsg:epoll-edge", "mmsg:scan"];
        assert_eq!(names(Kind::MMSG), [&["mmsg", "mmsg:gso", "mmsg:gro"][..], &several].concat());
        assert_eq!(names(Kind::NULL), ["null"]);
        let uring = names(Kind::URING);
        assert_eq!(uring.len(), 1 + 6 + 3 + 3 + 2, "{uring:?}");
        for &kind in Kind::ALL {
            for choice in Choice::alternatives(kind) {
                assert!(choice.resolve(Addressing::Connected).is_ok(), "{choice}");
            }
        }
    }

    #[test]
    fn what_a_choice_concerns() {
        let concerns = |text| Choice::parse(Kind::URING, text).expect("known modes").concerns();
        assert_eq!(concerns(""), (false, false));
        assert_eq!(concerns("single"), (true, false));
        assert_eq!(concerns("gso"), (false, true));
        assert_eq!(concerns("gro"), (true, false));
        assert_eq!(concerns("sqpoll"), (true, true));
    }
}
