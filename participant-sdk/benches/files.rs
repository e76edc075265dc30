//! What a transaction over two folders costs: through a coordinator, and by hand without one.
//!
//! `cargo build --release -p handfast-coordinator && cargo bench -p handfast-participant --bench files`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod load;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use handfast_participant::resources::files::{FilesOperation, FilesOptions, FilesResource};
use load::{Cluster, account};

const CONTENTS: &[u8] = &[b'x'; 1024];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if !load::is_wanted() {
        return;
    }
    let folders = [(); 4].map(|()| tempfile::tempdir_in(".").unwrap());
    let stores = [0, 1].map(|side: usize| FilesResource::new(FilesOptions::new(folders[side].path())));
    let cluster = Cluster::start(stores).await;
    cluster.ready(FilesOperation::new().encode()).await;

    let (cluster, folders) = (&cluster, &folders);
    load::compare(
        "files of 1 KiB",
        |client, turn| async move {
            let staged = format!("staged-{client}");
            let both = [0, 1].map(|side: usize| {
                let (folder, staged) = (folders[2 + side].path().to_owned(), staged.clone());
                tokio::task::spawn_blocking(move || stage(&folder, &staged))
            });
            for one in both {
                one.await.unwrap();
            }
            let both = [0, 1].map(|side: usize| {
                let (folder, staged) = (folders[2 + side].path().to_owned(), staged.clone());
                let path = path(client, turn, side as u64);
                tokio::task::spawn_blocking(move || put(&folder, &staged, &path))
            });
            for one in both {
                one.await.unwrap();
            }
            true
        },
        |client, turn| async move {
            let write = |side| {
                FilesOperation::new()
                    .replace(path(client, turn, side), CONTENTS)
                    .encode()
            };
            cluster.execute([write(0), write(1)]).await.unwrap()
        },
    )
    .await;
}

fn path(client: u64, turn: u64, side: u64) -> String {
    format!("file-{}", account(client, turn, side))
}

/// What has been staged and synced, with its name, could be put into its place after a crash.
fn stage(folder: &Path, staged: &str) {
    let mut file = File::create(folder.join(staged)).unwrap();
    file.write_all(CONTENTS).unwrap();
    file.sync_data().unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

fn put(folder: &Path, staged: &str, path: &str) {
    std::fs::rename(folder.join(staged), folder.join(path)).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}
