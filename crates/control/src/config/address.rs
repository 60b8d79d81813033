//! Addresses of either family, as a file writes them.

use evenkeel_wire::Ipv6Address;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::fmt;
use std::net::IpAddr;

/// An address as in 192.0.2.10 or 2001:db8::10.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(pub(super) IpAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Address;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an address such as \"192.0.2.10\" or \"2001:db8::10\"")
            }

            // Within the visitor, so that the place of one address of a list is known.
            fn visit_str<E: Error>(self, text: &str) -> Result<Address, E> {
                text.parse().map(Address).map_err(|_| E::custom(wrong(text)))
            }
        }
        input.deserialize_str(Text)
    }
}

/// Why a text is no address.
fn wrong(text: &str) -> String {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(bare, _)| bare);
    if let Some(address) = bare.and_then(|bare| bare.parse::<IpAddr>().ok()) {
        return format!("an address has neither brackets nor a port here: write \"{address}\"");
    }
    if let Some((address, zone)) = text.split_once('%')
        && address.parse::<IpAddr>().is_ok()
    {
        return format!("an address has no zone here (%{zone})");
    }
    format!("\"{text}\" is no address: one is like 192.0.2.10 or 2001:db8::10")
}

/// Why nobody can be asked at this address, or ask from it, in words that follow the key; nothing if somebody can.
pub(super) fn unfit_for_checks(address: IpAddr) -> Option<String> {
    if let IpAddr::V6(wide) = address {
        if let Some(narrow) = wide.to_ipv4_mapped() {
            return Some(format!("{address} is an IPv4 address in another spelling: write {narrow}"));
        }
        if wide.is_unicast_link_local() {
            return Some(format!(
                "{address} is link-local, and another one on every link; take a global or a unique local one"
            ));
        }
    }
    let is_nobodys = address.is_unspecified() || address.is_multicast() || address == IpAddr::from([255; 4]);
    is_nobodys.then(|| format!("{address} is no single host's"))
}

/// Why somebody who is reached through any network cannot have this address, in words that follow it; nothing if he can.
pub(super) fn unfit(address: IpAddr, whose: &str) -> Option<String> {
    let IpAddr::V6(wide) = address else {
        let is_host = matches!(address, IpAddr::V4(narrow) if evenkeel_wire::Ipv4Address::from(narrow).is_host());
        return (!is_host)
            .then(|| format!("{address} cannot be the address of {whose}: no single host of a network has it"));
    };
    if let Some(narrow) = wide.to_ipv4_mapped() {
        return Some(format!("{address} is an IPv4 address in another spelling: write {narrow}"));
    }
    let wide = Ipv6Address::from(wide);
    if wide.is_link_local() {
        return Some(format!(
            "{address} cannot be the address of {whose}: it is link-local, and another one on every link; take a global or a \
             unique local (fd00::/8) one"
        ));
    }
    (!wide.is_host()).then(|| format!("{address} cannot be the address of {whose}: no single host of a network has it"))
}
