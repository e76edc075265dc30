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

/// The table of docs/REASONS.md is what people look a reason up in.
#[test]
fn every_reason_stands_in_the_documents_with_its_code() {
    let table = include_str!("../../../docs/REASONS.md");
    for &reason in Reason::ALL {
        let code = upper_snake_case(&format!("{:?}", reason.code()));
        let row = format!("\n| `{reason}` | `{code}` |");
        assert!(
            table.contains(&row),
            "docs/REASONS.md has no row that begins with {row}"
        );
    }
}

/// `InvalidArgument` as gRPC writes it.
fn upper_snake_case(name: &str) -> String {
    let mut written = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !written.is_empty() {
            written.push('_');
        }
        written.push(letter.to_ascii_uppercase());
    }
    written
}
