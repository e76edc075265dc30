//! How long the messages of applications may be: what both ends of a call must agree on.
//!
//! ```text
//!  0            GATHERED_BYTES      REQUEST_BYTES                    message_bytes(REQUEST_BYTES)
//!  ├─ several requests gather ─┤                                                              │
//!  ├─ a request is taken ─────────────────────┤── it is refused, in words ───────────────────►│── the transport breaks off
//! ```
//!
//! What the transport breaks off takes the whole stream with it, and everybody whose requests are on it. So it takes more than
//! any request may have, and who sends too much is told so.

/// The most bytes of a request, as it is encoded: what a coordinator takes without other settings (`server.frame_bytes`), and
/// what a client sends without other options.
pub const REQUEST_BYTES: usize = 16 << 20;

/// The most bytes of the requests that a client gathers in one message of a stream; a longer request travels alone.
pub const GATHERED_BYTES: usize = 1 << 20;

/// How long a message the transport of a coordinator takes that takes requests of so many bytes: twice that, and never less
/// than what clients send that know no other bound.
pub const fn message_bytes(request_bytes: usize) -> usize {
    let longest = if request_bytes > REQUEST_BYTES {
        request_bytes
    } else {
        REQUEST_BYTES
    };
    longest.saturating_mul(2)
}
