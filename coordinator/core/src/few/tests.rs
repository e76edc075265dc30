use std::hash::{DefaultHasher, Hash, Hasher};

use super::Few;

fn hash_of(list: &Few<u32>) -> u64 {
    let mut hasher = DefaultHasher::new();
    list.hash(&mut hasher);
    hasher.finish()
}

/// However a list came to be, it is the list of the same values.
#[test]
fn it_behaves_as_a_vector() {
    let mut pushed = Few::default();
    for length in 0..6u32 {
        let values: Vec<u32> = (0..length).collect();
        let collected: Few<u32> = values.iter().copied().collect();
        let unsized_hint: Few<u32> = values.iter().copied().filter(|_| true).collect();
        let taken = Few::from(values.clone());
        for list in [&pushed, &collected, &unsized_hint, &taken] {
            assert_eq!(list.as_slice(), values);
            assert_eq!(list, &pushed);
            assert_eq!(hash_of(list), hash_of(&pushed));
        }
        pushed.push(length);
        assert_ne!(pushed, taken);
    }
    for value in &mut pushed {
        *value *= 2;
    }
    assert_eq!(pushed.as_slice(), [0, 2, 4, 6, 8, 10]);
}
