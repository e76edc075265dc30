//! Answers that do not come, or say nothing.

use std::time::Duration;

use handfast_participant::{Completion, Decision, Resource, ScanPhase};

use super::hotel::{Booking, Fault, Hotel, Said, Wire};
use super::{PREPARED, Stay, branch, finish, open, prepare, refused};

over_each_wire! {
    a_try_that_cannot_be_cancelled_now_stays_listed_until_it_is
    a_confirm_is_repeated_until_it_is_answered
    what_ends_otherwise_than_was_decided_is_said_again_until_it_is_forgotten
    a_cancel_of_an_unanswered_try_that_is_refused_is_left_to_the_coordinator
    a_try_that_is_broken_off_is_cancelled_by_the_abort
}

#[tokio::test]
async fn a_try_that_is_not_answered_is_cancelled_and_may_be_tried_again() {
    let stay = Stay::over(Wire::Http).await;
    let mut options = stay.options();
    options.timeout = Duration::from_millis(300);
    let resource = open(options).await;
    let elsewhere = Hotel::open().await;
    for (number, fault, words) in [
        (1, Fault::Before(Said::Number(500)), "500"),
        (2, Fault::After(Said::Number(503)), "503"),
        (3, Fault::Silence, "no answer within 300 ms"),
        (
            4,
            Fault::Redirect(format!("{}/try", elsewhere.url)),
            "redirects are not followed",
        ),
        (5, Fault::Large(1 << 20), "cannot be read"),
        (6, Fault::Before(Said::Absent), "404"),
    ] {
        stay.hotel.fault("try", fault);
        let refusal = refused(&resource, number, 12).await;
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("TRY_UNKNOWN", true),
            "{words}"
        );
        assert!(refusal.message.contains(words), "{}", refusal.message);
        assert_eq!(stay.hotel.taken(), 0, "{words}: nothing is held");
        assert_eq!(finish(&resource, number, Decision::Abort).await, Completion::Done);
    }
    assert_eq!(elsewhere.steps(), [] as [&str; 0], "no other host is called");
    assert_eq!(prepare(&resource, 7, 12).await, PREPARED);
}

async fn a_try_that_cannot_be_cancelled_now_stays_listed_until_it_is(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    stay.hotel.fault("try", Fault::After(Said::Unavailable));
    stay.hotel.fault("cancel", Fault::Before(Said::Unavailable));
    assert_eq!(refused(&resource, 1, 12).await.reason, "TRY_UNKNOWN");
    assert_eq!(stay.hotel.room(12), [Booking::Held]);
    let lines = resource.scan().await.unwrap();
    assert_eq!(
        (lines.len(), lines[0].branch, lines[0].phase),
        (1, branch(1), ScanPhase::Prepared)
    );
    stay.hotel.fault("cancel", Fault::After(Said::Unavailable));
    let error = resource.finish(branch(1), Decision::Abort).await.unwrap_err();
    assert!(!error.permanent, "{error}");
    assert_eq!(finish(&resource, 1, Decision::Abort).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Cancelled]);
}

async fn a_confirm_is_repeated_until_it_is_answered(wire: Wire) {
    let stay = Stay::over(wire).await;
    let mut options = stay.options();
    options.timeout = Duration::from_millis(300);
    let resource = open(options).await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    for fault in [
        Fault::Before(Said::Unavailable),
        Fault::After(Said::Unavailable),
        Fault::Silence,
    ] {
        stay.hotel.fault("confirm", fault);
        assert!(
            !resource
                .finish(branch(1), Decision::Commit)
                .await
                .unwrap_err()
                .permanent
        );
    }
    assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Confirmed]);
}

async fn what_ends_otherwise_than_was_decided_is_said_again_until_it_is_forgotten(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    let ends = [
        (1, "confirm", Fault::Before(Said::Absent), Decision::Commit),
        (2, "confirm", Fault::Before(Said::Refused), Decision::Commit),
        (3, "cancel", Fault::Before(Said::Refused), Decision::Abort),
    ];
    let mut said = Vec::new();
    for (number, step, fault, decision) in ends.clone() {
        assert_eq!(prepare(&resource, number, 12 + u64::from(number)).await, PREPARED);
        stay.hotel.fault(step, fault);
        said.push(finish(&resource, number, decision).await);
    }
    assert!(
        matches!(&said[..], [Completion::Hazard(one), Completion::Contrary(_), Completion::Contrary(_)]
            if one.contains(match wire { Wire::Http => "404", Wire::Grpc => "NOT_FOUND" })),
        "{said:?}"
    );
    let calls = stay.hotel.steps().len();
    drop(resource);

    let again = stay.open().await;
    for ((number, _, _, decision), said) in ends.iter().zip(&said) {
        assert_eq!(finish(&again, *number, *decision).await, *said);
        assert_eq!(refused(&again, *number, 50).await.reason, "BRANCH_ENDED");
    }
    assert!(
        matches!(finish(&again, 3, Decision::Commit).await, Completion::Hazard(_)),
        "what the service has of it is not known"
    );
    assert_eq!(stay.hotel.steps().len(), calls, "it is not asked again");
    let lines = again.scan().await.unwrap();
    assert_eq!(lines.len(), 3);
    assert!(
        lines.iter().all(|line| line.phase == ScanPhase::Marker),
        "{lines:?}"
    );
    again.forget(&[branch(1), branch(2), branch(3)]).await.unwrap();
    assert_eq!(again.scan().await.unwrap(), []);
}

async fn a_cancel_of_an_unanswered_try_that_is_refused_is_left_to_the_coordinator(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    stay.hotel.fault("try", Fault::After(Said::Unavailable));
    stay.hotel.fault("cancel", Fault::Before(Said::Refused));
    assert_eq!(refused(&resource, 1, 12).await.reason, "TRY_UNKNOWN");
    let lines = resource.scan().await.unwrap();
    assert_eq!((lines.len(), lines[0].phase), (1, ScanPhase::Prepared));
    assert_eq!(finish(&resource, 1, Decision::Abort).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Cancelled]);
}

async fn a_try_that_is_broken_off_is_cancelled_by_the_abort(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    stay.hotel.fault("try", Fault::Silence);
    let hanging = tokio::time::timeout(Duration::from_millis(500), prepare(&resource, 1, 12)).await;
    assert!(hanging.is_err(), "as when the session is lost");
    assert_eq!(stay.hotel.room(12), [Booking::Held]);
    assert_eq!(
        refused(&resource, 1, 12).await.reason,
        "TRY_UNKNOWN",
        "what came of it is not known"
    );
    assert_eq!(finish(&resource, 1, Decision::Abort).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Cancelled]);
}
