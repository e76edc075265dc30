use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest};
use tokio::net::TcpListener;

use super::*;

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_connection_without_its_answer_is_reset_and_says_which_request_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connection = Connection::open(&address).await.unwrap();
    let (mut broker, _) = listener.accept().await.unwrap();
    let request = InitProducerIdRequest::default();
    let asked = connection.ask(&request, 4, Duration::from_millis(50));
    let error = asked.await.map(drop).unwrap_err();
    assert!(error.is_unanswered::<InitProducerIdRequest>(), "{error}");
    assert!(!error.is_unanswered::<MetadataRequest>(), "{error}");

    let mut taken = Vec::new();
    let read = timeout(LIMIT, broker.read_to_end(&mut taken)).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_waits_for_nothing_is_closed_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connection = Connection::open(&address).await.unwrap();
    let (mut broker, _) = listener.accept().await.unwrap();
    drop(connection);
    let read = timeout(LIMIT, broker.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(read.unwrap(), 0);
}
