//! Ports and their queues (DPDK Programmer's Guide, "Poll Mode Driver").

use crate::eal::{Eal, strerror, why_no_port};
use crate::error::DpdkError;
use crate::idle::Rest;
use crate::interrupt::{Bell, Interrupt};
use crate::mbuf::{Burst, Mbuf, free};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::signals::NoFreeSignals;
use arrayvec::ArrayVec;
use evenkeel_dpdk_sys as sys;
use evenkeel_wire::MacAddress;
use std::ffi::{CStr, c_char};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// Descriptors of each queue, if the port has no other wish.
const DESCRIPTORS: u16 = 1024;
/// Megabits a second of a port that does not say how fast it is.
const LIKELY_SPEED: u64 = 10_000;
/// Of the shortest frames, which take 84 bytes on the wire with what is between them (IEEE 802.3, clause 4.4.2).
const PACKETS_A_MEGABIT: u64 = 1_000_000 / (84 * 8);
/// Packets that the kernel puts into a socket in a second, on one CPU, generously.
const FROM_THE_KERNEL: u64 = 2_000_000;
/// Drivers whose packets the kernel or a host has spread over queues before they come here.
const SPREAD_BY_OTHERS: [&str; 5] = ["net_tap", "net_af_packet", "net_af_xdp", "net_vhost", "net_virtio_user"];
/// Bytes of a frame around its packet: Ethernet, two VLAN tags, and the check sequence that some ports leave there.
const AROUND: u16 = 14 + 2 * 4 + 4;
/// How often what a full transmit queue did not take is offered again before it is dropped.
const OFFERS: u32 = 8;

/// A port that EAL has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    id: u16,
    /// Its name, such as `net_tap0` or a PCI address.
    pub name: String,
    /// Its driver, such as `net_tap`.
    pub driver: String,
    /// The kernel's number of the interface behind it; 0: none.
    pub if_index: u32,
    /// The Ethernet address that the device has.
    pub device_mac: MacAddress,
    /// Receive queues that it can have.
    pub max_rx_queues: u16,
    /// Transmit queues that it can have.
    pub max_tx_queues: u16,
    /// Whether packets are spread over several receive queues: by the port, or by whoever is behind it.
    pub spreads: bool,
    /// Whether a packet can lie in several mbufs.
    has_segments: bool,
    /// The shortest and longest packets that it says it carries, in bytes.
    mtu: (u16, u16),
}

