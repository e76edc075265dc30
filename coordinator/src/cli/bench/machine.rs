//! What the machine is, and what a process has used of it, as `/proc` tells.

use std::sync::OnceLock;

use serde_json::{Value, json};

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time in user and system mode, in seconds; counted in hundredths on most machines.
    pub cpu_seconds: f64,
    /// Memory that is resident now.
    pub resident_bytes: u64,
    /// The most that ever was.
    pub peak_bytes: u64,
}

/// What a process has used; `None` where there is no `/proc`, or no such process.
pub fn usage(process: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows it are words from the third field on (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Usage {
        cpu_seconds: ticks as f64 / ticks_per_second() as f64,
        resident_bytes: bytes("VmRSS:")?,
        peak_bytes: bytes("VmHWM:")?,
    })
}

/// What this process has used.
pub fn own_usage() -> Option<Usage> {
    usage(std::process::id())
}

fn ticks_per_second() -> u64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    *TICKS.get_or_init(rustix::param::clock_ticks_per_second)
}

/// The machine, for the report.
pub fn describe() -> Value {
    let line_of = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = line_of("/proc/meminfo", "MemTotal:")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024);
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    json!({
        "cores": std::thread::available_parallelism().map(std::num::NonZero::get).ok(),
        "processor": line_of("/proc/cpuinfo", "model name"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        "memory_bytes": memory,
        "load_average_before": load.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok()),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        if !std::path::Path::new("/proc/self/stat").exists() {
            return;
        }
        let usage = own_usage().unwrap();
        assert!(usage.resident_bytes > 1 << 16, "{usage:?}");
        assert!(usage.peak_bytes >= usage.resident_bytes, "{usage:?}");
        assert!(usage.cpu_seconds < 3600.0, "{usage:?}");
    }
}
