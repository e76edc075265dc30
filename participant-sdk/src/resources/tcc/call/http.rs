//! One call of the service: a POST of JSON, bounded in time and size, never redirected.
//!
//! ```json
//! {"handfast_tcc": 1, "step": "try", "log": "…", "transaction": "019aaf00-…", "branch": 0, "operation": {"room": 12}}
//! ```
//!
//! `Idempotency-Key` names the branch and the step; a repeated call carries the same.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::options::{TccOptions, Urls};
use crate::resource::{BranchKey, Refusal, ResourceError};

/// The version of what is sent.
pub const CALL_VERSION: u32 = 1;
/// Connections that are kept open between calls, and for how long.
const IDLE_CONNECTIONS: usize = 32;
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are shown to people.
const SHOWN_BYTES: usize = 300;

/// Which of the three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Try,
    Confirm,
    Cancel,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Step::Try => "try",
            Step::Confirm => "confirm",
            Step::Cancel => "cancel",
        }
    }
}

/// What the service said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// 2xx.
    Done,
    /// 409 or 422: no, in its own words.
    Refused(Refusal),
    /// 404 or 410: it knows of no such transaction.
    Absent(String),
    /// Anything else, or nothing in time: it may have happened or not.
    Unknown(String),
}

/// Calls one service.
pub(super) struct Caller {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    urls: Urls,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    max_response_bytes: usize,
}

impl Caller {
    pub fn new(options: &TccOptions) -> Result<Self, ResourceError> {
        let urls = options.urls().map_err(ResourceError::permanent)?;
        let authorization = options.bearer.as_ref().map(|bearer| {
            let mut value = HeaderValue::try_from(format!("Bearer {bearer}"))?;
            value.set_sensitive(true);
            Ok::<_, hyper::header::InvalidHeaderValue>(value)
        });
        let authorization = authorization.transpose().map_err(|_| {
            ResourceError::permanent("the bearer token has characters that no header may have")
        })?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(options)?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Ok(Caller {
            client,
            urls,
            authorization,
            timeout: options.timeout,
            max_response_bytes: options.max_response_bytes,
        })
    }

    /// Calls, once, within the smaller of both limits.
    pub async fn call(&self, step: Step, branch: BranchKey, operation: &[u8], limit: Duration) -> Answer {
        let limit = limit.min(self.timeout);
        match tokio::time::timeout(limit, self.exchange(step, branch, operation)).await {
            Ok(Ok((status, body))) => understand(status, &body),
            Ok(Err(why)) => Answer::Unknown(why),
            Err(_) => Answer::Unknown(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    async fn exchange(
        &self,
        step: Step,
        branch: BranchKey,
        operation: &[u8],
    ) -> Result<(StatusCode, Bytes), String> {
        let uri: &Uri = match step {
            Step::Try => &self.urls.attempt,
            Step::Confirm => &self.urls.confirm,
            Step::Cancel => &self.urls.cancel,
        };
        let body = body(step, branch, operation).map_err(|error| error.to_string())?;
        let key = format!(
            "{:032x}-{}-{}-{}",
            branch.log.0,
            branch.transaction,
            branch.branch.0,
            step.word()
        );
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
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
            .map_err(|error| with_sources(&error))?;
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

fn tls(options: &TccOptions) -> Result<rustls::ClientConfig, ResourceError> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &options.ca_file {
        let unusable = |error: String| {
            ResourceError::permanent(format!(
                "ca_file {} cannot be used: {error}; name a PEM file",
                path.display()
            ))
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ResourceError::permanent(format!("TLS cannot be set up: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
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
        let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
        format!("{status} {text}").trim().to_owned()
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

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