impl PortInfo {
    /// The one port that EAL has found; `log` is what EAL wrote while it started.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn only(eal: &Eal, log: &str) -> Result<Self, DpdkError> {
        let mut ports = Self::all(eal)?;
        match ports.pop() {
            Some(port) if ports.is_empty() => Ok(port),
            Some(last) => {
                ports.push(last);
                Err(DpdkError::ManyPorts(ports.into_iter().map(|port| port.name).collect()))
            }
            None => Err(why_no_port(log)),
        }
    }

    /// Every port that EAL has found, but for those that belong to another one, such as the parts of a fail-safe device.
    ///
    /// # Errors
    /// A port does not say what it is.
    pub fn all(eal: &Eal) -> Result<Vec<Self>, DpdkError> {
        let _one_at_a_time = eal.configure();
        let mut ports = Vec::new();
        let mut next = 0;
        loop {
            // SAFETY: numbers only.
            let found = unsafe { sys::rte_eth_find_next_owned_by(next, sys::RTE_ETH_DEV_NO_OWNER.into()) };
            match u16::try_from(found) {
                Ok(found) if u32::from(found) < sys::RTE_MAX_ETHPORTS => ports.push(Self::of(found)?),
                _ => return Ok(ports),
            }
            next = found as u16 + 1;
        }
    }

    fn of(id: u16) -> Result<Self, DpdkError> {
        let mut name = [0 as c_char; sys::RTE_ETH_NAME_MAX_LEN as usize];
        // SAFETY: the buffer is as long as DPDK wants it, and zero where nothing is written.
        let name = unsafe {
            sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr());
            CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
        };
        let info = device_info(id, &name)?;
        let mut mac = MaybeUninit::<sys::rte_ether_addr>::zeroed();
        // SAFETY: DPDK writes the address, or nothing.
        let mac = unsafe {
            sys::rte_eth_macaddr_get(id, mac.as_mut_ptr());
            mac.assume_init()
        };
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: a string of the driver's, which stays.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        Ok(Self {
            id,
            name,
            if_index: info.if_index,
            device_mac: MacAddress(mac.addr_bytes),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            spreads: info.flow_type_rss_offloads & sys::EVENKEEL_RSS_IPV4 != 0 || SPREAD_BY_OTHERS.contains(&&*driver),
            has_segments: info.rx_offload_capa & sys::EVENKEEL_RX_OFFLOAD_SCATTER != 0
                && info.tx_offload_capa & sys::EVENKEEL_TX_OFFLOAD_MULTI_SEGS != 0,
            mtu: (info.min_mtu, longest_packet(&info)),
            driver,
        })
    }

    /// Bytes that an mbuf should have room for, so that this port carries such packets: as usual, unless they are longer
    /// and cannot lie in several.
    pub fn room_for(&self, mtu: Option<u16>) -> u16 {
        match mtu.map(frame) {
            Some(frame) if frame > Pool::ROOM && !self.has_segments => frame,
            _ => Pool::ROOM,
        }
    }

    /// EAL's number for it.
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// Whether its cable is plugged in, as far as it knows.
    pub fn is_up(&self) -> bool {
        self.link().link_status() != 0
    }

    /// The name of the kernel's interface behind it, if there is one and that can be told.
    pub fn interface(&self) -> Option<String> {
        self.find_interface().ok()
    }

    fn find_interface(&self) -> io::Result<String> {
        let mut name = [0 as c_char; libc::IF_NAMESIZE];
        // SAFETY: the buffer is as long as the call wants it; what it writes ends with a zero.
        unsafe {
            if libc::if_indextoname(self.if_index, name.as_mut_ptr()).is_null() {
                return Err(io::Error::last_os_error());
            }
            Ok(CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned())
        }
    }

    /// How many packets may come in a second: as many of the shortest as its speed allows, or as the kernel hands over.
    fn packets_a_second(&self) -> u64 {
        if matches!(self.driver.as_str(), "net_af_packet" | "net_pcap") {
            return FROM_THE_KERNEL;
        }
        match self.link().link_speed {
            0 | sys::RTE_ETH_SPEED_NUM_UNKNOWN => LIKELY_SPEED * PACKETS_A_MEGABIT,
            speed => u64::from(speed) * PACKETS_A_MEGABIT,
        }
    }

    fn link(&self) -> sys::rte_eth_link {
        let mut link = MaybeUninit::<sys::rte_eth_link>::zeroed();
        // SAFETY: DPDK writes the structure, for which zero is a value: down.
        unsafe {
            sys::rte_eth_link_get_nowait(self.id, link.as_mut_ptr());
            link.assume_init()
        }
    }

    /// Packets that it has received and sent since it was started, as it counts them itself.
    pub fn packets(&self) -> (u64, u64) {
        let mut counted = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: DPDK writes the structure, for which zero is a value, or nothing.
        let counted = unsafe {
            sys::rte_eth_stats_get(self.id, counted.as_mut_ptr());
            counted.assume_init()
        };
        (counted.ipackets, counted.opackets)
    }

    /// Whether there was an interface of the kernel's behind it, and is none any more.
    pub fn has_lost_its_interface(&self) -> bool {
        // Not if there is no descriptor to ask by, for instance.
        let is_unknown = |error: io::Error| matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV));
        self.if_index != 0 && self.find_interface().is_err_and(is_unknown)
    }

    /// Whether a TAP device of the kernel's is behind it.
    pub fn is_tap(&self) -> bool {
        self.driver == "net_tap"
    }

    /// The Ethernet address that a balancer on this port has. The device's, but for TAP: there the kernel's end of the
    /// device has that address, and a bridge keeps frames for the addresses of its own ports to itself (`br_fdb` in the
    /// kernel: local entries). The neighbouring address is as good, and a TAP hands over every frame.
    pub fn mac(&self) -> MacAddress {
        let MacAddress([a, b, c, d, e, f]) = self.device_mac;
        if self.is_tap() { MacAddress([a, b, c, d, e, f ^ 1]) } else { self.device_mac }
    }
}

/// The longest packet that a port says it carries. Some tell only how long frames may be (as ethdev itself reckons:
/// eth_dev_get_overhead_len).
fn longest_packet(info: &sys::rte_eth_dev_info) -> u16 {
    match info.max_mtu {
        u16::MAX => u16::try_from(info.max_rx_pktlen.saturating_sub(14 + 4)).unwrap_or(u16::MAX),
        most => most,
    }
}

