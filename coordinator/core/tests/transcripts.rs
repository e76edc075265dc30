//! Transcripts of the protocol: commands in, effects out, as text that one can read at night.
//!
//! Each file in `tests/transcripts/` tells by its first lines which fault it shows and what must come of it; then come
//! commands (`> vote s1 t1/0 prepared`) and below each what the coordinator did about it. A difference fails the test
//! and is shown. To write the transcripts anew, and then read every change of them:
//!
//! ```text
//! HANDFAST_TRANSCRIPTS=write cargo test -p handfast-core --test transcripts
//! ```
//!
//! Whatever the transcript says, the guarantees of the design must hold after every step; a broken one is written below
//! the step as `VIOLATION` and fails the test, also when writing.

mod transcript;
#[allow(dead_code, reason = "each test target uses its part of the world")]
mod world;

use std::fs;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of transcripts can be read")
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_transcript_is_what_the_coordinator_does() {
    let write = std::env::var("HANDFAST_TRANSCRIPTS").is_ok_and(|value| value == "write");
    let mut failures = Vec::new();
    let files = files();
    assert!(!files.is_empty());
    for path in files {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let expected = fs::read_to_string(&path).expect("a transcript can be read");
        if !says_what_it_shows(&expected) {
            failures.push(format!("{name}: says neither its source nor the result"));
        }
        let (found, violations) = match transcript::run(&expected) {
            Ok(run) => run,
            Err(message) => {
                failures.push(format!("{name}: {message}"));
                continue;
            }
        };
        failures.extend(
            violations
                .into_iter()
                .map(|violation| format!("{name}: {violation}")),
        );
        if write {
            fs::write(&path, &found).expect("a transcript can be written");
        } else if found != expected {
            failures.push(format!("{name}:\n{}", transcript::difference(&expected, &found)));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn says_what_it_shows(text: &str) -> bool {
    let heading: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let names_its_source = heading.first().is_some_and(|line| {
        ["# FAULTS ", "# DESIGN "]
            .iter()
            .any(|source| line.starts_with(source))
    });
    names_its_source && heading.iter().any(|line| line.starts_with("# Result: "))
}
