//! Looks at a root before it takes part, and changes nothing.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::layout::{BRANCHES, Phase, branch_of};
use super::storage::{Found, RealStorage, Storage};
use super::{FilesOptions, identity};
use crate::resources::Finding;

/// Somebody must be able to write: the owner, at least.
const OWNER_WRITES: u32 = 0o300;

pub(super) fn check(options: &FilesOptions) -> Vec<Finding> {
    let root = options.root.display().to_string();
    let storage = RealStorage::new(&options.root);
    let device = match storage.look("") {
        Ok(Found::Folder { device, .. }) => device,
        Ok(found) => {
            let found = format!("{root} is {found:?}");
            return vec![Finding::broken(
                "root",
                found,
                "make this folder, or correct the path",
            )];
        }
        Err(error) => return vec![Finding::broken("root", root, error.to_string())],
    };
    let mut findings = vec![writable(options, &root)];
    findings.push(
        match identity::own_folders_are_sound(&storage, &options.root, device) {
            Ok(()) => Finding::holds("file system", "the same for the root and what is promised"),
            Err(error) => Finding::broken("file system", "is not the root's", error.message),
        },
    );
    findings.push(match identity::describe(&storage, &options.root) {
        Ok(Some(found)) => Finding::holds("store", found),
        Ok(None) => Finding::holds("store", "will be made"),
        Err(error) => Finding::broken("store", "is not the one that was made here", error.message),
    });
    let prepared = storage.list(BRANCHES).map(|names| {
        let branches = names.iter().filter_map(|name| branch_of(name));
        branches.filter(|(_, phase)| *phase == Phase::Prepared).count()
    });
    findings.push(Finding::holds(
        "prepared branches",
        prepared.unwrap_or_default().to_string(),
    ));
    findings
}

fn writable(options: &FilesOptions, root: &str) -> Finding {
    match std::fs::metadata(&options.root) {
        Ok(metadata) if metadata.permissions().mode() & OWNER_WRITES == OWNER_WRITES => {
            let found = format!(
                "{root}, mode {:o}, user {}",
                metadata.mode() & 0o7777,
                metadata.uid()
            );
            Finding::holds("root", found)
        }
        Ok(metadata) => Finding::broken(
            "root",
            format!("{root}, mode {:o}", metadata.mode() & 0o7777),
            "files cannot be made in it; give its owner the right to write",
        ),
        Err(error) => Finding::broken("root", root, error.to_string()),
    }
}
