//! Where an entry was found, as a number.

use super::bucket::{BucketOf, Found, read, search};
use super::entry::Record;

/// A place in a flow table and which use of it. From the low end: the count of uses (8 bits), the slot (8), whether there is
/// one (1); the bucket's index from bit 32 on. One word, so that it can cross a call that a plane makes. Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located(pub u64);

impl Located {
    const SLOT_SHIFT: u32 = 8;
    const FOUND: u64 = 1 << 16;
    const INDEX_SHIFT: u32 = 32;

    /// Where in this bucket, which has this index, the live entry with this key is.
    #[inline(always)]
    pub fn search<E: Record, const N: usize>(
        (index, bucket): (u32, &BucketOf<E, N>),
        key: &E::Key,
        start: usize,
    ) -> Self {
        match search(bucket, key, start) {
            Some((slot, found)) => {
                let place = u64::from(index) << Self::INDEX_SHIFT | (slot as u64) << Self::SLOT_SHIFT;
                Self(Self::FOUND | place | u64::from(found.meta.uses()))
            }
            None => Self(0),
        }
    }

    /// The bucket's index.
    #[inline(always)]
    pub fn index(self) -> u32 {
        (self.0 >> Self::INDEX_SHIFT) as u32
    }

    /// What the entry says, unless there is none, or another by now.
    #[inline(always)]
    pub fn read<E: Record, const N: usize>(self, bucket: &BucketOf<E, N>) -> Option<Found<'_, E>> {
        if self.0 & Self::FOUND == 0 {
            return None;
        }
        let found = read(bucket.entry((self.0 >> Self::SLOT_SHIFT) as usize & (N - 1))?)?;
        if found.meta.uses() == self.0 as u8 { Some(found) } else { None }
    }
}