/// Bytes of a frame with a packet of this length.
fn frame(mtu: u16) -> u16 {
    mtu.saturating_add(AROUND)
}

fn device_info(id: u16, name: &str) -> Result<sys::rte_eth_dev_info, DpdkError> {
    let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
    // SAFETY: DPDK writes the structure, for which zero is a value.
    let (code, info) = unsafe { (sys::rte_eth_dev_info_get(id, info.as_mut_ptr()), info.assume_init()) };
    checked(name, "asking what it is", code)?;
    Ok(info)
}

fn checked(port: &str, what: &'static str, code: i32) -> Result<(), DpdkError> {
    if code == 0 { Ok(()) } else { Err(DpdkError::Port { port: port.to_owned(), what, reason: strerror(code) }) }
}

/// A port at work. Stopped and closed when dropped, and its device is gone then.
#[derive(Debug)]
pub struct Port<'p> {
    eal: &'p Eal,
    info: PortInfo,
    queues: u16,
    /// Receive descriptors of each queue.
    descriptors: u16,
    bell: Bell,
    /// What queues are waited for by, if the port calls. Closed after the port, which has added to them.
    interrupts: Vec<Option<Interrupt>>,
    /// What EAL made it from, if it is of this process's making.
    vdev: Option<String>,
    /// What it is over, if it is one of ours.
    rings: Vec<Arc<Ring<'p>>>,
    pool: PhantomData<&'p Pool<'p>>,
}

impl<'p> Port<'p> {
    /// Starts a port with so many receive and as many transmit queues. Packets are spread over the receive queues by a
    /// hash of their addresses and ports (RSS) if the port can do that. With `mtu` it carries packets of so many bytes, for
    /// which its pool should have [`PortInfo::room_for`].
    ///
    /// # Errors
    /// The port refuses.
    pub fn start(
        eal: &'p Eal,
        info: PortInfo,
        queues: u16,
        mtu: Option<u16>,
        pool: &'p Pool<'_>,
    ) -> Result<Self, DpdkError> {
        let bell = Bell::new().map_err(|error| DpdkError::Port {
            port: info.name.clone(),
            what: "making its bell",
            reason: error.to_string(),
        })?;
        let (descriptors, interrupts) = (DESCRIPTORS, Vec::new());
        let (vdev, rings, pool_) = (None, Vec::new(), PhantomData);
        let mut port = Self { eal, info, queues, descriptors, bell, interrupts, vdev, rings, pool: pool_ };
        // Made after the port, so given back before it: a port that refuses is closed on the way out, which takes it, too.
        let _one_at_a_time = eal.configure();
        // A port that cannot call may refuse to start when it shall, and starts if it need not.
        port.descriptors = match port.set_up(pool, mtu, true) {
            // Of two reasons, the first is about what was wanted.
            Err(why @ DpdkError::Port { .. }) => port.set_up(pool, mtu, false).map_err(|_| why)?,
            done => done?,
        };
        let id = port.info.id;
        port.interrupts = (0..queues).map(|queue| Interrupt::of(id, queue, &port.bell)).collect();
        Ok(port)
    }

