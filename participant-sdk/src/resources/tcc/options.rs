//! Which service is called, and the bounds of each call. No other host is ever called: there are no redirects, no proxies, and
//! nothing in an operation names an address.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

/// Bytes of an answer that are read, unless something else is said.
pub const DEFAULT_RESPONSE_BYTES: usize = 64 << 10;
/// How long a call may take, unless something else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a call may be allowed to take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The service whose methods are called over gRPC, unless the address names another: `handfast.tcc.v1` of the published contract.
pub const GRPC_SERVICE: &str = "handfast.tcc.v1.TryConfirmCancel";

/// What the service speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A POST of JSON to each address.
    Http,
    /// A unary gRPC method, which the path of each address names: `/package.Service/Method`.
    Grpc,
}

/// A service that can be tried, confirmed and cancelled.
#[derive(Clone, Debug)]
pub struct TccOptions {
    /// Where the agent's journal of it is kept; made if it does not exist.
    pub data_dir: PathBuf,
    /// What the service speaks.
    pub transport: Transport,
    /// Called to prepare.
    pub try_url: String,
    /// Called to commit.
    pub confirm_url: String,
    /// Called to abort.
    pub cancel_url: String,
    /// Hosts that may be called, as `host` or `host:port`, beside those of the loopback interface.
    pub allow_hosts: Vec<String>,
    /// How long one call may take.
    pub timeout: Duration,
    /// The most bytes of an answer that are read.
    pub max_response_bytes: usize,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<String>,
    /// Certificates (PEM) that an `https` service is trusted by.
    pub ca_file: Option<PathBuf>,
}

impl TccOptions {
    /// The defaults for a service whose calls are `<base>/try`, `<base>/confirm` and `<base>/cancel`.
    pub fn new(data_dir: impl Into<PathBuf>, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        TccOptions {
            data_dir: data_dir.into(),
            transport: Transport::Http,
            try_url: format!("{base}/try"),
            confirm_url: format!("{base}/confirm"),
            cancel_url: format!("{base}/cancel"),
            allow_hosts: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            max_response_bytes: DEFAULT_RESPONSE_BYTES,
            bearer: None,
            ca_file: None,
        }
    }

    /// The defaults for a service over gRPC whose methods are `Try`, `Confirm` and `Cancel`: of [`GRPC_SERVICE`] if `base` is an
    /// address alone, of another service if its path names one, such as `http://127.0.0.1:50051/hotel.v1.Bookings`.
    pub fn grpc(data_dir: impl Into<PathBuf>, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let names_service = base.parse().is_ok_and(|uri: Uri| uri.path() != "/");
        let service = if names_service {
            base.to_owned()
        } else {
            format!("{base}/{GRPC_SERVICE}")
        };
        TccOptions {
            transport: Transport::Grpc,
            try_url: format!("{service}/Try"),
            confirm_url: format!("{service}/Confirm"),
            cancel_url: format!("{service}/Cancel"),
            ..TccOptions::new(data_dir, base)
        }
    }

    /// Whether the three addresses may be called, and the bounds are such that a call can succeed.
    ///
    /// # Errors
    /// Words that say what does not fit, and what to write.
    pub fn validate(&self) -> Result<(), String> {
        if self.timeout < Duration::from_millis(1) || self.timeout > MAX_TIMEOUT {
            return Err(format!(
                "timeout_ms is {}; accepted are 1 to {}",
                self.timeout.as_millis(),
                MAX_TIMEOUT.as_millis()
            ));
        }
        self.urls().map(drop)
    }

    pub(super) fn urls(&self) -> Result<Urls, String> {
        Ok(Urls {
            attempt: self.url("try_url", &self.try_url)?,
            confirm: self.url("confirm_url", &self.confirm_url)?,
            cancel: self.url("cancel_url", &self.cancel_url)?,
        })
    }

    fn url(&self, key: &str, text: &str) -> Result<Uri, String> {
        let shape = match self.transport {
            Transport::Http => format!("{key} is an address such as http://127.0.0.1:8080/try"),
            Transport::Grpc => {
                format!("{key} is the address of a method such as http://127.0.0.1:50051/{GRPC_SERVICE}/Try")
            }
        };
        let uri: Uri = text.parse().map_err(|error| format!("{shape}: {error}"))?;
        let (Some(scheme), Some(authority), Some(host)) = (uri.scheme_str(), uri.authority(), uri.host())
        else {
            return Err(format!("{shape}, not {text:?}"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(format!("{shape}; {scheme} cannot be spoken"));
        }
        if authority.as_str().contains('@') {
            return Err(format!("{key} must not hold a password; use a bearer token"));
        }
        if scheme == "https" && self.ca_file.is_none() {
            return Err(format!(
                "{key} is https, so ca_file must name the certificates that it is trusted by"
            ));
        }
        if self.transport == Transport::Grpc && !names_method(&uri) {
            return Err(format!("{shape}, not {text:?}"));
        }
        let named = |allowed: &String| {
            allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(authority.as_str())
        };
        if !is_loopback(host) && !self.allow_hosts.iter().any(named) {
            return Err(format!(
                "{key} calls {authority}, which is not this machine and not allowed; write it into allow_hosts if it is meant"
            ));
        }
        Ok(uri)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Urls {
    pub attempt: Uri,
    pub confirm: Uri,
    pub cancel: Uri,
}

/// Whether the path is `/package.Service/Method`, and there is nothing behind it.
fn names_method(url: &Uri) -> bool {
    let is_name = |text: &str| {
        text.split('.').all(|part| {
            part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && part
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        })
    };
    let method = url.path().strip_prefix('/').and_then(|path| path.split_once('/'));
    let is_method =
        method.is_some_and(|(service, method)| is_name(service) && is_name(method) && !method.contains('.'));
    is_method && url.query().is_none()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare
        .parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests;
