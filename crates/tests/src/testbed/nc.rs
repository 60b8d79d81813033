//! nc as the walk-through types it: two servers, and clients until both have been reached.

use super::{Running, Testbed, until};

/// Rounds after which both servers have surely been reached: for one of them to be left out by chance, 2^-60.
pub const ROUNDS: usize = 60;

/// Two servers as the walk-through has them, one line typed into each of many clients, until both servers have got one.
/// `ends_after_one`: a server takes one connection only.
pub fn connect_until_both_have_received(
    bed: &Testbed,
    server: &str,
    client: &str,
    protocol: &str,
    ends_after_one: bool,
) {
    let mut servers: Vec<Running> = Vec::new();
    for name in ["h2", "h3"] {
        servers.push(bed.terminal(&format!("{name} {server}")));
        bed.wait_for_listener(name, protocol, 8080);
    }
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let line = format!("message {round}\n");
        let mut nc = bed.terminal(client);
        nc.type_text(&line);
        // What one server gets is what was typed, once, and nothing else.
        let arrived = |servers: &[Running]| servers.iter().filter(|server| server.stdout().contains(&line)).count();
        until("the message arrives", || (arrived(&servers) == 1 || nc.has_ended()).then_some(()));
        if arrived(&servers) == 1 {
            sent.push(line);
        } else {
            // A server that takes one connection only is gone after it: the client is refused, and says nothing. Then
            // the other one is still waiting.
            assert!(ends_after_one, "the client ended early: {}", nc.finish());
        }
        nc.interrupt();
        if servers.iter().all(|server| server.stdout().contains("message")) {
            let mut received: Vec<_> = servers.iter().flat_map(|server| lines(&server.stdout())).collect();
            received.sort();
            sent.sort();
            assert_eq!(received, sent, "every message arrived once");
            return;
        }
    }
    panic!("one of the servers was not reached in {ROUNDS} connections");
}

fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}
