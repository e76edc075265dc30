//! Seeds as they are given on command lines.

use std::ops::Range;

/// One seed.
pub(crate) fn parse(word: &str) -> Result<u64, String> {
    word.parse()
        .map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// So many seeds from this one on. An error if there are none, or not so many.
pub(crate) fn range(from: u64, seeds: u64) -> anyhow::Result<Range<u64>> {
    anyhow::ensure!(seeds > 0, "`--seeds 0` runs nothing; give 1 at least");
    let end = from.checked_add(seeds);
    let left = u64::MAX - from;
    let end = end.ok_or_else(|| {
        anyhow::anyhow!(
            "`--from {from} --seeds {seeds}` goes past the last seed that can be run, {}; from {from} on there are {left}",
            u64::MAX - 1
        )
    })?;
    Ok(from..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_end_where_numbers_do() {
        assert_eq!(range(5, 3).unwrap(), 5..8);
        assert_eq!(range(u64::MAX - 1, 1).unwrap(), u64::MAX - 1..u64::MAX);
        for (from, seeds) in [(u64::MAX, 1000), (u64::MAX, 1), (u64::MAX - 1, 2)] {
            let error = range(from, seeds).unwrap_err().to_string();
            assert!(
                error.contains("18446744073709551614") && error.contains(&from.to_string()),
                "{error}"
            );
        }
        assert!(range(0, 0).unwrap_err().to_string().contains("1 at least"));
    }
}
