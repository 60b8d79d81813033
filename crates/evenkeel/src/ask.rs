//! The commands that ask a running balancer, on either plane.

use crate::error::Failure;
use crate::table::Table;
use clap::{Args, Subcommand, ValueEnum};
use evenkeel_control::api::{Client, ClientError, HostRequest, OrderRequest, ReloadRequest, WeightRequest};
use evenkeel_control::operator::{
    Change, FlowOrder, FlowStatus, Ordered, OrderedBackend, ServiceStatus, State, Status,
};
use evenkeel_daemon::{Announcer, SetupError};
use evenkeel_xdp_daemon::LeftAtWork;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
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

impl Format {
    /// For people, or as JSON.
    pub(crate) fn text<V: Serialize + Display>(self, value: &V) -> Result<String, Failure> {
        if self.json { json(value) } else { Ok(value.to_string()) }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Services and backends of a running balancer, and how they are.
    Status(Format),
    /// Its services and backends.
    Services(Format),
    /// Its counters: packets by the reason of their verdict, and events.
    #[command(after_help = crate::PACKETS)]
    Counters(Format),
    /// Its connections. If there are more than are told, that is said; with --json on a terminal only.
    Flows {
        #[command(flatten)]
        format: Format,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        which: Which,
        /// In this order; without, in none, which is quicker.
        #[arg(long, value_enum, value_name = "ORDER")]
        sort: Option<Sort>,
    },
    /// Give a backend no new connections; it keeps those that it has. By --host all backends at an address.
    ///
    /// Holds until it is undone, over reloads and restarts. If nobody is left who takes a service's new connections, that is said.
    Drain(Drained),
    /// Give a backend new connections again. By --host all backends at an address.
    Undrain(Drained),
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

/// Which connections.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// Of this service only.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// From this client only: an address, or one with a port, such as 192.0.2.7:40000.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// To this backend only: an address, or one with a port.
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<String>,
    /// In this state only.
    #[arg(long, value_name = "STATE", value_parser = ["opening", "answered", "established", "half-closed", "closing"])]
    state: Option<String>,
}

/// What connections are sorted by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Sort {
    /// Those first that have been idle for longest.
    Idle,
    /// By the client's address and port.
    Client,
    /// By the backend's address and port.
    Backend,
    /// By state.
    State,
}

impl From<Sort> for FlowOrder {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Idle => Self::Idle,
            Sort::Client => Self::Client,
            Sort::Backend => Self::Backend,
            Sort::State => Self::State,
        }
    }
}

/// One backend, or all at an address.
#[derive(Clone, Debug, Args)]
pub(crate) struct Drained {
    /// The service's name.
    #[arg(value_name = "SERVICE", required_unless_present = "host")]
    service: Option<String>,
    /// The backend's address, and its port where that alone does not tell.
    #[arg(value_name = "BACKEND", required_unless_present = "host")]
    backend: Option<String>,
    /// All backends at this address, whatever their services and ports.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["service", "backend"])]
    host: Option<IpAddr>,
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
pub(crate) fn ask(announcer: Announcer, socket: &Socket, ask: Ask) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SetupError::of("the runtime"))?;
    let Answer { text, remarks } = runtime.block_on(async {
        let answer = answer(&Client::new(&socket.socket), ask).await;
        left_at_work(answer).await
    })?;
    // Whoever reads may have read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    remarks.iter().for_each(|remark| announcer.say(remark));
    announcer.finish();
    Ok(())
}

/// What comes of a question: what was asked for, and what should be known besides.
struct Answer {
    text: String,
    remarks: Vec<String>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, remarks: Vec::new() }
    }
}

/// Where nobody answers, a program may balance on by itself; then that is the answer.
async fn left_at_work(answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
    let Err(Failure::Client(ClientError::Nobody { path })) = answer else { return answer };
    match evenkeel_xdp_daemon::left_at_work().await {
        Some(LeftAtWork { interface, mode }) => Err(Failure::LeftAtWork { path, interface, mode }),
        None => Err(ClientError::Nobody { path }.into()),
    }
}

