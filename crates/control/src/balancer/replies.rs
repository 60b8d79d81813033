//! Which routers lead to clients, told to the packet path: for services whose answers follow the host's routes
//! ([`evenkeel_core::reply`]).

use super::Balancer;
use crate::plane::Plane;
use evenkeel_core::Word;
use evenkeel_core::hop::Hop;
use evenkeel_core::reply::{ROUTES, Route};
use evenkeel_wire::MacAddress;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};

/// A route of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyRoute {
    /// The network that it leads to.
    pub network: Ipv4Addr,
    /// The length of its prefix, at most 32.
    pub length: u8,
    /// The router that it goes through; nothing if clients there are answered where their packets come from, as hosts in our
    /// own network are.
    pub router: Option<Ipv4Addr>,
}

impl ReplyRoute {
    /// The network's address as a number, without bits behind the prefix; and the prefix' length.
    fn prefix(&self) -> (u32, u8) {
        let length = self.length.min(32);
        (self.network.to_bits() & mask(length), length)
    }

    fn covers(&self, (network, length): (u32, u8)) -> bool {
        let (own, own_length) = self.prefix();
        own_length <= length && own == network & mask(own_length)
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

/// Those routes that make a difference, shortest prefixes first, and how many do not fit into the table.
fn distinct(mut routes: Vec<ReplyRoute>) -> (Vec<ReplyRoute>, usize) {
    routes.sort_by_key(|route| route.prefix().1);
    let mut kept: Vec<ReplyRoute> = Vec::new();
    let mut left_out = 0;
    for route in routes {
        let prefix = route.prefix();
        let above = kept.iter().rev().find(|above| above.covers(prefix)).and_then(|above| above.router);
        if above == route.router {
            continue;
        }
        if kept.len() < usize::from(ROUTES) {
            kept.push(route);
        } else {
            left_out += 1;
        }
    }
    (kept, left_out)
}

impl<P: Plane> Balancer<P> {
    /// From now on answers of services that follow routes go by these; of several with the same prefix the first counts.
    /// Returns how many there is no room for: clients behind those are answered by way of the next shorter prefix.
    pub fn set_reply_routes(&mut self, mut routes: Vec<ReplyRoute>) -> usize {
        let mut seen = HashSet::new();
        routes.retain(|route| seen.insert(route.prefix()));
        let (routes, left_out) = distinct(routes);
        self.replies = routes;
        self.write_replies();
        left_out
    }

    /// The routers that answers go through.
    pub fn routers(&self) -> BTreeSet<Ipv4Addr> {
        self.replies.iter().filter_map(|route| route.router).collect()
    }

    /// What stands at an address, for people.
    pub fn role(&self, address: IpAddr) -> &'static str {
        let is_router = self.replies.iter().any(|route| route.router.map(IpAddr::from) == Some(address));
        let is_backend = || self.places.taken().any(|(_, place)| place.owner.address == address);
        if is_router && !is_backend() { "router" } else { "backend" }
    }

    /// Every address that a next hop is needed for: backends, and routers that answers go through.
    pub fn next_hop_addresses(&self) -> HashSet<IpAddr> {
        self.backend_addresses().into_iter().chain(self.routers().into_iter().map(IpAddr::from)).collect()
    }

    /// Tells the plane what has changed.
    pub(super) fn write_replies(&self) {
        let Some((hops, routes)) = self.plane.kept_hops().split_at_checked(ROUTES.into()) else { return };
        let known = |router: Ipv4Addr| self.next_hops.get(&IpAddr::from(router)).copied();
        write(hops, routes, &self.replies, |router| router.and_then(known).unwrap_or_default());
    }
}

/// Each route keeps its place, and the hop of that number, so that the connections that have it follow the route wherever it
/// leads. `known` is a router's Ethernet address, or zero.
fn write<W: Word>(hops: &[W], routes: &[W], wanted: &[ReplyRoute], known: impl Fn(Option<Ipv4Addr>) -> MacAddress) {
    let places: Vec<_> = routes.iter().map(|word| Route(word.load()).network()).collect();
    let mut rest: Vec<_> = wanted.iter().collect();
    let mut owners: Vec<Option<&ReplyRoute>> = places
        .iter()
        .map(|place| {
            let at = rest.iter().position(|route| *place == Some(route.prefix()))?;
            Some(rest.swap_remove(at))
        })
        .collect();
    // Nobody's route any more: whoever has come by it goes by what covers it now.
    for ((owner, place), hop) in owners.iter().zip(&places).zip(hops) {
        if let (None, Some(place)) = (owner, place) {
            let covering = wanted.iter().rev().find(|route| route.covers(*place));
            lead(hop, known(covering.and_then(|route| route.router)));
        }
    }
    // Places that nobody has come by are taken first.
    let mut free: Vec<_> = (0..owners.len()).filter(|&place| owners[place].is_none()).collect();
    free.sort_by_key(|&place| hops[place].load() != 0);
    for (place, route) in free.into_iter().zip(rest) {
        routes[place].publish(0);
        hops[place].publish(0);
        owners[place] = Some(route);
    }
    for ((owner, route), hop) in owners.iter().zip(routes).zip(hops) {
        let word = match owner {
            Some(owner) => {
                // First, or a route would lead nowhere.
                lead(hop, known(owner.router));
                let (network, length) = owner.prefix();
                Route::new(network, length, owner.router.is_none()).0
            }
            None => 0,
        };
        if route.load() != word {
            route.publish(word);
        }
    }
}

/// Has a hop lead there. One whose router is not known, or not yet, leads where it did: nothing better is known.
fn lead<W: Word>(hop: &W, mac: MacAddress) {
    if !mac.is_zero() && Hop(hop.load()).mac() != mac {
        hop.publish(mac.bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_core::flow::HopNumber;
    use std::sync::atomic::AtomicU64;

    fn route(network: [u8; 4], length: u8, router: Option<u8>) -> ReplyRoute {
        let router = router.map(|last| Ipv4Addr::new(10, 0, 0, last));
        ReplyRoute { network: network.into(), length, router }
    }

    #[test]
    fn routes_that_say_nothing_new_are_left_out() {
        let default = route([0; 4], 0, Some(254));
        let near = route([10, 0, 0, 0], 24, None);
        let same = route([172, 16, 0, 0], 12, Some(254));
        let other = route([172, 16, 5, 0], 24, Some(253));
        let back = route([172, 16, 5, 64], 26, Some(254));
        assert_eq!(distinct(vec![back, other, same, near, default]), (vec![default, other, near, back], 0));
        // Without a way out nothing has to be said of those who are near.
        assert_eq!(distinct(vec![near]), (vec![], 0));
    }

    /// Hops and routes, as a plane has them.
    type Words = (Vec<AtomicU64>, Vec<AtomicU64>);

    fn words() -> Words {
        let words = || (0..ROUTES).map(|_| AtomicU64::new(0)).collect();
        (words(), words())
    }

    /// Where answers to this client go, and by which hop.
    fn answered((hops, routes): &Words, client: [u8; 4]) -> Option<(u16, u8)> {
        let word = |number: HopNumber| {
            hops.get(usize::from(number.0)).or(routes.get(usize::from(number.0 - ROUTES.min(number.0))))
        };
        let number = evenkeel_core::reply::number(word, Ipv4Addr::from(client).into())?;
        Some((number.0, Hop(Word::load(word(number)?)).mac().0[5]))
    }

    /// A router's Ethernet address ends as its address does, if it is known.
    fn all(router: Option<Ipv4Addr>) -> MacAddress {
        router.map_or(MacAddress::default(), |router| MacAddress([2, 0, 0, 0, 0, router.octets()[3]]))
    }

    #[test]
    fn a_route_keeps_its_hop_wherever_it_leads() {
        let words = words();
        let put = |routes: &[ReplyRoute]| write(&words.0, &words.1, routes, all);
        let (client, other) = ([192, 0, 2, 1], [198, 51, 100, 1]);
        put(&[route([0; 4], 0, Some(254))]);
        assert_eq!(answered(&words, client), Some((0, 254)));
        put(&[route([0; 4], 0, Some(253)), route([192, 0, 2, 0], 24, Some(252)), route([10, 0, 0, 0], 8, None)]);
        assert_eq!((answered(&words, other), answered(&words, [10, 0, 0, 1])), (Some((0, 253)), None));
        let (number, mac) = answered(&words, client).expect("there is a route");
        assert_eq!(mac, 252);
        // The route has gone: who had come by it goes by the one that is left, under the number that it has.
        put(&[route([0; 4], 0, Some(251))]);
        assert_eq!(answered(&words, client), Some((0, 251)));
        assert_eq!(Hop(Word::load(&words.0[usize::from(number)])).mac().0[5], 251);
        // And its place is nobody else's as long as there are others.
        put(&[route([0; 4], 0, Some(251)), route([198, 51, 100, 0], 24, Some(250))]);
        assert_ne!(answered(&words, other).map(|(number, _)| number), Some(number));
        put(&[]);
        assert_eq!(answered(&words, client), None);
    }

    #[test]
    fn a_router_that_is_not_known_changes_nothing() {
        let words = words();
        let default = |router| [route([0; 4], 0, Some(router))];
        write(&words.0, &words.1, &default(254), |_| MacAddress::default());
        assert_eq!(answered(&words, [192, 0, 2, 1]), None);
        write(&words.0, &words.1, &default(254), all);
        write(&words.0, &words.1, &default(253), |_| MacAddress::default());
        assert_eq!(answered(&words, [192, 0, 2, 1]), Some((0, 254)), "nothing better is known");
    }

    #[test]
    fn the_longest_prefixes_are_those_that_do_not_fit() {
        let default = route([0; 4], 0, Some(254));
        let many = (0..100).map(|net| route([10, net, 0, 0], 16, Some(net % 2 + 1)));
        let (kept, left_out) = distinct(many.chain([default]).collect());
        assert_eq!((kept[0], kept.len(), left_out), (default, ROUTES.into(), 101 - usize::from(ROUTES)));
    }
}
