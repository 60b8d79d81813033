//! A configuration file of one service, in which a test says only what it is about.

/// A file of one service that is right, for tests that put something wrong into it.
pub const GOOD_CONFIG: &str = r#"[dataplane]
max-flows = 1024

[nat]
addresses = ["10.0.0.10"]

[[service]]
name = "web"
address = "10.0.0.10"
port = 8080
protocol = "tcp"
backends = [{ address = "10.0.0.2", port = 8080 }]
"#;

/// The service's port, and that of its backends.
pub const SERVICE_PORT: u16 = 8080;

/// `head` are sections in front of the service, `service` are lines of it. Backends are hosts of 10.0.0.0/24, each with what
/// is to be said beside its address.
pub fn file(head: &str, service: &str, backends: &[(u8, &str)]) -> String {
    let backends: Vec<_> = backends
        .iter()
        .map(|(host, more)| format!("  {{ address = \"10.0.0.{host}\", port = {SERVICE_PORT}{more} }},\n"))
        .collect();
    format!(
        r#"{head}
[nat]
addresses = ["10.0.0.10"]
[[service]]
name = "web"
address = "10.0.0.10"
port = {SERVICE_PORT}
protocol = "tcp"
{service}
backends = [
{}]
"#,
        backends.concat()
    )
}