/// What came of an order: nothing to say, unless it was about several, or nobody is left.
fn ordered(ordered: Ordered, verb: &str, names_all: bool) -> Answer {
    let line = |OrderedBackend { service, backend }: &OrderedBackend| format!("{verb} {service} {backend}\n");
    let remark =
        |service: &String| format!("warning: service \"{service}\" has nobody left: no backend takes new connections.");
    Answer {
        text: if names_all { ordered.backends.iter().map(line).collect() } else { String::new() },
        remarks: ordered.unserved.iter().map(remark).collect(),
    }
}

async fn answer(client: &Client, ask: Ask) -> Result<Answer, Failure> {
    Ok(match ask {
        Ask::Status(format) => {
            let status: Status = client.get("/v1/status").await?;
            if format.json { json(&status)? } else { status_text(&status) }.into()
        }
        Ask::Services(format) => {
            let services: Vec<ServiceStatus> = client.get("/v1/services").await?;
            if format.json { json(&services)? } else { services_text(&services) }.into()
        }
        Ask::Counters(format) => {
            let counters: BTreeMap<String, u64> = client.get("/v1/counters").await?;
            if format.json { json(&counters)? } else { counters_text(&counters) }.into()
        }
        Ask::Flows { format, limit, which, sort } => flows(client, format, limit, which, sort).await?,
        Ask::Drain(Drained { service, backend, host }) => {
            let done = match host {
                Some(host) => client.post("/v1/drain-host", &HostRequest { host }).await?,
                None => client.post("/v1/drain", &order(service, backend)).await?,
            };
            ordered(done, "drained", host.is_some())
        }
        Ask::Undrain(Drained { service, backend, host }) => {
            let done = match host {
                Some(host) => client.post("/v1/undrain-host", &HostRequest { host }).await?,
                None => client.post("/v1/undrain", &order(service, backend)).await?,
            };
            ordered(done, "undrained", host.is_some())
        }
        Ask::Weight { backend: Backend { service, backend }, weight } => {
            let done = client.post("/v1/weight", &WeightRequest { service, backend, weight }).await?;
            ordered(done, "weighted", false)
        }
        Ask::Reload { dry_run } => {
            let changes: Vec<Change> = client.post("/v1/reload", &ReloadRequest { dry_run }).await?;
            changes_text(&changes, dry_run).into()
        }
    })
}

/// The command line has seen to it that both are there.
fn order(service: Option<String>, backend: Option<String>) -> OrderRequest {
    OrderRequest { service: service.unwrap_or_default(), backend: backend.unwrap_or_default() }
}

async fn flows(
    client: &Client,
    format: Format,
    limit: usize,
    which: Which,
    sort: Option<Sort>,
) -> Result<Answer, Failure> {
    let Which { service, client: from, backend, state } = which;
    let name = sort.and_then(|sort| Some(sort.to_possible_value()?.get_name().to_owned()));
    let wanted = [("service", service), ("client", from), ("backend", backend), ("state", state), ("sort", name)];
    let wanted = wanted.into_iter().filter_map(|(key, value)| Some(format!("&{key}={}", encoded(&value?))));
    // One more than is told tells whether there are more.
    let asked = limit.saturating_add(1);
    let question = format!("/v1/flows?limit={asked}{}", wanted.collect::<String>());
    let mut flows = client.flows(&question, asked, sort.map(FlowOrder::from)).await?;
    let is_cut = flows.len() > limit;
    flows.truncate(limit);
    let more = format!(
        "There are more than these {limit}: --limit N shows more, --service, --client, --backend and --state others, --sort the first."
    );
    Ok(match (format.json, is_cut) {
        (true, is_cut) => {
            // Programs read one and the same shape, and may read both channels.
            let is_told = is_cut && std::io::stderr().is_terminal();
            Answer { text: json(&flows)?, remarks: is_told.then_some(more).into_iter().collect() }
        }
        (false, true) => format!("{}{more}\n", flows_text(&flows)).into(),
        (false, false) => flows_text(&flows).into(),
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
    let Status { version, plane, uptime_seconds, services, interface, mode, mode_reason, .. } = status;
    let (hours, minutes) = (uptime_seconds / 3600, uptime_seconds / 60 % 60);
    let place = match (interface, mode) {
        (Some(interface), Some(mode)) => {
            let why = mode_reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("on {interface} ({mode}){why}\n")
        }
        _ => String::new(),
    };
    format!("evenkeel {version} on {plane}, up {hours} h {minutes} min\n{place}\n{}", services_text(services))
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
