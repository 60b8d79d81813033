//! The daemon as an ordinary user with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone, as packaging/evenkeel.service starts
//! it: it balances, answers, is killed and takes over again; without any one of the three it says what is missing.

use evenkeel_tests::testbed::{
    self, Connection, GOOD_CONFIG, Plane, Running, SERVICE_PORT, Servers, Testbed, in_network, repository,
};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Nobody.
const USER: u32 = 65534;
const CAPABILITIES: [&str; 3] = ["bpf", "net_admin", "perfmon"];

/// Words that run a program in lb as an ordinary user with these capabilities alone, and no way to more.
fn as_user(capabilities: &[&str], words: &[&str]) -> Vec<String> {
    let sets = capabilities.iter().map(|name| format!(",+{name}")).collect::<String>();
    let only = ["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}=-all{sets}"));
    let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
    let before = ["setpriv", &user, &group, "--clear-groups", "--no-new-privs"];
    in_network("lb", &[&before[..], &only.each_ref().map(String::as_str), words].concat())
}

/// Places as the unit makes them, and the program where every user can read it: the repository may be in a private directory.
fn install(bed: &Testbed) -> (String, String) {
    let open_to_all = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    let program = bed.work.join("evenkeel");
    fs::copy(repository().join("build/evenkeel"), &program).expect("`make` builds it");
    let both = ["10.0.0.2", "10.0.0.3"].map(|address| format!("{{ address = \"{address}\", port = {SERVICE_PORT} }}"));
    let (head, _) = GOOD_CONFIG.split_once("backends").expect("it has some");
    let file = bed.config("evenkeel.toml", &format!("{head}backends = [{}]", both.join(", ")));
    [&bed.work, &program, &file].into_iter().for_each(|path| open_to_all(path));
    // What ExecStartPre and RuntimeDirectory do.
    open_to_all(Path::new("/sys/fs/bpf"));
    for (directory, mode) in [("/sys/fs/bpf/evenkeel", 0o700), ("/run/evenkeel", 0o755)] {
        fs::create_dir_all(directory).expect("we are root");
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).expect("we are root");
        chown(directory, Some(USER), Some(USER)).expect("we are root");
    }
    let text = |path: PathBuf| path.display().to_string();
    (text(program), text(file))
}

#[track_caller]
fn assert_balances() {
    let mut connection = Connection::new(SERVICE_PORT);
    connection.exchange(b"hello").expect("an answer comes through the balancer");
}

#[test]
fn three_capabilities_are_enough() {
    testbed::on(Plane::GenericXdp).needs(&["nsenter", "setpriv"]).run(|bed| {
        let (program, file) = install(bed);
        let start = || {
            let words = [program.as_str(), "run", "--keep", "--config", &file, "--interface", "veth6"];
            let balancer = bed.start("", &as_user(&CAPABILITIES, &words));
            balancer.wait_for(": ready on ");
            balancer
        };
        let _servers = Servers::tcp(SERVICE_PORT);
        let mut balancer = start();
        assert_balances();
        let said = bed.do_in("", &as_user(&CAPABILITIES, &[&program, "status", "--json"])).stdout;
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["plane"], "xdp");
        let status = fs::read_to_string(format!("/proc/{}/status", balancer.id())).expect("it lives");
        let uid = status.lines().find(|line| line.starts_with("Uid:")).expect("every process has one");
        assert_eq!(uid.split_whitespace().skip(1).collect::<Vec<_>>(), [USER.to_string().as_str(); 4]);

        balancer.signal(libc::SIGKILL);
        balancer.finish();
        // Nobody looks after the program.
        assert_balances();
        let mut balancer = start();
        balancer.wait_for("took over");
        assert_balances();
        balancer.signal(libc::SIGTERM);
        let ended = balancer.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
    });
}

#[test]
fn without_any_of_them_it_says_what_is_missing() {
    testbed::on(Plane::GenericXdp).needs(&["nsenter", "setpriv"]).run(|bed| {
        let (program, file) = install(bed);
        for missing in CAPABILITIES {
            let others: Vec<_> = CAPABILITIES.into_iter().filter(|&name| name != missing).collect();
            let words = [program.as_str(), "run", "--config", &file, "--interface", "veth6"];
            let ended = Running::finish(&mut bed.start("", &as_user(&others, &words)));
            assert_ne!(ended.code, Some(0), "it started without {missing}: {ended}");
            let (_, after) = ended.stderr.split_once("CAP_BPF").unwrap_or_default();
            let (_, after) = after.split_once("CAP_NET_ADMIN").unwrap_or_default();
            assert!(after.contains("CAP_PERFMON"), "without {missing}: {ended}");
        }
    });
}
