use futures_util::future::{join, join_all};
use handfast_participant::client::{ClientError, ClientOptions, Transport};
use handfast_participant::proto::sizes::{GATHERED_BYTES, REQUEST_BYTES};
use handfast_participant::proto::status::Reason;
use handfast_participant::resources::ledger;
use handfast_participant::{Client, Outcome, Transaction};

use super::coordinator::Coordinator;
use super::process::AgentFile;
use super::{PATIENCE, posting};

/// The longest operation that a coordinator takes without other settings.
const OPERATION_BYTES: usize = 1 << 20;
/// Others on the same connection; together they nearly fill a message.
const BYSTANDERS: usize = 60;
const BYSTANDER_BYTES: usize = 15_000;

fn client(coordinator: &Coordinator, transport: Transport, request_bytes: usize) -> Client {
    let mut options = ClientOptions::new([&coordinator.address]);
    (options.transport, options.request_bytes) = (transport, request_bytes);
    Client::with_options(options).unwrap()
}

/// So many bytes of operations that make no sense to a ledger.
fn long(mut bytes: usize) -> Transaction {
    let mut transaction = Transaction::new().timeout(PATIENCE);
    while bytes > 0 {
        let operation = bytes.min(OPERATION_BYTES);
        transaction = transaction.operation("left", vec![b'x'; operation]);
        bytes -= operation;
    }
    transaction
}

/// Executes it among others, all of which must commit.
async fn among_others(client: &Client, culprit: Transaction) -> Result<Outcome, ClientError> {
    let bystander = || {
        let mut posting = posting("alice", 1).to_vec();
        posting.resize(BYSTANDER_BYTES, b' ');
        client.execute(Transaction::new().operation("left", posting).timeout(PATIENCE))
    };
    let bystanders = join_all((0..BYSTANDERS).map(|_| bystander()));
    let (others, told) = join(bystanders, client.execute(culprit)).await;
    for outcome in others {
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    }
    told
}

#[tokio::test]
async fn a_request_that_is_too_long_is_told_so_and_its_neighbours_commit() {
    let coordinator = Coordinator::start().await;
    let file = AgentFile::new(&coordinator.address).with_ledger("left");
    let agent = file.run(&[]);
    let start = Transaction::new().operation("left", posting("alice", 1));
    coordinator.commit(start).await;
    assert!((GATHERED_BYTES / 2..GATHERED_BYTES).contains(&(BYSTANDERS * BYSTANDER_BYTES)));
    let mut committed = 1;
    for transport in [Transport::Stream, Transport::Calls] {
        // The client refuses by itself; one that was told otherwise is refused by the coordinator.
        for (request_bytes, whose) in [
            (REQUEST_BYTES, "ClientOptions"),
            (2 * REQUEST_BYTES, "server.frame_bytes"),
        ] {
            let client = client(&coordinator, transport, request_bytes);
            let error = among_others(&client, long(REQUEST_BYTES + OPERATION_BYTES))
                .await
                .unwrap_err();
            let ClientError::FixRequest { reason, message } = error else {
                panic!("{transport:?}: {error}")
            };
            assert_eq!(reason, Some(Reason::OperationTooLarge), "{message}");
            for words in ["16777216", "17826", "nothing was", whose] {
                assert!(message.contains(words), "{words}: {message}");
            }
            committed += BYSTANDERS;
        }
        // One that just fits is taken under load too: the ledger refuses it, because it makes no sense there.
        let client = client(&coordinator, transport, REQUEST_BYTES);
        let outcome = among_others(&client, long(REQUEST_BYTES - 1000)).await;
        assert!(
            matches!(&outcome, Ok(Outcome::Aborted { message, .. }) if message.contains("BAD_OPERATION")),
            "{transport:?}: {outcome:?}"
        );
        committed += BYSTANDERS;
    }
    assert_eq!(agent.end().await, Some(0));
    let report = ledger::inspect(file.path("left")).await.unwrap();
    assert_eq!((report.applied.len(), report.prepared.len()), (committed, 0));
}
