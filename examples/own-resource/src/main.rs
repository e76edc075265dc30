//! `cargo sim-own`: resources of one's own in the simulated cluster, right or wrong.

#[cfg(madsim)]
mod arguments;

#[cfg(madsim)]
fn main() -> anyhow::Result<()> {
    use clap::Parser;

    arguments::Arguments::parse().run()
}

#[cfg(not(madsim))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("this program runs in the simulated world only: type `cargo sim-own run`")
}
