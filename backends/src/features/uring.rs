//! Trials of io_uring's features.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use io_uring::{Builder, Parameters, cqueue, opcode, types};

use crate::features::feature::{Feature, State};
use crate::features::lent::Lent;
use crate::features::refusal::{self, Refusal};
use crate::features::row::{Patience, Row, row};
use crate::features::trial::{Trial, fd, pair, retry};

/// In the order in which they arrived.
const ROWS: [Row; 17] = [
    row("registered files", "5.1", registered_files),
    row("READ_FIXED, WRITE_FIXED", "5.1", fixed_buffers),
    row("SQPOLL", "5.13", sqpoll),
    row("SUBMIT_ALL", "5.18", |patience| works(patience, |ring| ring.setup_submit_all())),
    row("registered ring fd", "5.18", registered_ring),
    row("buffer rings", "5.19", |patience| buffer_ring(&mut Trial::new(patience)?)),
    row("COOP_TASKRUN", "5.19", |patience| works(patience, |ring| ring.setup_coop_taskrun())),
    row("TASKRUN_FLAG", "5.19", |patience| works(patience, |ring| ring.setup_coop_taskrun().setup_taskrun_flag())),
    row("SINGLE_ISSUER", "6.0", |patience| works(patience, |ring| ring.setup_single_issuer())),
    row("multishot recv", "6.0", multishot_recv),
    row("multishot recvmsg", "6.0", multishot_recvmsg),
    row("SEND_ZC", "6.0", |patience| send_zero_copy(patience, "SEND_ZC")),
    row("SENDMSG_ZC", "6.1", |patience| send_zero_copy(patience, "SENDMSG_ZC")),
    row("DEFER_TASKRUN", "6.1", |patience| works(patience, |ring| ring.setup_single_issuer().setup_defer_taskrun())),
    row("NO_SQARRAY", "6.6", |patience| works(patience, |ring| ring.setup_no_sqarray())),
    row("bundles", "6.10", |patience| says(patience, Parameters::is_feature_recvsend_bundle)),
    row("min-wait", "6.12", |patience| says(patience, Parameters::is_feature_min_timeout)),
];

/// The texts sent in trials.
const TEXTS: [&[u8]; 2] = [b"first", b"second one"];

pub(super) fn try_all(patience: &mut Patience) -> Vec<Feature> {
    let whole = row("io_uring", "5.1", |patience| Trial::new(patience)?.nop());
    let state = whole.try_for_memory(patience).map_or_else(refusal::no_io_uring, |()| State::Yes);
    let rest: Vec<Feature> = match &state {
        State::Yes => ROWS.iter().map(|row| row.try_out(patience)).collect(),
        State::No { remedy, .. } => {
            let state = State::No { why: "io_uring itself is not available".into(), remedy: remedy.clone() };
            ROWS.iter().map(|row| row.feature(state.clone())).collect()
        }
        State::Unknown { .. } => {
            let state = State::Unknown { why: "io_uring itself could not be tried".into() };
            ROWS.iter().map(|row| row.feature(state.clone())).collect()
        }
    };
    [vec![whole.feature(state)], rest].concat()
}

/// A ring with these flags can be created, and works.
fn works(patience: &mut Patience, choose: fn(&mut Builder) -> &mut Builder) -> Result<(), Refusal> {
    Trial::with(patience, choose)?.nop()
}

/// A kernel thread takes the requests. Before 5.13 this needs a privilege.
fn sqpoll(patience: &mut Patience) -> Result<(), Refusal> {
    works(patience, |ring| ring.setup_sqpoll(10)).map_err(|refusal| match refusal {
        Refusal::Refused { error, .. } if error.raw_os_error() == Some(libc::EPERM) => {
            Refusal::Privilege("CAP_SYS_NICE")
        }
        refusal => refusal,
    })
}

/// Whether the kernel reports a feature of the ring.
fn says(patience: &mut Patience, has: fn(&Parameters) -> bool) -> Result<(), Refusal> {
    let mut trial = Trial::new(patience)?;
    let has = has(trial.ring().params());
    if has { Ok(()) } else { Err(Refusal::Missing) }
}

const REGISTER: &str = "io_uring_register";

fn registered_files(patience: &mut Patience) -> Result<(), Refusal> {
    let (near, far) = pair()?;
    let mut trial = Trial::new(patience)?;
    trial.ring().submitter().register_files(&[near.as_raw_fd()]).map_err(Refusal::of(REGISTER))?;
    let buffer = trial.memory().buffer(0);
    trial.memory().write(0, TEXTS[0]);
    // SAFETY: the buffer is the trial's.
    unsafe { trial.submit(&opcode::Send::new(types::Fixed(0), buffer, TEXTS[0].len() as u32).build()) }?;
    trial.complete("SEND", 1)?;
    arrives(&far, TEXTS[0])
}

/// Both ways through memory that the kernel knows.
fn fixed_buffers(patience: &mut Patience) -> Result<(), Refusal> {
    let (near, far) = pair()?;
    let mut trial = Trial::new(patience)?;
    let [out, back] = [0, 1].map(|index| trial.memory().buffer(index));
    let whole = libc::iovec { iov_base: out.cast(), iov_len: 2 * Lent::SIZE };
    // SAFETY: the two buffers are neighbours, and the trial's.
    unsafe { trial.ring().submitter().register_buffers(&[whole]) }.map_err(Refusal::of(REGISTER))?;
    trial.memory().write(0, TEXTS[0]);
    // SAFETY: the buffer is the trial's.
    unsafe { trial.submit(&opcode::WriteFixed::new(fd(&near), out, TEXTS[0].len() as u32, 0).build()) }?;
    trial.complete("WRITE_FIXED", 1)?;
    // SAFETY: the buffer is the trial's.
    unsafe { trial.submit(&opcode::ReadFixed::new(fd(&far), back, Lent::SIZE as u32, 0).build()) }?;
    let len = trial.complete("READ_FIXED", 1)?[0].result() as usize;
    equals(trial.memory().bytes(1, len), TEXTS[0])
}

