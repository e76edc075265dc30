//! What the participant has really done, as somebody else sees it who reads its store while its process is dead.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::fault::{Checked, Fault, must};

/// Reads the effects: one line for each operation that was applied, whatever stands in it.
type Read = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Vec<String>, String>> + Send>> + Send + Sync;

/// Where effects can be seen. Asked only while no process of the participant runs.
#[derive(Clone)]
pub enum Effects {
    /// The output of a command line for `sh`, one line an effect.
    Command(String),
    /// A file, one line an effect; if there is none, there are no effects.
    File(PathBuf),
    /// A function of this program.
    Function(Arc<Read>),
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effects::Command(command) => write!(f, "Command({command:?})"),
            Effects::File(path) => write!(f, "File({path:?})"),
            Effects::Function(_) => write!(f, "Function"),
        }
    }
}

/// How often each line is there.
pub(crate) type Seen = BTreeMap<String, usize>;

impl Effects {
    /// Effects that a function reads.
    pub fn function<F>(read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<String>, String>> + Send + 'static,
    {
        Effects::Function(Arc::new(move || Box::pin(read())))
    }

    pub(crate) async fn read(&self) -> Checked<Seen> {
        let lines = match self {
            Effects::Command(command) => {
                let command = command.clone();
                let read = tokio::task::spawn_blocking(move || output(&command));
                read.await.unwrap_or_else(|error| Err(error.to_string()))
            }
            Effects::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
            },
            Effects::Function(read) => read().await,
        };
        let lines = lines.map_err(|error| Fault::Kit(format!("the effects cannot be read: {error}")))?;
        let mut seen = Seen::new();
        for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
            *seen.entry(line).or_default() += 1;
        }
        Ok(seen)
    }
}

fn output(command: &str) -> Result<Vec<String>, String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command}: {}: {}", output.status, words.trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// One effect more for each committed branch, and nothing else.
pub(crate) fn judge(committed: usize, before: &Seen, after: &Seen) -> Checked {
    let (new, gone) = difference(before, after);
    must(gone.is_empty(), || {
        format!("effects have vanished: {}", gone.join(", "))
    })?;
    must(new.len() == committed, || {
        let shown = if new.is_empty() {
            "none".to_owned()
        } else {
            new.join(", ")
        };
        format!(
            "{committed} branches were committed and {} effects are there: {shown}",
            new.len()
        )
    })
}

/// What came to `before`, and what of it went.
fn difference(before: &Seen, after: &Seen) -> (Vec<String>, Vec<String>) {
    let more = |from: &Seen, to: &Seen| {
        let mut lines = Vec::new();
        for (line, count) in to {
            let known = from.get(line).copied().unwrap_or_default();
            lines.extend(std::iter::repeat_n(line.clone(), count.saturating_sub(known)));
        }
        lines
    };
    (more(before, after), more(after, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_there_twice_is_two_effects() {
        let seen = |lines: &[&str]| {
            let mut seen = Seen::new();
            lines
                .iter()
                .for_each(|line| *seen.entry((*line).to_owned()).or_default() += 1);
            seen
        };
        let (new, gone) = difference(&seen(&["a", "b"]), &seen(&["a", "a", "a", "c"]));
        assert_eq!(
            (new, gone),
            (vec!["a".into(), "a".into(), "c".into()], vec!["b".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_command_that_fails_is_no_empty_list() {
        let read = Effects::Command("echo one; echo; echo one; exit 3".to_owned())
            .read()
            .await;
        assert!(matches!(read, Err(Fault::Kit(words)) if words.contains("exit status: 3")));
        let read = Effects::Command("echo one; echo; echo one".to_owned())
            .read()
            .await;
        assert_eq!(read, Ok(Seen::from([("one".to_owned(), 2)])));
    }
}
