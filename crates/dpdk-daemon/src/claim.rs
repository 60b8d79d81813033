//! One balancer for one interface. The kernel lets several programs share a TAP device or listen on one interface; two
//! balancers there would each get some of the packets.

use evenkeel_control::{ClaimError, InterfaceClaim};

/// Interfaces that no other balancer may work on, as long as this lives.
#[derive(Debug)]
pub(crate) struct Claims {
    _claims: Vec<InterfaceClaim>,
}

impl Claims {
    /// Claims every interface that EAL's arguments name. To be called before EAL opens it.
    ///
    /// # Errors
    /// Another balancer has it.
    pub(crate) fn take(eal: &[String]) -> Result<Self, ClaimError> {
        let claim = |interface: String| InterfaceClaim::take("dpdk", &interface, &interface);
        let claims: Result<_, _> = interfaces(eal).map(claim).collect();
        Ok(Self { _claims: claims? })
    }
}

/// The interfaces in `--vdev=DRIVER,iface=NAME,...`; a TAP device without a name gets the driver's.
fn interfaces(eal: &[String]) -> impl Iterator<Item = String> {
    let behind_vdev = |place: usize| place > 0 && eal[place - 1] == "--vdev";
    let devices = eal.iter().enumerate().filter_map(move |(place, argument)| {
        argument.strip_prefix("--vdev=").or_else(|| behind_vdev(place).then_some(argument.as_str()))
    });
    devices.filter_map(|device| {
        let mut parts = device.split(',');
        let number = parts.next().and_then(|name| name.strip_prefix("net_tap"));
        let named = parts.find_map(|part| part.strip_prefix("iface=")).map(str::to_owned);
        named.or_else(|| number.map(|number| format!("dtap{number}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_in_either_way_of_writing() {
        let words = "-l 0 --vdev=net_tap0,iface=tapdpdk,mac=fixed --vdev net_tap1 --vdev=net_null0 --vdev net_af_packet0,iface=eth0";
        let eal: Vec<_> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(interfaces(&eal).collect::<Vec<_>>(), ["tapdpdk", "dtap1", "eth0"]);
    }
}
