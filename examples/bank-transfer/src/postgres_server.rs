//! A private PostgreSQL server for `--postgres start`: its own folder, a free loopback port, killed and started by id.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long the server may take to start, crash recovery included.
const START_WITHIN: Duration = Duration::from_secs(60);

/// Slots for prepared transactions.
const PREPARED_SLOTS: u16 = 256;

/// A server that this process owns. Killed when dropped.
pub struct PostgresServer {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
    pub kills: u64,
    pub restarts: u64,
}

impl PostgresServer {
    /// Makes a cluster in `dir` and starts it.
    pub fn start(dir: &Path, port: u16) -> anyhow::Result<PostgresServer> {
        let bin = find_binaries()?;
        let data = dir.join("postgres");
        std::fs::create_dir_all(&data)?;
        give_to_postgres(dir, &data)?;
        let server = PostgresServer {
            bin,
            data,
            port,
            kills: 0,
            restarts: 0,
        };
        let data = server.data.display().to_string();
        server.run(
            "initdb",
            &["-D", &data, "-A", "trust", "-U", "postgres", "--no-instructions"],
        )?;
        server.launch()?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// SIGKILL to the postmaster; its children notice and end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        kill_process(self.postmaster()?, Signal::KILL)?;
        self.kills += 1;
        Ok(())
    }

    /// Starts it again; crash recovery brings the prepared transactions back.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.restarts += 1;
        Ok(())
    }

    fn launch(&self) -> anyhow::Result<()> {
        let data = self.data.display().to_string();
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c \
             max_prepared_transactions={PREPARED_SLOTS} -c max_connections=200",
            self.port
        );
        let log = format!("{data}/server.log");
        let give_up_at = Instant::now() + START_WITHIN;
        // Right after a SIGKILL the old backends may still hold the shared memory; the server then refuses to start.
        loop {
            let started = self.run(
                "pg_ctl",
                &["-D", &data, "-l", &log, "-w", "-t", "30", "-o", &options, "start"],
            );
            match started {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > give_up_at => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn postmaster(&self) -> anyhow::Result<Pid> {
        let path = self.data.join("postmaster.pid");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let id = text.lines().next().unwrap_or_default().trim().parse()?;
        Pid::from_raw(id).context("postmaster.pid names no process")
    }

    /// Runs one of the server's programs, as the user postgres if this process is root: the server refuses to be root.
    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.bin.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        let output = command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} failed: {}{}",
            program.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let data = self.data.display().to_string();
        let _ = self.run("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "stop"]);
    }
}

/// The newest server that Debian's packages have installed.
fn find_binaries() -> anyhow::Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("pg_ctl").exists())
        .collect();
    found.sort();
    match found.pop() {
        Some((_, bin)) => Ok(bin),
        None => bail!("--postgres start needs a server: install Debian's package postgresql, or give a URL"),
    }
}

fn give_to_postgres(dir: &Path, data: &Path) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    use std::os::unix::fs::PermissionsExt;
    // The user postgres must be able to pass through to its folder.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    let status = Command::new("chown")
        .args(["-R", "postgres"])
        .arg(data)
        .status()?;
    ensure!(
        status.success(),
        "cannot give {} to the user postgres: is Debian's package postgresql installed?",
        data.display()
    );
    Ok(())
}
