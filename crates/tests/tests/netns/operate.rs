//! A balancer at work and its operator: reload, drain, weight, what it answers, and its socket. Clients count whether
//! anything is lost meanwhile.

use evenkeel_tests::on_every_plane;
use evenkeel_tests::testbed::{
    self, Connection, Load, Plane, Running, SERVICE_PORT, Servers, Testbed, address, assert_refused, file, is_up,
    repository, until,
};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

on_every_plane! {
    a_backend_added_by_reload_gets_new_connections_and_no_old_one_moves[],
    connections_of_a_removed_backend_end_after_the_drain_time[],
    what_cannot_be_put_in_force_is_refused_whole[],
    a_rehearsal_says_the_share_and_changes_nothing[],
    new_connections_follow_the_weights_of_command_and_file[],
    a_drained_backend_keeps_its_connections_and_gets_no_new_ones[],
    iperf3_streams_through_every_change_without_a_stall["iperf3"],
    answers_agree_with_what_clients_know[],
    questions_that_make_no_sense_are_refused_in_one_sentence[],
    the_socket_is_for_its_owner_alone_and_for_one_balancer["setpriv"],
}

const SOCKET: &str = "/run/evenkeel/evenkeel.sock";

/// New connections after which a server that gets its share has surely been reached: for one of two to be left out by
/// chance, 2^-59.
const MANY: usize = 60;

fn both() -> String {
    file("", "", &[(2, ""), (3, "")])
}

fn reload_by_signal(bed: &Testbed, balancer: &Running, text: &str, effect: &str) {
    bed.rewrite(text);
    // The same may have been said of an earlier reload.
    let before = balancer.stderr().matches(effect).count();
    balancer.signal(libc::SIGHUP);
    balancer.wait_for_times(effect, before + 1);
}

fn a_backend_added_by_reload_gets_new_connections_and_no_old_one_moves(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let balancer = bed.balance_config(&file("", "", &[(2, "")]));
    let load = Load::start(10);
    load.goes_on(&["h2"]);

    let said = bed.reload(&both());
    assert!(said.contains("1 backend added") && said.contains("In force."), "{said}");
    load.next(MANY).assert_on(&["h2", "h3"]);
    load.talk(MANY / 3);
    load.goes_on(&["h2", "h3"]);

    reload_by_signal(bed, &balancer, &file("", "", &[(3, "")]), "service \"web\": 1 backend removed");
    load.next(MANY).assert_on(&["h3"]);
    load.goes_on(&["h2", "h3"]);
    let removed = bed.backend(2).expect("it has connections");
    assert_eq!((&removed["state"], &removed["reason"]), (&"draining".into(), &"removed from the configuration".into()));
    assert!(removed["flows"].as_u64() >= Some(10), "{removed}");

    reload_by_signal(bed, &balancer, &both(), "service \"web\": 1 backend added");
    load.next(MANY).assert_on(&["h2", "h3"]);
    assert_eq!(bed.reload(&file("", "", &[(2, "")])).matches("1 backend removed").count(), 1);
    load.next(MANY).assert_on(&["h2"]);
    load.goes_on(&["h2", "h3"]);
    balancer.signal(libc::SIGHUP);
    balancer.wait_for("read the configuration again; nothing changes.");
    load.assert_whole();
}

fn connections_of_a_removed_backend_end_after_the_drain_time(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let settings = "drain-time = \"1s\"";
    let _balancer = bed.balance_config(&file("", settings, &[(2, ""), (3, "")]));
    let load = Load::start(MANY / 3);
    load.goes_on(&["h2", "h3"]);
    bed.reload(&file("", settings, &[(3, "")]));
    until("the removed backend's time is over", || bed.backend(2).is_none().then_some(()));
    load.stands_still("h2", "h3");
    load.next(MANY).assert_on(&["h3"]);
    load.assert_lost_only("h2");
    assert_eq!(load.failed(), 0);
}

/// What is in force, but for what traffic changes.
fn in_force(bed: &Testbed) -> Vec<[Value; 4]> {
    let told = |backend: Value| ["address", "port", "weight", "state"].map(|key| backend[key].clone());
    bed.backends().into_iter().map(told).collect()
}

