//! Which service is called, and the bounds of each call. No other host is ever called: there are no redirects, no proxies, and
//! nothing in an operation names an address.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

/// Bytes of an answer that are read, unless something else is said.
pub const DEFAULT_RESPONSE_BYTES: usize = 64 << 10;
/// How long a call may take, unless something else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A service that can be tried, confirmed and cancelled.
#[derive(Clone, Debug)]
pub struct TccOptions {
    /// Where the agent's journal of it is kept; made if it does not exist.
    pub data_dir: PathBuf,
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

    /// Whether the three addresses may be called.
    ///
    /// # Errors
    /// Words that say which one may not, and what to write.
    pub fn validate(&self) -> Result<(), String> {
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
        let shape = format!("{key} is an address such as http://127.0.0.1:8080/try");
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

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare
        .parse()
        .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::TccOptions;

    #[test]
    fn no_other_host_is_called_unless_it_is_allowed() {
        for (base, allow, words) in [
            ("http://127.0.0.1:8080", &[][..], ""),
            ("http://localhost:8080", &[][..], ""),
            ("http://[::1]:8080", &[][..], ""),
            ("http://10.0.0.7:8080", &[][..], "allow_hosts"),
            ("http://127.0.0.1.example:8080", &[][..], "allow_hosts"),
            ("http://localhost.example", &[][..], "allow_hosts"),
            ("http://hotel.example:8080", &["hotel.example"][..], ""),
            ("http://hotel.example:8080", &["hotel.example:8080"][..], ""),
            (
                "http://hotel.example:8080",
                &["hotel.example:80"][..],
                "allow_hosts",
            ),
            ("http://evil.hotel.example", &["hotel.example"][..], "allow_hosts"),
            (
                "http://hotel.example@10.0.0.7",
                &["hotel.example"][..],
                "password",
            ),
            ("https://127.0.0.1:8080", &[][..], "ca_file"),
            ("ftp://127.0.0.1", &[][..], "cannot be spoken"),
            ("127.0.0.1:8080", &[][..], "is an address"),
        ] {
            let mut options = TccOptions::new("/tmp/x", base);
            options.allow_hosts = allow.iter().map(|host| (*host).to_owned()).collect();
            match options.validate() {
                Ok(()) => assert_eq!(words, "", "{base} is allowed"),
                Err(error) => assert!(!words.is_empty() && error.contains(words), "{base}: {error}"),
            }
        }
    }
}
