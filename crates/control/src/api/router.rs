//! The resources, and what is asked of the operator for each.

use super::answer::Refusal;
use super::caller::Caller;
use super::exposition::Format;
use super::scrapes::Scrapes;
use super::search;
use crate::operator::{
    Change, Cursor, FlowFilter, FlowOrder, Handle, Order, OrderError, Ordered, Place, ReloadError, ServiceStatus,
    Status,
};
use crate::plane::Plane;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRef, Query, RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, LINK};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The largest question, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// Connections that are told if nobody says how many.
const DEFAULT_FLOWS: usize = 100;
/// The most that are told at once.
const MAX_FLOWS: usize = 1_000_000;

/// `POST /v1/drain` and `/v1/undrain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// The service's name.
    pub service: String,
    /// The backend's address, and its port where that alone does not tell.
    pub backend: String,
}

/// `POST /v1/drain-host` and `/v1/undrain-host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    /// The address of the backends that are meant.
    pub host: IpAddr,
}

/// `POST /v1/weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightRequest {
    /// The service's name.
    pub service: String,
    /// The backend's address, and its port where that alone does not tell.
    pub backend: String,
    /// Its share of new connections.
    pub weight: u16,
}

/// `POST /v1/reload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadRequest {
    /// Only say what would change.
    pub dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    limit: Option<usize>,
    service: Option<String>,
    client: Option<Place>,
    backend: Option<Place>,
    state: Option<String>,
    sort: Option<FlowOrder>,
    /// Where the part before has ended.
    from: Option<Cursor>,
}

/// What is asked of.
struct Asked<P> {
    handle: Handle<P>,
    scrapes: Scrapes<P>,
}

impl<P> Clone for Asked<P> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), scrapes: self.scrapes.clone() }
    }
}

impl<P> FromRef<Asked<P>> for Handle<P> {
    fn from_ref(asked: &Asked<P>) -> Self {
        asked.handle.clone()
    }
}

impl<P> FromRef<Asked<P>> for Scrapes<P> {
    fn from_ref(asked: &Asked<P>) -> Self {
        asked.scrapes.clone()
    }
}

/// Everything, for whoever may open the socket; and what monitoring may ask.
pub fn routers<P: Plane + 'static>(handle: Handle<P>) -> (Router, Router) {
    let asked = Asked { scrapes: Scrapes::new(handle.clone()), handle };
    (router(asked.clone()), metrics_router(asked))
}

fn router<P: Plane + 'static>(asked: Asked<P>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<P>))
        .route("/v1/services", get(services::<P>))
        .route("/v1/counters", get(counters::<P>))
        .route("/v1/flows", get(flows::<P>))
        .route("/v1/drain", post(drain::<P>))
        .route("/v1/undrain", post(undrain::<P>))
        .route("/v1/drain-host", post(drain_host::<P>))
        .route("/v1/undrain-host", post(undrain_host::<P>))
        .route("/v1/weight", post(weight::<P>))
        .route("/v1/reload", post(reload::<P>))
        .route("/metrics", get(metrics::<P>))
        .fallback(|| async { Refusal::not_found("there is nothing here: see docs/api.md.") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(asked)
}

fn metrics_router<P: Plane + 'static>(asked: Asked<P>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<P>))
        .fallback(|| async { Refusal::not_found("there is only /metrics here.") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(asked)
}

async fn status<P: Plane + 'static>(State(handle): State<Handle<P>>) -> Result<Json<Status>, Refusal> {
    let status = handle.ask_counted(|operator| operator.status()).await.ok_or_else(Refusal::ending)?;
    status.map(Json).map_err(Refusal::failed)
}

async fn services<P: Plane + 'static>(State(handle): State<Handle<P>>) -> Result<Json<Vec<ServiceStatus>>, Refusal> {
    let status = handle.ask_counted(|operator| operator.status()).await.ok_or_else(Refusal::ending)?;
    status.map(|status| Json(status.services)).map_err(Refusal::failed)
}

async fn counters<P: Plane + 'static>(State(handle): State<Handle<P>>) -> Result<Json<BTreeMap<String, u64>>, Refusal> {
    let counters = handle.ask(|operator| operator.counters()).await.ok_or_else(Refusal::ending)?;
    counters.map(Json).map_err(Refusal::failed)
}

