//! What an interface is, as far as XDP cares.

use crate::error::XdpError;
use crate::netlink::{ask, ask_for_all, failed};
use evenkeel_wire::MacAddress;
use futures_util::StreamExt;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVrf, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::{Handle, LinkGetRequest};
use std::pin::pin;

/// An interface as it was when it was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index in this network namespace.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Whether it is one end of a veth pair.
    pub is_veth: bool,
    /// What is at the veth's other end.
    pub(crate) peer: Peer,
    /// Id of the XDP program attached, and whether in generic mode.
    pub(crate) program: Option<(u32, bool)>,
    /// The bridge, bond or team that it is a port of.
    pub(crate) master: Option<Master>,
    /// The VRF that it is a port of.
    pub vrf: Option<Vrf>,
}

/// What some interfaces have for themselves: a routing table (Linux, Documentation/networking/vrf.rst).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// The name of the interface that stands for it. A socket that is bound to that speaks there.
    pub name: String,
    /// That interface's index. A route that is asked for with it is looked for in the VRF's table, whichever of its ports it leaves
    /// by.
    pub index: u32,
    /// The table.
    pub table: u32,
}

/// What has taken an interface for a port of its own: the kernel sends through it and not through its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Master {
    /// Its name.
    pub(crate) name: String,
    /// `bridge`, `bond` or `team`.
    pub(crate) kind: String,
}

/// The other end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// In another network namespace, or there is none.
    OutOfSight,
    /// Here, with this index.
    Here(u32),
    /// Here, and it has an XDP program.
    HereWithProgram,
}

impl Interface {
    /// Asks the kernel.
    ///
    /// # Errors
    /// There is no such interface, or it is not an Ethernet one.
    pub async fn find(netlink: &Handle, name: &str) -> Result<Self, XdpError> {
        // IFNAMSIZ, with the closing zero (linux/if.h).
        if name.is_empty() || name.len() > 15 {
            return Err(XdpError::NoInterface(name.to_owned()));
        }
        let Some(message) = link(|| netlink.link().get().match_name(name.to_owned())).await? else {
            return Err(XdpError::NoInterface(name.to_owned()));
        };
        let mut interface = Self::read(name, &message)?;
        if let Peer::Here(index) = interface.peer
            && let Ok(Some(peer)) = link(|| netlink.link().get().match_index(index)).await
            && program(&peer).is_some()
        {
            interface.peer = Peer::HereWithProgram;
        }
        if let Some(index) = master(&message)
            && let Ok(Some(above)) = link(|| netlink.link().get().match_index(index)).await
        {
            interface.master = Master::read(&above);
            interface.vrf = Vrf::read(&above);
        }
        Ok(interface)
    }

    /// Whether an XDP program was attached.
    pub(crate) fn has_program(&self) -> bool {
        self.program.is_some()
    }

    /// What the kernel says of the interface now, under whatever name; nothing if it is gone.
    ///
    /// # Errors
    /// Netlink does not answer.
    pub async fn message(&self, netlink: &Handle) -> Result<Option<LinkMessage>, XdpError> {
        link(|| netlink.link().get().match_index(self.index)).await
    }

    /// The Ethernet address that a message about this interface gives it.
    pub fn mac_in(&self, message: &LinkMessage) -> Option<MacAddress> {
        let attributes = message.attributes.iter().filter(|_| message.header.index == self.index);
        let mut addresses = attributes.filter_map(|attribute| match attribute {
            LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok().map(MacAddress),
            _ => None,
        });
        addresses.next().filter(|mac| !mac.is_zero())
    }

    fn read(name: &str, message: &LinkMessage) -> Result<Self, XdpError> {
        let mut interface = Self {
            name: name.to_owned(),
            index: message.header.index,
            mac: MacAddress::default(),
            is_veth: false,
            peer: Peer::OutOfSight,
            program: program(message),
            master: None,
            vrf: None,
        };
        let mut peer_is_elsewhere = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => {
                    interface.mac = MacAddress(bytes.as_slice().try_into().unwrap_or_default());
                }
                LinkAttribute::LinkInfo(infos) => {
                    interface.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                LinkAttribute::Link(index) => interface.peer = Peer::Here(*index),
                LinkAttribute::LinkNetNsId(_) => peer_is_elsewhere = true,
                _ => {}
            }
        }
        if !interface.is_veth || peer_is_elsewhere {
            interface.peer = Peer::OutOfSight;
        }
        let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        if is_ethernet && !interface.mac.is_zero() {
            Ok(interface)
        } else {
            Err(XdpError::NotEthernet(name.to_owned()))
        }
    }

    /// Whether frames sent out of this interface by a native XDP program arrive. Always, but on a veth: there the other
    /// end must have an XDP program of its own, or frames are dropped, or lie there until something else wakes it
    /// (`veth_xdp_xmit` and `veth_xdp_flush` in drivers/net/veth.c). Nothing if that cannot be seen from here.
    pub fn native_transmit_arrives(&self) -> Option<bool> {
        match self.peer {
            _ if !self.is_veth => Some(true),
            Peer::HereWithProgram => Some(true),
            Peer::Here(_) => Some(false),
            Peer::OutOfSight => None,
        }
    }
}

