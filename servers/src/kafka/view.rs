//! A broker as anybody sees it who knows its address.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// How long a broker may take to answer one request.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is taken.
const MAX_ANSWER_BYTES: i32 = 64 << 20;

/// Asks a broker, each time on a connection of its own. It is apart from the process, which may be killed meanwhile: then a
/// question is an error, and may be asked again.
#[derive(Clone, Copy, Debug)]
pub struct KafkaView {
    port: u16,
}

impl KafkaView {
    pub(super) fn at(port: u16) -> Self {
        KafkaView { port }
    }

    /// Where clients begin, `host:port`.
    pub fn bootstrap(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one request and waits for its answer, as any client could.
    pub fn ask<R: Request>(&self, version: i16, request: &R) -> anyhow::Result<R::Response> {
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("handfast-servers")))
            .encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(&i32::try_from(frame.len())?.to_be_bytes())?;
        stream.write_all(&frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = i32::from_be_bytes(length);
        ensure!(
            (0..=MAX_ANSWER_BYTES).contains(&length),
            "an answer of {length} bytes is none of Kafka's"
        );
        let mut answer = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        let decoded = R::Response::decode(&mut answer, version)?;
        ensure!(!answer.has_remaining(), "the answer is longer than its words");
        Ok(decoded)
    }
}