fn what_cannot_be_put_in_force_is_refused_whole(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let balancer = bed.balance_config(&both());
    let load = Load::start(MANY / 3);
    load.goes_on(&["h2", "h3"]);
    let before = in_force(bed);
    // Each also takes a backend out, which must not happen.
    let one = file("", "", &[(2, "")]);
    let with = |old: &str, new: &str| one.replace(old, new);
    let line = |part: &str| one.lines().take_while(|line| !line.contains(part)).count() + 1;
    let cases = [
        (with("[nat]\n", "[nat]\nports = \"2000-3000\"\n"), "[nat] cannot be changed while".to_owned()),
        (format!("[dataplane]\nunserved = \"drop\"\n{one}"), "[dataplane] cannot be changed while".to_owned()),
        (format!("[metrics]\nlisten = \"127.0.0.1:9400\"\n{one}"), "[metrics] cannot be changed while".to_owned()),
        (with("protocol =", "protocoll ="), format!("evenkeel.toml:{}:1", line("protocol ="))),
        (with("protocol = \"tcp\"", "protocol = \"tcp"), format!("evenkeel.toml:{}:", line("protocol ="))),
        (with("port = 8080 }", "port = 80800 }"), format!("evenkeel.toml:{}:34", line("port = 8080 }"))),
    ];
    for (times, (text, reason)) in cases.iter().enumerate() {
        bed.rewrite(text);
        for command in [&["reload"][..], &["reload", "--dry-run"]] {
            let ended = bed.evenkeel(command).finish();
            assert!(ended.code == Some(1) && ended.stdout.is_empty(), "{ended}");
            assert!(ended.stderr.contains(reason), "it says \"{reason}\": {ended}");
            testbed::assert_clean(&ended.stderr);
        }
        balancer.signal(libc::SIGHUP);
        balancer.wait_for_times("the configuration that was in force still is", times + 1);
        balancer.wait_for(reason);
        assert_eq!(in_force(bed), before);
    }
    fs::remove_file(bed.work.join("evenkeel.toml")).expect("it was there");
    bed.refused(&["reload"], 1, &["evenkeel.toml"]);
    assert_eq!(in_force(bed), before);
    load.next(MANY).assert_on(&["h2", "h3"]);
    load.goes_on(&["h2", "h3"]);
    load.assert_whole();
}

fn a_rehearsal_says_the_share_and_changes_nothing(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both());
    let load = Load::start(MANY / 3);
    load.goes_on(&["h2", "h3"]);
    let before = in_force(bed);
    bed.rewrite(&file("", "", &[(2, "")]));
    let said = bed.told(&["reload", "--dry-run"]);
    assert!(said.contains("1 backend removed") && said.contains("Nothing was changed."), "{said}");
    // What the removed one had, and next to nothing else.
    let words: Vec<_> = said.split_whitespace().collect();
    let sign = words.iter().position(|word| *word == "%").expect("a share");
    let share: f64 = words[sign - 1].parse().expect("a number");
    assert!((45.0..=55.0).contains(&share), "{said}");
    assert!(words[sign + 1].parse::<usize>().is_ok_and(|leaving| leaving > 0), "{said}");
    assert_eq!(in_force(bed), before);
    load.next(MANY).assert_on(&["h2", "h3"]);
    bed.rewrite(&both());
    assert_eq!(bed.told(&["reload", "--dry-run"]), "nothing changes.\n");
    load.goes_on(&["h2", "h3"]);
    load.assert_whole();
}

fn new_connections_follow_the_weights_of_command_and_file(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let balancer = bed.balance_config(&both());
    let load = Load::start(MANY / 3);
    load.assert_share("h2", 2);
    assert_eq!(bed.told(&["weight", "web", "10.0.0.3", "3"]), "");
    load.assert_share("h3", 3);
    assert_eq!(bed.backend(3).expect("it is there")["weight"], 3);
    bed.told(&["weight", "web", "10.0.0.3:8080", "0"]);
    load.next(MANY).assert_on(&["h2"]);
    load.goes_on(&["h2", "h3"]);

    // The file speaks again when it is read again.
    balancer.signal(libc::SIGHUP);
    balancer.wait_for("service \"web\": weight of 10.0.0.3:8080 from 0 to 1; 50.0 % of new connections go elsewhere.");
    assert_eq!(bed.backend(3).expect("it is there")["weight"], 1);
    load.next(MANY).assert_on(&["h2", "h3"]);
    bed.reload(&file("", "", &[(2, ", weight = 300"), (3, ", weight = 100")]));
    load.assert_share("h2", 3);
    reload_by_signal(
        bed,
        &balancer,
        &file("", "", &[(2, ", weight = 0"), (3, "")]),
        "service \"web\": weight of 10.0.0.2:8080 from 300 to 0, weight of 10.0.0.3:8080 from 100 to 1",
    );
    load.next(MANY).assert_on(&["h3"]);
    load.goes_on(&["h2", "h3"]);
    load.assert_whole();
}

