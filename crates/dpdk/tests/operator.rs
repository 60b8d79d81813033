//! What the operator makes of a plane, on tables in memory.
#![allow(clippy::unwrap_used, reason = "a test that fails may do so anywhere")]

use evenkeel_control::operator::{Condition, Judgement, Note, Order, State, Way};
use evenkeel_control::{Balancer, Config, Operator, Secrets, Sizes};
use evenkeel_core::flow::IdleTimes;
use evenkeel_dpdk::{DpdkPlane, Tables};
use evenkeel_wire::MacAddress;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const SIZES: Sizes = Sizes { flows: 1024, wide_flows: 0, backends: 3, services: 4, addresses: 4 };

fn text(services: &str) -> String {
    format!("[nat]\naddresses = [\"10.0.0.10\"]\n{services}")
}

fn service(name: &str, port: u16, more: &str, backends: &[u8]) -> String {
    let backends: Vec<_> =
        backends.iter().map(|last| format!("{{ address = \"10.0.1.{last}\", port = 80 }}")).collect();
    let backends = backends.join(", ");
    format!(
        "[[service]]\nname = \"{name}\"\naddress = \"10.0.0.10\"\nport = {port}\nprotocol = \"tcp\"\n{more}\nbackends = [{backends}]\n"
    )
}

