//! The way to the service: TCP, and TLS by the certificates of `ca_file` and no others.

use std::error::Error;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower_service::Service;

use super::{IDLE_CONNECTIONS, IDLE_LIMIT, Reached};
use crate::resource::ResourceError;
use crate::resources::tcc::options::{TccOptions, Transport};

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Opens connections of the version of HTTP that the transport takes.
pub(super) fn connector(options: &TccOptions) -> Result<Connector, ResourceError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls(options)?)
        .https_or_http();
    Ok(match options.transport {
        Transport::Http => builder.enable_http1().wrap_connector(tcp),
        Transport::Grpc => builder.enable_http2().wrap_connector(tcp),
    })
}

/// A pool of connections, before a transport says what it wants of them.
pub(super) fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_LIMIT)
        .pool_timer(TokioTimer::new());
    builder
}

/// `Authorization: Bearer …`, if there is a token.
pub(super) fn authorization(options: &TccOptions) -> Result<Option<HeaderValue>, ResourceError> {
    let header = |bearer: &String| {
        let mut value = HeaderValue::try_from(format!("Bearer {bearer}"))?;
        value.set_sensitive(true);
        Ok::<_, hyper::header::InvalidHeaderValue>(value)
    };
    options
        .bearer
        .as_ref()
        .map(header)
        .transpose()
        .map_err(|_| ResourceError::permanent("the bearer token has characters that no header may have"))
}

/// Opens a connection to the address, and closes it again.
pub(super) async fn open(connector: &Connector, url: &Uri) -> Result<(), Reached> {
    let mut connector = connector.clone();
    let connected = async {
        std::future::poll_fn(|context| connector.poll_ready(context)).await?;
        connector.call(url.clone()).await
    };
    match connected.await {
        Ok(_) => Ok(()),
        Err(error) => {
            let found = format!("{url}: {}", explained(&*error));
            Err(match certificate_trouble(&*error) {
                Some(_) => Reached::Unfit {
                    found,
                    todo: "write the authority that signed the service's certificate into ca_file, and the name that it was \
                           signed for into the address",
                },
                None => Reached::nobody(url, &explained(&*error)),
            })
        }
    }
}

/// The error and what caused it. A certificate that is not trusted is told as such, and not as a connection that failed.
pub(super) fn explained(error: &(dyn Error + 'static)) -> String {
    if let Some(trouble) = certificate_trouble(error) {
        return format!("the service's certificate is not one that ca_file vouches for: {trouble}");
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What TLS says against the certificate of the service, if that is what went wrong.
fn certificate_trouble(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(trouble)) => return Some(trouble.to_string()),
            Some(_) => return None,
            None => {}
        }
        // An I/O error that wraps another one passes it over when it is asked for its source.
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
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
        if roots.is_empty() {
            return Err(unusable("there is no certificate in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ResourceError::permanent(format!("TLS cannot be set up: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