fn a_drained_backend_keeps_its_connections_and_gets_no_new_ones(bed: &Testbed) {
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both());
    let load = Load::start(MANY / 3);
    let assert_drained = |reason: &str| {
        load.next(MANY).assert_on(&["h2"]);
        load.goes_on(&["h2", "h3"]);
        let backend = bed.backend(3).expect("it is there");
        assert_eq!((&backend["state"], &backend["reason"]), (&"draining".into(), &reason.into()));
    };
    load.goes_on(&["h2", "h3"]);
    assert_eq!(bed.told(&["drain", "web", "10.0.0.3"]), "");
    assert_drained("drained by command");
    // A drain holds over a reload; a weight does not.
    bed.told(&["weight", "web", "10.0.0.2", "7"]);
    bed.reload(&file("", "", &[(2, ", weight = 2"), (3, "")]));
    assert_drained("drained by command");
    assert_eq!(bed.backend(2).expect("it is there")["weight"], 2);
    assert_eq!(bed.told(&["undrain", "web", "10.0.0.3"]), "");
    load.next(3 * MANY).assert_on(&["h2", "h3"]);

    bed.reload(&file("", "", &[(2, ""), (3, ", drain = true")]));
    assert_drained("drained by the configuration");
    bed.told(&["undrain", "web", "10.0.0.3"]);
    assert_drained("drained by the configuration");
    bed.reload(&both());
    load.next(MANY).assert_on(&["h2", "h3"]);
    assert!(bed.backends().iter().all(is_up));
    load.assert_whole();
}

fn iperf3_streams_through_every_change_without_a_stall(bed: &Testbed) {
    let port = SERVICE_PORT.to_string();
    let _server = bed.start("h2", &["iperf3", "-s", "-1", "-p", &port]);
    bed.wait_for_listener("h2", "tcp", SERVICE_PORT);
    let _balancer = bed.balance_config(&file("", "", &[(2, "")]));
    let mut client = bed.start("", &["iperf3", "-c", "10.0.0.10", "-p", &port, "-t", "4", "-J"]);
    until("iperf3 has its connections for control and for data", || {
        (bed.backend(2)?["flows"].as_u64() >= Some(2)).then_some(())
    });
    bed.reload(&both());
    bed.told(&["weight", "web", "10.0.0.2", "0"]);
    bed.told(&["drain", "web", "10.0.0.2"]);
    bed.reload(&file("", "", &[(3, "")]));
    assert_eq!(bed.backend(2).expect("it has connections")["state"], "draining");
    bed.reload(&both());
    bed.told(&["undrain", "web", "10.0.0.2"]);
    let ended = client.finish();
    assert_eq!(ended.code, Some(0), "{ended}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("iperf3 -J writes JSON");
    let intervals = report["intervals"].as_array().expect("a list of intervals");
    assert!(intervals.len() >= 4, "{report}");
    for interval in &intervals[..4] {
        assert!(interval["sum"]["bytes"].as_u64() > Some(0), "a stall: {interval}");
    }
}

/// Sees to it that an object has at least these keys.
#[track_caller]
fn assert_keys(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some(), "\"{key}\" is missing: {object}");
    }
}

const DATAGRAMS: u64 = 50;

fn answers_agree_with_what_clients_know(bed: &Testbed) {
    let _tcp = Servers::tcp(SERVICE_PORT);
    let _udp = Servers::udp(SERVICE_PORT);
    let web = both();
    let (nat, service) = web.split_at(web.find("[[service]]").expect("there is one"));
    let udp = service.replace("\"web\"", "\"datagrams\"").replace("\"tcp\"", "\"udp\"");
    let _balancer = bed.balance_config(&format!("{nat}{service}{udp}"));
    let mut connections = Vec::new();
    for port in 20000..20010 {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), port);
        let mut connection = Connection::open("", Some(client), SERVICE_PORT).expect("the balancer takes it");
        let server = connection.exchange(b"hello").expect("the server answers");
        connections.push((client, server, connection));
    }
    let socket = UdpSocket::bind("10.0.0.1:20000").expect("the port is free");
    socket.connect("10.0.0.10:8080").expect("there is a route");
    socket.set_read_timeout(Some(testbed::DEADLINE)).expect("not zero");
    for _ in 0..DATAGRAMS {
        socket.send(&[7; 100]).expect("it leaves");
        socket.recv(&mut [0; 200]).expect("an answer");
    }
    answers_say_this_of_services(bed, connections.len());
    answers_say_this_of_connections(bed, &connections);
    let counters = bed.told_json(&["counters"]);
    let counters = counters.as_object().expect("counters by name");
    assert!(counters.values().all(Value::is_u64), "{counters:?}");
    assert!(counters["to-backend"].as_u64() >= Some(DATAGRAMS + 30), "{counters:?}");
    assert!(counters["to-client"].as_u64() >= Some(DATAGRAMS + 20), "{counters:?}");
    let text = bed.told(&["counters"]);
    assert!(text.contains("to-backend") && !text.contains("malformed"), "only what has occurred: {text}");
}

