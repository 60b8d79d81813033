//! Which services a host of theirs is to be named with.

use evenkeel_control::Config;
use std::collections::HashMap;
use std::net::IpAddr;

/// Names that are told; of more it is said how many.
const NAMED: usize = 3;

/// The services that each backend address serves, and those at each address.
#[derive(Debug)]
pub struct Services<'a> {
    behind: HashMap<IpAddr, Vec<&'a str>>,
    at: HashMap<IpAddr, Vec<&'a str>>,
}

impl<'a> Services<'a> {
    /// Those of a configuration.
    pub fn of(config: &'a Config) -> Self {
        let (mut behind, mut at): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = (HashMap::new(), HashMap::new());
        for service in &config.services {
            let name = service.name.as_str();
            at.entry(service.address).or_default().push(name);
            for backend in &service.backends {
                let names = behind.entry(backend.address).or_default();
                if names.last() != Some(&name) {
                    names.push(name);
                }
            }
        }
        Self { behind, at }
    }

    /// Whom a backend at this address serves, in brackets behind a space: ` (service "web")`. Nothing if nobody.
    pub fn behind(&self, backend: IpAddr) -> String {
        named(self.behind.get(&backend))
    }

    /// The services at an address of theirs, likewise.
    pub fn at(&self, address: IpAddr) -> String {
        named(self.at.get(&address))
    }
}

fn named(names: Option<&Vec<&str>>) -> String {
    let Some(names) = names else { return String::new() };
    let quoted: Vec<_> = names.iter().take(NAMED).map(|name| format!("\"{name}\"")).collect();
    let word = if names.len() == 1 { "service" } else { "services" };
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(" ({word} {}{more})", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_names_are_told_and_the_others_counted() {
        assert_eq!(named(None), "");
        assert_eq!(named(Some(&vec!["web"])), " (service \"web\")");
        assert_eq!(named(Some(&vec!["a", "b", "c", "d", "e"])), " (services \"a\", \"b\", \"c\" and 2 more)");
    }
}
