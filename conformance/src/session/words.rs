//! What was said, in words for the report.

use handfast_proto::v1;

/// The name of a value without what all values of its kind begin with: `ACK_KIND_DONE` is `done`.
pub(crate) fn plain(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    name.to_ascii_lowercase().replace('_', "-")
}

/// A vote, with its reason if it is a refusal.
pub(crate) fn said(vote: &v1::Vote) -> String {
    let kind = plain(vote.kind().as_str_name(), "VOTE_KIND_");
    match vote.kind() {
        v1::VoteKind::Refused => format!("the vote was {kind}: {} {}", vote.reason, vote.message),
        _ => format!("the vote was {kind}"),
    }
}

/// The kind of an acknowledgement.
pub(crate) fn answered(ack: &v1::Ack) -> String {
    plain(ack.kind().as_str_name(), "ACK_KIND_")
}

/// What a scan shows of a branch.
pub(crate) fn in_words(phase: Option<v1::InDoubtPhase>) -> String {
    phase.map_or("nothing".to_owned(), |phase| {
        format!("\"{}\"", plain(phase.as_str_name(), "IN_DOUBT_PHASE_"))
    })
}

/// A decision.
pub(crate) fn word(kind: v1::DecisionKind) -> &'static str {
    match kind {
        v1::DecisionKind::Commit => "commit",
        v1::DecisionKind::Abort => "abort",
        v1::DecisionKind::Resolve => "the question how it came out",
        v1::DecisionKind::Unspecified => "an unknown decision",
    }
}
