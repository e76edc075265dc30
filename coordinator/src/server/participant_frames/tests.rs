use bytes::Bytes;
use handfast_ids::Partition;

use super::*;

const SESSION: SessionId = SessionId(7);

fn transaction() -> TransactionId {
    TransactionId::new(1, Partition(0), Epoch(1), 1)
}

fn id_bytes() -> Bytes {
    convert::transaction_id_bytes(transaction())
}

fn good_hello() -> v1::Hello {
    v1::Hello {
        resource: "orders-db".to_owned(),
        store_id: Bytes::from_static(&[1; 16]),
        instance_id: Bytes::from_static(&[2; 16]),
        protocol_version: PROTOCOL_VERSION,
        ..v1::Hello::default()
    }
}

fn reason_of<T: std::fmt::Debug>(result: Result<T, Failure>) -> Reason {
    result.unwrap_err().reason
}

#[test]
fn a_hello_is_checked_field_by_field() {
    assert!(hello(good_hello()).is_ok());
    let with = |change: fn(&mut v1::Hello)| {
        let mut hello = good_hello();
        change(&mut hello);
        super::hello(hello)
    };
    assert_eq!(
        reason_of(with(|hello| hello.protocol_version = 2)),
        Reason::ProtocolVersion
    );
    assert_eq!(
        reason_of(with(|hello| hello.resource = "Orders DB".into())),
        Reason::InvalidArgument
    );
    assert_eq!(
        reason_of(with(|hello| hello.store_id = Bytes::new())),
        Reason::InvalidArgument
    );
    assert_eq!(
        reason_of(with(|hello| hello.instance_id.truncate(15))),
        Reason::InvalidArgument
    );
    let seen = v1::Seen {
        log_id: Bytes::from_static(&[3; 16]),
        epoch: u32::MAX,
        lsn: 1,
    };
    let mut bad = good_hello();
    bad.seen = vec![seen];
    assert_eq!(reason_of(hello(bad)), Reason::ProtocolViolation);
}

#[test]
fn events_come_in_the_order_of_the_fields() {
    let frame = v1::SessionRequest {
        enlistments: vec![v1::Enlist {
            transaction_id: id_bytes(),
            enlistment: 3,
        }],
        votes: vec![v1::Vote {
            transaction_id: id_bytes(),
            kind: v1::VoteKind::ReadOnly.into(),
            ..v1::Vote::default()
        }],
        scan_complete: true,
        ..v1::SessionRequest::default()
    };
    let events = events(SESSION, frame).unwrap();
    assert!(matches!(
        events.as_slice(),
        [
            Event::Enlist { .. },
            Event::Vote {
                vote: Vote::ReadOnly,
                ..
            },
            Event::InDoubt { complete: true, .. }
        ]
    ));
}

#[test]
fn unknown_numbers_and_malformed_ids_break_the_rules() {
    let vote = |kind: i32, transaction_id: Bytes| v1::SessionRequest {
        votes: vec![v1::Vote {
            transaction_id,
            kind,
            ..v1::Vote::default()
        }],
        ..v1::SessionRequest::default()
    };
    for frame in [
        vote(0, id_bytes()),
        vote(99, id_bytes()),
        vote(1, Bytes::from_static(b"short")),
    ] {
        assert_eq!(reason_of(events(SESSION, frame)), Reason::ProtocolViolation);
    }
    let again = v1::SessionRequest {
        hello: Some(good_hello()),
        ..v1::SessionRequest::default()
    };
    assert_eq!(reason_of(events(SESSION, again)), Reason::ProtocolViolation);
}

#[test]
fn long_words_are_cut_at_a_character() {
    assert_eq!(cut("äöü".to_owned(), 3), "ä");
    assert_eq!(cut("ab".to_owned(), 3), "ab");
}
