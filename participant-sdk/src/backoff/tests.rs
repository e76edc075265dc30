use super::*;

#[test]
fn waits_double_within_their_bound_and_start_anew_after_a_success() {
    let (first, longest) = (Duration::from_millis(10), Duration::from_millis(45));
    let mut backoff = Backoff::new(first, longest);
    for bound in [10, 20, 40, 45, 45] {
        let wait = backoff.wait().as_millis();
        assert!((bound / 2..=bound).contains(&wait), "{wait} of {bound}");
    }
    backoff.reset();
    assert!(backoff.wait() <= first);
}
