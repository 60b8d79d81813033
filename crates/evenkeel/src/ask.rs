//! The commands that ask a running balancer, on either plane.

use crate::error::Failure;
use crate::table::Table;
use clap::{Args, Subcommand};
use evenkeel_control::api::{Client, OrderRequest, ReloadRequest, WeightRequest};
use evenkeel_control::operator::{Change, FlowStatus, ServiceStatus, State, Status};
use evenkeel_daemon::SetupError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

/// Where the balancer listens.
#[derive(Clone, Debug, Args)]
pub(crate) struct Socket {
    /// The running balancer's socket.
    #[arg(long, value_name = "PATH", default_value = evenkeel_control::api::DEFAULT_SOCKET, global = true)]
    pub(crate) socket: PathBuf,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// As JSON, whose shape is stable.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Services and backends of a running balancer, and how they are.
    Status(Format),
    /// Its services and backends.
    Services(Format),
    /// Its counters: packets by the reason of their verdict, and events.
    Counters(Format),
    /// Its connections.
    Flows {
        #[command(flatten)]
        format: Format,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Of this service only.
        #[arg(long, value_name = "SERVICE")]
        service: Option<String>,
    },
    /// Give a backend no new connections; it keeps those that it has.
    Drain(Backend),
    /// Give a backend new connections again.
    Undrain(Backend),
    /// Change a backend's share of new connections, until the next reload.
    Weight {
        #[command(flatten)]
        backend: Backend,
        /// Its weight, 0 to 65535.
        #[arg(value_name = "N")]
        weight: u16,
    },
    /// Read the configuration file again and put it in force: all of it or nothing.
    Reload {
        /// Only say what would change, and how many new connections would go elsewhere.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Backend {
    /// The service's name.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The backend's address, and its port where that alone does not tell.
    #[arg(value_name = "BACKEND")]
    backend: String,
}

/// Asks, and prints the answer.
pub(crate) fn ask(socket: &Socket, ask: Ask) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SetupError::of("the runtime"))?;
    let text = runtime.block_on(answer(&Client::new(&socket.socket), ask))?;
    // Whoever reads may have read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

async fn answer(client: &Client, ask: Ask) -> Result<String, Failure> {
    Ok(match ask {
        Ask::Status(format) => {
            let status: Status = client.get("/v1/status").await?;
            if format.json { json(&status)? } else { status_text(&status) }
        }
        Ask::Services(format) => {
            let services: Vec<ServiceStatus> = client.get("/v1/services").await?;
            if format.json { json(&services)? } else { services_text(&services) }
        }
        Ask::Counters(format) => {
            let counters: BTreeMap<String, u64> = client.get("/v1/counters").await?;
            if format.json { json(&counters)? } else { counters_text(&counters) }
        }
        Ask::Flows { format, limit, service } => {
            let of = service.map_or_else(String::new, |service| format!("&service={}", encoded(&service)));
            let flows: Vec<FlowStatus> = client.get(&format!("/v1/flows?limit={limit}{of}")).await?;
            if format.json { json(&flows)? } else { flows_text(&flows) }
        }
        Ask::Drain(Backend { service, backend }) => {
            client.order("/v1/drain", &OrderRequest { service, backend }).await?;
            String::new()
        }
        Ask::Undrain(Backend { service, backend }) => {
            client.order("/v1/undrain", &OrderRequest { service, backend }).await?;
            String::new()
        }
        Ask::Weight { backend: Backend { service, backend }, weight } => {
            client.order("/v1/weight", &WeightRequest { service, backend, weight }).await?;
            String::new()
        }
        Ask::Reload { dry_run } => {
            let changes: Vec<Change> = client.post("/v1/reload", &ReloadRequest { dry_run }).await?;
            changes_text(&changes, dry_run)
        }
    })
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(SetupError::of("the answer's JSON"))?;
    text.push('\n');
    Ok(text)
}

/// Percent-encoded for a query (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn status_text(status: &Status) -> String {
    let Status { version, plane, uptime_seconds, services, flows_age_seconds: _ } = status;
    let (hours, minutes) = (uptime_seconds / 3600, uptime_seconds / 60 % 60);
    format!("evenkeel {version} on {plane}, up {hours} h {minutes} min\n\n{}", services_text(services))
}

fn services_text(services: &[ServiceStatus]) -> String {
    let mut table = Table::new(["SERVICE", "BACKEND", "WEIGHT", "STATE", "FLOWS", "PACKETS", "BYTES", "WHY"]);
    for service in services {
        table.row([
            service.name.clone(),
            service.listens(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            service.forward.clone(),
        ]);
        for backend in &service.backends {
            let state = match backend.state {
                State::Up => "up",
                State::Down => "down",
                State::Draining => "draining",
            };
            table.row([
                String::new(),
                format!("  {}", backend.listens()),
                backend.weight.to_string(),
                state.to_owned(),
                backend.flows.to_string(),
                backend.packets.to_string(),
                backend.bytes.to_string(),
                backend.reason.clone(),
            ]);
        }
    }
    table.to_string()
}

fn counters_text(counters: &BTreeMap<String, u64>) -> String {
    let mut table = Table::new(["COUNTER", "PACKETS"]);
    for (name, count) in counters.iter().filter(|(_, count)| **count > 0) {
        table.row([name.clone(), count.to_string()]);
    }
    table.to_string()
}

fn flows_text(flows: &[FlowStatus]) -> String {
    let mut table = Table::new(["PROTOCOL", "CLIENT", "SERVICE", "NAT", "BACKEND", "STATE", "IDLE"]);
    for flow in flows {
        table.row([
            flow.protocol.clone(),
            flow.client.to_string(),
            flow.service.to_string(),
            flow.nat.to_string(),
            flow.backend.to_string(),
            flow.state.clone(),
            format!("{} s", flow.idle_seconds),
        ]);
    }
    table.to_string()
}

fn changes_text(changes: &[Change], dry_run: bool) -> String {
    if changes.is_empty() {
        return "nothing changes.\n".to_owned();
    }
    let heads = ["SERVICE", "CHANGE", "NEW CONNECTIONS THAT GO ELSEWHERE", "CONNECTIONS ON BACKENDS THAT LEAVE"];
    let mut table = Table::new(heads);
    for Change { service, what, moved_share, draining_flows } in changes {
        table.row([service.clone(), what.clone(), format!("{:.1} %", moved_share * 100.0), draining_flows.to_string()]);
    }
    let end =
        if dry_run { "Nothing was changed. No connection would move." } else { "In force. No connection has moved." };
    format!("{table}{end}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_encoded_for_a_query() {
        assert_eq!(encoded("web-1.example_~"), "web-1.example_~");
        assert_eq!(encoded("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
