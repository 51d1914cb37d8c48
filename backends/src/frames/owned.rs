//! Frames for runtimes that own a buffer while the kernel uses it, and want it to outlive everything (`'static`).

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::frames::pool::{Frame, Pool, Region};

/// A frame that a runtime owns for a while. If it is dropped, its frame is lost to the pool.
#[derive(Debug)]
pub(crate) struct Owned {
    base: NonNull<u8>,
    lines: usize,
    size: usize,
    /// Where the content begins, and how many bytes of it there are.
    at: usize,
    len: usize,
}

impl Owned {
    /// The content.
    pub(crate) fn content(&self) -> &[u8] {
        // SAFETY: the handle owns a frame of `size` initialised bytes, whose memory stays mapped (`Lender`); `set_len` keeps
        // the content inside of it.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(self.at), self.len) }
    }

    /// All that the content may become.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        // SAFETY: as in `content`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(self.at), self.size - self.at) }
    }

    /// Sets how many bytes of the room are content.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.size - self.at, "more content than room");
        self.len = len;
    }
}

/// Lends frames of a pool to a runtime. If some are out when it is dropped, the pool's memory stays mapped for good, so
/// that the kernel writes to nothing else.
#[derive(Debug)]
pub(crate) struct Lender<'p> {
    out: usize,
    region: Arc<Region>,
    frames: PhantomData<Frame<'p>>,
}

impl<'p> Lender<'p> {
    pub(crate) fn new(pool: &'p Pool) -> Self {
        Self { out: 0, region: pool.region(), frames: PhantomData }
    }

    /// Lends a frame of the pool, with `len` bytes of content behind the first `at` bytes.
    #[inline]
    pub(crate) fn lend(&mut self, frame: Frame<'p>, at: usize, len: usize) -> Owned {
        let size = frame.size();
        assert!(at + len <= size, "the content lies inside of its frame");
        self.out += 1;
        let (base, lines) = frame.into_parts();
        Owned { base, lines, size, at, len }
    }

    /// Takes a frame back.
    ///
    /// # Safety
    ///
    /// This lender has lent it.
    #[inline]
    pub(crate) unsafe fn take_back(&mut self, owned: Owned) -> Frame<'p> {
        self.out -= 1;
        // SAFETY: the parts are those of `lend`, whose frame lives as long as the pool; the handle is used up.
        unsafe { Frame::from_parts((owned.base, owned.lines)) }
    }

    /// Whether all frames are back.
    pub(crate) fn is_whole(&self) -> bool {
        self.out == 0
    }
}

impl Drop for Lender<'_> {
    fn drop(&mut self) {
        if self.out > 0 {
            mem::forget(Arc::clone(&self.region));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_with_what_was_written() {
        let pool = Pool::new(2, 256).expect("a small pool");
        let (mut free, mut lender) = (pool.frames(), Lender::new(&pool));
        let mut owned = lender.lend(free.take().expect("two frames"), 64, 0);
        owned.room()[..3].copy_from_slice(b"abc");
        owned.set_len(3);
        assert_eq!(owned.content(), b"abc");
        assert_eq!(owned.room().len(), 192);
        assert!(!lender.is_whole());
        // SAFETY: it was lent above.
        let frame = unsafe { lender.take_back(owned) };
        assert_eq!(&frame.bytes()[64..67], b"abc");
        free.give(frame);
        assert!(lender.is_whole() && free.is_whole());
    }

    #[test]
    fn memory_of_a_lost_frame_stays_mapped() {
        let pool = Pool::new(1, 64).expect("a small pool");
        let region = pool.region();
        let mut lender = Lender::new(&pool);
        let _lost = lender.lend(pool.frames().take().expect("one frame"), 0, 64);
        let before = Arc::strong_count(&region);
        drop(lender);
        assert_eq!(
            Arc::strong_count(&region),
            before,
            "the lender's own handle is gone, and another one is left behind"
        );
    }
}
