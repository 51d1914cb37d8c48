//! What the generators of `flood` and `pace` share: the loop around the load that they send.

use std::sync::Arc;

use hdrhistogram::Histogram;
use hpbench_backends::kernel::thread::Usage;
use hpbench_backends::{Offer, Socket};

use crate::measure::control::{Control, Phase};
use crate::measure::cost::{Disturbance, Watch};
use crate::measure::near::Near;
use crate::measure::order::{Offered, Order, Recorded};
use crate::measure::outcome::TrialError;
use crate::measure::targets::Targets;
use crate::traffic::app::Source;

/// Sends load: what a generator does between its phases.
pub trait Load {
    /// Sends what is due now, if anything. Returns how many datagrams went.
    ///
    /// # Errors
    ///
    /// An error that makes it pointless to continue.
    fn send(&mut self, offer: &mut Offer, source: &mut Source, phase: Phase) -> Result<usize, TrialError>;

    /// Sends what was due before the measured phase ended at `end_ns` and is not sent yet.
    ///
    /// # Errors
    ///
    /// An error that makes it pointless to continue.
    fn finish(&mut self, _offer: &mut Offer, _source: &mut Source, _end_ns: u64) -> Result<usize, TrialError> {
        Ok(0)
    }

    /// How far behind its schedule it was, if it has one.
    fn late(&self) -> Option<&Histogram<u64>> {
        None
    }
}

/// Sends one train of at most `count` datagrams; what the kernel did not take is numbered again.
///
/// # Errors
///
/// As [`Offer::send`].
#[inline]
pub fn send_train(offer: &mut Offer, source: &mut Source, count: usize) -> std::io::Result<usize> {
    let first = source.next;
    source.choose(offer.sender());
    let sent = offer.send(count, |datagram| source.write(datagram))?;
    source.rewind(first + sent as u64);
    Ok(sent)
}

/// What the datagrams of an order are sent from, and to.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// From a socket to the one that it is connected with.
    Connected(&'a Arc<Socket>),
    /// From a socket to many.
    ToMany(&'a Arc<Socket>, &'a Targets),
    /// From several sockets, each a flow of its own, to the one that they are connected with.
    FromMany(&'a Arc<[Arc<Socket>]>),
}

impl<'a> Way<'a> {
    /// From a socket, to many if there are targets.
    pub fn to(socket: &'a Arc<Socket>, targets: Option<&'a Targets>) -> Self {
        targets.map_or(Self::Connected(socket), |targets| Self::ToMany(socket, targets))
    }

    /// What is sent from.
    pub fn near(self) -> Near {
        match self {
            Self::Connected(socket) | Self::ToMany(socket, _) => Near::from(Arc::clone(socket)),
            Self::FromMany(sockets) => sockets.iter().cloned().collect(),
        }
    }

    /// Flows of the datagrams: one to each target, or from each socket.
    pub(super) fn flows(self) -> usize {
        match self {
            Self::Connected(_) => 1,
            Self::ToMany(_, targets) => targets.sockets(),
            Self::FromMany(sockets) => sockets.len(),
        }
    }
}

/// What sends the datagrams of an order, and what writes them.
pub(super) fn sender(order: &Order, way: Way<'_>) -> Result<(Offer, Source), TrialError> {
    let (offer, what, source) = match way {
        Way::Connected(socket) => {
            (Offer::new(Arc::clone(socket), order.payload, order.gso), "setting UDP_SEGMENT", order.source())
        }
        Way::ToMany(socket, targets) => {
            (targets.offer(socket, order.payload), "addressing many sockets", targets.source(order))
        }
        Way::FromMany(sockets) => {
            let offer = Offer::from_many(Arc::clone(sockets), order.payload, order.gso);
            (offer, "setting UDP_SEGMENT", order.source().of_flows(sockets.len()))
        }
    };
    Ok((offer.map_err(TrialError::io(what))?, source))
}

/// Sends `load` until the measured phase is over. Whatever happens, the worker then stops waiting for this generator.
pub(super) fn offer(order: &Order, load: impl Load, way: Way<'_>, control: &Control) -> Result<Offered, TrialError> {
    let result = offer_until_settled(order, load, way, control);
    if result.is_err() {
        control.advance(Phase::Stop);
    }
    control.report_done();
    result
}

fn offer_until_settled(
    order: &Order,
    mut load: impl Load,
    way: Way<'_>,
    control: &Control,
) -> Result<Offered, TrialError> {
    order.pin()?;
    let (mut offer, mut source) = sender(order, way)?;
    let offered = Offered { fill: offer.method().into(), train: offer.train(), ..Offered::default() };
    control.report_ready();
    if !control.wait_start() {
        return Ok(offered);
    }
    let watch = Watch::begin(&[]);
    let (mut measured, mut measured_sent): (Option<Usage>, u64) = (None, 0);
    loop {
        let phase = control.phase();
        if phase >= Phase::Settle {
            break;
        }
        if phase == Phase::Measure && measured.is_none() {
            measured = Some(Usage::now());
            source.set_measured(true);
        }
        let sent = load.send(&mut offer, &mut source, phase)?;
        if sent > 0 {
            control.add_sent(sent);
            measured_sent += if phase == Phase::Measure { sent as u64 } else { 0 };
        }
    }
    source.set_measured(false);
    let cpu_ns = measured.map_or(0, |before| Usage::until_now().since(before).cpu_ns);
    control.add_sent(load.finish(&mut offer, &mut source, control.measured_ns().end)?);
    let disturbance = Disturbance { context_switches: 0, ..watch.end() };
    let refused = offer.refused();
    Ok(Offered { measured_sent, refused, cpu_ns, disturbance, late: load.late().map(Recorded::from), ..offered })
}
