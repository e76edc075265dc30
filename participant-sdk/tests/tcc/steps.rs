use handfast_participant::resources::tcc::TccResource;
use handfast_participant::{Completion, Decision, Resource, ScanPhase, Work};

use super::hotel::{Booking, Wire};
use super::{LIMIT, PREPARED, Stay, branch, finish, open, prepare, refused, seen};

over_each_wire! {
    a_commit_confirms_and_an_abort_cancels_once
    the_service_refuses_in_its_own_words_and_holds_nothing
    a_cancel_that_comes_first_leaves_a_fence
    what_was_begun_outlives_the_process_and_belongs_to_one
    a_token_is_sent_if_there_is_one
    checking_says_whether_somebody_listens_and_changes_nothing
}

async fn a_commit_confirms_and_an_abort_cancels_once(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED, "the same vote again");
    assert_eq!(stay.hotel.room(12), [Booking::Held]);
    assert_eq!(prepare(&resource, 2, 13).await, PREPARED);
    for _ in 0..2 {
        assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
        assert_eq!(finish(&resource, 2, Decision::Abort).await, Completion::Done);
    }
    assert_eq!(stay.hotel.room(12), [Booking::Confirmed]);
    assert_eq!(stay.hotel.room(13), [Booking::Cancelled]);
    assert_eq!(
        stay.hotel.steps(),
        ["try", "try", "confirm", "cancel"],
        "markers answer repeats"
    );
    let keys = stay.hotel.keys();
    assert!(
        keys[0].ends_with("-0-try") && keys[2].ends_with("-0-confirm"),
        "{keys:?}"
    );
    for number in [1, 2] {
        let late = refused(&resource, number, 14).await;
        assert_eq!((late.reason.as_str(), late.retryable), ("BRANCH_ENDED", false));
    }
    assert!(matches!(
        finish(&resource, 1, Decision::Abort).await,
        Completion::Contrary(_)
    ));
    assert!(matches!(
        finish(&resource, 2, Decision::Commit).await,
        Completion::Contrary(_)
    ));
    assert!(matches!(
        finish(&resource, 9, Decision::Commit).await,
        Completion::Hazard(_)
    ));
}

async fn the_service_refuses_in_its_own_words_and_holds_nothing(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    let taken = refused(&resource, 2, 12).await;
    assert_eq!(
        (taken.reason.as_str(), taken.message.as_str(), taken.retryable),
        ("TAKEN", "room 12", true)
    );
    let none = refused(&resource, 3, 500).await;
    assert_eq!((none.reason.as_str(), none.retryable), ("SERVICE_REFUSED", false));
    assert!(none.message.contains("no such room"), "{}", none.message);
    let mut phases: Vec<_> = resource
        .scan()
        .await
        .unwrap()
        .iter()
        .map(|line| line.phase)
        .collect();
    phases.sort_by_key(|phase| *phase == ScanPhase::Marker);
    assert_eq!(
        phases,
        [ScanPhase::Prepared, ScanPhase::Marker, ScanPhase::Marker]
    );
    assert_eq!(finish(&resource, 2, Decision::Abort).await, Completion::Done);
    assert_eq!(
        stay.hotel.steps(),
        ["try", "try", "try"],
        "what was refused needs no cancel"
    );
}

async fn a_cancel_that_comes_first_leaves_a_fence(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    assert_eq!(finish(&resource, 1, Decision::Abort).await, Completion::Done);
    assert_eq!(refused(&resource, 1, 12).await.reason, "BRANCH_ENDED");
    assert_eq!(
        stay.hotel.steps(),
        [] as [&str; 0],
        "the service never hears of it"
    );
    drop(resource);
    let again = stay.open().await;
    assert_eq!(
        refused(&again, 1, 12).await.reason,
        "BRANCH_ENDED",
        "the fence is durable"
    );
}

async fn what_was_begun_outlives_the_process_and_belongs_to_one(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = stay.open().await;
    let identity = resource.open().await.unwrap();
    assert!(identity.attached);
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    assert_eq!(prepare(&resource, 2, 13).await, PREPARED);
    finish(&resource, 2, Decision::Commit).await;
    let error = TccResource::new(stay.options()).open().await.unwrap_err();
    assert!(
        error.permanent && error.message.contains("another process has it open"),
        "{error}"
    );
    drop(resource);

    let again = stay.open().await;
    assert_eq!(again.open().await.unwrap(), identity);
    assert_eq!(again.seen().await.unwrap(), [seen(2)]);
    let lines = again.scan().await.unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.branch == branch(1) && line.phase == ScanPhase::Prepared)
    );
    again.forget(&[branch(1), branch(2)]).await.unwrap();
    assert_eq!(
        again.scan().await.unwrap().len(),
        1,
        "what is not finished is not forgotten"
    );
    assert_eq!(finish(&again, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Confirmed]);
}

#[tokio::test]
async fn the_service_gets_the_operation_that_was_asked_for() {
    let stay = Stay::over(Wire::Http).await;
    let resource = stay.open().await;
    let mut heard = 0;
    for (number, operation, sent) in [
        (
            1,
            r#"{"room":7,"cents": 9007199254740993,"big":123456789012345678901234567890}"#,
            None,
        ),
        (
            2,
            r#"{"room":8,"price": 0.10, "rate": 1.000000000000000000001, "b": 1, "a": 1e2}"#,
            None,
        ),
        (3, r#"{"room":9,"text":"\u00e9","room":9}"#, None),
        (4, "{\"room\": 10", Some(r#"{"base64":"eyJyb29tIjogMTA="}"#)),
        (5, "", Some(r#"{"base64":""}"#)),
    ] {
        let work = Work::Operation(operation.as_bytes().to_vec().into());
        resource
            .prepare(branch(number), work, seen(1), LIMIT)
            .await
            .unwrap();
        resource.finish(branch(number), Decision::Abort).await.unwrap();
        let operation = sent.unwrap_or(operation);
        let bodies = stay.hotel.bodies().split_off(heard);
        heard += bodies.len();
        assert!(!bodies.is_empty());
        for body in bodies {
            let body = String::from_utf8(body).unwrap();
            assert!(body.ends_with(&format!("\"operation\":{operation}}}")), "{body}");
        }
    }
}

async fn a_token_is_sent_if_there_is_one(wire: Wire) {
    let stay = Stay::over(wire).await;
    stay.hotel.demand("Bearer sesame");
    let without = stay.open().await;
    assert_eq!(
        refused(&without, 1, 12).await.reason,
        "TRY_UNKNOWN",
        "401 says nothing of the room"
    );
    drop(without);
    let mut options = stay.options();
    options.bearer = Some("sesame".to_owned());
    let resource = open(options).await;
    assert_eq!(prepare(&resource, 2, 12).await, PREPARED);
}

async fn checking_says_whether_somebody_listens_and_changes_nothing(wire: Wire) {
    let stay = Stay::over(wire).await;
    let resource = TccResource::new(stay.options());
    assert!(resource.check().await.iter().all(|finding| !finding.is_broken()));
    assert_eq!(stay.hotel.steps(), [] as [&str; 0]);
    assert_eq!(std::fs::read_dir(stay.folder.path()).unwrap().count(), 0);
    let mut options = stay.options();
    options.confirm_url = "http://127.0.0.1:1/hotel.v1.Bookings/Confirm".to_owned();
    let broken = TccResource::new(options).check().await;
    assert!(
        broken
            .iter()
            .any(|finding| finding.is_broken() && finding.what == "confirm"),
        "{broken:?}"
    );
}
