//! The folder of a run: temporary, or named by the user.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Where all processes of a run keep their data and logs. A temporary one is removed when dropped, unless it is kept.
pub struct Folder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// The folder that was asked for, which must be empty, or a temporary one whose name begins with `prefix`.
    pub fn open(asked_for: Option<&Path>, prefix: &str) -> anyhow::Result<Folder> {
        let Some(path) = asked_for else {
            let temporary = tempfile::Builder::new().prefix(prefix).tempdir()?;
            return Ok(Folder {
                path: temporary.path().to_owned(),
                temporary: Some(temporary),
            });
        };
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        ensure!(
            std::fs::read_dir(path)?.next().is_none(),
            "{} is not empty; give an empty folder with --data-dir",
            path.display()
        );
        Ok(Folder {
            path: path.to_owned(),
            temporary: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder of a run that somebody will want to look at, and says where it is.
    pub fn keep(&mut self) -> String {
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.keep();
        }
        self.path.display().to_string()
    }
}
