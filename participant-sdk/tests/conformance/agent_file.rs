//! A resource out of an agent's file. The file names the coordinator, whose port only the kit knows: so each start writes it anew.

use std::path::{Path, PathBuf};

/// Stands in the draft where the coordinator's address belongs.
const PLACE: &str = "COORDINATOR";

/// A folder with the draft of an agent's file, and with whatever the resource keeps.
pub struct AgentFile {
    folder: tempfile::TempDir,
}

impl AgentFile {
    pub fn new() -> Self {
        AgentFile {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the draft; the command line that makes the file of it and serves it. `settings` are lines of the resource's table.
    pub fn exec(&self, kind: &str, name: &str, settings: &str) -> String {
        let draft = format!(
            "coordinator = \"{PLACE}\"\n\n[[resource]]\nkind = \"{kind}\"\nname = \"{name}\"\n{settings}\n"
        );
        let (draft_file, file) = (self.path("agent.draft"), self.path("agent.toml"));
        std::fs::write(&draft_file, draft).unwrap();
        let agent = env!("CARGO_BIN_EXE_handfast-agent");
        let quoted = |path: &Path| format!("'{}'", path.display());
        format!(
            "sed 's/{PLACE}/{{coordinator}}/' {} > {} && exec {agent} run {}",
            quoted(&draft_file),
            quoted(&file),
            quoted(&file)
        )
    }
}
