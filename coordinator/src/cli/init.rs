//! `handfast init`

use std::path::{Path, PathBuf};

use clap::Args;
use handfast_ids::LogId;
use handfast_wal::RealDisk;

use super::output::print;
use super::{directory_error, log_directory};
use crate::config::{Flags, Settings};
use crate::driver;
use crate::error::Error;

/// Make a new data directory, with a log that has a random identity.
#[derive(Debug, Args)]
pub struct Init {
    /// The data directory; it is made if it does not exist
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Init {
    pub async fn run(self) -> Result<(), Error> {
        let settings = Settings::load(self.config.as_deref(), &Flags::default())?;
        let (log, _) = create(&self.data_dir, &settings).await?;
        print(&format!("made log {log} in {}", self.data_dir.display()))
    }
}

/// Makes the directory and the log in it. The disk releases its lock before it does anything else.
pub async fn create(data: &Path, settings: &Settings) -> Result<(LogId, RealDisk), Error> {
    let path = log_directory(data);
    let disk = RealDisk::create(&path).map_err(|error| directory_error(&path, &error))?;
    let created = driver::create_log(disk.clone(), settings).await;
    let log = created.map_err(|error| error.about(path.display()))?;
    Ok((log, disk))
}
