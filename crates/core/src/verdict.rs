//! What becomes of a packet, and why. The one list that counters, metrics, command line and documentation share.

/// What the plane does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it out of the port it came in by.
    Transmit,
    /// Not ours: the kernel, or the next program, has it, with every byte as it came.
    Pass,
    /// Discard it.
    Drop,
}

impl Verdict {
    /// Lower-case word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transmit => "transmit",
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident = $name:literal, $verdict:ident, $help:literal;)*) => {
        /// Why a packet got its verdict. Every reason implies one verdict and owns one counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason { $(#[doc = $help] $variant,)* }

        impl Reason {
            /// Every reason, in counter order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// What the plane does with a packet that got this reason.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict),* }
            }

            /// The name that counters and metrics use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// One sentence for people.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }
        }
    };
}

// Grouped by verdict, so that the verdict is a comparison and not a table.
reasons! {
    ToBackend = "to-backend", Transmit, "A client's packet, translated and sent to its backend.";
    ToClient = "to-client", Transmit, "A backend's packet, translated and sent to its client.";
    EchoReply = "echo-reply", Transmit, "An ICMP echo request to one of our addresses, answered.";
    Refused = "refused", Transmit, "A SYN for a service that has no backend for it, answered by a reset (all-down = \"reset\").";
    ResetMissing = "reset-missing", Transmit, "A TCP segment that opens nothing and belongs to no known connection, answered by a reset (on-missing = \"reset\").";
    ResetDown = "reset-down", Transmit, "A TCP segment of a connection whose backend is down, answered by a reset (on-down = \"reset\").";
    ResetStale = "reset-stale", Transmit, "A backend's segment of the connection that a NAT port belonged to before, answered by a reset: the port has a new owner.";
    UnservedRefused = "unserved-refused", Transmit, "A packet for one of our addresses, but for no service there, answered by a reset or by ICMP port unreachable (unserved = \"refuse\").";
    TimeExceeded = "time-exceeded", Transmit, "A packet that may travel no further, answered by ICMP time exceeded (unserved = \"refuse\").";

    NotIpv4 = "not-ipv4", Pass, "ARP, more than two VLAN tags, IPv6 where no service is, or another protocol that is not balanced.";
    NotOurMac = "not-our-mac", Pass, "The frame is a broadcast or for another host's Ethernet address.";
    NotOurs = "not-ours", Pass, "The packet is for an address that is neither a service's nor a NAT address.";
    NoService = "no-service", Pass, "The packet is for one of our addresses that the host has as well, but for no service there.";
    CheckAnswer = "check-answer", Pass, "The packet is for an address that the host has as well, and for a port that health checks are sent from: most likely the answer to one.";
    NotTcpUdp = "not-tcp-udp", Pass, "The packet is for one of our addresses that the host has as well, but neither TCP, UDP nor an ICMP echo request.";
    Truncated = "truncated", Pass, "The frame ends before its Ethernet or IP header does.";

    Malformed = "malformed", Drop, "A header of a packet for one of our addresses contradicts itself or the frame's length.";
    Fragment = "fragment", Drop, "A fragment for one of our addresses: only the first part would have ports.";
    TtlExpired = "ttl-expired", Drop, "The packet may travel no further: its time to live or hop limit is used up.";
    Unserved = "unserved", Drop, "The packet is for one of our addresses that no host has, but for no service there, and is not answered: another protocol, a reset, or unserved = \"drop\".";
    AnswerLimit = "answer-limit", Drop, "The packet would have been answered, by a reset or by an ICMP error, but so many were in the last moments that this one is not.";
    NewcomerLimit = "newcomer-limit", Drop, "The service lets in only so many newcomers a second (`newcomers`), and this one is beyond: a TCP client that asks again is let in.";
    MartianSource = "martian-source", Drop, "The packet claims to come from an address that no single host has.";
    OwnSource = "own-source", Drop, "The packet claims to come from one of our own addresses.";
    FlowMissing = "flow-missing", Drop, "A TCP segment that opens nothing and belongs to no known connection.";
    FlowTableFull = "flow-table-full", Drop, "No room for a new flow: every entry it may use holds a live connection.";
    FlowContended = "flow-contended", Drop, "Two CPUs opened the same flow in the same instant; the sender tries again.";
    NatPortsExhausted = "nat-ports-exhausted", Drop, "No NAT source port towards the backend was found free.";
    NoBackend = "no-backend", Drop, "The service has no backend that takes new connections.";
    BackendDown = "backend-down", Drop, "The connection's backend is gone, and the packet cannot open a new connection.";
    BackendUnresolved = "backend-unresolved", Drop, "The backend's Ethernet address is not known.";
    ClientUnresolved = "client-unresolved", Drop, "The Ethernet address that the client's packets came from is not known any more.";
    HopTableFull = "hop-table-full", Drop, "No room to remember the Ethernet address that a new client comes from, since too many others are in use; or it is none that a host can have.";
    StationMissing = "station-missing", Drop, "A part of the XDP program is missing, because the process that loaded it is gone, and the file system with its names as well. Until the next start that takes new connections, and all packets of IPv6 services.";
}

macro_rules! events {
    ($($variant:ident = $name:literal, $help:literal;)*) => {
        /// Something that happened to the flow table, counted beside the verdicts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Event { $(#[doc = $help] $variant,)* }

        impl Event {
            /// Every event, in counter order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that counters and metrics use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// One sentence for people.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }
        }
    };
}

events! {
    FlowOpened = "flow-opened", "A new flow was remembered.";
    HalfOpenEvicted = "half-open-evicted", "A TCP connection whose handshake was not complete made room for a new flow before its idle time.";
    ClosingEvicted = "closing-evicted", "A TCP connection that had ended made room for a new flow before its idle time.";
    UdpEvicted = "udp-evicted", "A UDP flow made room for a new flow before its idle time.";
    PortCollision = "nat-port-collision", "A NAT source port that was tried for a new flow was in use; another was tried.";
    PortTakenOver = "nat-port-taken-over", "Every NAT source port that was tried was in use; a new flow took the one of a connection that had ended, was never complete or was silent.";
    AskedAgain = "asked-again", "A TCP client opened a connection beyond the service's `newcomers`, since it had asked before.";
    HeldForNeighbour = "held-for-neighbour", "A `backend-unresolved` packet was kept, to be tried again when the address is known (DPDK).";
    TransmitQueueFull = "transmit-queue-full", "A packet was to be sent, and the port's transmit queue had no room for it (DPDK).";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_grouped_by_verdict_and_named_once() {
        assert!(Reason::ALL.iter().map(|reason| reason.verdict() as u32).is_sorted());
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count() == 1);
        }
    }
}
