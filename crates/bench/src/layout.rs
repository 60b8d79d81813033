//! What the measuring programs and user space share. Compiled into both, and so without `std`.

/// Packets that one program gets before it is the next one's turn.
pub const CHUNK: u32 = 1024;

/// The programs that can take turns: nothing, the yardstick, what is measured, and what it is measured beside, if anything.
pub const LANES: u32 = 4;

/// The lane of the empty program.
pub const EMPTY: u32 = 0;
/// The lane of the yardstick.
pub const YARDSTICK: u32 = 1;
/// The lane of the program that is measured.
pub const SUBJECT: u32 = 2;

/// The lane of another version of it.
pub const BESIDE: u32 = 3;

/// The lane whose chunk is the `chunk`th, of so many that take turns. The last two change places from one turn to the next,
/// so that neither always finds the caches as the same program has left them.
pub const fn lane_of(chunk: u32, lanes: u32) -> u32 {
    let lane = chunk % lanes;
    if lanes == LANES && lane >= SUBJECT && (chunk / lanes) & 1 == 1 { SUBJECT + BESIDE - lane } else { lane }
}

/// [`State::only`]: all lanes in turn.
pub const IN_TURN: u32 = u32::MAX;

/// Chunks that one run may have.
pub const MAX_CHUNKS: u32 = 3 << 10;

/// Length of the frames, in bytes: the shortest of Ethernet, its check sequence included.
pub const FRAME: usize = 64;

/// What differs between the packets of a lane, as wire bytes in memory order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tuple {
    /// IPv4 source address in the low half, destination in the high half.
    pub addresses: u64,
    /// The first four bytes behind the IPv4 header: both ports.
    pub ports: u32,
    /// The IPv4 header's checksum.
    pub ip_checksum: u16,
    /// TCP's checksum.
    pub transport_checksum: u16,
}

/// A stream of packets: the same head for all, and a ring of tuples.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Lane {
    /// The ring's first tuple.
    pub first: u32,
    /// Its number of tuples.
    pub count: u32,
    /// The tuple of the next packet, counted from the first.
    pub position: u32,
    /// How often the ring has gone round, if that makes new packets: added to the upper half of the source address.
    pub era: u32,
    /// 1 if every round shall be of new source addresses; 0 if packets repeat.
    pub fresh: u32,
    /// Always 0.
    pub reserved: u32,
    /// Written to by the driver so that the head has left the CPU's store buffer when the program reads it: a packet
    /// that comes from a network card is not in there either.
    pub fence: u64,
    /// The first 56 bytes of the frame.
    pub head: [u64; 7],
}

/// Where the driver is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct State {
    /// Packets left in this chunk.
    pub left: u32,
    /// The lane whose turn it is.
    pub lane: u32,
    /// Chunks begun.
    pub begun: u32,
    /// Chunks wanted.
    pub wanted: u32,
    /// [`IN_TURN`], or the one lane that gets every packet.
    pub only: u32,
    /// How many lanes take turns.
    pub lanes: u32,
}

const _: () = assert!(size_of::<Tuple>() == 16 && size_of::<Lane>() == 88 && size_of::<State>() == 24);
