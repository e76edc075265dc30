//! What the demonstration needs on this machine, and brings if it is missing: servers as Debian's packages, the jars of a Kafka
//! broker, and the agent, built from this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Debian's packages, and a program that each brings.
const PACKAGES: [(&str, &str); 4] = [
    ("postgresql", "/usr/lib/postgresql"),
    ("mariadb-server", "/usr/sbin/mariadbd"),
    ("default-jre-headless", "/usr/bin/java"),
    ("maven", "/usr/bin/mvn"),
];

/// The repository: the one that cargo runs this program for, or else the one that it was built in. A target folder that is
/// shared between clones keeps a program of another one.
fn repository() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("../..")
}

/// Installs the servers that are missing, which needs root.
pub fn servers() -> anyhow::Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, brings)| !Path::new(brings).exists())
        .map(|(package, _)| *package)
        .collect();
    if !missing.is_empty() {
        let packages = missing.join(" ");
        ensure!(
            handfast_servers::is_root(),
            "this needs Debian's packages {packages}. Install them with: sudo apt-get install {packages}"
        );
        println!("installing {packages}");
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        run(Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(missing)
            .env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    // Says where the broker is, and fetches it only once.
    run(&mut Command::new(repository().join("servers/fetch-kafka")))
}

/// Builds the agent beside this program, in the same profile, and says where it is.
pub fn agent() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let folder = program.parent().context("this program is in no folder")?;
    let agent = folder.join("handfast-agent");
    // Cargo leaves its name to the programs that it runs; a copy of the program that was carried elsewhere brings its agent.
    let Some(cargo) = std::env::var_os("CARGO") else {
        ensure!(
            agent.exists(),
            "{} is missing; run this with `cargo run -p order-flow`, or put the agent there",
            agent.display()
        );
        return Ok(agent);
    };
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => bail!("this program is in no folder of a profile"),
    };
    let target = folder.parent().context("this program is in no target folder")?;
    let mut build = Command::new(cargo);
    build
        .current_dir(repository())
        .args(["build", "--quiet", "--profile", profile, "--target-dir"])
        .arg(target)
        .args(["-p", "handfast-participant", "--bin", "handfast-agent"]);
    // What cargo tells this program about its package is not about the agent. Build scripts that look at it would run again,
    // and with them all that depends on their packages: minutes in each run.
    for (name, _) in std::env::vars_os() {
        if is_about_a_package(&name.to_string_lossy()) {
            build.env_remove(name);
        }
    }
    run(&mut build)?;
    Ok(agent)
}

fn is_about_a_package(variable: &str) -> bool {
    let about = [
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PRIMARY_PACKAGE",
    ];
    about.iter().any(|beginning| variable.starts_with(beginning))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
