//! What the core asks of a plane, beside the packet.

use crate::admit::{Asked, admits};
use crate::backend::{Backend, BackendRef};
use crate::choose::choose;
use crate::family::{Family, V4, V6};
use crate::features::Features;
use crate::flow::{self, BucketOf, Found, Insertion, Located, Now, Record, Tick};
use crate::hash;
use crate::hop;
use crate::key::{HopNumber, Key as _, Side};
use crate::ours::Ours;
use crate::progress::progress;
use crate::service::{Service, ServiceKey};
use crate::settings::Settings;
use crate::verdict::{Event, Reason};
use crate::word::Word;

/// Tables, counters and the clock of one plane.
///
/// Whatever changes while packets fly is a [`Word`] or replaced whole; no packet sees half of an old table and half of
/// a new one.
pub trait Tables {
    /// The memory cells that this plane's tables are made of.
    type Word: Word;

    /// What does not change.
    fn settings(&self) -> &Settings;

    /// The time that flows are stamped with.
    fn now(&self) -> Now;

    /// A word that says how many packets may have something, shared by all CPUs; begins as zero. Number 0: be answered unasked.
    /// Number n + 1: open a connection of the service with Maglev table n.
    fn allowance(&self, number: u32) -> Option<&Self::Word>;

    /// Who has asked in vain for a connection, by half the index of a bucket of the flow table.
    fn asked(&self, index: u32) -> Option<&Asked<Self::Word>>;

    /// The word of the hop with this number; see [`crate::hop::Hop`].
    fn hop(&self, number: HopNumber) -> Option<&Self::Word>;

    /// The service with exactly this key.
    fn service(&self, key: &ServiceKey) -> Option<Service>;

    /// What stands in this slot, below [`crate::MAGLEV_SLOTS`], of this Maglev table.
    fn maglev(&self, table: u32, slot: u32) -> Option<BackendRef>;

    /// The backend at this place.
    fn backend(&self, index: u16) -> Option<&Backend<Self::Word>>;

    /// Counts a verdict.
    fn count(&self, reason: Reason);

    /// Counts an event that has happened so many times.
    fn count_events(&self, event: Event, times: u32);

    /// Counts an event.
    #[inline(always)]
    fn count_event(&self, event: Event) {
        self.count_events(event, 1);
    }

    /// Counts a packet of this many bytes, Ethernet header included, that came from this side of a backend's
    /// connections.
    fn count_traffic(&self, backend: u16, from: Side, bytes: u32);

    /// What the packet path has to reckon with. Whoever says less than everything lets the compiler, or BPF's verifier, leave
    /// out what no packet can need.
    #[inline(always)]
    fn features(&self) -> Features {
        Features::ALL
    }

    /// What a packet makes of a connection's control word; see [`crate::progress()`].
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`].
    #[inline(always)]
    fn progress(&self, meta: u64, heard: u32, now: Now) -> u64 {
        progress(meta, heard, now)
    }

    /// The number of the hop that packets from this neighbour come by, found or claimed; see [`crate::hop::number`].
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`].
    #[inline(always)]
    fn hop_number(&self, neighbour: u64, now: Tick) -> Option<HopNumber> {
        hop::number(self.settings(), |number| self.hop(number), neighbour, now)
    }
}

/// A bucket of a family's flow table, and the entry at which a search through it begins.
pub type Searched<'t, A, W> = (&'t BucketOf<<A as Family>::Entry<W>>, usize);

/// The tables that each family of addresses has for itself.
pub trait FamilyTables<A: Family>: Tables {
    /// Whether the address may be one of ours; a wrong yes is allowed and rare, a wrong no is not. Asked for every
    /// packet, so that traffic which is not ours leaves early.
    fn may_be_ours(&self, address: A::Address) -> bool;

    /// What is known of the address, if it is a service's or a NAT address.
    fn ours(&self, address: A::Address) -> Option<Ours>;

    /// The bucket of the flow table with this index, which is at most [`Family::flow_mask`].
    fn flows(&self, index: u32) -> Option<&BucketOf<A::Entry<Self::Word>>>;

    /// The NAT address with this index, below [`Family::nat_addresses`].
    fn nat_address(&self, index: u32) -> Option<A::Address>;

