//! What a transaction over two services of one's own costs: through a coordinator, each with the SDK's journal; and by hand
//! without a coordinator, each with a journal that is as little as it can be.
//!
//! ours:   `Accounts` behind `Participant::staged`: a promise is synced before the vote, a commit before its acknowledgement
//! floor:  the same `Accounts` in this process, called directly: a promise is synced before the commit, a commit before the
//!         client goes on; see [`floor`]
//!
//! Both sync twice on each side, and share a sync among all that wait for one. The floor has no network, no checksum, no
//! checkpoint, and nobody who remembers the decision.
//!
//! `cargo build --release -p handfast-coordinator && cargo bench -p handfast-participant --bench journaled`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod accounts;
mod floor;
#[path = "../load/mod.rs"]
mod load;

use accounts::{Accounts, NOTHING, Post};
use bytes::Bytes;
use floor::Service;
use load::{Cluster, account};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !load::is_wanted() {
        return;
    }
    let folders = [(); 4].map(|()| tempfile::tempdir_in(".").unwrap());
    let journal = |number: usize| folders[number].path().join("journal");
    let journals = [journal(0), journal(1)];
    let cluster =
        Cluster::start_staged(journals.each_ref().map(|at| (Accounts::default(), at.as_path()))).await;
    cluster.ready(Bytes::from_static(NOTHING)).await;
    let by_hand = [2, 3].map(|number| Service::start(&journal(number)));

    let (cluster, by_hand) = (&cluster, &by_hand);
    load::compare(
        "services with a journal",
        |client, turn| async move {
            let [left, right] = by_hand;
            let posts = posts(client, turn);
            let promised = tokio::join!(left.promise(posts[0]), right.promise(posts[1]));
            let is_commit = promised == (true, true);
            tokio::join!(
                left.finish(posts[0], promised.0, is_commit),
                right.finish(posts[1], promised.1, is_commit)
            );
            is_commit
        },
        |client, turn| async move {
            let operations = posts(client, turn).map(Post::encode);
            cluster.execute(operations).await.unwrap()
        },
    )
    .await;
}

/// From one account to another.
fn posts(client: u64, turn: u64) -> [Post; 2] {
    [(0, -1), (1, 1)].map(|(side, amount)| Post {
        account: account(client, turn, side),
        amount,
    })
}
