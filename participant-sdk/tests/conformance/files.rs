//! Files in a folder: an order and its receipt, two files of one transaction, read as a reader of transactions reads them.

use std::collections::BTreeSet;
use std::path::Path;

use handfast_conformance::{Effects, Operations, Options, Template};
use handfast_participant::resources::files::FilesReader;

use crate::agent_file::AgentFile;
use crate::{Subject, TWO_PHASES};

const FOLDERS: [&str; 2] = ["orders", "receipts"];

pub fn subject() -> Subject {
    let file = AgentFile::new();
    let root = file.path("root");
    for folder in FOLDERS {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("taken.txt"), "by somebody else").unwrap();
    let exec = file.exec("files", "archive", &format!("root = {root:?}"));
    let mut options = Options::new(exec, "archive");
    options.operations = Operations {
        succeed: vec![
            files(
                r#"{"path":"orders/{n}.txt","mode":"create","text":"{n}"},{"path":"receipts/{n}.txt","mode":"create","text":"{n}"}"#,
            ),
            files(
                r#"{"path":"orders/{n}.txt","mode":"replace","text":"{n}"},{"path":"receipts/{n}.txt","mode":"replace","text":"{n}"}"#,
            ),
        ],
        refused: vec![files(r#"{"path":"taken.txt","mode":"create","text":"{n}"}"#)],
        read_only: vec![files("")],
    };
    options.effects = Some(Effects::function(move || {
        let read = orders(&root);
        async move { read }
    }));
    Subject {
        options,
        _keep: Box::new(file),
        not_checked: TWO_PHASES.to_vec(),
    }
}

fn files(files: &str) -> Template {
    Template::from_bytes(format!(r#"{{"handfast_files":1,"files":[{files}]}}"#))
}

/// One line for each order that is there with its receipt. One without the other is no effect but a fault.
fn orders(root: &Path) -> Result<Vec<String>, String> {
    let mut names = BTreeSet::new();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(root.join(folder)).map_err(|error| error.to_string())?;
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let reader = FilesReader::new(root);
    let mut lines = Vec::new();
    for name in names {
        let paths = FOLDERS.map(|folder| format!("{folder}/{name}"));
        let contents = reader
            .read(&paths.each_ref().map(String::as_str))
            .map_err(|error| error.to_string())?;
        match &contents[..] {
            [Some(order), Some(receipt)] if order == receipt => lines.push(name),
            [None, None] => {}
            half => return Err(format!("half of {name} is there: {half:?}")),
        }
    }
    Ok(lines)
}
