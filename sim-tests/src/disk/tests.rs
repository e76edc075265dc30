//! The disk does what its header says, and the log survives it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_wal::{Disk, GroupCommit, Log, Lsn, Options, WalError};
use madsim::runtime::{Handle, Runtime};

use super::{Kept, Machine, SimDisk, Speed};

const SPEED: Speed = Speed {
    sync_min_ms: 1,
    sync_max_ms: 4,
};

fn simulate<T>(seed: u64, test: impl Future<Output = T>) -> T {
    Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(test)
}

fn small() -> Options {
    Options {
        segment_bytes: 8192,
        buffer_bytes: 4096,
    }
}

/// The record at `lsn`: its length and content follow from the position.
fn record(lsn: u64) -> Vec<u8> {
    vec![u8::try_from(lsn % 251).unwrap(); usize::try_from(lsn * 37 % 900).unwrap()]
}

#[test]
fn a_process_death_keeps_the_cache_and_releases_the_lock() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let disk = machine.mount();
        let _lock = disk.lock().await.unwrap();
        assert!(disk.lock().await.is_err());
        disk.write("a", 0, b"hello".to_vec()).await.unwrap();
        machine.process_death();
        let disk = machine.mount();
        let _lock = disk.lock().await.unwrap();
        assert_eq!(disk.read("a", 0, 9).await.unwrap(), b"hello");
    });
}

#[test]
fn a_dead_process_writes_nothing() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let dead = machine.mount();
        machine.process_death();
        let wait = madsim::time::timeout(Duration::from_secs(60), dead.write("a", 0, vec![1]));
        assert!(wait.await.is_err());
        assert_eq!(machine.used(), 0);
    });
}

#[test]
fn a_sync_under_way_when_the_process_dies_is_not_answered() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let disk = machine.mount();
        let sync = madsim::task::spawn(async move { disk.write_sync("a", 0, vec![1]).await });
        madsim::task::yield_now().await;
        machine.process_death();
        assert!(
            madsim::time::timeout(Duration::from_secs(60), sync)
                .await
                .is_err()
        );
    });
}

#[test]
fn a_power_loss_keeps_what_was_synced_and_any_subset_of_the_rest() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..256 {
        outcomes.insert(simulate(seed, async move {
            let machine = Machine::new(seed, SPEED);
            let disk = machine.mount();
            disk.write_sync("a", 0, vec![1; 1536]).await.unwrap();
            disk.sync_dir().await.unwrap();
            disk.write("a", 0, vec![2; 1536]).await.unwrap();
            machine.power_loss();
            let bytes = machine.mount().read("a", 0, 1536).await.unwrap();
            assert!(
                bytes
                    .chunks(512)
                    .all(|sector| sector.iter().all(|byte| *byte == sector[0]))
            );
            [bytes[0], bytes[512], bytes[1024]]
        }));
    }
    assert_eq!(outcomes.len(), 8, "every subset of three sectors: {outcomes:?}");
}

#[test]
fn an_unsynced_name_may_be_lost() {
    let survives = |seed| {
        simulate(seed, async move {
            let machine = Machine::new(seed, SPEED);
            machine.mount().write_sync("a", 0, vec![1]).await.unwrap();
            machine.power_loss();
            !machine.mount().list().await.unwrap().is_empty()
        })
    };
    let survivals = (0..32).filter(|seed| survives(*seed)).count();
    assert!((1..32).contains(&survivals));
}

#[test]
fn a_name_that_is_given_while_the_directory_is_synced_may_be_lost() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let disk = machine.mount();
        disk.write_sync("a", 0, vec![1]).await.unwrap();
        // The sync is asked for first, and takes its time.
        let (synced, renamed) = futures_util::future::join(disk.sync_dir(), disk.rename("a", "b")).await;
        synced.and(renamed).unwrap();
        machine.power_loss_that_keeps(Kept::Nothing);
        assert_eq!(machine.mount().list().await.unwrap(), ["a"]);
    });
}

#[test]
fn a_write_to_a_file_that_has_another_name_on_the_medium_is_told() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let disk = machine.mount();
        disk.write("a", 0, vec![1]).await.unwrap();
        disk.sync_dir().await.unwrap();
        disk.write("a", 0, vec![2]).await.unwrap();
        disk.rename("a", "b").await.unwrap();
        assert_eq!(machine.written_over(), None);
        disk.write("b", 0, vec![3]).await.unwrap();
        let told = machine.written_over().unwrap();
        assert_eq!((told.name.as_str(), told.other.as_str()), ("b", "a"));
    });
}

#[test]
fn a_failed_sync_leaves_pages_that_the_next_sync_does_not_write() {
    let mut lost = 0;
    for seed in 0..16 {
        simulate(seed, async {
            let machine = Machine::new(seed, SPEED);
            let disk = machine.mount();
            disk.write_sync("a", 0, vec![1; 512]).await.unwrap();
            disk.sync_dir().await.unwrap();
            machine.fail_syncs(1, Kept::ByChance);
            assert!(disk.write_sync("a", 0, vec![2; 512]).await.is_err());
            disk.sync("a").await.unwrap();
            assert_eq!(disk.read("a", 0, 1).await.unwrap(), [2]);
            machine.power_loss();
            lost += u32::from(machine.mount().read("a", 0, 1).await.unwrap() == [1]);
        });
    }
    assert!((1..16).contains(&lost));
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwriting() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let disk = machine.mount();
        disk.write("a", 0, vec![1; 100]).await.unwrap();
        machine.set_capacity(Some(machine.used()));
        let error = disk.write("a", 50, vec![1; 100]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        disk.write("a", 0, vec![2; 100]).await.unwrap();
        machine.heal();
        disk.write("a", 50, vec![1; 100]).await.unwrap();
    });
}

