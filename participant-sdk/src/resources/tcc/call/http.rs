//! A call as a POST of JSON.
//!
//! ```json
//! {"handfast_tcc": 1, "step": "try", "log": "…", "transaction": "019aaf00-…", "branch": 0, "operation": {"room": 12}}
//! ```
//!
//! `Idempotency-Key` names the branch and the step; a repeated call carries the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::connection::{self, Connector};
use super::{Answer, Reached, Step};
use crate::resource::{BranchKey, Refusal, ResourceError};
use crate::resources::tcc::options::TccOptions;

/// The version of what is sent.
pub const CALL_VERSION: u32 = 1;

/// Calls a service over HTTP.
pub(super) struct HttpCalls {
    connector: Connector,
    client: Client<Connector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    max_response_bytes: usize,
}

impl HttpCalls {
    pub fn new(options: &TccOptions) -> Result<Self, ResourceError> {
        let connector = connection::connector(options)?;
        Ok(HttpCalls {
            client: connection::pool().build(connector.clone()),
            connector,
            authorization: connection::authorization(options)?,
            max_response_bytes: options.max_response_bytes,
        })
    }

    pub async fn call(&self, url: &Uri, step: Step, branch: BranchKey, operation: &[u8]) -> Answer {
        match self.exchange(url, step, branch, operation).await {
            Ok((status, body)) => understand(status, &body),
            Err(why) => Answer::Unknown(why),
        }
    }

    /// Whether somebody listens there.
    pub async fn reach(&self, url: &Uri) -> Reached {
        match connection::open(&self.connector, url).await {
            Ok(()) => Reached::Fit(format!("{url}: somebody listens")),
            Err(reached) => reached,
        }
    }

    async fn exchange(
        &self,
        url: &Uri,
        step: Step,
        branch: BranchKey,
        operation: &[u8],
    ) -> Result<(StatusCode, Bytes), String> {
        let body = body(step, branch, operation).map_err(|error| error.to_string())?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", super::idempotency_key(step, branch));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| connection::explained(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.max_response_bytes)
            .collect()
            .await
            .map_err(|error| format!("{status}, and the answer cannot be read: {error}"))?;
        Ok((status, body.to_bytes()))
    }
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    handfast_tcc: u32,
    step: &'static str,
    log: String,
    transaction: String,
    branch: u32,
    operation: Operation<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Operation<'a> {
    /// JSON, byte for byte: read and written again, numbers would be rounded and repeated keys dropped.
    Json(&'a RawValue),
    Bytes {
        base64: String,
    },
}

fn body(step: Step, branch: BranchKey, operation: &[u8]) -> serde_json::Result<Vec<u8>> {
    let operation = match serde_json::from_slice(operation) {
        Ok(json) => Operation::Json(json),
        Err(_) => Operation::Bytes {
            base64: STANDARD.encode(operation),
        },
    };
    serde_json::to_vec(&Body {
        handfast_tcc: CALL_VERSION,
        step: step.word(),
        log: format!("{:032x}", branch.log.0),
        transaction: branch.transaction.to_string(),
        branch: branch.branch.0,
        operation,
    })
}

/// What a refusal may say of itself.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    reason: Option<String>,
    message: Option<String>,
    retryable: bool,
}

fn understand(status: StatusCode, body: &[u8]) -> Answer {
    let shown = || {
        let text = String::from_utf8_lossy(body);
        format!("{status} {}", super::shown(&text)).trim().to_owned()
    };
    match status {
        status if status.is_success() => Answer::Done,
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            let said: Said = serde_json::from_slice(body).unwrap_or_default();
            Answer::Refused(Refusal {
                reason: said.reason.unwrap_or_else(|| "SERVICE_REFUSED".to_owned()),
                message: said.message.unwrap_or_else(shown),
                retryable: said.retryable,
            })
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Answer::Absent(shown()),
        status if status.is_redirection() => Answer::Unknown(format!("{status}: redirects are not followed")),
        _ => Answer::Unknown(shown()),
    }
}
