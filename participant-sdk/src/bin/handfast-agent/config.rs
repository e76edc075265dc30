//! The agent's file: where the coordinator is, and which resources take part.
//!
//! ```toml
//! coordinator = ["127.0.0.1:7420"]     # addresses of one coordinator, or one address as a text
//!
//! [report]                             # may be left out
//! period_s = 60                        # one line in the log for each resource
//! prepared_warn_s = 300                # a branch that is prepared for longer is worth a warning
//!
//! [[resource]]                         # one table for each resource
//! kind = "postgres"
//! name = "orders-db"
//! # the rest is the kind's own; `coordinator` may stand here too, for a resource of another one
//! ```

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handfast_participant::ids::ResourceName;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::kinds::{AnyKind, KINDS, Nonsense, ReadKind};
use crate::report::Reporting;

/// The most resources of one file.
const MAX_RESOURCES: usize = 256;
/// Keys of the file outside of any resource.
const TOP_KEYS: [&str; 3] = ["coordinator", "report", "resource"];

/// A file that was read.
#[derive(Debug)]
pub struct AgentFile {
    /// What takes part.
    pub entries: Vec<Entry>,
    /// How it is reported on.
    pub reporting: Reporting,
}

/// One `[[resource]]` table.
pub struct Entry {
    /// The stable name.
    pub name: String,
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// Addresses of its coordinator.
    pub coordinators: Vec<String>,
    read: ReadKind,
    table: Spanned<DeValue<'static>>,
}

/// A file that cannot be used: where, and what to write instead.
#[derive(Debug)]
pub struct FileError {
    file: PathBuf,
    line: Option<usize>,
    message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for FileError {}

/// What does not fit, and the bytes of the text that it is about.
struct Misfit {
    span: Option<Range<usize>>,
    message: String,
}

impl Misfit {
    fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Misfit {
            span: Some(span),
            message: message.into(),
        }
    }
}

impl From<toml::de::Error> for Misfit {
    /// The message alone: the rendering with the line's text could show a password.
    fn from(error: toml::de::Error) -> Self {
        Misfit {
            span: error.span(),
            message: error.message().to_owned(),
        }
    }
}

impl AgentFile {
    /// Reads and checks a file. Nothing is connected to.
    ///
    /// # Errors
    /// What does not fit, with its line and what is accepted there.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let error = |line, message| FileError {
            file: path.to_owned(),
            line,
            message,
        };
        let text = std::fs::read_to_string(path).map_err(|cause| error(None, cause.to_string()))?;
        // Read once, and looked at for as long as the process lives.
        let text: &'static str = text.leak();
        Self::parse(text)
            .map_err(|Misfit { span, message }| error(span.map(|span| line_of(text, span.start)), message))
    }

    fn parse(text: &'static str) -> Result<Self, Misfit> {
        let mut top = DeTable::parse(text)?.into_inner();
        if let Some(key) = top.keys().find(|key| !TOP_KEYS.contains(&key.get_ref().as_ref())) {
            return Err(Misfit::at(
                key.span(),
                format!(
                    "unknown key `{}`; known are {}",
                    key.get_ref(),
                    TOP_KEYS.join(", ")
                ),
            ));
        }
        let coordinators = match top.remove("coordinator") {
            Some(value) => addresses(value)?,
            None => Vec::new(),
        };
        let reporting = match top.remove("report") {
            Some(value) => Reporting::from(ReportTable::deserialize(ValueDeserializer::from(value))?),
            None => Reporting::default(),
        };
        let resources = top
            .remove("resource")
            .map(|resources| (resources.span(), resources.into_inner()));
        let tables = match resources {
            Some((_, DeValue::Array(tables))) => tables,
            Some((span, _)) => return Err(Misfit::at(span, "write [[resource]], once for each resource")),
            None => {
                let message = "there is no resource; write a [[resource]] table for each";
                return Err(Misfit {
                    span: None,
                    message: message.to_owned(),
                });
            }
        };
        if tables.len() > MAX_RESOURCES {
            let message = format!(
                "{} resources, and at most {MAX_RESOURCES} are served by one agent",
                tables.len()
            );
            return Err(Misfit { span: None, message });
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(tables.len());
        for table in tables.into_iter() {
            let (span, entry) = (table.span(), Entry::take(table, &coordinators)?);
            if let Some(twin) = entries.iter().find(|other| other.name == entry.name) {
                let message = format!(
                    "the name {:?} stands in line {} already; each resource needs a name of its own",
                    entry.name,
                    line_of(text, twin.table.span().start)
                );
                return Err(Misfit::at(span, message));
            }
            entries.push(entry);
        }
        Ok(AgentFile { entries, reporting })
    }
}

