//! Kind `tcc`, over HTTP and over gRPC: the agent killed between any two steps, judged by what the service holds.

use std::path::Path;

use handfast_participant::{Outcome, Transaction, failpoint};

use super::certificates::Authority;
use super::coordinator::Coordinator;
use super::hotel::{Booking, Fault, Hotel, Said, Wire};
use super::process::AgentFile;
use super::until;

const ROOM: u64 = 12;

fn book() -> bytes::Bytes {
    format!("{{\"room\": {ROOM}}}").into()
}

/// The keys of a table that names this hotel.
fn settings(hotel: &Hotel, journal: &Path) -> String {
    let transport = match hotel.wire {
        Wire::Http => "http",
        Wire::Grpc => "grpc",
    };
    format!(
        "transport = \"{transport}\"\nurl = {:?}\ndata_dir = {journal:?}\n",
        hotel.url
    )
}

#[tokio::test]
async fn over_http_killed_between_any_two_steps_the_booking_ends_as_decided() {
    killed_between_any_two_steps(Wire::Http).await;
}

#[tokio::test]
async fn over_grpc_killed_between_any_two_steps_the_booking_ends_as_decided() {
    killed_between_any_two_steps(Wire::Grpc).await;
}

async fn killed_between_any_two_steps(wire: Wire) {
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
            Hotel::over(wire).await,
            Hotel::over(wire).await,
        );
        let mut file = AgentFile::new(&coordinator.address);
        for (name, service) in [("hotel", &hotel), ("spa", &spa)] {
            let settings = settings(service, &file.path(name));
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
async fn over_http_a_service_that_fails_aborts_what_is_undecided_and_finishes_what_is_decided() {
    a_service_that_fails(Wire::Http).await;
}

#[tokio::test]
async fn over_grpc_a_service_that_fails_aborts_what_is_undecided_and_finishes_what_is_decided() {
    a_service_that_fails(Wire::Grpc).await;
}

async fn a_service_that_fails(wire: Wire) {
    let (coordinator, hotel) = (Coordinator::start().await, Hotel::over(wire).await);
    let file = AgentFile::new(&coordinator.address);
    let settings = settings(&hotel, &file.path("hotel")) + "timeout_ms = 500";
    let file = file.with("tcc", "hotel", &settings);
    let agent = file.run(&[]);
    coordinator
        .commit(Transaction::new().operation("hotel", "{\"room\": 1}"))
        .await;
    // The cancel at once fails too; a scan brings it.
    hotel.fault("try", Fault::After(Said::Unavailable));
    hotel.fault("cancel", Fault::Before(Said::Unavailable));
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
        hotel.fault("confirm", Fault::Before(Said::Unavailable));
    }
    coordinator
        .commit(Transaction::new().operation("hotel", book()))
        .await;
    assert_eq!(hotel.held(), 0);
    assert_eq!(agent.end().await, Some(0));
}

#[tokio::test]
async fn a_service_over_grpc_that_is_away_when_all_is_decided_confirms_once_it_is_back() {
    let (coordinator, mut hotel) = (Coordinator::start().await, Hotel::over(Wire::Grpc).await);
    let file = AgentFile::new(&coordinator.address);
    let settings = settings(&hotel, &file.path("hotel"));
    let file = file.with("tcc", "hotel", &settings);
    // It has promised, and dies before it hears of the decision; the service goes away meanwhile.
    let mut agent = file.run(&[(failpoint::VARIABLE, "after_commit_received")]);
    let outcome = coordinator
        .outcome(Transaction::new().operation("hotel", book()))
        .await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    agent.dies_at("after_commit_received").await;
    hotel.close().await;

    let mut agent = file.run(&[]);
    agent.logs(&["confirming", "Connection refused"]).await;
    assert_eq!(hotel.room(ROOM), [Booking::Held]);
    hotel.reopen().await;
    until("the confirm", async || hotel.room(ROOM) == [Booking::Confirmed]).await;
    assert_eq!(hotel.steps(), ["try", "confirm"]);
    assert_eq!(agent.end().await, Some(0));
}

