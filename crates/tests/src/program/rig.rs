//! A loaded program, its tables, and packets through it.

use super::ledger::{Connection, Ledger};
use super::packet::{ACK, Draft, FIN, OUR_MAC, Parsed, SYN, backend_mac, tcp, udp};
use super::scapy::{self, Translation};
use aya::TestRun as _;
use aya::programs::{ProgramError, Xdp};
use aya::{TestRunOptions, programs};
use evenkeel_control::config::Protocol;
use evenkeel_control::{Balancer, Config, NextHop, Plane, Secrets, Sizes};
use evenkeel_core::flow::{IdleTimes, Peer, Tick};
use evenkeel_core::{Counters, Event, Reason, Verdict};
use evenkeel_wire::{MacAddress, Port};
use evenkeel_xdp::{XdpError, XdpPlane};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// Not random, so that a test that fails fails again.
pub const SECRETS: Secrets = Secrets {
    pick: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
    flow: [0x9d3c_1f7b, 0x2b5e_ab01, 0x77aa_5513, 0xe02f_9c6d],
};

/// What a program under test is loaded with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// Connections that the flow table is made for; it is never smaller than 16 buckets.
    pub flows: u32,
    /// Idle times.
    pub times: IdleTimes,
    /// Backends whose Ethernet address is not known.
    pub unresolved: Vec<Ipv4Addr>,
}

impl Setup {
    /// This configuration with a table for this many connections.
    pub fn new(config: Config, flows: u32) -> Self {
        let unresolved = vec![super::scenes::LOST_BACKEND];
        Self { config, flows, times: IdleTimes::DEFAULT, unresolved }
    }

    /// How large the maps are made.
    pub fn sizes(&self) -> Sizes {
        Sizes { flows: self.flows, backends: 64, services: 16, addresses: 16 }
    }
}

/// The BPF object, as the build left it.
pub fn object() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/evenkeel.bpf.o");
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read build/evenkeel.bpf.o ({error}): build the XDP program with `scripts/build-bpf.sh`.")
    })
}

