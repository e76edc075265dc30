//! PostgreSQL 13 or later: prepared transactions survive its death.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use crate::{ServerProcess, free_port, is_root, wait_until};

/// How long the server may take to answer, crash recovery included.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How many free ports are tried for a new server: another process may take one before the server has it.
const MAX_PORTS: u32 = 10;
/// How much of its log is told when it does not start, in bytes.
const MAX_WORDS: u64 = 16 * 1024;
/// Root becomes this user of Debian's package: the server refuses to be root.
const USER: &str = "postgres";

/// A server with one cluster of its own. Stopped, without a goodbye to its clients, when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    // Before the folder: the server ends first.
    process: Option<ServerProcess>,
    binaries: PathBuf,
    folder: PathBuf,
    settings: Vec<String>,
    port: u16,
    databases: AtomicU32,
    _temporary: Option<tempfile::TempDir>,
}

impl PostgresServer {
    /// The server that all tests of one binary share, each with a database of its own in it; stopped when the last of them ends.
    pub fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start(&["max_prepared_transactions=64"])?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// A server in a temporary folder, with these settings (`name=value`). Everybody on this machine is let in.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        Self::start_temporary(settings, None)
    }

    /// A server that wants this password of user `postgres`.
    pub fn start_with_password(settings: &[&str], password: &str) -> anyhow::Result<Self> {
        Self::start_temporary(settings, Some(password))
    }

    /// A server whose data and log stay in `folder`, which is made. The user `postgres` is let through the folder's parent.
    pub fn start_in(folder: &Path, settings: &[&str]) -> anyhow::Result<Self> {
        Self::make(folder.to_owned(), None, settings, |server| {
            server.make_cluster(None)
        })
    }

    /// A server with a copy of this one's data that follows it, asynchronously, with the same settings; `SELECT pg_promote()` makes it
    /// one of its own.
    pub fn start_standby(&self) -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let folder = temporary.path().join("server");
        Self::make(folder, Some(temporary), &settings, |standby| {
            standby.copy(self.port)
        })
    }

    /// Takes the data of the server on this port, and says where to follow it.
    fn copy(&self, port: u16) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.give_to_user()?;
        let mut basebackup = self.command("pg_basebackup");
        basebackup
            .args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "-D"])
            .arg(self.data())
            .args(["-d", &format!("host=127.0.0.1 port={port} user=postgres")]);
        run(&mut basebackup)?;
        Ok(())
    }

    fn start_temporary(settings: &[&str], password: Option<&str>) -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        Self::make(
            temporary.path().join("server"),
            Some(temporary),
            settings,
            |server| server.make_cluster(password),
        )
    }

    fn make(
        folder: PathBuf,
        temporary: Option<tempfile::TempDir>,
        settings: &[&str],
        fill: impl FnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut server = PostgresServer {
            process: None,
            binaries: find_binaries()?,
            folder,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            port: 0,
            databases: AtomicU32::new(0),
            _temporary: temporary,
        };
        fill(&server)?;
        for _ in 1..MAX_PORTS {
            server.port = free_port()?;
            match server.launch()? {
                Launch::Answers => return Ok(server),
                Launch::Ended(log) if log.contains("could not bind") => {}
                Launch::Ended(log) => bail!("PostgreSQL ends when it is started:\n{log}"),
            }
        }
        bail!("PostgreSQL found {MAX_PORTS} free ports taken, one after the other")
    }

    fn make_cluster(&self, password: Option<&str>) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("{} cannot be made", self.folder.display()))?;
        self.give_to_user()?;
        // Nobody cuts the power: what the kernel holds outlives every process. The server itself syncs as it would anywhere.
        let mut initdb = self.command("initdb");
        initdb
            .args(["--no-sync", "-U", "postgres", "-D"])
            .arg(self.data());
        if let Some(password) = password {
            let file = self.folder.join("password");
            fs::write(&file, password)?;
            initdb.args(["-A", "scram-sha-256", "--pwfile"]).arg(file);
        } else {
            initdb.args(["-A", "trust"]);
        }
        run(&mut initdb)?;
        Ok(())
    }

    /// Starts it again upon the same data and port, and waits until it answers.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.process.is_none(),
            "the server runs; kill or stop it before it is started again"
        );
        let mut log = String::new();
        let mut started = false;
        let waited = wait_until("PostgreSQL to start again", START_WITHIN, || {
            // Right after a kill, processes of the old server may still hold its memory; the new one then ends at once.
            match self.launch()? {
                Launch::Answers => started = true,
                Launch::Ended(words) => log = words,
            }
            Ok(started)
        });
        waited.with_context(|| format!("PostgreSQL says:\n{log}"))
    }

    fn launch(&mut self) -> anyhow::Result<Launch> {
        let path = self.folder.join("log");
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        let begin = log.metadata()?.len();
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()]);
        let sockets = format!("unix_socket_directories={}", self.folder.display());
        let fixed = ["listen_addresses=127.0.0.1", &sockets];
        for setting in fixed.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = ServerProcess::spawn(&mut command, Signal::QUIT)?;
        let mut ended = false;
        wait_until("PostgreSQL to answer", START_WITHIN, || {
            ended = process.has_ended()?;
            Ok(ended || self.answers()?)
        })
        .with_context(|| format!("see {}", path.display()))?;
        if ended {
            let (mut log, mut words) = (File::open(&path)?, String::new());
            log.seek(SeekFrom::Start(begin))?;
            log.take(MAX_WORDS).read_to_string(&mut words)?;
            return Ok(Launch::Ended(words));
        }
        self.process = Some(process);
        Ok(Launch::Answers)
    }

    fn answers(&self) -> anyhow::Result<bool> {
        let status = Command::new(self.binaries.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .status()
            .context("pg_isready cannot be run")?;
        Ok(status.success())
    }

    /// Ends it at once, as `kill -9` does. Its children notice, and end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the server does not run")?.kill()
    }

    /// Stops it in order; its clients are sent away.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.process
            .take()
            .context("the server does not run")?
            .end(Signal::INT)
    }

    /// Fails if it has ended by itself: it must not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().map_or(Ok(()), ServerProcess::check)
    }

    /// A standby named `name` that keeps all that the server logs, and says so when it is safe: with
    /// `synchronous_standby_names` set to it, commits wait for it. Ended when dropped.
    pub fn start_receiver(&self, name: &str) -> anyhow::Result<ServerProcess> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        self.give_to_user()?;
        let mut receiver = self.command("pg_receivewal");
        receiver.args(["--synchronous", "--no-loop", "-D"]).arg(&folder);
        let port = self.port;
        receiver.args([
            "-d",
            &format!("host=127.0.0.1 port={port} user=postgres application_name={name}"),
        ]);
        receiver
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        ServerProcess::spawn(&mut receiver, Signal::INT)
    }

    /// Makes the next start that of a standby.
    pub fn become_standby(&self) -> anyhow::Result<()> {
        fs::write(self.data().join("standby.signal"), "")?;
        self.give_to_user()
    }

    /// A new, empty database; its name.
    pub fn create_database(&self) -> anyhow::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs SQL as the superuser and gives what it prints, one row a line.
    pub fn psql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database));
        let output = run(&mut psql)?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Where a database is, for user `postgres`. There is one of this name.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1, the same in all its lives.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of the server; not as root, which the server refuses.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
            command.args(user).args(["--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }

    fn give_to_user(&self) -> anyhow::Result<()> {
        if !is_root() {
            return Ok(());
        }
        use std::os::unix::fs::PermissionsExt;
        if let Some(parent) = self.folder.parent() {
            let mut permissions = parent.metadata()?.permissions();
            permissions.set_mode(permissions.mode() | 0o711);
            fs::set_permissions(parent, permissions)?;
        }
        let mut chown = Command::new("chown");
        run(chown.args(["-R", &format!("{USER}:")]).arg(&self.folder))?;
        Ok(())
    }
}

/// How a start went.
enum Launch {
    Answers,
    /// With these words in its log.
    Ended(String),
}

/// The newest server that Debian's packages have installed, or the one that `pg_config` knows.
fn find_binaries() -> anyhow::Result<PathBuf> {
    let version = |entry: fs::DirEntry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path().join("bin");
        path.join("postgres").exists().then_some((version, path))
    };
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = installed.filter_map(version).max();
    let elsewhere = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        path.join("postgres").exists().then_some(path)
    };
    newest.map(|(_, path)| path).or_else(elsewhere).context(
        "the PostgreSQL server, 13 or later, is not installed: on Debian, run `apt-get install postgresql`; elsewhere, put its \
         pg_config into PATH",
    )
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}