impl Entry {
    fn take(resource: Spanned<DeValue<'static>>, coordinators: &[String]) -> Result<Self, Misfit> {
        let span = resource.span();
        let DeValue::Table(mut table) = resource.into_inner() else {
            return Err(Misfit::at(span, "write [[resource]], once for each resource"));
        };
        let kind = text(&mut table, "kind", &span)?;
        let name = text(&mut table, "name", &span)?;
        let Some((kind, read)) = KINDS.iter().find(|(known, _)| *known == kind.get_ref()) else {
            let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            let message = format!(
                "unknown kind {:?}; known are {}",
                kind.get_ref(),
                known.join(", ")
            );
            return Err(Misfit::at(kind.span(), message));
        };
        if let Err(error) = ResourceName::new(name.get_ref()) {
            return Err(Misfit::at(name.span(), error.to_string()));
        }
        let name = name.into_inner();
        let coordinators = match table.remove("coordinator") {
            Some(value) => addresses(value)?,
            None => coordinators.to_vec(),
        };
        if coordinators.is_empty() {
            let message = format!(
                "no coordinator for {name:?}; write coordinator = \"127.0.0.1:7420\" here or at the top of the file"
            );
            return Err(Misfit::at(span, message));
        }
        let entry = Entry {
            name,
            kind,
            coordinators,
            read: *read,
            table: Spanned::new(span, DeValue::Table(table)),
        };
        entry.try_read().map_err(|misfit| entry.named(misfit))?;
        Ok(entry)
    }

    /// A fresh value of the kind. Made for each try, because a try uses it up.
    pub fn kind(&self) -> anyhow::Result<Box<dyn AnyKind>> {
        self.try_read()
            .map_err(|misfit| anyhow::Error::msg(self.named(misfit).message))
    }

    fn try_read(&self) -> Result<Box<dyn AnyKind>, Misfit> {
        let kind = (self.read)(self.table.clone())?;
        kind.validate()
            .map_err(|Nonsense { key, message }| Misfit::at(self.span_of(key), message))?;
        Ok(kind)
    }

    /// Where a key stands; where the table does, if it is not written there.
    fn span_of(&self, key: Option<&str>) -> Range<usize> {
        let written = key.and_then(|key| {
            let table = self.table.get_ref().as_table()?;
            table.iter().find(|(name, _)| name.get_ref() == key)
        });
        written.map_or(self.table.span(), |(_, value)| value.span())
    }

    /// Says of which resource, and of which key of it, a misfit is.
    fn named(&self, misfit: Misfit) -> Misfit {
        let within = |span: &Range<usize>| {
            let table = self.table.get_ref().as_table()?;
            let key = table.iter().find(|(key, value)| {
                key.span() == *span || (value.span().start <= span.start && span.end <= value.span().end)
            });
            key.map(|(key, _)| key.get_ref().clone())
        };
        let key = misfit.span.as_ref().and_then(within);
        let key = key.map(|key| format!(", key `{key}`")).unwrap_or_default();
        let message = format!(
            "resource {:?} of kind {}{key}: {}",
            self.name, self.kind, misfit.message
        );
        Misfit { message, ..misfit }
    }
}

impl fmt::Debug for Entry {
    /// Without the table, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of kind {}", self.name, self.kind)
    }
}

/// `[report]`, in which every key may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReportTable {
    period_s: u32,
    prepared_warn_s: u32,
}

impl Default for ReportTable {
    fn default() -> Self {
        let Reporting {
            period,
            prepared_warn,
        } = Reporting::default();
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        ReportTable {
            period_s: seconds(period),
            prepared_warn_s: seconds(prepared_warn),
        }
    }
}

impl From<ReportTable> for Reporting {
    fn from(table: ReportTable) -> Self {
        Reporting {
            period: Duration::from_secs(u64::from(table.period_s.max(1))),
            prepared_warn: Duration::from_secs(u64::from(table.prepared_warn_s)),
        }
    }
}

fn text(table: &mut DeTable<'static>, key: &str, whole: &Range<usize>) -> Result<Spanned<String>, Misfit> {
    let value = table.remove(key).ok_or_else(|| {
        Misfit::at(
            whole.clone(),
            format!("this resource has no `{key}`; write {key} = \"…\""),
        )
    })?;
    let span = value.span();
    match value.into_inner() {
        DeValue::String(text) => Ok(Spanned::new(span, text.into_owned())),
        other => Err(Misfit::at(
            span,
            format!("`{key}` is a text in quotes, not a {}", other.type_str()),
        )),
    }
}

/// One address as a text, or a list of them.
fn addresses(value: Spanned<DeValue<'static>>) -> Result<Vec<String>, Misfit> {
    let span = value.span();
    let wrong = |span| {
        let message = "`coordinator` is an address such as \"127.0.0.1:7420\", or a list of addresses of one coordinator";
        Misfit::at(span, message)
    };
    let listed = match value.into_inner() {
        text @ DeValue::String(_) => vec![Spanned::new(span, text)],
        DeValue::Array(list) if !list.is_empty() => list.into_iter().collect(),
        _ => return Err(wrong(span)),
    };
    let address = |value: Spanned<DeValue<'static>>| {
        let span = value.span();
        match value.into_inner() {
            DeValue::String(address) if !address.trim().is_empty() => Ok(address.into_owned()),
            _ => Err(wrong(span)),
        }
    };
    listed.into_iter().map(address).collect()
}

/// Counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests;
