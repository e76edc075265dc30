//! From counters to numbers, and from the numbers of several runs to their median and spread.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::deployment::Snapshot;
use super::machine::Usage;
use super::tally::Counts;

/// Percentiles of what was recorded, in its own unit.
pub fn percentiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "min": histogram.min(),
        "mean": round(histogram.mean()),
        "p50": histogram.value_at_quantile(0.5),
        "p90": histogram.value_at_quantile(0.9),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
}

/// One run: what was counted in so many seconds, between two snapshots.
pub fn run(counts: &Counts, seconds: f64, before: &Snapshot, after: &Snapshot, overdue: u64) -> Value {
    let decided = counts.decided();
    let each = |count: u64| (decided > 0).then(|| round(count as f64 / decided as f64));
    let syncs = after.log.syncs - before.log.syncs;
    let participant_syncs = after.participant_syncs - before.participant_syncs;
    let participants: Vec<_> = before
        .participants
        .iter()
        .zip(&after.participants)
        .map(|(before, after)| process(Some(before), Some(after), seconds, decided))
        .collect();
    json!({
        "seconds": round(seconds),
        "committed": counts.committed(),
        "aborted": counts.aborted,
        "abort_reasons": counts.reasons,
        "failed": counts.failed(),
        "errors": counts.errors,
        "overdue": overdue,
        "committed_per_second": round(counts.committed() as f64 / seconds),
        "latency_us": percentiles(&counts.latencies),
        "coordinator": {
            "syncs": syncs,
            "syncs_per_second": round(syncs as f64 / seconds),
            "syncs_per_transaction": each(syncs),
            "records_per_transaction": each(after.log.records - before.log.records),
            "log_bytes_per_transaction": each(after.log.bytes - before.log.bytes),
            "process": process(before.coordinator.as_ref(), after.coordinator.as_ref(), seconds, decided),
        },
        "participants": {
            "syncs": participant_syncs,
            "syncs_per_transaction": each(participant_syncs),
            "processes": participants,
        },
        "clients": {
            "process": process(before.clients.as_ref(), after.clients.as_ref(), seconds, decided),
        },
    })
}

/// What a process has used; nothing where that is not known.
fn process(before: Option<&Usage>, after: Option<&Usage>, seconds: f64, transactions: u64) -> Value {
    let (Some(before), Some(after)) = (before, after) else {
        return Value::Null;
    };
    let cpu = after.cpu_seconds - before.cpu_seconds;
    json!({
        "cpu_seconds": round(cpu),
        "cores": round(cpu / seconds),
        "cpu_us_per_transaction": (transactions > 0).then(|| round(cpu * 1e6 / transactions as f64)),
        "resident_bytes": after.resident_bytes,
        "peak_bytes": after.peak_bytes,
    })
}

/// Median, least and most of every number that all of these have under the same name. Lists are summed up.
pub fn summary(runs: &[Value]) -> Value {
    let Some(Value::Object(first)) = runs.first() else {
        return Value::Null;
    };
    let mut summary = Map::new();
    for name in first.keys() {
        let values: Vec<Value> = runs.iter().map(|run| total(&run[name])).collect();
        let numbers: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
        let entry = match numbers {
            Some(numbers) => spread(numbers),
            None if values.iter().all(Value::is_object) => self::summary(&values),
            None => continue,
        };
        summary.insert(name.clone(), entry);
    }
    Value::Object(summary)
}

/// A list of processes becomes one with the sums of their numbers; anything else stays.
fn total(value: &Value) -> Value {
    let Value::Array(items) = value else {
        return value.clone();
    };
    let mut sums = Map::new();
    for item in items.iter().filter_map(Value::as_object) {
        for (name, number) in item {
            if let Some(number) = number.as_f64() {
                let sum = sums.get(name).and_then(Value::as_f64).unwrap_or_default() + number;
                sums.insert(name.clone(), json!(round(sum)));
            }
        }
    }
    Value::Object(sums)
}

/// Median, least and most.
pub fn spread(mut numbers: Vec<f64>) -> Value {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let median = match numbers.len() {
        0 => return Value::Null,
        length if length % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    };
    json!({ "median": round(median), "min": numbers[0], "max": numbers[numbers.len() - 1] })
}

/// Four digits behind the point are more than any of this is good for.
pub fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(
            spread(vec![4.0, 1.0, 3.0, 2.0]),
            json!({"median": 2.5, "min": 1.0, "max": 4.0})
        );
        assert_eq!(spread(vec![7.0]), json!({"median": 7.0, "min": 7.0, "max": 7.0}));
    }

    #[test]
    fn numbers_of_several_runs_are_brought_together_by_name() {
        let run = |syncs: u64| {
            json!({
                "syncs": syncs,
                "words": "left out",
                "unknown": null,
                "inner": { "processes": [{ "cpu": 1.0 }, { "cpu": syncs }] },
            })
        };
        let summary = summary(&[run(1), run(5), run(3)]);
        assert_eq!(
            summary,
            json!({
                "syncs": { "median": 3.0, "min": 1.0, "max": 5.0 },
                "inner": { "processes": { "cpu": { "median": 4.0, "min": 2.0, "max": 6.0 } } },
            })
        );
    }
}
