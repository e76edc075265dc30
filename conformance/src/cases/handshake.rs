//! Who dials in, and what is said before anything else.

use crate::cases::{Case, Group};
use crate::fault::{Checked, must};
use crate::trial::Trial;

pub(super) const GROUP: Group = Group {
    name: "handshake",
    cases: &[Case {
        name: "hello",
        checks: "it dials in, says hello with its name, store, instance and version, and lists what is prepared",
        why: "The handshake is recovery: without it nothing that was promised before a crash is ever finished.",
        rule: "1-say-hello-first",
        faults: &[22],
        run: |trial| Box::pin(hello(trial)),
    }],
};

async fn hello(trial: &mut Trial<'_>) -> Checked {
    let (session, _) = trial.session().await?;
    must(session.hello.store_id.iter().any(|byte| *byte != 0), || {
        "hello.store_id is all zeros; it is made once, at random, in the store itself".to_owned()
    })
}
