//! DPDK's hash table (DPDK Programmer's Guide, "Hash Library"), as a yardstick for the flow table.

use crate::error::BenchError;
use evenkeel_core::flow::{Bucket, FlowKey};
use evenkeel_dpdk::{BURST, Eal, Memory};
use evenkeel_dpdk_sys as sys;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{NonNull, null};
use std::sync::atomic::AtomicU64;

/// Memory that EAL hands out, of the very kind that the flow table lies in: neither has better pages.
pub(crate) struct Heap<'e> {
    eal: PhantomData<&'e Eal>,
    socket: i32,
    /// EAL's for as long as it lives; the system takes it back with the process.
    _memory: ManuallyDrop<Memory<Bucket<AtomicU64>>>,
}

/// EAL's page size for memory that is not its own: any that divides every other.
const PAGE: usize = 4096;

impl<'e> Heap<'e> {
    pub(crate) fn new(_: &'e Eal, bytes: usize) -> Result<Self, BenchError> {
        const NAME: &CStr = c"bench";
        let buckets = bytes.next_multiple_of(PAGE) / size_of::<Bucket<AtomicU64>>();
        let memory = ManuallyDrop::new(Memory::<Bucket<AtomicU64>>::new("a yardstick", buckets)?);
        let first = memory.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: C strings and numbers; the memory is whole pages, and nobody else's from now on.
        unsafe {
            if sys::rte_malloc_heap_create(NAME.as_ptr()) == 0
                && sys::rte_malloc_heap_memory_add(
                    NAME.as_ptr(),
                    first,
                    size_of_val::<[_]>(&memory),
                    std::ptr::null_mut(),
                    0,
                    PAGE,
                ) == 0
            {
                let socket = sys::rte_malloc_heap_get_socket(NAME.as_ptr());
                return Ok(Self { eal: PhantomData, socket, _memory: memory });
            }
        }
        Err(BenchError::Broken(format!("EAL does not take {bytes} bytes of memory.")))
    }

    /// Bytes that EAL has handed out.
    pub(crate) fn used(&self) -> usize {
        let mut statistics = MaybeUninit::<sys::rte_malloc_socket_stats>::zeroed();
        // SAFETY: DPDK writes the structure, for which zero is a value, or nothing.
        unsafe {
            sys::rte_malloc_get_socket_stats(self.socket, statistics.as_mut_ptr());
            statistics.assume_init().heap_allocsz_bytes
        }
    }
}

/// How a table of DPDK's copes with a writer beside its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concurrency {
    /// Not at all.
    None,
    /// Readers take no lock (RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF).
    LockFree,
}

/// A table of flow keys.
pub(crate) struct RteHash<'e> {
    heap: PhantomData<&'e Heap<'e>>,
    raw: NonNull<sys::rte_hash>,
}

impl<'e> RteHash<'e> {
    /// An empty table with room for so many entries.
    pub(crate) fn new(heap: &'e Heap<'e>, entries: u32, concurrency: Concurrency) -> Result<Self, BenchError> {
        let (name, flags): (&CStr, _) = match concurrency {
            Concurrency::None => (c"plain", 0),
            Concurrency::LockFree => (c"lock-free", sys::EVENKEEL_HASH_LOCK_FREE),
        };
        // SAFETY: plain data, for which zero is a value: the default hash among others.
        let mut parameters: sys::rte_hash_parameters = unsafe { MaybeUninit::zeroed().assume_init() };
        parameters.name = name.as_ptr();
        parameters.entries = entries;
        parameters.key_len = size_of::<FlowKey>() as u32;
        parameters.socket_id = heap.socket;
        parameters.extra_flag = flags;
        // SAFETY: a pointer to a value of our own.
        let raw = NonNull::new(unsafe { sys::rte_hash_create(&parameters) });
        let failed = || BenchError::Broken(format!("DPDK does not make a hash table for {entries} entries."));
        Ok(Self { heap: PhantomData, raw: raw.ok_or_else(failed)? })
    }

    pub(crate) fn insert(&mut self, key: &FlowKey) -> Result<(), BenchError> {
        // SAFETY: the key is as long as the table was told; `&mut self`: nobody else writes.
        match unsafe { sys::rte_hash_add_key(self.raw.as_ptr(), (&raw const *key).cast()) } {
            0.. => Ok(()),
            _ => Err(BenchError::Broken("DPDK's hash table has no room for a key.".to_owned())),
        }
    }

    /// How many of these keys are there.
    #[inline(always)]
    pub(crate) fn look_up(&self, keys: &[FlowKey; BURST]) -> usize {
        let mut pointers = [null::<c_void>(); BURST];
        for (pointer, key) in pointers.iter_mut().zip(keys) {
            *pointer = (&raw const *key).cast();
        }
        let mut positions = [-1_i32; BURST];
        // SAFETY: as many keys as is said, each as long as the table was told, and as many positions to be written.
        unsafe {
            sys::rte_hash_lookup_bulk(self.raw.as_ptr(), pointers.as_mut_ptr(), BURST as u32, positions.as_mut_ptr());
        }
        positions.iter().filter(|&&position| position >= 0).count()
    }
}

impl Drop for RteHash<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody looks at it.
        unsafe { sys::rte_hash_free(self.raw.as_ptr()) };
    }
}
