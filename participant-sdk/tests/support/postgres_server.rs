//! A real PostgreSQL server for one test binary, on a free loopback port, with a data folder of its own.
//!
//! Its faults: killed at any moment (as by a power cut, but for the page cache), started again, started as a standby. It is
//! stopped by its process id when the value is dropped, after a panic too.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often a starting server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// After how many questions it is given up: 30 s.
const MAX_POLLS: u32 = 1_500;
/// How often another port is tried, or an old server's memory waited for.
const MAX_STARTS: u32 = 10;

/// A running server.
pub struct PostgresServer {
    binaries: PathBuf,
    folder: tempfile::TempDir,
    settings: Vec<String>,
    port: u16,
    process: Option<Child>,
    databases: AtomicU32,
}

impl PostgresServer {
    /// The server that all tests of this binary share; stopped when the last of them ends. Make a database in it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&["max_prepared_transactions=64"]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of its own, with these settings.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, "trust", None)
    }

    /// A server that wants this password of user `postgres`.
    pub fn start_with_password(settings: &[&str], password: &str) -> Self {
        Self::start_with(settings, "scram-sha-256", Some(password))
    }

    fn start_with(settings: &[&str], authentication: &str, password: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = PostgresServer {
            binaries: find_binaries(),
            folder,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            port: 0,
            process: None,
            databases: AtomicU32::new(0),
        };
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(server.folder.path()));
        }
        let mut initdb = server.command("initdb");
        initdb
            .args(["--no-sync", "-U", "postgres", "-A", authentication, "-D"])
            .arg(server.data());
        if let Some(password) = password {
            let file = server.folder.path().join("password");
            std::fs::write(&file, password).expect("the password file");
            initdb.arg("--pwfile").arg(file);
        }
        run(&mut initdb);
        server.restart();
        server
    }

    /// Starts the server (again) and waits until it answers.
    pub fn restart(&mut self) {
        for _ in 0..MAX_STARTS {
            if self.port == 0 {
                self.port = free_port();
            }
            if self.try_start() {
                return;
            }
            // The port was taken meanwhile, or processes of a killed server still hold its memory.
            if self.log().contains("could not bind") {
                self.port = 0;
            }
            pause();
        }
        panic!("PostgreSQL does not start:\n{}", self.log());
    }

    fn try_start(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("the server's log");
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()]);
        let folder = format!("unix_socket_directories={}", self.folder.path().display());
        for setting in ["listen_addresses=127.0.0.1", &folder]
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            command.args(["-c", setting]);
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let process = self.process.insert(child);
        for _ in 0..MAX_POLLS {
            if process.try_wait().expect("the state of our own child").is_some() {
                return false;
            }
            let ready = Command::new(self.binaries.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .expect("pg_isready runs");
            if ready.success() {
                return true;
            }
            pause();
        }
        false
    }

    /// Ends the server at once, as `kill -9` does.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running server");
        process.kill().expect("our own child can be killed");
        process.wait().expect("our own child can be waited for");
    }

    /// Stops the server in order.
    pub fn stop(&mut self) {
        self.signal("INT");
    }

    fn signal(&mut self, signal: &str) {
        if let Some(mut process) = self.process.take() {
            let told = Command::new("kill")
                .arg(format!("-{signal}"))
                .arg(process.id().to_string())
                .status();
            if !told.is_ok_and(|status| status.success()) {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
    }

    /// Makes the next start that of a standby.
    pub fn become_standby(&self) {
        let signal = self.data().join("standby.signal");
        std::fs::write(&signal, "").expect("the standby's signal file");
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(signal));
        }
    }

    /// A new, empty database; its name.
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs SQL as the superuser and gives what it prints, one row a line.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database));
        let output = run(&mut psql);
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Where a database is, for user `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A program of the server; not as root, which the server refuses.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.signal("QUIT");
    }
}

fn find_binaries() -> PathBuf {
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, path)| path.join("postgres").exists())
        .collect();
    installed.sort();
    let elsewhere = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        path.join("postgres").exists().then_some(path)
    };
    installed.pop().map(|(_, path)| path).or_else(elsewhere).expect(
        "these tests need the PostgreSQL server, 13 or later: install it, on Debian with `apt-get install postgresql`, or \
         put its pg_config into PATH",
    )
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real server is waited for in real time"
)]
fn pause() {
    std::thread::sleep(POLL);
}