#[tokio::test]
async fn checking_says_of_each_service_whether_it_can_be_called_and_calls_none() {
    let (coordinator, plain) = (Coordinator::start().await, Hotel::over(Wire::Grpc).await);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let trusted = Hotel::secure(Wire::Grpc, ours.sign("127.0.0.1")).await;
    let stranger = Hotel::secure(Wire::Http, theirs.sign("127.0.0.1")).await;
    let mut file = AgentFile::new(&coordinator.address);
    let ca_file = file.path("ca.pem");
    ours.write(&ca_file);
    for (name, hotel) in [("plain", &plain), ("trusted", &trusted), ("stranger", &stranger)] {
        let settings = settings(hotel, &file.path(name)) + &format!("ca_file = {ca_file:?}");
        file = file.with("tcc", name, &settings);
    }
    let checked = tokio::task::spawn_blocking(move || file.check(&[], &[]));
    let output = checked.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        format!(
            "  holds   try: {}/handfast.tcc.v1.TryConfirmCancel/Try: a gRPC server",
            plain.url
        ),
        format!(
            "  holds   cancel: {}/handfast.tcc.v1.TryConfirmCancel/Cancel: a gRPC server",
            trusted.url
        ),
        format!(
            "  BROKEN  confirm: {}/confirm: the service's certificate is not one that ca_file vouches for: ",
            stranger.url
        ),
        "1 of 3 resources cannot take part".to_owned(),
    ] {
        assert!(said.contains(&words), "no {words:?} in\n{said}");
    }
    for hotel in [&plain, &trusted, &stranger] {
        assert_eq!(hotel.steps(), [] as [&str; 0]);
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_line_before_anything_starts() {
    let url = "url = \"http://127.0.0.1:1\"";
    let grpc = "transport = \"grpc\"";
    for (keys, words) in [
        (
            "url = \"http://10.1.2.3:8080\"".to_owned(),
            "line 6: resource \"hotel\" of kind tcc: try_url calls 10.1.2.3:8080, which is not this machine and not allowed; \
             write it into allow_hosts",
        ),
        (
            format!("{grpc}\nurl = \"http://10.1.2.3:50051\""),
            "line 6: resource \"hotel\" of kind tcc: try_url calls 10.1.2.3:50051, which is not this machine and not allowed; \
             write it into allow_hosts",
        ),
        (
            format!("{grpc}\n{url}\nconfirm_url = \"http://10.1.2.3:50051/hotel.v1.Bookings/Take\""),
            "line 6: resource \"hotel\" of kind tcc: confirm_url calls 10.1.2.3:50051",
        ),
        (
            format!("transport = \"grpcs\"\n{url}"),
            "line 10: resource \"hotel\" of kind tcc, key `transport`: unknown variant `grpcs`, expected `http` or `grpc`",
        ),
        (
            format!("{grpc}\n{url}\ncancel_url = \"http://127.0.0.1:1/cancel\""),
            "line 6: resource \"hotel\" of kind tcc: cancel_url is the address of a method such as \
             http://127.0.0.1:50051/handfast.tcc.v1.TryConfirmCancel/Try, not \"http://127.0.0.1:1/cancel\"",
        ),
        (
            format!("{grpc}\nurl = \"https://127.0.0.1:1\""),
            "line 6: resource \"hotel\" of kind tcc: try_url is https, so ca_file must name the certificates",
        ),
        (
            "try_url = \"http://127.0.0.1:1/try\"".to_owned(),
            "line 6: resource \"hotel\" of kind tcc: write url, or each of try_url, confirm_url and cancel_url",
        ),
        (
            format!("{url}\ntimeout_ms = 0"),
            "line 6: resource \"hotel\" of kind tcc: timeout_ms is 0; accepted are 1 to 3600000",
        ),
        (
            format!("{url}\ncalls = 0"),
            "line 11: resource \"hotel\" of kind tcc, key `calls`: invalid value: integer `0`, expected a nonzero usize",
        ),
        (
            format!("{url}\nmethod = \"Reserve\""),
            "line 11: resource \"hotel\" of kind tcc, key `method`: unknown field `method`, expected one of `transport`, `url`",
        ),
    ] {
        let keys = format!("data_dir = \"/tmp/never-made\"\n{keys}");
        let output = AgentFile::new("127.0.0.1:1")
            .with("tcc", "hotel", &keys)
            .to_the_end("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}\ninstead of\n{words}");
    }
}