fn answers_say_this_of_services(bed: &Testbed, connections: usize) {
    let status = bed.told_json(&["status"]);
    let plane = if bed.plane == Plane::Dpdk { "dpdk" } else { "xdp" };
    assert_keys(
        &status,
        &["version", "plane", "interface", "mode", "mode_reason", "uptime_seconds", "flows_age_seconds", "services"],
    );
    assert_eq!(status["plane"], plane);
    assert!(status["uptime_seconds"].is_u64());
    assert_eq!(status["services"], bed.told_json(&["services"]));
    let sum = |service: &Value, key: &str| -> u64 {
        let backends = service["backends"].as_array().expect("backends");
        backends.iter().map(|backend| backend[key].as_u64().expect("a number")).sum()
    };
    let services = status["services"].as_array().expect("a list of services");
    assert_eq!(services.len(), 2);
    for (service, (name, protocol)) in services.iter().zip([("web", "tcp"), ("datagrams", "udp")]) {
        assert_eq!((&service["name"], &service["protocol"]), (&name.into(), &protocol.into()));
        assert_eq!((&service["address"], &service["port"]), (&"10.0.0.10".into(), &SERVICE_PORT.into()));
        assert_eq!(service["forward"], "fullnat");
        for (backend, host) in service["backends"].as_array().expect("backends").iter().zip([2, 3]) {
            assert_keys(
                backend,
                &["address", "port", "weight", "state", "flows", "packets", "bytes", "reason", "trouble", "since"],
            );
            assert_eq!(backend["address"], address(host));
            assert_eq!((&backend["port"], &backend["weight"]), (&SERVICE_PORT.into(), &1.into()));
            assert_eq!((&backend["state"], &backend["reason"]), (&"up".into(), &"not checked".into()));
        }
    }
    assert_eq!(sum(&services[0], "flows"), connections as u64);
    assert_eq!(sum(&services[1], "flows"), 1);
    assert_eq!(sum(&services[1], "packets"), 2 * DATAGRAMS);
    // Headers of Ethernet, IPv4 and UDP; the answer has the server's name as well.
    assert_eq!(sum(&services[1], "bytes"), DATAGRAMS * (2 * (14 + 20 + 8 + 100) + 2));

    let text = bed.told(&["status"]);
    for part in [&format!("evenkeel {} on {plane}, up", status["version"].as_str().expect("text")), "web", "datagrams"]
    {
        assert!(text.contains(part), "it says \"{part}\": {text}");
    }
    for part in ["tcp 10.0.0.10:8080", "udp 10.0.0.10:8080", "10.0.0.2:8080", "10.0.0.3:8080", "fullnat"] {
        assert!(text.contains(part) && bed.told(&["services"]).contains(part), "it says \"{part}\": {text}");
    }
}

fn answers_say_this_of_connections(bed: &Testbed, connections: &[(SocketAddrV4, String, Connection)]) {
    let flows = bed.told_json(&["flows", "--service", "web"]);
    let flows = flows.as_array().expect("a list of flows");
    assert_eq!(flows.len(), connections.len());
    for (client, server, _) in connections {
        let flow = flows.iter().find(|flow| flow["client"] == client.to_string()).expect("every connection is there");
        assert_eq!((&flow["protocol"], &flow["state"]), (&"tcp".into(), &"established".into()));
        assert_eq!(flow["service"], "10.0.0.10:8080");
        let host = server.trim_start_matches('h');
        assert_eq!(flow["backend"], format!("10.0.0.{host}:8080"));
        assert!(flow["idle_seconds"].is_u64());
        let nat = flow["nat"].as_str().expect("text");
        let seen = bed.do_in(server, &["ss", "-Htn", "state", "established", "sport = :8080"]).stdout;
        assert!(nat.starts_with("10.0.0.10:") && seen.contains(nat), "{server} sees {nat}: {seen}");
    }
    let datagrams = bed.told_json(&["flows", "--service", "datagrams"]);
    assert_eq!(datagrams.as_array().map(Vec::len), Some(1));
    assert_eq!((&datagrams[0]["protocol"], &datagrams[0]["client"]), (&"udp".into(), &"10.0.0.1:20000".into()));
    assert_eq!(bed.told_json(&["flows"]).as_array().map(Vec::len), Some(connections.len() + 1));
    assert_eq!(bed.told_json(&["flows", "--limit", "3"]).as_array().map(Vec::len), Some(3));
    let text = bed.told(&["flows"]);
    assert!(text.contains("10.0.0.1:20009") && text.contains("established"), "{text}");
}

