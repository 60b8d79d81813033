//! Answers that are refusals.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// One sentence that says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: String,
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    /// The question makes no sense.
    pub(super) fn bad(why: impl Display) -> Self {
        Self(StatusCode::BAD_REQUEST, why.to_string())
    }

    /// What it is about is not there.
    pub(super) fn not_found(why: impl Display) -> Self {
        Self(StatusCode::NOT_FOUND, why.to_string())
    }

    /// It made sense, and does no more.
    pub(super) fn gone(why: impl Display) -> Self {
        Self(StatusCode::GONE, why.to_string())
    }

    /// It makes sense, but cannot be done as things are.
    pub(super) fn conflict(why: impl Display) -> Self {
        Self(StatusCode::CONFLICT, why.to_string())
    }

    /// The plane fails.
    pub(super) fn failed(why: impl Display) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, why.to_string())
    }

    /// The balancer is about to end.
    pub(super) fn ending() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "the balancer is ending.".to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: self.1 })).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}
