//! Answers that do not come, or say nothing.

use std::time::Duration;

use handfast_participant::{Completion, Decision, Resource, ScanPhase};

use super::hotel::{Booking, Fault, Hotel};
use super::{PREPARED, Stay, branch, finish, open, prepare, refused};

#[tokio::test]
async fn a_try_that_is_not_answered_is_cancelled_and_may_be_tried_again() {
    let stay = Stay::new().await;
    let mut options = stay.options();
    options.timeout = Duration::from_millis(300);
    let resource = open(options).await;
    let elsewhere = Hotel::open().await;
    for (number, fault, words) in [
        (1, Fault::Before(500), "500"),
        (2, Fault::After(503), "503"),
        (3, Fault::Silence, "no answer within 300 ms"),
        (
            4,
            Fault::Redirect(format!("{}/try", elsewhere.url)),
            "redirects are not followed",
        ),
        (5, Fault::Large(1 << 20), "cannot be read"),
        (6, Fault::Before(404), "404"),
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

#[tokio::test]
async fn a_try_that_cannot_be_cancelled_now_stays_listed_until_it_is() {
    let stay = Stay::new().await;
    let resource = stay.open().await;
    stay.hotel.fault("try", Fault::After(500));
    stay.hotel.fault("cancel", Fault::Before(500));
    assert_eq!(refused(&resource, 1, 12).await.reason, "TRY_UNKNOWN");
    assert_eq!(stay.hotel.room(12), [Booking::Held]);
    let lines = resource.scan().await.unwrap();
    assert_eq!(
        (lines.len(), lines[0].branch, lines[0].phase),
        (1, branch(1), ScanPhase::Prepared)
    );
    stay.hotel.fault("cancel", Fault::After(500));
    let error = resource.finish(branch(1), Decision::Abort).await.unwrap_err();
    assert!(!error.permanent, "{error}");
    assert_eq!(finish(&resource, 1, Decision::Abort).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Cancelled]);
}

#[tokio::test]
async fn a_confirm_is_repeated_until_it_is_answered_and_what_is_told_is_reported() {
    let stay = Stay::new().await;
    let mut options = stay.options();
    options.timeout = Duration::from_millis(300);
    let resource = open(options).await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    for fault in [Fault::Before(500), Fault::After(500), Fault::Silence] {
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

    assert_eq!(prepare(&resource, 2, 13).await, PREPARED);
    stay.hotel.fault("confirm", Fault::Before(404));
    assert!(matches!(
        finish(&resource, 2, Decision::Commit).await,
        Completion::Hazard(_)
    ));
    stay.hotel.fault("confirm", Fault::Before(409));
    assert!(matches!(
        finish(&resource, 2, Decision::Commit).await,
        Completion::Contrary(_)
    ));
    stay.hotel.fault("cancel", Fault::Before(409));
    assert!(matches!(
        finish(&resource, 2, Decision::Abort).await,
        Completion::Contrary(_)
    ));
    stay.hotel.fault("cancel", Fault::Before(404));
    assert_eq!(
        finish(&resource, 2, Decision::Abort).await,
        Completion::Done,
        "nothing is held"
    );
}

#[tokio::test]
async fn a_try_that_is_broken_off_is_cancelled_by_the_abort() {
    let stay = Stay::new().await;
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
