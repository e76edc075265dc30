//! Files that belong to somebody else, as after a restore by root: who starts hears which file, and what to do.
//!
//! Permissions do not bind root. Where the tests run as root, the binary is run as another user; else the modes bind as they are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::coordinator::{handfast, run, serve_arguments, stderr, stdout};

/// The user "nobody", and its group.
const NOBODY: u32 = 65_534;

/// A data directory with a log, and a binary that everybody reaches.
struct Restored {
    temporary: TempDir,
    data: PathBuf,
}

impl Restored {
    fn new() -> Restored {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path().join("mounted/data");
        let made = run(&["init", "--data-dir", data.to_str().unwrap()]);
        assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
        // By another process: a file that this one has open for writing could not be run by its children.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_handfast"))
            .arg(temporary.path().join("handfast"))
            .status();
        assert!(copied.unwrap().success());
        let restored = Restored { temporary, data };
        restored.allow(restored.temporary.path(), 0o755);
        restored.allow(&restored.temporary.path().join("handfast"), 0o755);
        // Whoever may write to all of it can start.
        for directory in ["mounted", "mounted/data", "mounted/data/log"] {
            restored.allow(&restored.temporary.path().join(directory), 0o777);
        }
        for entry in fs::read_dir(restored.data.join("log")).unwrap() {
            restored.allow(&entry.unwrap().path(), 0o666);
        }
        restored
    }

    fn allow(&self, path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// The first file of the log whose name begins so.
    fn file(&self, prefix: &str) -> (PathBuf, String) {
        let files = fs::read_dir(self.data.join("log")).unwrap();
        let mut names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let name = names.find(|name| name.starts_with(prefix)).unwrap();
        (self.data.join("log").join(&name), name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = handfast(arguments);
        if rustix::process::geteuid().is_root() {
            let mut other = Command::new(self.temporary.path().join("handfast"));
            other.args(arguments).env_clear().env("NO_COLOR", "1");
            other.uid(NOBODY).gid(NOBODY).current_dir("/");
            command = other;
        }
        command.output().unwrap()
    }

    fn serve_refused(&self) -> String {
        let output = self.run(&serve_arguments(&self.data));
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(!words.contains("check the disk"), "{words}");
        words
    }
}

#[test]
fn a_file_that_may_not_be_written_is_named_with_what_to_do() {
    let restored = Restored::new();
    for prefix in ["LOCK", "segment-"] {
        let (path, name) = restored.file(prefix);
        restored.allow(&path, 0o444);
        let words = restored.serve_refused();
        assert!(words.contains(&name) && words.contains("chown"), "{words}");
        restored.allow(&path, 0o666);
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named_with_what_to_do() {
    let restored = Restored::new();
    let (path, name) = restored.file("segment-");
    restored.allow(&path, 0o000);
    let words = restored.serve_refused();
    assert!(words.contains(&name) && words.contains("chown"), "{words}");

    let verified = restored.run(&["log", "verify", "--data-dir", restored.data.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(9), "{}", stderr(&verified));
    let problem = format!("PROBLEM {name} at byte 0: it cannot be read");
    let report = stdout(&verified);
    assert!(report.contains(&problem) && report.contains("chown"), "{report}");
}

/// It must not be taken for a directory that is not there, and least of all for one to make.
#[test]
fn a_directory_that_may_not_be_looked_into_is_not_taken_for_a_missing_one() {
    let restored = Restored::new();
    for closed in [restored.data.clone(), restored.data.parent().unwrap().to_owned()] {
        restored.allow(&closed, 0o000);
        let words = restored.serve_refused();
        restored.allow(&closed, 0o777);
        assert!(
            words.contains("Permission denied") && words.contains("chown"),
            "{words}"
        );
        assert!(!words.contains("handfast init"), "{words}");
    }
}