fn questions_that_make_no_sense_are_refused_in_one_sentence(bed: &Testbed) {
    let nobody = format!("no evenkeel answers at {SOCKET}: is it running?");
    for command in [&["status"][..], &["counters", "--json"], &["reload"], &["drain", "web", "10.0.0.2"]] {
        bed.refused(command, 1, &[&nobody]);
    }
    bed.refused(&["flows", "--socket", "/nowhere/at/all"], 1, &["no evenkeel answers at /nowhere/at/all"]);
    let _servers = Servers::tcp(SERVICE_PORT);
    let _balancer = bed.balance_config(&both());
    let before = in_force(bed);
    for command in ["drain", "undrain"] {
        bed.refused(&[command, "nope", "10.0.0.2"], 1, &["there is no service called \"nope\""]);
        bed.refused(&[command, "web", "10.0.0.9"], 1, &["has no backend 10.0.0.9", "10.0.0.2:8080, 10.0.0.3:8080"]);
        bed.refused(&[command, "web", "garbage"], 1, &["has no backend garbage"]);
        bed.refused(&[command, "web"], 2, &["BACKEND"]);
    }
    bed.refused(&["weight", "web", "10.0.0.2:1", "1"], 1, &["has no backend 10.0.0.2:1"]);
    bed.refused(&["weight", "web", "10.0.0.2", "65536"], 2, &["65536"]);
    bed.refused(&["weight", "web", "10.0.0.2", "-1"], 2, &["-1"]);
    bed.refused(&["flows", "--service", "nope"], 1, &["there is no service called \"nope\""]);
    bed.refused(&["flows", "--limit", "many"], 2, &["many"]);
    bed.refused(&["status", "--yaml"], 2, &["--yaml"]);
    bed.refused(&["stat"], 2, &["stat"]);
    assert_eq!(in_force(bed), before);
}

/// Another balancer with the same socket, on a port of its own.
fn start_second(bed: &Testbed, config: &Path) -> Running {
    let config = config.display().to_string();
    let (_, program) = bed.plane.programs();
    let program = repository().join("build").join(program).display().to_string();
    if bed.plane == Plane::Dpdk {
        let words = ["--", "--config", &config].map(str::to_owned);
        return bed.start("", &[&[program], &bed.eal("net_tap1,iface=second")[..], &words].concat());
    }
    bed.start("h4", &[&program, "run", "--config", &config, "--interface", "eth0", "--xdp-mode", "generic"])
}

fn the_socket_is_for_its_owner_alone_and_for_one_balancer(bed: &Testbed) {
    bed.add_host("h4", "10.0.0.4", "de:ad:be:ef:00:04");
    let _servers = Servers::tcp(SERVICE_PORT);
    let mut balancer = bed.balance_config(&both());
    bed.told(&["status"]);
    let socket = fs::metadata(SOCKET).expect("it is there");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);

    // Where the program is, another user may not be allowed to look.
    let program = bed.work.join("evenkeel").display().to_string();
    fs::copy(repository().join("build/evenkeel"), &program).expect("there is room");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
    for command in ["status", "reload"] {
        let ended = bed.start("", &[&nobody[..], &[command]].concat()).finish();
        assert_refused(&ended, 1, &[&format!("{SOCKET} is another user's")]);
    }

    let ended = start_second(bed, &bed.work.join("evenkeel.toml")).finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(&format!("another evenkeel answers at {SOCKET}")), "{ended}");
    bed.told(&["status"]);

    balancer.signal(libc::SIGKILL);
    balancer.finish();
    bed.wait_for_the_dead();
    assert!(Path::new(SOCKET).exists(), "nobody was left to remove it");
    bed.refused(&["status"], 1, &["is it running?"]);
    let mut balancer = bed.balance_config(&both());
    bed.told(&["status"]);
    balancer.signal(libc::SIGTERM);
    assert_eq!(balancer.finish().code, Some(0));
    assert!(!Path::new(SOCKET).exists(), "it goes with the balancer");
}
