//! The flow table: who talks to which backend.
//!
//! A connection owns two entries, one for each direction in which its packets arrive: the *client entry* under
//! (client, service) and the *reply entry* under (backend, NAT address and port). Each holds all that its direction
//! needs, so a packet of an established connection touches one bucket and writes nothing.
//!
//! The rules that keep the two together:
//! - The reply entry claims the NAT port and is made first; the client entry follows. Whatever changes a connection
//!   changes the reply entry first. So a client entry never outlives the port that it sends from.
//! - Before a connection is established its entries count only together: every packet checks that the other one is
//!   still there and agrees. That is what lets a flood's half-open entries be evicted one at a time, for the price of
//!   the bucket that the new flow needs anyway.
//! - Once established, both entries stay until the idle time has passed. Activity in either direction renews both,
//!   at most once per [`Timeouts::renew`].

mod bucket;
mod entry;
mod insertion;
mod located;
mod meta;
mod time;
mod timeouts;
pub(crate) mod worth;

pub use crate::key::{FlowKey, HopNumber, Key, Peer, Side, WideAddress, WideKey};
pub use bucket::{Bucket, BucketOf, Found, WAYS, WideBucket, find, read};
pub use entry::{Entry, NewEntry, NewWideEntry, Record, WideEntry};
pub(crate) use insertion::TRIES;
pub use insertion::{Insertion, insert, take_over, withdraw};
pub use located::Located;
pub use meta::{Meta, State};
pub use time::{Now, Tick};
pub use timeouts::{IDLE_CLASSES, IdleTimes, Timeouts};
pub use worth::Victim;
