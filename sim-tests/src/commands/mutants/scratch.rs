//! The copy of the tree that mutants are planted in, with a build of its own that stays warm from mutant to mutant.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::patch::Patch;
use super::trial::{End, Limits, listen};

/// Where the copy and its build are, beside the builds of the tree itself.
const SCRATCH: &str = "target/mutants";

/// The profile of the workspace that mutants are built with.
const PROFILE: &str = "mutants";

/// No build takes longer.
const BUILD: Duration = Duration::from_secs(1800);

/// Lines of a failed build that are told.
const LINES_TOLD: usize = 12;

/// The copy.
pub(super) struct Scratch {
    tree: PathBuf,
    target: PathBuf,
    source: PathBuf,
}

/// What does not work, in words of the tool that says so.
type Words = String;

impl Scratch {
    /// Copies every file that git tracks, or would if it were added, as it lies in the folder now.
    pub fn copy(source: &Path) -> anyhow::Result<Scratch> {
        let source = source.canonicalize()?;
        let folder = source.join(SCRATCH);
        let scratch = Scratch {
            tree: folder.join("tree"),
            target: folder.join("target"),
            source,
        };
        let wanted = scratch.wanted()?;
        for file in &wanted {
            scratch.copy_file(file)?;
        }
        for file in files_below(&scratch.tree)? {
            if !wanted.contains(file.strip_prefix(&scratch.tree)?) {
                fs::remove_file(&file)?;
            }
        }
        Ok(scratch)
    }

    /// The simulator, once it is built.
    pub fn program(&self) -> PathBuf {
        self.target.join(PROFILE).join("handfast-sim")
    }

    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Applies a patch to the copy.
    pub fn plant(&self, patch: &Patch) -> anyhow::Result<Result<(), Words>> {
        apply(&self.tree, &self.source.join(&patch.path), &[])
    }

    /// Takes the patch back: its files are copied again, with the time of now, so that they are built again.
    pub fn revert(&self, patch: &Patch) -> anyhow::Result<()> {
        patch.files.iter().try_for_each(|file| self.copy_file(file))
    }

    /// Builds the simulator of the copy.
    pub fn build(&self) -> anyhow::Result<Result<(), Words>> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args([
                "build",
                "--quiet",
                "--package",
                "handfast-sim",
                "--profile",
                PROFILE,
            ])
            .args(["--config", "build.rustflags=['--cfg','madsim']"])
            .arg("--target-dir")
            .arg(&self.target)
            .current_dir(&self.tree)
            // They would win over what is said here.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_RUSTFLAGS")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start cargo")?;
        let output = child.stderr.take().context("a build has an output")?;
        let mut lines = Vec::new();
        let limits = Limits {
            silence: BUILD,
            whole: BUILD,
        };
        let end = listen(child, output, &limits, |line| {
            lines.push(line.to_owned());
            std::ops::ControlFlow::Continue(())
        })?;
        let is_error = |line: &&String| line.starts_with("error");
        Ok(match end {
            End::Exited(true) => Ok(()),
            End::Exited(false) => {
                let from = lines.iter().position(|line| is_error(&line)).unwrap_or(0);
                let told: Vec<_> = lines[from..].iter().take(LINES_TOLD).cloned().collect();
                Err(told.join("\n"))
            }
            End::Stopped | End::Silent => Err(format!("no end within {} s", BUILD.as_secs())),
        })
    }

    /// Gives the space back.
    pub fn remove(&self) -> anyhow::Result<()> {
        let folder = self.source.join(SCRATCH);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn wanted(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.source)
            .output()
            .context("cannot start git")?;
        anyhow::ensure!(
            listed.status.success(),
            "git does not list the tree: {}",
            String::from_utf8_lossy(&listed.stderr).trim()
        );
        let names = listed
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        let files = names.map(|name| PathBuf::from(OsStr::from_bytes(name)));
        // One that was removed and not yet committed is listed all the same.
        Ok(files.filter(|file| self.source.join(file).is_file()).collect())
    }

    /// Copies a file unless the copy has it. Without need, its time does not change and nothing is built.
    fn copy_file(&self, file: &Path) -> anyhow::Result<()> {
        let (from, to) = (self.source.join(file), self.tree.join(file));
        let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        if fs::read(&to).is_ok_and(|copied| copied == content) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))
    }
}

/// Whether a patch applies to the tree as it is.
pub(super) fn applies(patch: &Patch) -> anyhow::Result<Result<(), Words>> {
    apply(Path::new("."), &patch.path, &["--check"])
}

fn apply(tree: &Path, patch: &Path, options: &[&str]) -> anyhow::Result<Result<(), Words>> {
    let tree = tree.canonicalize()?;
    let applied = Command::new("git")
        .arg("apply")
        .args(options)
        .arg(patch.canonicalize()?)
        .current_dir(&tree)
        // The copy lies in an ignored folder of a repository, where git would apply nothing and be content.
        .env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(&tree))
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .output()
        .context("cannot start git")?;
    Ok(match applied.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&applied.stderr).trim().to_owned()),
    })
}

fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    Ok(files)
}