impl Master {
    /// Nothing if ports of it go on being used by themselves, as those of a VRF are.
    fn read(message: &LinkMessage) -> Option<Self> {
        let (mut name, mut kind) = (String::new(), None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(it) => name.clone_from(it),
                LinkAttribute::LinkInfo(infos) => {
                    kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind @ (InfoKind::Bridge | InfoKind::Bond | InfoKind::Team)) => {
                            Some(kind.to_string())
                        }
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(Self { name, kind: kind? })
    }
}

impl Vrf {
    /// Nothing if it is something else.
    fn read(message: &LinkMessage) -> Option<Self> {
        let (mut name, mut table) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(it) => name = Some(it.clone()),
                LinkAttribute::LinkInfo(infos) => {
                    table = infos.iter().find_map(|info| match info {
                        LinkInfo::Data(InfoData::Vrf(data)) => data.iter().find_map(|it| match it {
                            InfoVrf::TableId(table) => Some(*table),
                            _ => None,
                        }),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(Self { name: name?, index: message.header.index, table: table? })
    }
}

/// The index of what has an interface for a port.
fn master(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

/// The names of all interfaces that have an XDP program.
pub(crate) async fn with_programs(netlink: &Handle) -> Result<Vec<String>, XdpError> {
    let messages = ask_for_all("interfaces", || netlink.link().get().execute()).await?;
    let name = |message: &LinkMessage| {
        message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
    };
    Ok(messages.iter().filter(|message| program(message).is_some()).filter_map(name).collect())
}

/// What an interface is called, for people.
pub fn interface_name(index: u32) -> String {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call wants, and outlives it.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return format!("number {index}");
    }
    let bytes: Vec<u8> = name.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the kernel says of one interface; nothing if there is none.
async fn link(request: impl Fn() -> LinkGetRequest) -> Result<Option<LinkMessage>, XdpError> {
    let question = || async {
        match pin!(request().execute()).next().await {
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(rtnetlink::Error::NetlinkError(error))) if error.raw_code() == -libc::ENODEV => Ok(None),
            Some(Err(error)) => Err(failed("interfaces")(error)),
            None => Ok(None),
        }
    };
    ask("interfaces", question).await
}

/// The XDP program in a link message: its id, and whether it is attached in generic mode.
pub(crate) fn program(message: &LinkMessage) -> Option<(u32, bool)> {
    let mut id = None;
    let mut generic = false;
    for attribute in &message.attributes {
        let LinkAttribute::Xdp(entries) = attribute else { continue };
        for entry in entries {
            match entry {
                LinkXdp::ProgId(program) if *program != 0 => id = Some(*program),
                LinkXdp::Attached(XdpAttached::SocketBuffer) => generic = true,
                _ => {}
            }
        }
    }
    id.map(|id| (id, generic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vrf_is_one_by_its_table_and_a_bridge_is_a_master() {
        let message = |infos| {
            let mut message = LinkMessage::default();
            message.header.index = 7;
            message.attributes = vec![LinkAttribute::IfName("above".to_owned()), LinkAttribute::LinkInfo(infos)];
            message
        };
        let data = InfoData::Vrf(vec![InfoVrf::TableId(100)]);
        let vrf = message(vec![LinkInfo::Kind(InfoKind::Vrf), LinkInfo::Data(data)]);
        assert_eq!(Vrf::read(&vrf), Some(Vrf { name: "above".to_owned(), index: 7, table: 100 }));
        assert_eq!(Master::read(&vrf), None);
        let bridge = message(vec![LinkInfo::Kind(InfoKind::Bridge)]);
        assert_eq!(Vrf::read(&bridge), None);
        assert_eq!(Master::read(&bridge).map(|master| master.kind), Some("bridge".to_owned()));
    }
}
