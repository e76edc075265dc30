//! How the subcommands that look at a running coordinator reach it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use handfast_proto::status::{Failure, Reason};
use handfast_proto::transport::{Channel, Endpoint};
use handfast_proto::v1::admin_client::AdminClient;
use handfast_proto::v1::transactions_client::TransactionsClient;
use tonic::{Code, Request, Status};

use super::output::Output;
use crate::error::{Error, Kind};
use crate::operators::OperatorToken;

/// Which coordinator, and how to print.
#[derive(Debug, Args)]
pub struct Connect {
    /// The coordinator's address
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "HANDFAST_ADDRESS",
        default_value = "127.0.0.1:7420",
        global = true
    )]
    address: String,
    #[command(flatten)]
    pub operator: Operator,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,
}

/// As whom to call what operators call.
#[derive(Clone, Debug, Default, Args)]
pub struct Operator {
    /// The file with the token that the coordinator asks of operators, if it does
    #[arg(
        long,
        value_name = "FILE",
        env = "HANDFAST_OPERATOR_TOKEN_FILE",
        global = true
    )]
    operator_token_file: Option<PathBuf>,
}

impl Operator {
    /// A request of an operator.
    pub fn request<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        if let Some(file) = &self.operator_token_file {
            OperatorToken::read(file)?.sign(&mut request);
        }
        Ok(request)
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is taken: a page of transactions with thousands of branches and their evidence is long.
const ANSWER_BYTES: usize = 64 << 20;

impl Connect {
    /// A client of what operators call.
    pub async fn admin(&self) -> Result<AdminClient<Channel>, Error> {
        Ok(AdminClient::new(self.channel().await?).max_decoding_message_size(ANSWER_BYTES))
    }

    /// A client of what applications call.
    pub async fn transactions(&self) -> Result<TransactionsClient<Channel>, Error> {
        Ok(TransactionsClient::new(self.channel().await?).max_decoding_message_size(ANSWER_BYTES))
    }

    async fn channel(&self) -> Result<Channel, Error> {
        channel(&self.address).await
    }
}

/// A client of what operators call, at this address.
#[cfg(feature = "bench")]
pub async fn admin(address: &str) -> Result<AdminClient<Channel>, Error> {
    Ok(AdminClient::new(channel(address).await?).max_decoding_message_size(ANSWER_BYTES))
}

async fn channel(address: &str) -> Result<Channel, Error> {
    let uri = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|error| {
        let message = format!("{address:?} is no address: {error}; give one such as 127.0.0.1:7420");
        Error::new(Kind::Usage, message)
    })?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT);
    endpoint
        .connect()
        .await
        .map_err(|error| unreachable(address, &error))
}

fn unreachable(address: &str, error: &dyn std::error::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    let message = format!(
        "no coordinator answers at {address}: {reason}; start it, or give the address of one that runs"
    );
    Error::new(Kind::Unreachable, message)
}

/// A call that failed: the coordinator's own words, or the transport's.
pub fn call_failed(status: Status) -> Error {
    match Failure::from_status(&status) {
        Some(failure) if failure.reason == Reason::Unauthenticated => {
            let message = format!(
                "{failure}. Give its path with --operator-token-file FILE, or in HANDFAST_OPERATOR_TOKEN_FILE"
            );
            Error::new(Kind::Refused, message)
        }
        Some(failure) => Error::new(Kind::Refused, failure.to_string()),
        None if matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
        ) =>
        {
            let message = format!(
                "the coordinator cannot be reached: {}; try again",
                status.message()
            );
            Error::new(Kind::Unreachable, message)
        }
        None => Error::new(
            Kind::Refused,
            format!("the call failed: {}: {}", status.code(), status.message()),
        ),
    }
}