    /// Whether the address is a service's or a NAT address.
    #[inline(always)]
    fn is_ours(&self, address: A::Address) -> bool {
        self.ours(address).is_some()
    }

    /// The bucket that a key belongs in, and the entry at which a search begins.
    #[inline(always)]
    fn bucket(&self, key: &A::Key) -> Option<Searched<'_, A, Self::Word>> {
        let settings = self.settings();
        let place = key.place(settings);
        Some((self.flows(hash::bucket(place, A::flow_mask(settings)))?, hash::start(place)))
    }

    /// The live entry with this key, which may be expired; see [`flow::find`].
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`], by way of [`locate`] and [`located`].
    #[inline(always)]
    fn find(&self, key: &A::Key) -> Option<Found<'_, A::Entry<Self::Word>>> {
        let (bucket, start) = self.bucket(key)?;
        flow::find(bucket, *key, start)
    }

    /// Inserts an entry into its bucket of the flow table; see [`flow::insert`]. What came of it is as [`Insertion::bits`] has it.
    ///
    /// Provided. A plane overrides it only to put a call where it needs one: BPF's verifier walks every path of what is
    /// inlined, but looks at a function with arguments of its own once.
    #[inline(always)]
    fn insert(&self, new: &A::New, now: Now) -> u32 {
        insert::<A, Self>(self, new, now).bits()
    }

    /// What a new connection with this key finds; see [`crate::choose()`].
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`].
    #[inline(always)]
    fn choose(&self, key: &A::Key) -> u64 {
        choose::<A, Self>(self, key)
    }

    /// Whether a packet with this key may open a connection now; see [`crate::admits()`].
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`].
    #[inline(always)]
    fn admits(&self, key: &A::Key, now: Now) -> bool {
        admits::<A, Self>(self, key, now)
    }

    /// Puts an entry in the place of the one that has its key; see [`flow::take_over`]. What came of it is as
    /// [`Insertion::bits`] has it.
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`].
    #[inline(always)]
    fn take_over(&self, new: &A::New, now: Now) -> u32 {
        take_over::<A, Self>(self, new, now).bits()
    }

    /// The number of the hop that answers to this client go by, where they follow routes; see [`crate::reply::number`].
    ///
    /// Provided, and overridden for the same reason as [`FamilyTables::insert`].
    #[inline(always)]
    fn reply_hop(&self, client: A::Address) -> Option<HopNumber> {
        A::reply_hop(|number| self.hop(number), client)
    }
}

/// The tables of both families: all that a packet can ask for.
pub trait AllTables: FamilyTables<V4> + FamilyTables<V6> {}

impl<T: FamilyTables<V4> + FamilyTables<V6> + ?Sized> AllTables for T {}

/// Where the live entry with this key is: the first half of what [`FamilyTables::find`] does.
#[inline(always)]
pub fn locate<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, key: &A::Key) -> Located {
    let settings = tables.settings();
    let place = key.place(settings);
    let index = hash::bucket(place, A::flow_mask(settings));
    match tables.flows(index) {
        Some(bucket) => Located::search((index, bucket), key, hash::start(place)),
        None => Located(0),
    }
}

/// The second half.
#[inline(always)]
pub fn located<A: Family, T: FamilyTables<A> + ?Sized>(
    tables: &T,
    place: Located,
) -> Option<Found<'_, A::Entry<T::Word>>> {
    place.read(tables.flows(place.index())?)
}

/// Inserts an entry into its bucket: what [`FamilyTables::insert`] does.
#[inline(always)]
pub fn insert<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, new: &A::New, now: Now) -> Insertion {
    match tables.bucket(&A::Entry::<T::Word>::key_of(new)) {
        Some((bucket, start)) => flow::insert(bucket, start, new, &tables.settings().timeouts, now),
        None => Insertion::Full,
    }
}

/// Puts an entry in the place of the one that has its key: what [`FamilyTables::take_over`] does.
#[inline(always)]
pub fn take_over<A: Family, T: FamilyTables<A> + ?Sized>(tables: &T, new: &A::New, now: Now) -> Insertion {
    match tables.bucket(&A::Entry::<T::Word>::key_of(new)) {
        Some((bucket, start)) => flow::take_over(bucket, start, new, now),
        None => Insertion::Full,
    }
}
