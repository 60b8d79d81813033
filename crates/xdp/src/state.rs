//! What a process must know of the tables that it takes over, beside what lies in them. Kept in a map of one entry, which
//! no packet looks at: it comes and goes with the tables, and only who may read those can read the secrets in it.

use crate::error::XdpError;
use crate::interface::Interface;
use crate::namespace;
use crate::plain::{Plain, failed};
use aya::maps::{Array, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use evenkeel_control::config::Nat;
use evenkeel_control::{Secrets, Sizes};
use evenkeel_core::{LAYOUT, counter_names};
use evenkeel_wire::MacAddress;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Name of the map.
pub(crate) const STATE: &str = "STATE";

/// Everything that the tables of one process were made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct State {
    /// See [`LAYOUT`]; stays in front in every version.
    pub(crate) layout: u32,
    /// The interface's index.
    pub(crate) interface: u32,
    /// The network namespace that the index is of: device and inode.
    pub(crate) namespace: [u64; 2],
    /// See [`counter_names`].
    pub(crate) counters: u64,
    pick_secret: [u64; 2],
    flow_secret: [u32; 4],
    flows: u32,
    wide_flows: u32,
    backends: u32,
    services: u32,
    addresses: u32,
    /// How many IPv4 NAT addresses there are; they lie in a table of their own.
    pub(crate) nat_addresses: u32,
    /// The same of IPv6.
    pub(crate) wide_nat_addresses: u32,
    nat_ports: [u16; 2],
    /// The interface's Ethernet address.
    mac: MacAddress,
    /// Not zero if another process may take the tables over.
    heritable: u8,
    reserved: u8,
}

impl State {
    /// The state of tables that are made now.
    pub(crate) fn new(
        interface: &Interface,
        sizes: &Sizes,
        secrets: &Secrets,
        nat: &Nat,
        heritable: bool,
    ) -> Result<Self, XdpError> {
        Ok(Self {
            layout: LAYOUT,
            interface: interface.index,
            namespace: namespace::network()?,
            counters: counter_names(),
            pick_secret: secrets.pick,
            flow_secret: secrets.flow,
            flows: sizes.flows,
            wide_flows: sizes.wide_flows,
            backends: sizes.backends,
            services: sizes.services,
            addresses: sizes.addresses,
            nat_addresses: nat.ipv4().len() as u32,
            wide_nat_addresses: nat.ipv6().len() as u32,
            nat_ports: nat.ports.into(),
            mac: interface.mac,
            heritable: heritable.into(),
            reserved: 0,
        })
    }

    /// The same for tables of other sizes.
    pub(crate) fn with_sizes(self, sizes: &Sizes) -> Self {
        let Sizes { flows, wide_flows, backends, services, addresses } = *sizes;
        Self { flows, wide_flows, backends, services, addresses, ..self }
    }

    /// A map that holds it.
    pub(crate) fn store(&self) -> Result<Map, XdpError> {
        let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, 4, size_of::<Self>() as u32, 1, 0);
        let mut map = Map::Array(MapData::create(definition, STATE, None).map_err(|error| failed(STATE, error))?);
        Array::try_from(&mut map)
            .and_then(|mut array| array.set(0, Plain(*self), 0))
            .map_err(|error| failed(STATE, error))?;
        Ok(map)
    }

    /// What such a map holds; nothing if it is of a version whose state is shaped otherwise.
    pub(crate) fn load(map: MapData) -> Option<Self> {
        if map.info().ok()?.value_size() as usize != size_of::<Self>() {
            return None;
        }
        let array = Array::<_, Plain<Self>>::try_from(Map::Array(map)).ok()?;
        array.get(&0, 0).ok().map(|Plain(state)| state)
    }

    /// The secrets.
    pub(crate) fn secrets(&self) -> Secrets {
        Secrets { pick: self.pick_secret, flow: self.flow_secret }
    }

    /// The sizes of the tables.
    pub(crate) fn sizes(&self) -> Sizes {
        let Self { flows, wide_flows, backends, services, addresses, .. } = *self;
        Sizes { flows, wide_flows, backends, services, addresses }
    }

    /// First and last NAT port.
    pub(crate) fn nat_ports(&self) -> (u16, u16) {
        self.nat_ports.into()
    }

    /// Whether another process may take the tables over.
    pub(crate) fn is_heritable(&self) -> bool {
        self.heritable != 0
    }

    /// Whether it is about an interface of this network namespace.
    pub(crate) fn is_of_this_namespace(&self) -> bool {
        namespace::network().is_ok_and(|ours| ours == self.namespace)
    }
}
