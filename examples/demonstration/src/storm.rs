//! The storm: victims are killed at random, and started again after a while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use handfast_servers::{KafkaBroker, MariadbServer, PostgresServer};

use crate::processes::Process;

/// How long a victim stays dead at most, before it is started again.
const MAX_PAUSE_MS: u64 = 300;

/// How often a thread looks whether the storm is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What can be killed and started again.
pub trait Victim: Send {
    /// Fails if it has ended by itself: it must not.
    fn check(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Ends it at once, as `kill -9` does.
    fn kill(&mut self) -> anyhow::Result<()>;

    /// Starts it again upon the same data, and waits until it answers if it is a server.
    fn restart(&mut self) -> anyhow::Result<()>;

    /// Asks it to end, and waits for that.
    fn end(&mut self) -> anyhow::Result<()> {
        bail!("it knows no other end than being dropped")
    }
}

impl Victim for Process {
    fn check(&mut self) -> anyhow::Result<()> {
        Process::check(self)
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        Process::kill(self)
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        Process::restart(self)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let status = Process::end(self)?;
        ensure!(
            status.success(),
            "the {} process ended with {status} when it was asked to",
            self.name
        );
        Ok(())
    }
}

macro_rules! victims {
    ($($server:ty),*) => {$(
        impl Victim for $server {
            fn check(&mut self) -> anyhow::Result<()> {
                <$server>::check(self)
            }

            fn kill(&mut self) -> anyhow::Result<()> {
                <$server>::kill(self)
            }

            fn restart(&mut self) -> anyhow::Result<()> {
                <$server>::restart(self)
            }
        }
    )*};
}

victims!(KafkaBroker, MariadbServer, PostgresServer);

/// How a storm blows.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Mean time between two kills, in milliseconds.
    pub kill_every_ms: u64,
    /// How many victims may be down at the same time.
    pub max_down: usize,
}

/// One that is killed again and again.
struct Target {
    name: &'static str,
    /// How often it is killed in one round.
    share: usize,
    victim: Box<dyn Victim>,
    kills: u64,
    restarts: u64,
}

/// Everything that a storm may kill, in the order in which it was started.
#[derive(Default)]
pub struct Cast {
    // None: down just now.
    targets: Vec<Option<Target>>,
}

impl Cast {
    /// Adds a victim that is killed `share` times in a round. Each round is a random order of all shares, so that luck spares
    /// nobody.
    #[must_use]
    pub fn with(mut self, name: &'static str, share: usize, victim: impl Victim + 'static) -> Self {
        self.targets.push(Some(Target {
            name,
            share,
            victim: Box::new(victim),
            kills: 0,
            restarts: 0,
        }));
        self
    }

    /// Fails if anything has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let mut up = self.targets.iter_mut().flatten();
        up.try_for_each(|target| target.victim.check())
    }

    /// Asks these to end, one after the other.
    pub fn end(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            let mut up = self.targets.iter_mut().flatten();
            let target = up.find(|target| target.name == *name);
            target
                .with_context(|| format!("there is no {name} to end"))?
                .victim
                .end()?;
        }
        Ok(())
    }

    /// How often each was killed.
    pub fn kills(&self) -> Vec<(String, u64)> {
        let up = self.targets.iter().flatten();
        up.map(|target| (target.name.to_owned(), target.kills)).collect()
    }

    /// How often anything was started again.
    pub fn restarts(&self) -> u64 {
        let up = self.targets.iter().flatten();
        up.map(|target| target.restarts).sum()
    }

    fn is_up(&self, index: usize) -> bool {
        self.targets.get(index).is_some_and(Option::is_some)
    }

    fn down(&self) -> usize {
        self.targets.iter().filter(|target| target.is_none()).count()
    }
}

/// A storm that blows in a thread of its own.
pub struct Storm {
    is_over: Arc<AtomicBool>,
    kills: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Cast>>,
}

impl Storm {
    /// Lets it begin.
    pub fn begin(cast: Cast, weather: Weather, rng: fastrand::Rng) -> Storm {
        let is_over = Arc::new(AtomicBool::new(false));
        let kills = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (is_over, kills) = (is_over.clone(), kills.clone());
            move || blow(cast, weather, rng, &is_over, &kills)
        });
        Storm {
            is_over,
            kills,
            thread,
        }
    }

    /// How many were killed until now.
    pub fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself, which is an error that [`Storm::end`] tells.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, and hands everything back running.
    pub fn end(self) -> anyhow::Result<Cast> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread that kills processes has panicked"))?
    }
}

fn blow(
    mut cast: Cast,
    weather: Weather,
    mut rng: fastrand::Rng,
    is_over: &AtomicBool,
    kills: &AtomicU64,
) -> anyhow::Result<Cast> {
    let up = cast.targets.iter().flatten();
    let shares: Vec<usize> = up.map(|target| target.share).collect();
    let mut round = Vec::new();
    // The scope ends when every victim is up again.
    std::thread::scope(|scope| {
        let (send_back, sent_back) = mpsc::channel();
        while !is_over.load(Ordering::Relaxed) {
            let mean = weather.kill_every_ms;
            wait(is_over, rng.u64(mean / 2..=mean + mean / 2));
            for (index, target) in sent_back.try_iter() {
                put_back(&mut cast, index, target)?;
            }
            cast.check()?;
            if is_over.load(Ordering::Relaxed) || cast.down() >= weather.max_down {
                continue;
            }
            let Some(index) = next_victim(&mut round, &shares, &cast, &mut rng) else {
                continue;
            };
            let Some(mut target) = cast.targets[index].take() else {
                continue;
            };
            let (send_back, pause_ms) = (send_back.clone(), rng.u64(..MAX_PAUSE_MS));
            kills.fetch_add(1, Ordering::Relaxed);
            scope.spawn(move || {
                let struck = strike(&mut target, pause_ms, is_over);
                let _ = send_back.send((index, struck.map(|()| target)));
            });
        }
        drop(send_back);
        for (index, target) in sent_back {
            put_back(&mut cast, index, target)?;
        }
        Ok(cast)
    })
}

fn put_back(cast: &mut Cast, index: usize, target: anyhow::Result<Target>) -> anyhow::Result<()> {
    cast.targets[index] = Some(target?);
    Ok(())
}

/// The next of the round that is not down already; none if only such are left.
fn next_victim(
    round: &mut Vec<usize>,
    shares: &[usize],
    cast: &Cast,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    if round.is_empty() {
        for (index, share) in shares.iter().enumerate() {
            round.extend(std::iter::repeat_n(index, *share));
        }
        rng.shuffle(round);
    }
    let position = round.iter().rposition(|&index| cast.is_up(index))?;
    Some(round.remove(position))
}

fn strike(target: &mut Target, pause_ms: u64, is_over: &AtomicBool) -> anyhow::Result<()> {
    target.victim.kill()?;
    target.kills += 1;
    wait(is_over, pause_ms);
    target.victim.restart()?;
    target.restarts += 1;
    Ok(())
}

/// Waits so long, or until the storm is over.
fn wait(is_over: &AtomicBool, ms: u64) {
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until && !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY.min(Duration::from_millis(ms)));
    }
}

#[cfg(test)]
mod tests;