#[test]
fn a_stall_lets_nothing_complete_until_it_ends() {
    simulate(1, async {
        let machine = Machine::new(1, SPEED);
        let disk = machine.mount();
        machine.stall(Duration::from_secs(10));
        let begun = super::now();
        disk.write_sync("a", 0, vec![1]).await.unwrap();
        assert!(super::now() - begun >= Duration::from_secs(10));
    });
}

#[test]
fn every_flipped_bit_of_a_log_is_refused_until_it_is_flipped_back() {
    for seed in 0..64 {
        simulate(seed, async move {
            let machine = Machine::new(seed, SPEED);
            let mut log = GroupCommit::new(Log::create(machine.mount(), [7; 16], small()).await.unwrap().log);
            for lsn in 1..30 {
                log.append(&record(lsn)).unwrap();
                log.flush().await.unwrap();
            }
            drop(log);
            machine.power_loss();
            let flip = machine
                .flip_bit(|name| name.starts_with("segment-") || name == "LOG")
                .unwrap();
            let refused = Log::open(machine.mount(), small(), |_| {}).await;
            assert!(
                matches!(
                    refused,
                    Err(WalError::Corrupt(_) | WalError::UnknownVersion { .. })
                ),
                "{flip:?}"
            );
            drop(refused);
            assert!(machine.flip_back(&flip));
            let opened = Log::open(machine.mount(), small(), |_| {}).await.unwrap();
            assert_eq!(opened.recovered.last, Lsn(29));
        });
    }
}

/// What the writing process was told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    created: bool,
    durable: Lsn,
}

#[test]
fn whatever_happens_to_its_disk_the_log_keeps_what_was_told() {
    let mut crashes = 0;
    for seed in 0..150 {
        crashes += simulate(seed, survive(seed));
    }
    assert!(crashes > 500, "{crashes}");
}

/// A process writes, dies in some way, and is started again, several times over.
async fn survive(seed: u64) -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let machine = Machine::new(random.u64(..), SPEED);
    let told = Arc::new(Mutex::new(Told::default()));
    let node = {
        let (machine, told) = (machine.clone(), told.clone());
        Handle::current()
            .create_node()
            .init(move || write_for_ever(machine.mount(), told.clone()))
            .build()
    };
    let crashes = random.u32(2..8);
    for _ in 0..crashes {
        if random.u8(..3) == 0 {
            machine.fail_syncs(1, Kept::ByChance);
        }
        if random.u8(..5) == 0 {
            machine.fail_writes(1, Kept::ByChance);
        }
        if random.u8(..4) == 0 {
            machine.set_capacity(Some(machine.used() + random.usize(..30_000)));
        }
        madsim::time::sleep(Duration::from_millis(random.u64(1..200))).await;
        if random.bool() {
            machine.power_loss();
        } else {
            machine.process_death();
        }
        Handle::current().kill(node.id());
        madsim::time::sleep(Duration::from_millis(5)).await;
        machine.heal();
        let told_so_far = *told.lock().unwrap();
        check(&machine, &told_so_far).await;
        machine.process_death();
        Handle::current().restart(node.id());
    }
    crashes
}

async fn write_for_ever(disk: SimDisk, told: Arc<Mutex<Told>>) {
    let opened = match Log::open(disk.clone(), small(), |_| {}).await {
        Err(WalError::NotALog) => Log::create(disk, [7; 16], small()).await,
        opened => opened,
    };
    let Ok(opened) = opened else { return };
    told.lock().unwrap().created = true;
    let mut log = GroupCommit::new(opened.log);
    told.lock().unwrap().durable = log.durable();
    loop {
        for _ in 0..3 {
            let next = log.accepted().0 + 1;
            if log.append(&record(next)).is_err() {
                return;
            }
        }
        let Ok(durable) = log.flush().await else { return };
        told.lock().unwrap().durable = durable;
        if durable.0 % 10 == 0 {
            let checkpoint = log.checkpoint(durable).write_all([durable.0.to_le_bytes()]).await;
            if checkpoint.is_ok() && log.truncate(Lsn(u64::MAX)).await.is_err() {
                return;
            }
        }
    }
}

async fn check(machine: &Machine, told: &Told) {
    let mut next = Lsn(1);
    let opened = Log::open(machine.mount(), small(), |entry| match entry {
        handfast_wal::Entry::Checkpoint { through, record } => {
            assert_eq!(record, through.0.to_le_bytes());
            next = through.next();
        }
        handfast_wal::Entry::Record { lsn, record: found } => {
            assert_eq!((lsn, found), (next, record(lsn.0).as_slice()));
            next = lsn.next();
        }
    })
    .await;
    match opened {
        Err(WalError::NotALog) if !told.created => {}
        Err(error) => panic!("{error}"),
        Ok(opened) => assert!(opened.recovered.last >= told.durable, "{told:?}"),
    }
}
