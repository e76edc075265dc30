//! What is gRPC's own: a service that was there before, deadlines, and codes that say less than they seem to.

use std::time::Duration;

use handfast_participant::resources::Verdict;
use handfast_participant::resources::tcc::{TccOptions, TccResource};
use handfast_participant::{Completion, Decision, Resource, ScanPhase, Work};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

use super::hotel::{Booking, Fault, Said, Wire};
use super::{LIMIT, PREPARED, Stay, branch, finish, open, prepare, refused, seen};

/// The hotel's own names.
fn own_names(stay: &Stay) -> TccOptions {
    let mut options = stay.options();
    let url = |method: &str| format!("{}/hotel.v1.Bookings/{method}", stay.hotel.url);
    options.try_url = url("Reserve");
    options.confirm_url = url("Take");
    options.cancel_url = url("Release");
    options
}

#[tokio::test]
async fn a_service_that_was_there_before_is_called_by_its_own_names() {
    let stay = Stay::over(Wire::Grpc).await;
    let resource = open(own_names(&stay)).await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    assert_eq!(prepare(&resource, 2, 13).await, PREPARED);
    assert_eq!(refused(&resource, 3, 12).await.reason, "TAKEN");
    assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(finish(&resource, 2, Decision::Abort).await, Completion::Done);
    assert_eq!(
        [stay.hotel.room(12), stay.hotel.room(13)],
        [[Booking::Confirmed], [Booking::Cancelled]]
    );
}

#[tokio::test]
async fn the_operation_comes_byte_for_byte_and_the_call_with_its_deadline() {
    let stay = Stay::over(Wire::Grpc).await;
    let mut options = stay.options();
    options.timeout = Duration::from_secs(8);
    let resource = open(options).await;
    let operation = vec![0, 159, 146, 150, b'{'];
    let work = || Work::Operation(operation.clone().into());
    resource.prepare(branch(1), work(), seen(1), LIMIT).await.unwrap();
    // Half of what is left is kept for a cancel.
    let second = Duration::from_secs(6);
    resource
        .prepare(branch(2), work(), seen(2), second)
        .await
        .unwrap();
    assert_eq!(stay.hotel.steps(), ["try", "try"], "both were refused");
    assert_eq!(stay.hotel.bodies(), [operation.clone(), operation]);
    assert_eq!(stay.hotel.limits_ms(), [Some(8_000), Some(3_000)]);
}

