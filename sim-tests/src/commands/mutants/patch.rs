//! A mutant as it lies in `sim-tests/mutants`.
//!
//! ```text
//!   rule: what is told waits until its record is durable.     the rule that is broken, on one or more lines
//!   rows: 4, 66                                               of docs/FAULTS.md, if it is told there
//!
//!   --- a/coordinator/core/src/coordinator.rs                 a unified diff, from the root of the workspace
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A planted bug.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Patch {
    pub name: String,
    pub path: PathBuf,
    pub rule: String,
    /// Rows of the fault list, as they are written.
    pub rows: String,
    /// What it changes, from the root of the workspace.
    pub files: Vec<PathBuf>,
}

impl Patch {
    /// All of a folder, by name.
    pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Patch>> {
        let entries = fs::read_dir(folder).with_context(|| {
            format!(
                "cannot read {}; run this in the root of the workspace",
                folder.display()
            )
        })?;
        let mut patches = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                patches.push(Patch::read(&path)?);
            }
        }
        patches.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(patches)
    }

    fn read(path: &Path) -> anyhow::Result<Patch> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let (header, files) = parse(&text);
        let mut rows = String::new();
        let mut rule = Vec::new();
        for line in header {
            match line.strip_prefix("rows:") {
                Some(numbers) => rows = numbers.trim().to_owned(),
                None => rule.push(line.strip_prefix("rule:").unwrap_or(line).trim()),
            }
        }
        let rule = rule.join(" ").trim().to_owned();
        anyhow::ensure!(
            !rule.is_empty() && !files.is_empty(),
            "{} must say which rule it breaks (a line `rule: …`), and then how (a unified diff)",
            path.display()
        );
        Ok(Patch {
            name: name.unwrap_or_default(),
            path: path.to_owned(),
            rule,
            rows,
            files,
        })
    }
}

/// The lines before the diff, and the files that the diff changes.
fn parse(text: &str) -> (Vec<&str>, Vec<PathBuf>) {
    let header = text
        .lines()
        .take_while(|line| !line.starts_with("--- ") && !line.starts_with("diff "))
        .collect();
    let files = text
        .lines()
        .filter_map(|line| line.strip_prefix("+++ b/"))
        .map(PathBuf::from)
        .collect();
    (header, files)
}
