//! A configuration file of one service, in which a test says only what it is about.

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