async fn flows<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    RawQuery(asked): RawQuery,
    query: Result<Query<FlowsQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Refusal> {
    let Query(FlowsQuery { limit, service, client, backend, state, sort, from }) = query?;
    let limit = limit.unwrap_or(DEFAULT_FLOWS).min(MAX_FLOWS);
    let name = service.clone();
    let filter = FlowFilter { service, client, backend, state };
    let search = handle.ask(move |operator| operator.search_flows(limit, filter, sort));
    let Some(search) = search.await.ok_or_else(Refusal::ending)? else {
        return Err(Refusal::not_found(format!("there is no service called \"{}\".", name.unwrap_or_default())));
    };
    let (found, next) = search::find(search, from).await?;
    let next = next.map(|cursor| [(LINK, next_part(asked.as_deref().unwrap_or_default(), cursor))]);
    Ok(([(CONTENT_TYPE, "application/json")], next, found))
}

/// Where the next part of what was asked for is to be had (RFC 8288, section 3).
fn next_part(asked: &str, cursor: Cursor) -> String {
    let same = asked.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("from="));
    let query: String = same.flat_map(|pair| [pair, "&"]).collect();
    format!("</v1/flows?{query}from={cursor}>; rel=\"next\"")
}

async fn drain<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<OrderRequest>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    let Json(OrderRequest { service, backend }) = request?;
    order(&handle, &caller, service, backend, Order::Drain).await
}

async fn undrain<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<OrderRequest>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    let Json(OrderRequest { service, backend }) = request?;
    order(&handle, &caller, service, backend, Order::Undrain).await
}

async fn weight<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<WeightRequest>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    let Json(WeightRequest { service, backend, weight }) = request?;
    order(&handle, &caller, service, backend, Order::Weight(weight)).await
}

async fn order<P: Plane + 'static>(
    handle: &Handle<P>,
    caller: &Caller,
    service: String,
    backend: String,
    order: Order,
) -> Result<Json<Ordered>, Refusal> {
    let by = caller.words();
    let done = handle.ask(move |operator| operator.order_by(&service, &backend, order, by));
    done.await.ok_or_else(Refusal::ending)?.map(Json).map_err(not_ordered)
}

async fn drain_host<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<HostRequest>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    order_host(&handle, &caller, request?.0, Order::Drain).await
}

async fn undrain_host<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<HostRequest>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    order_host(&handle, &caller, request?.0, Order::Undrain).await
}

async fn order_host<P: Plane + 'static>(
    handle: &Handle<P>,
    caller: &Caller,
    HostRequest { host }: HostRequest,
    order: Order,
) -> Result<Json<Ordered>, Refusal> {
    let by = caller.words();
    let done = handle.ask(move |operator| operator.order_host(host, order, by));
    done.await.ok_or_else(Refusal::ending)?.map(Json).map_err(not_ordered)
}

fn not_ordered<E: std::error::Error>(error: OrderError<E>) -> Refusal {
    match error {
        OrderError::NoService(_) | OrderError::NoBackend { .. } | OrderError::NoHost(_) => Refusal::not_found(error),
        OrderError::Ambiguous { .. } => Refusal::bad(error),
        OrderError::Balancer(_) => Refusal::failed(error),
    }
}

async fn reload<P: Plane + 'static>(
    State(handle): State<Handle<P>>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<ReloadRequest>, JsonRejection>,
) -> Result<Json<Vec<Change>>, Refusal> {
    let Json(ReloadRequest { dry_run }) = request?;
    let by = caller.words();
    let changes = handle
        .ask_counted(move |operator| if dry_run { operator.rehearse() } else { operator.reload_by(by) })
        .await
        .ok_or_else(Refusal::ending)?;
    changes.map(Json).map_err(|error| match error {
        ReloadError::Config(_) => Refusal::bad(error),
        ReloadError::NoFile | ReloadError::Fixed { .. } | ReloadError::Balancer(_) => Refusal::conflict(error),
    })
}

async fn metrics<P: Plane + 'static>(
    State(scrapes): State<Scrapes<P>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    // More than one header is one list (RFC 9110, section 5.3).
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    Ok(([(CONTENT_TYPE, format.content_type())], scrapes.text(format).await?))
}
