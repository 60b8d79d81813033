//! What is wanted: the file, what an operator has ordered beside it, and what health checks say; and the balancer that makes
//! it so. One thread owns it; others ask through a [`Handle`].
//!
//! `wanted` holds the three together; `admission` is what follows from them for a backend. `command` takes orders, `reload` reads
//! the file again, `change` says what another file would do; `ways` knows who is reached; `status`, `scrape` and `flows` tell,
//! and `notes` what has happened.

mod admission;
mod change;
mod command;
mod flows;
mod handle;
mod health;
mod notes;
mod orders;
mod reload;
mod scrape;
mod status;
mod wanted;
mod ways;

pub use crate::census::Stage;
pub use change::Change;
pub use command::{OrderError, Ordered, OrderedBackend};
pub use flows::{Cursor, FlowFilter, FlowOrder, FlowPart, FlowSearch, FlowStatus, Place, SearchError};
pub use handle::{Handle, Inbox, handle};
pub use health::{Condition, Judgement};
pub use notes::Note;
pub use orders::Order;
pub use reload::ReloadError;
pub use scrape::{BackendTraffic, Reloads, Scrape, Table};
pub use status::{BackendStatus, ServiceStatus, State, Status};
pub use wanted::{Operator, Port};
pub use ways::{Way, question};
