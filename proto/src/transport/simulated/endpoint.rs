//! Where a server is, and a connection to it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::codegen::StdError;

use super::Network;
use crate::alarm::once::{sleep_until, timeout};

/// Why there is no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    pub(super) fn new(why: impl Into<String>) -> Error {
        Error(why.into())
    }
}

/// Where a server is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: SocketAddr,
    connect_timeout: Option<Duration>,
    timeout: Option<Duration>,
}

impl Endpoint {
    /// What the generated clients make of whatever says where a server is.
    ///
    /// # Errors
    ///
    /// If it does not say so.
    pub fn new<D>(server: D) -> Result<Endpoint, Error>
    where
        D: TryInto<Endpoint, Error: Into<StdError>>,
    {
        server
            .try_into()
            .map_err(|error| Error::new(error.into().to_string()))
    }

    /// The server at `http://ip:port`.
    ///
    /// # Errors
    ///
    /// If it is not written so. There are no names in the simulator.
    pub fn from_shared(uri: impl Into<String>) -> Result<Endpoint, Error> {
        let uri = uri.into();
        let address = uri
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok());
        let address =
            address.ok_or_else(|| Error::new(format!("{uri:?} is not like http://10.0.0.1:7420")))?;
        Ok(Endpoint {
            address,
            connect_timeout: None,
            timeout: None,
        })
    }

    /// How long connecting may take.
    #[must_use]
    pub fn connect_timeout(self, limit: Duration) -> Endpoint {
        Endpoint {
            connect_timeout: Some(limit),
            ..self
        }
    }

    /// How long a call may take until its answer, or the first sign of it, is there.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Endpoint {
        Endpoint {
            timeout: Some(limit),
            ..self
        }
    }

    /// Nothing is held back here.
    #[must_use]
    pub fn tcp_nodelay(self, _is_on: bool) -> Endpoint {
        self
    }

    /// No connection is lost without a sign here.
    #[must_use]
    pub fn http2_keep_alive_interval(self, _interval: Duration) -> Endpoint {
        self
    }

    /// No connection is lost without a sign here.
    #[must_use]
    pub fn keep_alive_timeout(self, _limit: Duration) -> Endpoint {
        self
    }

    /// Connects: a message there and one back.
    ///
    /// # Errors
    ///
    /// If nobody listens there, or it takes too long.
    pub async fn connect(&self) -> Result<Channel, Error> {
        let network = Network::current();
        let there = network.arrival_after(network.now());
        let back = network.arrival_after(there);
        match self.connect_timeout {
            Some(limit) => timeout(limit, sleep_until(back))
                .await
                .map_err(|_| Error::new(format!("no answer within {} ms", limit.as_millis())))?,
            None => sleep_until(back).await,
        }
        if network.listener(self.address).is_none() {
            return Err(Error::new("connection refused"));
        }
        Ok(Channel {
            network,
            address: self.address,
            timeout: self.timeout,
        })
    }
}

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Channel {
    pub(super) network: Arc<Network>,
    pub(super) address: SocketAddr,
    pub(super) timeout: Option<Duration>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Channel")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