/// An operator whose file is this, and the file.
fn operator(name: &str, text: &str) -> (Operator<DpdkPlane>, PathBuf) {
    let path = std::env::temp_dir().join(format!("evenkeel-operator-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    let secrets = Secrets::random().unwrap();
    let settings = SIZES.settings(&config, &secrets, MacAddress([2, 0, 0, 0, 0, 1]), IdleTimes::DEFAULT);
    let tables = Tables::new(SIZES, settings, &config.nat.addresses, 1).unwrap();
    let balancer = Balancer::new(DpdkPlane::new(Arc::new(tables)), &secrets);
    (Operator::new(balancer, "dpdk", config, Some(path.clone())).unwrap(), path)
}

#[test]
fn a_removed_service_drains_for_its_own_time_and_is_seen_until_then() {
    let (first, second) = (service("first", 80, "drain-time = \"10s\"", &[1]), service("second", 81, "", &[2]));
    let (mut operator, path) = operator("drains", &text(&[first.as_str(), &second].concat()));
    std::fs::write(&path, text(&second)).unwrap();
    operator.reload().unwrap();
    let status = operator.status().unwrap();
    let gone = status.services.iter().find(|service| service.name == "tcp 10.0.0.10:80 (removed)").expect("it drains");
    assert_eq!((gone.backends.len(), gone.backends[0].state), (1, State::Draining));

    let now = Instant::now();
    operator.balancer_mut().end_overdue(now + Duration::from_secs(9)).unwrap();
    assert_eq!(operator.balancer().backends().count(), 2);
    operator.balancer_mut().end_overdue(now + Duration::from_secs(11)).unwrap();
    assert_eq!(operator.balancer().backends().count(), 1);
    assert_eq!(operator.status().unwrap().services.len(), 1);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_hosts_own_address_is_ours() {
    let file = format!("[dataplane]\naddress = \"10.0.0.9/24\"\n{}", text(&service("first", 80, "", &[1])));
    let (operator, path) = operator("own", &file);
    assert!(operator.balancer().our_addresses().contains(&"10.0.0.9".parse().unwrap()));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_rehearsal_refuses_what_a_reload_would_refuse() {
    let (mut operator, path) = operator("rehearsal", &text(&service("first", 80, "", &[1, 2])));
    std::fs::write(&path, text(&service("first", 80, "", &[1, 2, 3, 4]))).unwrap();
    let (rehearsed, reloaded) = (operator.rehearse().unwrap_err(), operator.reload().unwrap_err());
    assert_eq!(rehearsed.to_string(), reloaded.to_string());
    assert!(rehearsed.to_string().starts_with("4 backends are too many"), "{rehearsed}");
    assert_eq!(operator.take_reloaded().unwrap().unwrap_err(), reloaded.to_string(), "and the log is told");
    assert_eq!(operator.balancer().backends().count(), 2, "nothing was changed");

    std::fs::write(&path, text(&service("first", 80, "", &[1, 3]))).unwrap();
    assert_eq!(operator.rehearse().unwrap()[0].what, "1 backend added, 1 backend removed");
    assert_eq!(operator.balancer().backends().count(), 2, "it was only a rehearsal");
    assert_eq!(operator.take_reloaded(), None);
    std::fs::remove_file(path).unwrap();
}

/// The weights that services' backends have now.
fn weights(operator: &Operator<DpdkPlane>) -> Vec<u16> {
    operator.status().unwrap().services[0].backends.iter().map(|backend| backend.weight).collect()
}

#[test]
fn a_refused_reload_leaves_what_was_ordered_in_force() {
    let (mut operator, path) = operator("refused", &text(&service("first", 80, "", &[1, 2])));
    operator.order("first", "10.0.1.1", Order::Weight(9)).unwrap();
    operator.order("first", "10.0.1.2", Order::Drain).unwrap();
    std::fs::write(&path, text(&service("first", 80, "", &[1, 3, 4, 5]))).unwrap();
    operator.reload().unwrap_err();
    assert_eq!(weights(&operator), [9, 1]);
    // If it had been forgotten, a new enforcement would show it: another order is one.
    operator.order("first", "10.0.1.1", Order::Undrain).unwrap();
    let states: Vec<_> = operator.status().unwrap().services[0].backends.iter().map(|backend| backend.state).collect();
    assert_eq!((weights(&operator), states), (vec![9, 1], vec![State::Up, State::Draining]));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_rehearsal_counts_from_what_was_ordered_and_not_from_the_file() {
    let (mut operator, path) = operator("ordered", &text(&service("first", 80, "", &[1, 2])));
    assert!(operator.rehearse().unwrap().is_empty());
    operator.order("first", "10.0.1.1", Order::Weight(9)).unwrap();
    // The file speaks again: backend 2 gets half of the new connections, and not a tenth.
    let changes = operator.rehearse().unwrap();
    assert_eq!(changes.len(), 1);
    assert!((0.38..0.42).contains(&changes[0].moved_share), "{changes:?}");
    operator.order("first", "10.0.1.1", Order::Weight(1)).unwrap();
    assert!(operator.rehearse().unwrap().is_empty());

    // A backend that takes no new connections has none to lose.
    operator.order("first", "10.0.1.2", Order::Drain).unwrap();
    std::fs::write(&path, text(&service("first", 80, "", &[1]))).unwrap();
    assert_eq!(operator.rehearse().unwrap()[0].moved_share, 0.0);
    std::fs::remove_file(path).unwrap();
}

/// State and what is the matter, of each backend of the first service.
fn states(operator: &Operator<DpdkPlane>) -> Vec<(State, Option<String>)> {
    let status = operator.status().unwrap();
    status.services[0].backends.iter().map(|backend| (backend.state, backend.trouble.clone())).collect()
}

fn told(operator: &mut Operator<DpdkPlane>, last: u8, way: Way) -> Vec<(State, Option<String>)> {
    operator.note_way([10, 0, 1, last].into(), way);
    operator.settle().unwrap();
    states(operator)
}

const HEALTH: &str = "health = { kind = \"tcp\" }";

fn judge(operator: &mut Operator<DpdkPlane>, last: u8, condition: Condition) {
    let service = operator.config().services[0].clone();
    let backend = service.backend_ids().find(|id| id.address == std::net::IpAddr::from([10, 0, 1, last])).unwrap();
    let reason = "as the test says".to_owned();
    operator.judge(&[Judgement { backend, condition, reason, since: SystemTime::now() }]).unwrap();
}

#[test]
fn who_is_not_reached_is_not_up_and_gets_no_connections() {
    let (mut operator, path) = operator("ways", &text(&service("first", 80, HEALTH, &[1, 2])));
    let (up, down) = ((State::Up, None), |code: &str| (State::Down, Some(code.to_owned())));
    assert_eq!(states(&operator), [up.clone(), up.clone()], "nothing was told yet");
    assert_eq!(told(&mut operator, 1, Way::Known), [up.clone(), up.clone()]);
    for (way, code) in [
        (Way::Silent, "unresolved"),
        (Way::Elsewhere("eth1".to_owned()), "elsewhere"),
        (Way::Here, "elsewhere"),
        (Way::NoRoute, "no-route"),
    ] {
        let words = way.trouble([10, 0, 0, 2].into()).unwrap();
        assert_eq!(told(&mut operator, 2, way), [up.clone(), down(code)]);
        assert_eq!(operator.status().unwrap().services[0].backends[1].reason, words);
    }
    assert_eq!(told(&mut operator, 2, Way::Known), [up.clone(), up]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn who_has_stopped_answering_gets_connections_only_while_nobody_is_better() {
    let (mut operator, path) = operator("lost", &text(&service("first", 80, HEALTH, &[1, 2])));
    let lost = |state| (state, Some("unresolved".to_owned()));
    told(&mut operator, 1, Way::Known);
    assert_eq!(told(&mut operator, 2, Way::Lost), [(State::Up, None), lost(State::Down)]);
    assert_eq!(told(&mut operator, 1, Way::Lost), [lost(State::Up), lost(State::Up)], "both may only be slow");
    told(&mut operator, 1, Way::Known);
    judge(&mut operator, 1, Condition::Down);
    assert_eq!(states(&operator), [(State::Down, Some("check".to_owned())), lost(State::Up)]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn backends_that_all_fail_are_down_and_the_log_says_once_that_nobody_is_left() {
    let (mut operator, path) = operator("nobody", &text(&service("first", 80, HEALTH, &[1, 2])));
    assert_eq!(operator.take_notes(), []);
    judge(&mut operator, 1, Condition::Down);
    judge(&mut operator, 2, Condition::Down);
    let states: Vec<_> = states(&operator).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, [State::Down, State::Down], "their connections go on, but they are down");
    // And while they are, each may fail for other reasons.
    judge(&mut operator, 2, Condition::Down);
    let service = "first".to_owned();
    let nobody = Note::NobodyLeft { service: service.clone() };
    let notes = operator.take_notes();
    assert_eq!(notes.iter().filter(|note| **note == nobody).count(), 1, "{notes:?}");
    assert_eq!(notes.iter().filter(|note| matches!(note, Note::Judged { .. })).count(), 3, "{notes:?}");
    judge(&mut operator, 1, Condition::Up);
    assert_eq!(operator.take_notes().last(), Some(&Note::ServedAgain { service }));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn orders_are_told_with_who_has_given_them() {
    let (mut operator, path) = operator("orders", &text(&service("first", 80, "", &[1, 2])));
    operator.order_by("first", "10.0.1.1", Order::Drain, Some("alice".to_owned())).unwrap();
    operator.order_by("first", "10.0.1.9", Order::Drain, Some("alice".to_owned())).unwrap_err();
    operator.reload_by(Some("bob".to_owned())).unwrap();
    let notes = operator.take_notes();
    let by: Vec<_> = notes
        .iter()
        .map(|note| match note {
            Note::Ordered { by, order: Order::Drain, .. } | Note::Reloaded { by, .. } => by.as_deref().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(by, ["alice", "bob"]);
    std::fs::remove_file(path).unwrap();
}
