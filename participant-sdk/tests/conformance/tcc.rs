//! A service with try, confirm and cancel: a hotel over HTTP or gRPC, which lives as long as the test and sees the agent die.

use std::sync::Arc;

use handfast_conformance::{Effects, Operations, Options, Template};

use crate::agent_file::AgentFile;
use crate::hotel::{Booking, Hotel, Wire};
use crate::{Subject, TWO_PHASES};

/// More than all cases together book.
const ROOMS: u64 = 100_000;

pub async fn subject(wire: Wire) -> Subject {
    let hotel = Arc::new(Hotel::with_rooms(wire, ROOMS).await);
    let file = AgentFile::new();
    let transport = match wire {
        Wire::Http => "http",
        Wire::Grpc => "grpc",
    };
    let settings = format!(
        "transport = \"{transport}\"\nurl = {:?}\ndata_dir = {:?}",
        hotel.url,
        file.path("journal")
    );
    let mut options = Options::new(file.exec("tcc", "hotel", &settings), "hotel");
    options.operations = Operations {
        succeed: vec![Template::from_bytes(r#"{"room":{n}}"#)],
        refused: vec![Template::from_bytes(r#"{"room":0}"#)],
        // A try reserves or is refused: a service has no words to say that there is nothing to confirm.
        read_only: Vec::new(),
    };
    let desk = hotel.clone();
    options.effects = Some(Effects::function(move || {
        // What is held and was finished by nobody is there too, and is one effect too many.
        let bookings = desk.bookings();
        async move {
            let taken = bookings
                .into_iter()
                .filter(|(_, booking)| *booking != Booking::Cancelled);
            Ok(taken
                .map(|(room, booking)| format!("room {room} {booking:?}"))
                .collect())
        }
    }));
    Subject {
        options,
        _keep: Box::new((hotel, file)),
        not_checked: [&["read-only"][..], &TWO_PHASES].concat(),
    }
}
