//! What has happened to a balancer, in sentences for its log. Each names the service that it is about.

use evenkeel_control::operator::{Change, Condition, Note, Order, State, Status};

/// A note as sentences; those that begin with "warning: " are some.
pub(crate) fn sentences(note: &Note) -> Vec<String> {
    match note {
        Note::Judged { service, backend, condition: Condition::Up, reason } => {
            vec![format!("backend {backend} is up: {reason} (service \"{service}\")")]
        }
        Note::Judged { service, backend, condition: Condition::Down, reason } => {
            vec![format!("warning: backend {backend} is down: {reason} (service \"{service}\")")]
        }
        Note::NobodyLeft { service } => {
            vec![format!("warning: service \"{service}\" has nobody left: no backend takes new connections.")]
        }
        Note::ServedAgain { service } => {
            vec![format!("service \"{service}\" has a backend that takes connections again.")]
        }
        Note::Ordered { service, backend, order, by } => {
            let what = match order {
                Order::Drain => "is drained".to_owned(),
                Order::Undrain => "is not drained any more".to_owned(),
                Order::Weight(weight) => format!("has weight {weight} until the next reload"),
            };
            vec![format!("backend {backend} {what}, by order of {} (service \"{service}\")", person(by.as_deref()))]
        }
        Note::Summary { signal, status } => summary(signal, status),
        Note::Ignored { signal } => {
            vec![format!(
                "{signal} means nothing here: SIGUSR1 has this log told how things are, SIGHUP the file read again."
            )]
        }
        Note::Reloaded { by, outcome } => reloaded(person(by.as_deref()), outcome),
    }
}

/// Services that a summary has lines for.
const SUMMED_UP: usize = 50;

fn summary(signal: &str, status: &Status) -> Vec<String> {
    let Status { services, uptime_seconds, .. } = status;
    let mut lines = vec![format!("{signal}: at work for {uptime_seconds} s, services: {}", services.len())];
    lines.extend(services.iter().take(SUMMED_UP).map(|service| {
        let count = |state| service.backends.iter().filter(|backend| backend.state == state).count();
        let [up, draining, down] = [State::Up, State::Draining, State::Down].map(count);
        let flows: u64 = service.backends.iter().map(|backend| backend.flows).sum();
        format!("service \"{}\": backends up {up}, draining {draining}, down {down}; connections {flows}", service.name)
    }));
    if services.len() > SUMMED_UP {
        lines.push("and more: `evenkeel status` has all of them.".to_owned());
    }
    lines
}

fn person(by: Option<&str>) -> &str {
    by.unwrap_or("nobody known")
}

fn reloaded(by: &str, outcome: &Result<Vec<Change>, String>) -> Vec<String> {
    match outcome {
        Ok(changes) if changes.is_empty() => {
            vec![format!("read the configuration again; nothing changes. (by order of {by})")]
        }
        Ok(changes) => {
            let heading = format!("read the configuration again, by order of {by}:");
            let mut lines = changes.iter().map(|Change { service, what, moved_share, .. }| {
                if service == Change::DATAPLANE {
                    return format!("{service}: {what}.");
                }
                let share = moved_share * 100.0;
                format!("service \"{service}\": {what}; {share:.1} % of new connections go elsewhere.")
            });
            match (lines.next(), lines.len()) {
                (Some(only), 0) => vec![format!("{heading} {only}")],
                (first, _) => std::iter::once(heading).chain(first).chain(lines).collect(),
            }
        }
        Err(error) => {
            let heading = format!("the configuration that was in force still is, for (read by order of {by}):");
            std::iter::once(heading).chain(error.lines().map(str::to_owned)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_control::BackendId;
    use evenkeel_control::ServiceId;
    use evenkeel_control::config::Protocol;

    fn backend() -> BackendId {
        let service = ServiceId { address: [192, 0, 2, 1].into(), port: 80, protocol: Protocol::Tcp };
        BackendId { service, address: [10, 0, 0, 2].into(), port: 8080 }
    }

    #[test]
    fn every_line_about_a_backend_names_the_service_and_who_has_ordered_it() {
        let service = "web".to_owned();
        let ordered = |order, by: Option<&str>| {
            sentences(&Note::Ordered {
                service: "web".to_owned(),
                backend: backend(),
                order,
                by: by.map(str::to_owned),
            })
        };
        assert_eq!(
            ordered(Order::Drain, Some("alice, as root (process 7)")),
            ["backend 10.0.0.2:8080 is drained, by order of alice, as root (process 7) (service \"web\")"]
        );
        assert_eq!(
            ordered(Order::Weight(3), None),
            ["backend 10.0.0.2:8080 has weight 3 until the next reload, by order of nobody known (service \"web\")"]
        );
        let reason = "connection refused".to_owned();
        let judged = Note::Judged { service, backend: backend(), condition: Condition::Down, reason };
        assert_eq!(
            sentences(&judged),
            ["warning: backend 10.0.0.2:8080 is down: connection refused (service \"web\")"]
        );
    }

    #[test]
    fn a_refused_reload_is_told_whole() {
        let outcome = Err("web.toml:1:2: one\nweb.toml:3:4: two".to_owned());
        let lines = sentences(&Note::Reloaded { by: Some("SIGHUP".to_owned()), outcome });
        assert_eq!(lines[1..], ["web.toml:1:2: one", "web.toml:3:4: two"]);
        assert!(lines[0].contains("still is") && lines[0].contains("SIGHUP"), "{lines:?}");
    }
}