    /// Configures and starts it; returns how many receive descriptors its queues have.
    fn set_up(&self, pool: &'p Pool<'_>, mtu: Option<u16>, calls: bool) -> Result<u16, DpdkError> {
        let (id, name, queues) = (self.info.id, self.info.name.as_str(), self.queues);
        let device = device_info(id, name)?;
        // SAFETY: plain data, for which zero is a value: everything as the driver likes it.
        let mut conf: sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        conf.intr_conf.set_rxq(calls.into());
        let rss = device.flow_type_rss_offloads & sys::EVENKEEL_RSS_IPV4;
        if queues > 1 && rss != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = rss;
        }
        conf.txmode.offloads = device.tx_offload_capa & sys::EVENKEEL_TX_OFFLOAD_MULTI_SEGS;
        let (mut rx, mut tx) = (DESCRIPTORS, DESCRIPTORS);
        if let Some(mtu) = mtu {
            self.refuse_mtu(mtu, pool)?;
            conf.rxmode.mtu = mtu.into();
        }
        // A packet in several mbufs, of which only the headers are looked at. Not where it is not needed: drivers take
        // slower ways for it. Over net_tap every system call names each mbuf that a packet could take, so it has few.
        let segments = mtu.map_or(1, |mtu| frame(mtu).div_ceil(pool.room()));
        if segments > 1 {
            conf.rxmode.offloads = device.rx_offload_capa & sys::EVENKEEL_RX_OFFLOAD_SCATTER;
            if self.info.is_tap() {
                rx = segments;
            }
        }
        let _taken = NoFreeSignals::take();
        // SAFETY: pointers to values of our own, the pool outlives the port, and the port is not started yet.
        unsafe {
            checked(name, "configuring it", sys::rte_eth_dev_configure(id, queues, queues, &conf))?;
            self.set_mtu(mtu)?;
            checked(name, "sizing its queues", sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx, &mut tx))?;
            for queue in 0..queues {
                let code = sys::rte_eth_rx_queue_setup(id, queue, rx, 0, std::ptr::null(), pool.as_ptr());
                checked(name, "setting up a receive queue", code)?;
                let code = sys::rte_eth_tx_queue_setup(id, queue, tx, 0, std::ptr::null());
                checked(name, "setting up a transmit queue", code)?;
            }
            checked(name, "starting it", sys::rte_eth_dev_start(id))?;
        }
        Ok(rx)
    }

    /// Why it cannot carry such packets, as far as it says so beforehand.
    fn refuse_mtu(&self, mtu: u16, pool: &Pool<'_>) -> Result<(), DpdkError> {
        let (least, most) = self.info.mtu;
        let reason = if mtu < least || mtu > most {
            format!("it carries {least} to {most}")
        } else if frame(mtu) > pool.room() && !self.info.has_segments {
            format!("a packet lies in one buffer there, of {} bytes", pool.room())
        } else {
            return Ok(());
        };
        Err(DpdkError::Mtu { port: self.info.name.clone(), mtu, reason })
    }

    /// Tells a port that is configured, and not started, how long packets may be. Some know it from their configuration.
    fn set_mtu(&self, mtu: Option<u16>) -> Result<(), DpdkError> {
        let Some(mtu) = mtu else { return Ok(()) };
        // SAFETY: numbers, and a pointer to one of our own.
        let (code, known) = unsafe {
            let code = sys::rte_eth_dev_set_mtu(self.info.id, mtu);
            let mut known = 0;
            sys::rte_eth_dev_get_mtu(self.info.id, &mut known);
            (code, known)
        };
        if code == 0 || (code == -libc::ENOTSUP && known == mtu) {
            return Ok(());
        }
        Err(DpdkError::Mtu { port: self.info.name.clone(), mtu, reason: strerror(code) })
    }

    /// A port over rings: what is put into `rx` arrives, one queue each, and what it sends is put into `tx` (DPDK's
    /// net_ring driver).
    ///
    /// # Errors
    /// EAL has no room for another port, or the port refuses.
    pub fn over_rings(
        eal: &'p Eal,
        rx: &[Arc<Ring<'p>>],
        tx: &[Arc<Ring<'p>>],
        pool: &'p Pool<'_>,
    ) -> Result<Self, DpdkError> {
        let pointers = |rings: &[Arc<Ring<'_>>]| rings.iter().map(|ring| ring.as_ptr()).collect::<Vec<_>>();
        let (receive, transmit) = (pointers(rx), pointers(tx));
        let queues = rx.len().min(tx.len()) as u16;
        let name = eal.name("");
        let info = {
            let _one_at_a_time = eal.configure();
            // SAFETY: as many rings as is said; the port keeps them until it is closed.
            let id = unsafe {
                sys::rte_eth_from_rings(
                    name.as_ptr(),
                    receive.as_ptr(),
                    receive.len() as u32,
                    transmit.as_ptr(),
                    transmit.len() as u32,
                    0,
                )
            };
            let Ok(id) = u16::try_from(id) else {
                let what = "a port over rings".to_owned();
                return Err(DpdkError::Memory { what, reason: crate::eal::last_error() });
            };
            PortInfo::of(id)?
        };
        let vdev = info.name.clone();
        let mut port = Self::start(eal, info, queues, None, pool)?;
        port.vdev = Some(vdev);
        port.rings = [rx, tx].concat();
        Ok(port)
    }

    /// What it is.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// What calls its lcores while they wait for packets.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// How its lcores can rest.
    pub fn rest(&self) -> Rest {
        let sleep = Rest::sleep(self.descriptors, self.info.packets_a_second());
        if self.interrupts.iter().all(Option::is_some) { Rest::Interrupt } else { sleep }
    }

    /// Its queues, each for one thread.
    pub fn queues(&mut self) -> Vec<Queues<'_, 'p>> {
        let port = self.info.id;
        let rest = self.rest();
        let interrupts = (0..self.queues).zip(&self.interrupts);
        interrupts
            .map(|(queue, interrupt)| Queues {
                rx: RxQueue { port, queue, rest, interrupt: interrupt.as_ref(), owner: PhantomData },
                tx: TxQueue { port, queue, owner: PhantomData, mbufs: PhantomData },
            })
            .collect()
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        let _one_at_a_time = self.eal.configure();
        // SAFETY: the queues borrow from the port and so have gone. What it could not do we cannot do either.
        unsafe {
            sys::rte_eth_dev_stop(self.info.id);
            sys::rte_eth_dev_close(self.info.id);
            if let Some(Ok(vdev)) = self.vdev.take().map(std::ffi::CString::new) {
                sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), vdev.as_ptr());
            }
        }
    }
}