/// The program with empty tables; nothing if that needs privileges that we lack and the tests may do without.
pub fn load(setup: &Setup) -> Option<XdpPlane> {
    let sizes = setup.sizes();
    let settings = sizes.settings(&setup.config, &SECRETS, MacAddress(OUR_MAC), setup.times);
    match XdpPlane::load(&object(), sizes, settings, &setup.config.nat.addresses) {
        Ok(plane) => Some(plane),
        Err(XdpError::Privileges) => {
            let allowed = std::env::var_os("EVENKEEL_SKIP_PRIVILEGED").is_some_and(|value| value == "1");
            assert!(
                allowed,
                "this test loads a BPF program and needs root: run it as root, or set EVENKEEL_SKIP_PRIVILEGED=1 to skip it."
            );
            println!("skipped: loading a BPF program needs root, and EVENKEEL_SKIP_PRIVILEGED=1 is set.");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a test against the loaded program, then asks scapy about everything that was sent.
pub fn trial(setup: Setup, test: impl FnOnce(&mut Rig)) {
    let Some(plane) = load(&setup) else { return };
    let mut rig = Rig {
        balancer: Balancer::new(plane, &SECRETS),
        config: setup.config.clone(),
        unresolved: setup.unresolved,
        ledger: Ledger::default(),
        translations: Vec::new(),
    };
    rig.apply(&setup.config);
    test(&mut rig);
    scapy::judge(&rig.translations);
}

/// A loaded program and everything that was seen of it.
#[expect(missing_debug_implementations, reason = "the plane has none")]
pub struct Rig {
    balancer: Balancer<XdpPlane>,
    config: Config,
    unresolved: Vec<Ipv4Addr>,
    ledger: Ledger,
    translations: Vec<Translation>,
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The reason that was counted.
    pub reason: Reason,
    /// The packet afterwards.
    pub bytes: Vec<u8>,
    /// What was counted meanwhile, by [`Event`].
    pub events: [u64; 8],
}

impl Outcome {
    /// How often this happened.
    pub fn happened(&self, event: Event) -> u64 {
        self.events[event as usize]
    }
}

impl Rig {
    /// The plane.
    pub fn plane(&self) -> &XdpPlane {
        self.balancer.plane()
    }

    /// The control side.
    pub fn balancer(&mut self) -> &mut Balancer<XdpPlane> {
        &mut self.balancer
    }

    /// The configuration that was applied last.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Forgets every connection, as a fresh program would.
    pub fn forget(&mut self) {
        super::table::clear(self.plane().flow_table());
        self.ledger.clear();
    }

    /// Makes the tables what this configuration wants, and every backend's Ethernet address known.
    pub fn apply(&mut self, config: &Config) {
        self.balancer.apply(config).expect("the tables are large enough");
        self.config = config.clone();
        for address in self.balancer.backend_addresses() {
            if !self.unresolved.contains(&address) {
                self.set_next_hop(address, backend_mac(address));
            }
        }
    }

    /// Tells where packets for this backend must be sent.
    pub fn set_next_hop(&mut self, address: Ipv4Addr, mac: [u8; 6]) {
        self.balancer.set_next_hop(NextHop { address, mac: MacAddress(mac) }).expect("the backend has a place");
    }

    /// Now, by the program's clock.
    pub fn now(&self) -> Tick {
        self.plane().now().expect("the clock runs")
    }

    /// Verdicts and events so far.
    pub fn counters(&self) -> Counters {
        self.plane().counters().expect("the counters can be read")
    }

    /// Sends a packet through the program, and holds what came of it against everything that must be true of any
    /// packet: one reason was counted, and it is the verdict's; what is not sent is as it came; what is sent is what
    /// etherparse makes of the same packet with the addresses that the connection has.
    #[track_caller]
    pub fn send(&mut self, packet: &[u8]) -> Outcome {
        let outcome = self.send_any(packet);
        if outcome.reason.verdict() == Verdict::Transmit {
            let input = Parsed::of(packet).expect("etherparse reads what is sent");
            let output = Parsed::of(&outcome.bytes).expect("etherparse reads what was sent");
            let opened = outcome.happened(Event::FlowOpened) > 0;
            let change = self.ledger.expect(&self.config, outcome.reason, opened, &input, &output);
            let expected = input.changed(&change).bytes();
            assert_eq!(outcome.bytes, expected, "etherparse would have sent other bytes (right): {change:?}");
            self.translations.push(Translation { input: packet.to_vec(), change, output: outcome.bytes.clone() });
        }
        outcome
    }

    /// The same for a packet that no oracle reads.
    #[track_caller]
    pub fn send_any(&self, packet: &[u8]) -> Outcome {
        let before = self.counters();
        let (code, bytes) = run(self.plane(), packet);
        let outcome = judge(code, packet, bytes, &before, &self.counters());
        outcome.unwrap_or_else(|fault| panic!("{fault}: {packet:02x?}"))
    }

    /// The reason that a packet gets.
    #[track_caller]
    pub fn reason(&mut self, draft: &Draft) -> Reason {
        self.send(&draft.bytes()).reason
    }

    /// A packet that must get this reason.
    #[track_caller]
    pub fn expect(&mut self, draft: &Draft, reason: Reason) -> Outcome {
        let outcome = self.send(&draft.bytes());
        assert_eq!(outcome.reason, reason, "{draft:?}");
        outcome
    }

    /// The client's first packet, and the connection that it opened.
    #[track_caller]
    pub fn open(&mut self, protocol: Protocol, client: SocketAddrV4, service: SocketAddrV4) -> Connection {
        let first = match protocol {
            Protocol::Tcp => tcp(client, service, SYN),
            Protocol::Udp => udp(client, service),
        };
        let outcome = self.expect(&first, Reason::ToBackend);
        assert_eq!(outcome.happened(Event::FlowOpened), 1, "{first:?} is not the connection's first");
        self.known(protocol, client, service)
    }

    /// The connection that this client has to this service.
    #[track_caller]
    pub fn known(&self, protocol: Protocol, client: SocketAddrV4, service: SocketAddrV4) -> Connection {
        self.ledger.connection((protocol, client, service)).expect("it was opened")
    }

    /// A connection after its handshake: both sides have spoken, and the client again after that.
    #[track_caller]
    pub fn establish(&mut self, protocol: Protocol, client: SocketAddrV4, service: SocketAddrV4) -> Connection {
        let connection = self.open(protocol, client, service);
        self.expect(&connection.answers(SYN | ACK), Reason::ToClient);
        self.expect(&connection.says(ACK), Reason::ToBackend);
        connection
    }

    /// Both sides of the connection carry a packet, each to where it belongs, and nothing is opened for it.
    #[track_caller]
    pub fn assert_works(&mut self, connection: &Connection) {
        let outcome = self.expect(&connection.says(ACK), Reason::ToBackend);
        assert_eq!(outcome.happened(Event::FlowOpened), 0, "{connection:?} was opened again");
        self.expect(&connection.answers(ACK), Reason::ToClient);
        let Connection { protocol, client, service, .. } = *connection;
        let now = self.known(protocol, client, service);
        assert_eq!((now.nat, now.backend), (connection.nat, connection.backend), "the connection has moved");
    }

    /// FIN from both sides.
    #[track_caller]
    pub fn close(&mut self, connection: &Connection) {
        self.expect(&connection.says(FIN | ACK), Reason::ToBackend);
        self.expect(&connection.answers(FIN | ACK), Reason::ToClient);
    }
}

impl Connection {
    /// The client's packet; the control bits mean something for TCP only.
    pub fn says(&self, flags: u8) -> Draft {
        let draft = match self.protocol {
            Protocol::Tcp => tcp(self.client, self.service, flags),
            Protocol::Udp => udp(self.client, self.service),
        };
        draft.source_mac(self.client_mac)
    }

    /// The backend's packet.
    pub fn answers(&self, flags: u8) -> Draft {
        let draft = match self.protocol {
            Protocol::Tcp => tcp(self.backend, self.nat, flags),
            Protocol::Udp => udp(self.backend, self.nat),
        };
        draft.source_mac(backend_mac(*self.backend.ip()))
    }
}

/// An end as the core has it.
pub(crate) fn peer(end: SocketAddrV4) -> Peer {
    Peer { address: (*end.ip()).into(), port: Port::from_number(end.port()) }
}

/// What is true of every packet, whatever it is.
fn judge(code: u32, packet: &[u8], bytes: Vec<u8>, before: &Counters, after: &Counters) -> Result<Outcome, String> {
    let difference = |after: &[u64], before: &[u64]| after.iter().zip(before).map(|(a, b)| a - b).collect::<Vec<_>>();
    let verdicts = difference(&after.verdicts, &before.verdicts);
    let reasons: Vec<_> = Reason::ALL.iter().filter(|&&reason| verdicts[reason as usize] > 0).collect();
    let (1, [reason]) = (verdicts.iter().sum(), reasons.as_slice()) else {
        return Err(format!("one packet, and counted were {reasons:?}"));
    };
    if action(reason.verdict()) != code {
        return Err(format!("counted as {}, but the verdict is {code}", reason.name()));
    }
    if reason.verdict() != Verdict::Transmit && bytes != packet {
        return Err(format!("{} changed the packet to {bytes:02x?}", reason.name()));
    }
    let events = difference(&after.events, &before.events).try_into().expect("as many as there were");
    Ok(Outcome { reason: **reason, bytes, events })
}

/// The number that the kernel has for a verdict.
pub fn action(verdict: Verdict) -> u32 {
    // `enum xdp_action` of linux/bpf.h.
    match verdict {
        Verdict::Drop => 1,
        Verdict::Pass => 2,
        Verdict::Transmit => 3,
    }
}

/// The verdict on a packet, as the kernel's number, and the packet afterwards.
#[track_caller]
pub fn run(plane: &XdpPlane, packet: &[u8]) -> (u32, Vec<u8>) {
    let program = plane.program().expect("it is loaded");
    match test_run(program, packet, None, 1) {
        Ok(outcome) => outcome,
        Err(error) => panic!("BPF_PROG_TEST_RUN of {} bytes: {error}", packet.len()),
    }
}

/// BPF_PROG_TEST_RUN. `linear`: how much of the packet is in its first buffer, if not as much as fits.
///
/// # Errors
/// The kernel's.
pub fn test_run(program: &Xdp, packet: &[u8], linear: Option<u32>, repeat: u32) -> io::Result<(u32, Vec<u8>)> {
    // `struct xdp_md`: data, data_end, then four fields that are zero.
    let context: Vec<u8> =
        [0, linear.unwrap_or(0), 0, 0, 0, 0].iter().flat_map(|field: &u32| field.to_ne_bytes()).collect();
    let mut out = vec![0; packet.len()];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ctx_in: linear.map(|_| context.as_slice()),
        repeat,
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).map_err(system_error)?;
    assert_eq!(result.data_size_out as usize, packet.len(), "the program changed the packet's length");
    Ok((result.return_value, out))
}

fn system_error(error: ProgramError) -> io::Error {
    match error {
        programs::ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}

/// Keeps the calling thread on this CPU, or on the machine's only one.
pub fn pin(cpu: usize) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: a CPU set is plain bits; the calls write and read only what they are given, and `cpu` is below its size.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu % cpus, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    // A container may allow other CPUs than these; then the threads run where they may.
    if failed != 0 {
        println!("not pinned to CPU {cpu}: {}", io::Error::last_os_error());
    }
}
