//! A MariaDB server.
//!
//! Its faults: killed at any moment (as by a power cut, but for the page cache), stopped in order, and started again upon the
//! same data and port, with other settings if wanted.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::{ServerProcess, free_port, is_root, wait_until};

/// How long a start may take, recovery after a kill included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often another port is tried.
const MAX_STARTS: u32 = 5;
/// The user that the server runs as when this process is root.
const USER: &str = "mysql";
/// Where Debian and others put the programs, beside what `PATH` says.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
/// Small, because many of them run on one machine; nothing of this weakens what is written.
const MODEST: [&str; 4] = [
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=32M",
    "--aria-pagecache-buffer-size=8M",
    "--key-buffer-size=8M",
];

/// A server with a data folder of its own. User `root` has no password.
#[derive(Debug)]
pub struct MariadbServer {
    folder: tempfile::TempDir,
    settings: Vec<String>,
    port: u16,
    process: Option<ServerProcess>,
    databases: AtomicU32,
}

impl MariadbServer {
    /// Makes the data and starts the server, with settings such as `max_connections=20`.
    ///
    /// # Errors
    /// The server is not installed, or does not start; its log is in the error.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let mut server = MariadbServer {
            folder: tempfile::tempdir().context("no temporary folder")?,
            settings: Vec::new(),
            port: 0,
            process: None,
            databases: AtomicU32::new(0),
        };
        server.set(settings);
        if is_root() {
            run(Command::new("chown").arg(USER).arg(server.folder.path()))?;
        }
        let mut install = Command::new(program("mariadb-install-db")?);
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]);
        run(server.as_server(&mut install))?;
        for _ in 0..MAX_STARTS {
            server.port = free_port()?;
            match server.restart() {
                // The port was taken by somebody else meanwhile.
                Err(_) if server.log().contains("Address already in use") => {}
                started => return started.map(|()| server),
            }
        }
        bail!("found no port for MariaDB in {MAX_STARTS} tries")
    }

    /// What the next start is told.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| format!("--{setting}")).collect();
    }

    /// Starts the server again, upon the same data and port, and waits until it answers.
    ///
    /// # Errors
    /// It does not start; its log is in the error.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let log = File::create(self.log_file())?;
        let mut command = Command::new(program("mariadbd")?);
        command.arg("--no-defaults");
        self.as_server(&mut command)
            .arg(format!("--port={}", self.port))
            .arg(format!("--socket={}", self.folder.path().join("s").display()))
            .arg(format!("--pid-file={}", self.folder.path().join("pid").display()))
            .arg("--bind-address=127.0.0.1")
            .args(MODEST)
            .args(&self.settings)
            .stdout(Stdio::null())
            .stderr(log);
        let mut process = ServerProcess::spawn(&mut command, Signal::TERM)?;
        let admin = program("mariadb-admin")?;
        let port = self.port;
        wait_until("MariaDB to answer", START_LIMIT, || {
            if process.has_ended()? {
                bail!("MariaDB has ended by itself");
            }
            let ping = Command::new(&admin)
                .args(["--no-defaults", "--connect-timeout=2", "-uroot", "-h127.0.0.1"])
                .args([&format!("-P{port}"), "ping"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            Ok(ping.success())
        })
        .with_context(|| format!("MariaDB does not start:\n{}", self.log()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the server at once, as `kill -9` does.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the server does not run")?.kill()
    }

    /// Fails if it has ended by itself: it must not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().map_or(Ok(()), ServerProcess::check)
    }

    /// Stops the server in order, and waits for that.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a database is, for user `root`.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// A new, empty database; its name.
    ///
    /// # Errors
    /// The server does not make it.
    pub fn create_database(&self) -> anyhow::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Relaxed));
        self.sql("mysql", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs SQL as user `root` and gives what it prints, one row a line, its columns between tabulators.
    ///
    /// # Errors
    /// The server's own words.
    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = run(Command::new(program("mariadb")?)
            .args(["--no-defaults", "-uroot", "-h127.0.0.1", "-N", "-B", "--raw"])
            .args([&format!("-P{}", self.port), "-e", sql, database]))?;
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// The last lines that the server wrote since it was started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What every program that touches the data is told.
    fn as_server<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if is_root() {
            command.arg(format!("--user={USER}"));
        }
        // A starting server clears the folder for temporary files of what others have there.
        command.env("TMPDIR", self.folder.path());
        command.arg(format!("--datadir={}", self.folder.path().join("data").display()))
    }
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| Path::exists(file))
        .with_context(|| {
            format!(
                "{name} is not installed: this needs the MariaDB server, 10.5 or later; on Debian: apt-get install \
                 mariadb-server"
            )
        })
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output)
}
