//! How often the first packet on a TX ring has been sent.

use crate::frames::packet::Packet;
use crate::frames::pool::FreeList;
use crate::frames::ring::Consumer;

/// Counts the copies of one packet after the other, for a backend that sends them one by one, see
/// [`Config::copies`](crate::Config::copies).
#[derive(Clone, Copy, Debug)]
pub struct Copies {
    each: usize,
    sent: usize,
}

impl Copies {
    /// Each packet is sent so often.
    pub fn new(each: usize) -> Self {
        Self { each, sent: 0 }
    }

    /// Counts a copy that has gone. Whether it was the last one of its packet.
    #[inline(always)]
    pub fn is_last(&mut self) -> bool {
        self.sent += 1;
        let is_last = self.sent == self.each;
        if is_last {
            self.sent = 0;
        }
        is_last
    }

    /// Counts a copy of the first packet on the ring that has gone; with the last one the packet leaves the ring, and its frame comes home.
    #[inline(always)]
    pub fn sent<'p>(&mut self, tx: &mut Consumer<Packet<'p>>, free: &mut FreeList<'p>) {
        if self.is_last()
            && let Some(packet) = tx.pop()
        {
            free.give(packet.into_frame());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::pool::Pool;
    use crate::frames::ring::ring;

    #[test]
    fn a_packet_leaves_the_ring_with_its_last_copy() {
        let pool = Pool::new(2, 64).expect("a small pool");
        let (mut free, (mut queue, mut tx), mut copies) = (pool.frames(), ring(2), Copies::new(3));
        for _ in 0..2 {
            queue.push(Packet::datagram(free.take().expect("two frames"), 1)).expect("a slot");
        }
        let left = |tx: &mut Consumer<_>| {
            tx.release();
            tx.available()
        };
        let after = [(); 6].map(|()| {
            copies.sent(&mut tx, &mut free);
            left(&mut tx)
        });
        assert_eq!(after, [2, 2, 1, 1, 1, 0]);
        assert!(free.is_whole());
    }
}
