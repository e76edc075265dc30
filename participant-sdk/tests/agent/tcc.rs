//! Kind `tcc`: the agent killed between any two steps, judged by what the service holds.

use handfast_participant::{Outcome, Transaction, failpoint};

use super::coordinator::Coordinator;
use super::hotel::{Booking, Fault, Hotel};
use super::process::AgentFile;
use super::until;

const ROOM: u64 = 12;

fn book() -> bytes::Bytes {
    format!("{{\"room\": {ROOM}}}").into()
}

#[tokio::test]
async fn killed_between_any_two_steps_the_booking_ends_as_decided() {
    let points = failpoint::TCC_NAMES.into_iter().chain([
        "after_prepare_received",
        "after_prepare_sync",
        "after_vote_sent",
        "after_commit_received",
        "after_commit_sync",
        "after_abort_received",
        "after_abort_sync",
        "after_ack_sent",
    ]);
    for point in points {
        let (coordinator, hotel, spa) = (
            Coordinator::start().await,
            Hotel::open().await,
            Hotel::open().await,
        );
        let mut file = AgentFile::new(&coordinator.address);
        for (name, service) in [("hotel", &hotel), ("spa", &spa)] {
            let journal = file.path(name);
            let settings = format!("url = {:?}\ndata_dir = {journal:?}", service.url);
            file = file.with("tcc", name, &settings);
        }

        let is_abort = point.contains("abort") || point.contains("cancel");
        let mut agent = file.run(&[(failpoint::VARIABLE, point)]);
        if is_abort {
            // Not sooner, or there would be nothing to cancel.
            spa.fault("try", Fault::RefusedOnceHeld(hotel.has_held()));
        }
        let transaction = Transaction::new()
            .operation("hotel", book())
            .operation("spa", book());
        let outcome = coordinator.outcome(transaction).await;
        agent.dies_at(point).await;
        assert!(
            !is_abort || matches!(outcome, Outcome::Aborted { .. }),
            "{point}: {outcome:?}"
        );

        let agent = file.run(&[]);
        let is_committed = match outcome {
            Outcome::Committed { .. } => true,
            Outcome::Aborted { .. } => false,
            other => panic!("{point}: {other:?}"),
        };
        until("the end of the booking", async || {
            let has_ended =
                |service: &Hotel| service.held() == 0 && service.taken() == usize::from(is_committed);
            has_ended(&hotel) && has_ended(&spa)
        })
        .await;
        // The room is free again, or taken for good.
        let again = coordinator
            .outcome(Transaction::new().operation("hotel", book()))
            .await;
        assert_eq!(
            matches!(again, Outcome::Committed { .. }),
            !is_committed,
            "{point}: {again:?}"
        );
        until("the end of the second booking", async || hotel.held() == 0).await;
        let confirmed = hotel
            .room(ROOM)
            .iter()
            .filter(|booking| **booking == Booking::Confirmed)
            .count();
        assert_eq!(confirmed, 1, "{point}");
        assert_eq!(agent.end().await, Some(0), "{point}");
    }
}

#[tokio::test]
async fn a_service_that_fails_aborts_what_is_undecided_and_finishes_what_is_decided() {
    let (coordinator, hotel) = (Coordinator::start().await, Hotel::open().await);
    let file = AgentFile::new(&coordinator.address);
    let journal = file.path("hotel");
    let file = file.with(
        "tcc",
        "hotel",
        &format!("url = {:?}\ndata_dir = {journal:?}\ntimeout_ms = 500", hotel.url),
    );
    let agent = file.run(&[]);
    coordinator
        .commit(Transaction::new().operation("hotel", "{\"room\": 1}"))
        .await;
    // The cancel at once fails too; a scan brings it.
    hotel.fault("try", Fault::After(500));
    hotel.fault("cancel", Fault::Before(500));
    let outcome = coordinator
        .outcome(Transaction::new().operation("hotel", book()))
        .await;
    match outcome {
        Outcome::Aborted {
            retryable, message, ..
        } => assert!(retryable, "{message}"),
        other => panic!("{other:?}"),
    }
    until("the cancel of the unanswered try", async || {
        hotel.room(ROOM) == [Booking::Cancelled]
    })
    .await;

    // Decided: confirmed as often as it takes.
    for _ in 0..3 {
        hotel.fault("confirm", Fault::Before(500));
    }
    coordinator
        .commit(Transaction::new().operation("hotel", book()))
        .await;
    assert_eq!(hotel.held(), 0);
    assert_eq!(agent.end().await, Some(0));
}

#[test]
fn another_host_is_refused_before_anything_starts() {
    let keys = "url = \"http://10.1.2.3:8080\"\ndata_dir = \"/tmp/never-made\"";
    let output = AgentFile::new("127.0.0.1:1")
        .with("tcc", "hotel", keys)
        .to_the_end("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("try_url calls 10.1.2.3:8080") && said.contains("allow_hosts"),
        "{said}"
    );
}