/// A receive queue and a transmit queue.
#[derive(Debug)]
pub struct Queues<'a, 'p> {
    /// Receives.
    pub rx: RxQueue<'a, 'p>,
    /// Sends.
    pub tx: TxQueue<'a, 'p>,
}

/// A receive queue. One thread uses it.
#[derive(Debug)]
pub struct RxQueue<'a, 'p> {
    port: u16,
    queue: u16,
    rest: Rest,
    interrupt: Option<&'a Interrupt>,
    owner: PhantomData<(&'a mut (), &'p ())>,
}

impl<'p> RxQueue<'_, 'p> {
    /// How whoever polls it in vain can rest.
    pub fn rest(&self) -> Rest {
        self.rest
    }

    /// Has the port call when something arrives from now on. What has arrived before has to be looked for once more.
    pub(crate) fn arm(&mut self) {
        // SAFETY: numbers. Drivers whose interrupts are always on do not have this.
        unsafe { sys::rte_eth_dev_rx_intr_enable(self.port, self.queue) };
    }

    /// And no more.
    pub(crate) fn disarm(&mut self) {
        // SAFETY: as above.
        unsafe { sys::rte_eth_dev_rx_intr_disable(self.port, self.queue) };
    }

    /// Waits until the port or its bell calls, or for so long.
    pub(crate) fn wait(&self, longest: Duration) {
        if let Some(interrupt) = self.interrupt {
            interrupt.wait(longest);
        }
    }

    /// Takes what has arrived, as much as `burst` has room for.
    #[inline(always)]
    pub fn receive(&mut self, burst: &mut Burst<'p>) {
        let free = burst.remaining_capacity() as u16;
        // SAFETY: DPDK writes at most `free` pointers behind those that are there, which is how much room there is;
        // `Mbuf` is a pointer, and these are nobody else's. `&mut self`: no other thread is at the queue.
        unsafe {
            let end = burst.as_mut_ptr().add(burst.len());
            let received = sys::evenkeel_rte_eth_rx_burst(self.port, self.queue, end.cast(), free);
            burst.set_len(burst.len() + usize::from(received));
        }
    }
}

/// A transmit queue. One thread uses it.
#[derive(Debug)]
pub struct TxQueue<'a, 'p> {
    port: u16,
    queue: u16,
    owner: PhantomData<&'a mut ()>,
    /// Not any shorter-lived mbufs either: a port may keep them.
    mbufs: PhantomData<fn(Mbuf<'p>) -> Mbuf<'p>>,
}

impl<'p> TxQueue<'_, 'p> {
    /// Sends packets, all of them if the queue has room before long; returns how many were dropped because it had not.
    #[inline(always)]
    pub fn send<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf<'p>, N>) -> usize {
        for _ in 0..OFFERS {
            let count = packets.len();
            if count == 0 {
                return 0;
            }
            // SAFETY: `count` pointers to mbufs that are ours; those that the port takes are its own afterwards, and are
            // moved out of the list without being dropped. `&mut self`: no other thread is at the queue.
            unsafe {
                let first = packets.as_mut_ptr();
                let taken = sys::evenkeel_rte_eth_tx_burst(self.port, self.queue, first.cast(), count as u16);
                let taken = usize::from(taken).min(count);
                first.copy_from(first.add(taken), count - taken);
                packets.set_len(count - taken);
            }
        }
        let dropped = packets.len();
        free(packets);
        dropped
    }
}
