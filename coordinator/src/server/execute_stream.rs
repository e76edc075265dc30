//! Many transactions on one stream: a reader turns its messages into inputs, and the driver's answers leave as they come.
//!
//! A reader that finds the inbox full, or too much unanswered, waits, and with it its client.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, future, stream};
use handfast_core::{ExecuteRequest, Outcome, Reply};
use handfast_proto::convert::transaction_id_bytes;
use handfast_proto::status::Failure;
use handfast_proto::v1;
use handfast_proto::v1::numbered_answer::Answer as WireAnswer;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::answers;
use super::transactions::{execute_request, fits, invalid};
use crate::driver::{Answer, DriverHandle, FRAMES_IN_FLIGHT, Input, StreamId};
use crate::runtime;

/// Requests of one stream that wait for an answer; its reader waits for room for more.
const WINDOW: usize = 131_072;

/// Messages to a client, and how they end.
pub type Responses = Pin<Box<dyn Stream<Item = Result<v1::ExecuteStreamResponse, Status>> + Send>>;

/// Serves a stream that a client has opened, for requests of so many bytes; `place` is kept while it is read or written.
pub async fn serve(
    driver: DriverHandle,
    incoming: Streaming<v1::ExecuteStreamRequest>,
    request_bytes: usize,
    place: OwnedSemaphorePermit,
) -> Result<Responses, Failure> {
    let (answers, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT);
    let number = driver.stream_id();
    let up = Input::StreamUp {
        stream: number,
        answers,
    };
    driver.put(up).await?;
    let place = Arc::new(place);
    let window = Arc::new(Semaphore::new(WINDOW));
    let listener = Listener(window.clone());
    let (farewell, last) = oneshot::channel();
    let reader = Reader {
        driver,
        stream: number,
        incoming,
        request_bytes,
        window,
        _place: place.clone(),
    };
    runtime::spawn(reader.run(farewell));
    let responses = ReceiverStream::new(outgoing).map(move |answered| {
        let _held = &place;
        listener.0.add_permits(answered.len());
        let answers = answered.into_iter().map(numbered).collect();
        Ok(v1::ExecuteStreamResponse { answers })
    });
    // A stream that broke the rules ends with the words that say so.
    let last = stream::once(last).filter_map(|said: Result<Status, _>| future::ready(said.ok().map(Err)));
    Ok(Box::pin(responses.chain(last)))
}

/// The client's ear. Once it is gone, answers give no room back, and the reader must not wait for any.
struct Listener(Arc<Semaphore>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Reads one stream to its end.
struct Reader {
    driver: DriverHandle,
    stream: StreamId,
    incoming: Streaming<v1::ExecuteStreamRequest>,
    request_bytes: usize,
    window: Arc<Semaphore>,
    _place: Arc<OwnedSemaphorePermit>,
}

impl Reader {
    async fn run(mut self, farewell: oneshot::Sender<Status>) {
        let stream = self.stream;
        let lost = match self.read().await {
            Ok(()) => false,
            Err(why) => {
                tracing::debug!(stream = stream.0, %why, "a client's stream is lost");
                // Who is gone hears nothing.
                let _ = farewell.send(why);
                true
            }
        };
        // If the driver has ended, nobody needs to be told.
        let _ = self.driver.put(Input::StreamDown { stream, lost }).await;
    }

    async fn read(&mut self) -> Result<(), Status> {
        while let Some(message) = self.incoming.message().await? {
            let count = u32::try_from(message.requests.len()).unwrap_or(u32::MAX);
            if message.requests.len() > WINDOW {
                let text = format!("requests: {count} in one message; send at most {WINDOW}");
                return Err(invalid(text).into());
            }
            let (mut bytes, mut requests) = (0, Vec::with_capacity(message.requests.len()));
            for numbered in message.requests {
                let number = numbered.number;
                let taken = self.taken(numbered);
                bytes += taken.as_ref().map_or(0, |(_, bytes)| *bytes);
                requests.push((number, taken.map(|(request, _)| request)));
            }
            match self.window.acquire_many(count).await {
                // Given back with the answers.
                Ok(window) => window.forget(),
                Err(_) => return Err(Status::cancelled("the client takes no answers any more")),
            }
            let room = self.driver.room(bytes).await?;
            let stream = self.stream;
            self.driver
                .put(Input::Executes {
                    stream,
                    requests,
                    room,
                })
                .await?;
        }
        Ok(())
    }

    /// The transaction and its bytes on the wire. One that cannot be taken is answered under its number, and the stream goes on.
    fn taken(&self, numbered: v1::NumberedRequest) -> Result<(ExecuteRequest, usize), Failure> {
        let request = numbered
            .request
            .ok_or_else(|| invalid("request: give the transaction"))?;
        let bytes = request.encoded_len();
        fits(bytes, self.request_bytes)?;
        Ok((execute_request(request)?, bytes))
    }
}

fn numbered((number, answer): (u64, Answer)) -> v1::NumberedAnswer {
    let answer = match answer {
        Ok(Reply::Outcome {
            transaction,
            outcome: Outcome::Committed,
        }) => WireAnswer::Committed(transaction_id_bytes(transaction)),
        answer => match answer.and_then(answers::result) {
            Ok(result) => WireAnswer::Result(result),
            Err(failure) => WireAnswer::Failure(failure.into()),
        },
    };
    v1::NumberedAnswer {
        number,
        answer: Some(answer),
    }
}
