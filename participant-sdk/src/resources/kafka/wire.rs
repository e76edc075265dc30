//! One connection to one broker: a request, its answer, the next request.
//!
//! A broker serves one request of a connection at a time, so nothing is gained by sending ahead. A connection whose answer did
//! not come, or did not make sense, is reset: what it was asked may or may not have happened, or may happen later, because what
//! the broker's machine has received already cannot be called back.

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::options::{CONNECT_LIMIT, MAX_ANSWER_BYTES};

/// Why there is no answer that can be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum KafkaError {
    /// Nothing was sent.
    #[error("cannot connect to the broker at {address}: {why}")]
    Unreachable { address: String, why: String },
    /// Something may have been sent: whether it was carried out is not known.
    #[error("no answer from the broker at {address} to {what}: {why}")]
    NoAnswer {
        address: String,
        what: &'static str,
        why: String,
    },
    /// The broker's answer.
    #[error("{what}: {} ({code}){}", name(*.code), detail(.said))]
    Refused {
        what: &'static str,
        code: i16,
        said: String,
    },
    /// The connection leads to another cluster than the one that the resource was opened upon. Nothing was sent.
    #[error(
        "the broker at {address} belongs to cluster {found}, and the resource was opened upon {expected}; correct the \
         address, or start again if the cluster was replaced on purpose"
    )]
    OtherCluster {
        address: String,
        found: String,
        expected: String,
    },
    /// The answer is none that this client can work with; only a person can mend it.
    #[error("{0}")]
    Unusable(String),
}

impl KafkaError {
    pub fn refused(what: &'static str, code: i16) -> Self {
        Self::said(what, code, "")
    }

    pub fn said(what: &'static str, code: i16, said: impl Into<String>) -> Self {
        let said = said.into();
        KafkaError::Refused { what, code, said }
    }

    /// The broker's error code, if it answered.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            KafkaError::Refused { code, .. } => ResponseError::try_from_code(*code),
            _ => None,
        }
    }

    /// Whether a request of this kind is without an answer, so that it may still be carried out, however late.
    pub fn is_unanswered<R: Request>(&self) -> bool {
        matches!(self, KafkaError::NoAnswer { what, .. } if *what == api_name::<R>())
    }
}

/// The name of an error code, such as `InvalidTxnState`.
pub(super) fn name(code: i16) -> String {
    ResponseError::try_from_code(code).map_or_else(|| "None".to_owned(), |error| error.to_string())
}

fn detail(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

/// A connection that waits for its next request.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    address: String,
    correlation: i32,
    /// A request is without its answer.
    is_asked: bool,
}

impl Drop for Connection {
    /// What the broker has not taken yet of a request that nobody waits for shall not reach it later.
    fn drop(&mut self) {
        if self.is_asked
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(address = self.address, %error, "a connection is closed and not reset");
        }
    }
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self, KafkaError> {
        let unreachable = |why: String| KafkaError::Unreachable {
            address: address.to_owned(),
            why,
        };
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address))
            .await
            .map_err(|_| unreachable(format!("no connection within {CONNECT_LIMIT:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Connection {
            stream,
            address: address.to_owned(),
            correlation: 0,
            is_asked: false,
        })
    }

    /// Whether the broker has neither closed it nor said anything unasked.
    pub fn is_open(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Asks, and gives the connection back with the answer.
    pub async fn ask<R: Request>(
        mut self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<(Self, R::Response), KafkaError> {
        let what = api_name::<R>();
        let no_answer = |address: &str, why: String| KafkaError::NoAnswer {
            address: address.to_owned(),
            what,
            why,
        };
        self.correlation = self.correlation.wrapping_add(1);
        let frame = encode(request, version, self.correlation)?;
        self.is_asked = true;
        let answer = match timeout(limit, self.exchange(&frame)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(no_answer(&self.address, error.to_string())),
            Err(_) => return Err(no_answer(&self.address, format!("nothing within {limit:?}"))),
        };
        let decoded = decode::<R>(answer, version, self.correlation);
        let response = decoded.map_err(|error| no_answer(&self.address, error.to_string()))?;
        self.is_asked = false;
        Ok((self, response))
    }

    async fn exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        let length = self.stream.read_i32().await?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_ANSWER_BYTES)
            .ok_or_else(|| {
                std::io::Error::other(format!("an answer of {length} bytes is none of Kafka's"))
            })?;
        let mut answer = BytesMut::zeroed(length);
        self.stream.read_exact(&mut answer).await?;
        Ok(answer.freeze())
    }
}

fn encode<R: Request>(request: &R, version: i16, correlation: i32) -> Result<BytesMut, KafkaError> {
    let unusable =
        |error: String| KafkaError::Unusable(format!("{} cannot be written: {error}", api_name::<R>()));
    let mut frame = BytesMut::from(&[0; 4][..]);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("handfast")))
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| unusable(error.to_string()))?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| unusable("it is too long".to_owned()))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

fn decode<R: Request>(mut answer: Bytes, version: i16, correlation: i32) -> Result<R::Response, String> {
    let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
        .map_err(|error| error.to_string())?;
    if header.correlation_id != correlation {
        return Err(format!(
            "the answer is to request {}, and {correlation} was sent",
            header.correlation_id
        ));
    }
    R::Response::decode(&mut answer, version).map_err(|error| error.to_string())
}

fn api_name<R: Request>() -> &'static str {
    match ApiKey::try_from(R::KEY) {
        Ok(ApiKey::ApiVersions) => "ApiVersions",
        Ok(ApiKey::Metadata) => "Metadata",
        Ok(ApiKey::CreateTopics) => "CreateTopics",
        Ok(ApiKey::DescribeConfigs) => "DescribeConfigs",
        Ok(ApiKey::DescribeTransactions) => "DescribeTransactions",
        Ok(ApiKey::EndTxn) => "EndTxn",
        Ok(ApiKey::Fetch) => "Fetch",
        Ok(ApiKey::FindCoordinator) => "FindCoordinator",
        Ok(ApiKey::InitProducerId) => "InitProducerId",
        Ok(ApiKey::ListOffsets) => "ListOffsets",
        Ok(ApiKey::ListTransactions) => "ListTransactions",
        Ok(ApiKey::Produce) => "Produce",
        Ok(ApiKey::TxnOffsetCommit) => "TxnOffsetCommit",
        _ => "a request",
    }
}

#[cfg(test)]
mod tests;
