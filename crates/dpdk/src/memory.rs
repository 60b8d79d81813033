//! Large tables: in huge pages where there are any, else in ordinary ones.

use crate::error::DpdkError;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Types that zeroed memory is a value of, and that several threads may change at any time: made of [`AtomicU64`] alone.
///
/// # Safety
/// The type must hold nothing but `AtomicU64`, without padding, and be aligned to no more than a page.
pub unsafe trait Cells {}

// SAFETY: `repr(C)`, nothing but words (sizes are asserted where the types are defined).
unsafe impl Cells for evenkeel_core::flow::Bucket<AtomicU64> {}
// SAFETY: as above.
unsafe impl Cells for evenkeel_core::flow::WideBucket<AtomicU64> {}

/// What a table lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Huge pages (mmap(2), MAP_HUGETLB).
    HugePages,
    /// Ordinary pages, which the kernel may join to huge ones (madvise(2), MADV_HUGEPAGE).
    Ordinary,
}

/// An array of zeroed memory from the system.
#[derive(Debug)]
pub struct Memory<T> {
    first: NonNull<T>,
    entries: usize,
    bytes: usize,
    backing: Backing,
}

// SAFETY: the memory belongs to this value alone; `Cells` are atomics.
unsafe impl<T: Cells> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Cells> Sync for Memory<T> {}

impl<T: Cells> Memory<T> {
    /// Memory for so many entries, every word of it zero and in place: no packet waits for the kernel to find a page.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(what: &'static str, entries: usize) -> Result<Self, DpdkError> {
        let used = entries * size_of::<T>();
        // Huge pages are taken in whole ones, and a table that does not fill one has no use for it.
        let huge = used.next_multiple_of(huge_page());
        let from_huge_pages = (used >= huge_page()).then(|| map(huge, libc::MAP_HUGETLB | libc::MAP_POPULATE));
        let (first, bytes, backing) = match from_huge_pages {
            Some(Ok(first)) => (first, huge, Backing::HugePages),
            _ => match map(used, 0) {
                Ok(first) => {
                    // SAFETY: advice about memory of our own; it may be declined, and then nothing changes.
                    unsafe {
                        libc::madvise(first.as_ptr(), used, libc::MADV_HUGEPAGE);
                        libc::madvise(first.as_ptr(), used, libc::MADV_POPULATE_WRITE);
                    }
                    (first, used, Backing::Ordinary)
                }
                Err(error) => return Err(DpdkError::Map { what, bytes: used, reason: error.to_string() }),
            },
        };
        Ok(Self { first: first.cast(), entries, bytes, backing })
    }
}

impl<T> Memory<T> {
    /// What it lies in.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Its size, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn map(bytes: usize, flags: i32) -> io::Result<NonNull<libc::c_void>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: new memory at a place that the kernel chooses.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    match NonNull::new(memory) {
        Some(first) if memory != libc::MAP_FAILED => Ok(first),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The machine's default size of a huge page, in bytes (proc_meminfo(5)); 2 MiB if it does not say.
fn huge_page() -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("Hugepagesize:")?.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kilobytes.filter(|size| size.is_power_of_two()).unwrap_or(2048) * 1024
}

impl<T: Cells> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `entries` values of `T`, lives as long as `self`, is page-aligned, and any bytes are
        // a `T` (`Cells`).
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.entries) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::flow::Bucket;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn tables_of_any_size_start_as_zeroes_and_are_written_to_the_end() {
        for entries in [1, 3, 4096, 20_000] {
            let memory = Memory::<Bucket<AtomicU64>>::new("a test", entries).expect("that much is there");
            assert_eq!(memory.len(), entries);
            assert!(memory.bytes() >= entries * 256);
            let words = || memory.iter().flat_map(|bucket| &bucket.0).map(|entry| &entry.peer);
            assert!(words().all(|word| word.load(Relaxed) == 0));
            words().for_each(|word| word.store(u64::MAX, Relaxed));
        }
    }

    #[test]
    fn more_than_there_can_be_is_refused_in_words() {
        let refused = Memory::<Bucket<AtomicU64>>::new("flow table", usize::MAX / 512).expect_err("nobody has that");
        assert!(refused.to_string().contains("flow table"), "{refused}");
    }
}
