//! The daemon as a service manager has it: what it tells by sd_notify(3), and what it writes for programs to read.

use evenkeel_tests::testbed::{self, GOOD_CONFIG, Plane, Running, Testbed, repository, until};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The daemon in lb, with these variables and options.
fn start(bed: &Testbed, variables: &[String], options: &[&str]) -> Running {
    let file = bed.config("evenkeel.toml", GOOD_CONFIG).display().to_string();
    let socket = bed.work.join("socket").display().to_string();
    let program = repository().join("build/evenkeel").display().to_string();
    let mut words = vec!["env".to_owned()];
    words.extend(variables.iter().cloned());
    words.extend([&program, "run", "--config", &file, "--interface", "veth6", "--socket", &socket].map(str::to_owned));
    words.extend(options.iter().map(|option| (*option).to_owned()));
    bed.start("lb", &words)
}

/// Waits until a message with this line has come.
fn wait_for(manager: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    until(line, || {
        let length = manager.recv(&mut buffer).ok()?;
        String::from_utf8_lossy(&buffer[..length]).lines().any(|said| said == line).then_some(())
    });
}

fn manager(path: &Path) -> UnixDatagram {
    let manager = UnixDatagram::bind(path).expect("the sandbox's directory can be written");
    manager.set_nonblocking(true).expect("it is a socket");
    manager
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end_and_the_watchdog_is_kept_quiet() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        let path = bed.work.join("notify");
        let manager = manager(&path);
        let mut balancer = start(bed, &[format!("NOTIFY_SOCKET={}", path.display())], &[]);
        wait_for(&manager, "READY=1");
        assert!(bed.is_occupied(), "it balances by then");
        wait_for(&manager, "WATCHDOG=1");
        wait_for(&manager, "WATCHDOG=1");
        balancer.signal(libc::SIGHUP);
        wait_for(&manager, "RELOADING=1");
        wait_for(&manager, "READY=1");
        balancer.signal(libc::SIGTERM);
        wait_for(&manager, "STOPPING=1");
        assert_eq!(balancer.finish().code, Some(0));
    });
}

#[test]
fn messages_for_programs_are_a_json_object_a_line() {
    testbed::on(Plane::GenericXdp).run(|bed| {
        bed.do_in("h2", &["ip", "link", "set", "dev", "veth2", "down"]);
        let mut balancer = start(bed, &[], &["--log-format", "json"]);
        balancer.wait_for("does not answer ARP");
        balancer.wait_for("ready on veth6");
        balancer.signal(libc::SIGTERM);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
        let mut levels = Vec::new();
        for line in ended.stderr.lines() {
            let message: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(message["program"], "evenkeel");
            assert!(message["time"].is_string() && message["message"].is_string(), "{line}");
            levels.push(message["level"].as_str().unwrap_or_default().to_owned());
        }
        assert!(levels.iter().any(|level| level == "warning") && levels.iter().any(|level| level == "info"));
    });
}
