use std::time::Duration;

use tonic::Status;

use super::{Failure, Reason};

#[test]
fn every_reason_survives_the_wire() {
    for &reason in Reason::ALL {
        let failure =
            Failure::new(reason, "what happened; what to do").retry_after(Duration::from_millis(250));
        let status = Status::from(failure.clone());
        assert_eq!(status.code(), reason.code());
        assert_eq!(Failure::from_status(&status), Some(failure));
        assert_eq!(Reason::from_name(reason.as_str()), Some(reason));
    }
}

#[test]
fn a_status_of_the_transport_has_no_reason() {
    assert_eq!(
        Failure::from_status(&Status::unavailable("connection refused")),
        None
    );
}

#[cfg(not(madsim))]
#[test]
fn the_reason_is_a_rich_detail() {
    use tonic_types::StatusExt;
    let status = Status::from(Failure::new(Reason::TableFull, "full").retry_after(Duration::from_secs(1)));
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("TABLE_FULL", "handfast")
    );
    assert_eq!(
        details.retry_info().and_then(|retry| retry.retry_delay),
        Some(Duration::from_secs(1))
    );
}
