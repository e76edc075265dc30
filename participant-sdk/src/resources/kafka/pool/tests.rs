use super::*;

#[test]
fn an_id_is_lent_once_and_only_its_own_come_back() {
    let pool = Pool::new(Uuid::from_u128(1), 2, 2);
    let other = Pool::new(Uuid::from_u128(1), 3, 2);
    let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
    assert_ne!(first, second);
    assert!(first.starts_with(&prefix_of(Uuid::from_u128(1))));
    assert_eq!(pool.take(), None);
    pool.give_back(&other.take().unwrap());
    pool.give_back("somebody else's");
    assert_eq!(pool.take(), None);
    for _ in 0..2 {
        pool.give_back(&first);
    }
    assert_eq!(pool.take(), Some(first));
    assert_eq!(pool.take(), None, "what came back twice is there once");
}

#[test]
fn the_longest_unused_comes_first() {
    let pool = Pool::new(Uuid::nil(), 0, 3);
    let first = pool.take().unwrap();
    pool.give_back(&first);
    assert_ne!(pool.take().unwrap(), first);
    assert_ne!(pool.take().unwrap(), first);
    assert_eq!(pool.take().unwrap(), first);
}

#[test]
fn an_id_that_was_put_aside_never_comes_back_and_another_takes_its_place_within_a_bound() {
    let pool = Pool::new(Uuid::nil(), 0, 1);
    let mut seen = BTreeSet::new();
    for _ in 0..=MAX_PUT_ASIDE {
        let id = pool.take().unwrap();
        assert_eq!(pool.take(), None, "the pool has not grown");
        for _ in 0..2 {
            pool.put_aside(&id);
            pool.give_back(&id);
        }
        assert!(seen.insert(id), "an id was lent again");
    }
    assert_eq!(pool.take(), None, "what is put aside is bounded");
}