fn registered_ring(patience: &mut Patience) -> Result<(), Refusal> {
    let mut trial = Trial::new(patience)?;
    let mut submitter = trial.ring().submitter();
    submitter.register_ring_fd().map_err(Refusal::of(REGISTER))
}

fn buffer_ring(trial: &mut Trial<'_>) -> Result<(), Refusal> {
    let address = trial.memory().ring();
    // SAFETY: the ring is the trial's memory, page-aligned and zeroed.
    unsafe { trial.ring().submitter().register_buf_ring_with_flags(address, Lent::BUFFERS, GROUP, 0) }
        .map_err(Refusal::of(REGISTER))?;
    trial.memory().publish();
    Ok(())
}

/// The only group of buffers.
const GROUP: u16 = 0;

/// One request receives two datagrams and stays armed.
fn multishot_recv(patience: &mut Patience) -> Result<(), Refusal> {
    let (near, far) = pair()?;
    let mut trial = Trial::new(patience)?;
    buffer_ring(&mut trial)?;
    // SAFETY: the request names no memory but the buffer ring, which is the trial's.
    unsafe { trial.submit(&opcode::RecvMulti::new(fd(&near), GROUP).build()) }?;
    send_texts(&far)?;
    let completions = trial.complete("a multishot RECV", 2)?;
    for (completion, text) in completions.iter().zip(TEXTS) {
        let (index, result) = (buffer_of(completion)?, completion.result() as usize);
        equals(trial.memory().bytes(index, result), text)?;
    }
    trial.cancel();
    Ok(())
}

/// As [`multishot_recv`]; each datagram comes with its sender's address.
fn multishot_recvmsg(patience: &mut Patience) -> Result<(), Refusal> {
    let (near, far) = pair()?;
    let mut trial = Trial::new(patience)?;
    buffer_ring(&mut trial)?;
    let name = size_of::<libc::sockaddr_in>();
    let headers = trial.memory().headers(0, name);
    // SAFETY: the headers were written just now; only their address is taken.
    let message = unsafe { &raw const (*headers.as_ptr()).message };
    // SAFETY: the headers and the buffer ring are the trial's.
    unsafe { trial.submit(&opcode::RecvMsgMulti::new(fd(&near), message, GROUP).build()) }?;
    send_texts(&far)?;
    let completions = trial.complete("a multishot RECVMSG", 2)?;
    for (completion, text) in completions.iter().zip(TEXTS) {
        let (index, result) = (buffer_of(completion)?, completion.result() as usize);
        // SAFETY: the kernel only reads the headers, and so do we.
        let message = unsafe { &*message };
        let parsed = types::RecvMsgOut::parse(trial.memory().bytes(index, result), message);
        let parsed = parsed.map_err(|()| inert("a datagram arrived without its header"))?;
        equals(parsed.payload_data(), text)?;
        if parsed.name_data().len() != name {
            return Err(inert("a datagram arrived without its sender's address"));
        }
    }
    trial.cancel();
    Ok(())
}

/// A send that completes twice: when it is done, and when its memory is free again.
fn send_zero_copy(patience: &mut Patience, call: &'static str) -> Result<(), Refusal> {
    let (near, far) = pair()?;
    let mut trial = Trial::new(patience)?;
    let len = TEXTS[0].len();
    trial.memory().write(0, TEXTS[0]);
    let entry = if call == "SEND_ZC" {
        opcode::SendZc::new(fd(&near), trial.memory().buffer(0), len as u32).build()
    } else {
        let headers = trial.memory().headers(len, 0);
        // SAFETY: the headers were written just now; only their address is taken.
        opcode::SendMsgZc::new(fd(&near), unsafe { &raw const (*headers.as_ptr()).message }).build()
    };
    // SAFETY: headers and buffer are the trial's.
    unsafe { trial.submit(&entry) }?;
    let first = trial.complete(call, 1)?;
    // The kernel may use the memory until the datagram is received.
    arrives(&far, TEXTS[0])?;
    if cqueue::more(first[0].flags()) {
        trial.complete(call, 1)?;
    }
    Ok(())
}

fn buffer_of(completion: &cqueue::Entry) -> Result<u16, Refusal> {
    if !cqueue::more(completion.flags()) {
        return Err(inert("the request ended with its first datagram"));
    }
    let index = cqueue::buffer_select(completion.flags()).filter(|&index| index < Lent::BUFFERS);
    index.ok_or_else(|| inert("a datagram arrived in no buffer of the ring"))
}

fn send_texts(socket: &UdpSocket) -> Result<(), Refusal> {
    TEXTS.iter().try_for_each(|text| socket.send(text).map(drop)).map_err(Refusal::untried("sending to loopback"))
}

fn arrives(socket: &UdpSocket, text: &[u8]) -> Result<(), Refusal> {
    let mut bytes = [0; Lent::SIZE];
    let len = retry(|| socket.recv(&mut bytes)).map_err(|_| inert("the datagram did not arrive"))?;
    equals(&bytes[..len], text)
}

fn equals(found: &[u8], text: &[u8]) -> Result<(), Refusal> {
    if found == text { Ok(()) } else { Err(inert("the bytes that arrived are not those that were sent")) }
}

fn inert(what: &str) -> Refusal {
    Refusal::Inert(what.into())
}