#[tokio::test]
async fn a_try_is_refused_only_by_a_code_that_is_the_services_own() {
    let stay = Stay::over(Wire::Grpc).await;
    let mut options = own_names(&stay);
    options.max_response_bytes = 1_000;
    let resource = open(options.clone()).await;
    let mut number = 0;
    for code in 1..=16 {
        number += 1;
        stay.hotel.fault("try", Fault::After(Said::Number(code)));
        let refusal = refused(&resource, number, u64::from(number)).await;
        // INVALID_ARGUMENT, FAILED_PRECONDITION, ABORTED.
        let is_known = [3, 9, 10].contains(&code);
        let reason = if is_known {
            "SERVICE_REFUSED"
        } else {
            "TRY_UNKNOWN"
        };
        assert_eq!(refusal.reason, reason, "{code}: {refusal:?}");
        assert_eq!(refusal.retryable, !is_known || code == 10, "{code}: {refusal:?}");
        let is_cancelled = stay.hotel.steps().last().is_some_and(|step| step == "cancel");
        assert_eq!(is_cancelled, !is_known, "{code}");
    }
    drop(resource);
    options.timeout = Duration::from_secs(1);
    let resource = open(options).await;
    for (fault, words) in [
        (Fault::Silence, "no answer within 1000 ms"),
        (Fault::Large(10_000), "OUT_OF_RANGE"),
    ] {
        number += 1;
        stay.hotel.fault("try", fault);
        let refusal = refused(&resource, number, u64::from(number)).await;
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("TRY_UNKNOWN", true)
        );
        assert!(refusal.message.contains(words), "{}", refusal.message);
        assert_eq!(
            stay.hotel.room(u64::from(number)),
            [Booking::Cancelled],
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_decision_ends_only_by_done_by_a_failed_precondition_or_by_not_found() {
    let stay = Stay::over(Wire::Grpc).await;
    let resource = stay.open().await;
    let mut number = 0;
    for (step, decision, end) in [
        ("confirm", Decision::Commit, Booking::Confirmed),
        ("cancel", Decision::Abort, Booking::Cancelled),
    ] {
        number += 1;
        assert_eq!(prepare(&resource, number, u64::from(number)).await, PREPARED);
        // NOT_FOUND and FAILED_PRECONDITION are those of `unknown`.
        for code in (1..=16).filter(|code| ![5, 9].contains(code)) {
            stay.hotel.fault(step, Fault::Before(Said::Number(code)));
            let error = resource.finish(branch(number), decision).await.unwrap_err();
            assert!(!error.permanent, "{step} {code}: {error}");
            let lines = resource.scan().await.unwrap();
            let line = lines.iter().find(|line| line.branch == branch(number)).unwrap();
            assert_eq!(line.phase, ScanPhase::Prepared, "{step} {code}");
        }
        assert_eq!(finish(&resource, number, decision).await, Completion::Done);
        assert_eq!(stay.hotel.room(u64::from(number)), [end]);
    }
}

#[tokio::test]
async fn a_service_that_goes_away_amid_the_confirm_and_comes_back_has_confirmed_once() {
    let mut stay = Stay::over(Wire::Grpc).await;
    let resource = stay.open().await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    stay.hotel.close().await;
    for _ in 0..3 {
        let error = resource.finish(branch(1), Decision::Commit).await.unwrap_err();
        assert!(
            !error.permanent && error.message.contains("Connection refused"),
            "{error}"
        );
    }
    let refusal = refused(&resource, 2, 13).await;
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("TRY_UNKNOWN", true)
    );
    stay.hotel.reopen().await;
    stay.hotel.fault("confirm", Fault::After(Said::Unavailable));
    assert!(
        resource.finish(branch(1), Decision::Commit).await.is_err(),
        "done, and not known"
    );
    assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Confirmed]);
    assert_eq!(stay.hotel.steps(), ["try", "confirm", "confirm"]);
    let keys = stay.hotel.keys();
    assert_eq!(keys[1], keys[2], "a repeated call carries the same key");
    assert_eq!(finish(&resource, 2, Decision::Abort).await, Completion::Done);
    assert_eq!(stay.hotel.taken(), 1);
}

#[tokio::test]
async fn checking_tells_a_grpc_server_from_something_else() {
    let (grpc, http) = (Stay::over(Wire::Grpc).await, Stay::over(Wire::Http).await);
    let findings = TccResource::new(grpc.options()).check().await;
    let words = findings[0].to_string();
    assert!(
        words.ends_with("a gRPC server, without a health service to ask"),
        "{words}"
    );
    let mistaken = TccOptions::grpc(http.folder.path(), &http.hotel.url);
    let findings = TccResource::new(mistaken).check().await;
    let words = findings[0].to_string();
    assert!(
        findings[0].is_broken()
            && words.contains("does not answer as a gRPC server")
            && words.contains("404"),
        "{words}"
    );
}

#[tokio::test]
async fn checking_tells_what_the_health_service_says() {
    let folder = tempfile::tempdir().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    let guarded = InterceptedService::new(health, |request: Request<()>| {
        match request.metadata().get("authorization") {
            Some(token) if token == "Bearer sesame" => Ok(request),
            _ => Err(Status::unauthenticated("who are you?")),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let incoming = TcpListenerStream::new(listener);
    let serving = Server::builder()
        .add_service(guarded)
        .serve_with_incoming(incoming);
    let serving = tokio::spawn(serving);
    let mut options = TccOptions::grpc(folder.path(), &base);

    let said = TccResource::new(options.clone()).check().await;
    assert!(
        matches!(&said[0].verdict, Verdict::Advice(todo) if todo.contains("bearer_env")),
        "{said:?}"
    );
    options.bearer = Some("sesame".to_owned());
    let said = TccResource::new(options.clone()).check().await;
    assert!(
        !said[0].is_broken() && said[0].found.ends_with("a gRPC server that says it is serving"),
        "{said:?}"
    );
    reporter
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    let said = TccResource::new(options).check().await;
    assert!(
        said[0].is_broken() && said[0].found.ends_with("NOT_SERVING"),
        "{said:?}"
    );
    serving.abort();
}
