use std::sync::Mutex;

use super::*;

/// What happened to a victim, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<&'static str>>>);

impl Diary {
    fn note(&self, word: &'static str) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(word);
        Ok(())
    }

    fn read(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

impl Victim for Diary {
    fn check(&mut self) -> anyhow::Result<()> {
        ensure!(self.read().last() != Some(&"ended by itself"), "ended by itself");
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.note("killed")
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        self.note("started")
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.note("ended")
    }
}

const WEATHER: Weather = Weather {
    kill_every_ms: 2,
    max_down: 2,
};

fn until(mut condition: impl FnMut() -> bool) {
    handfast_servers::wait_until("the storm", Duration::from_secs(20), || Ok(condition())).unwrap();
}

#[test]
fn everybody_is_killed_by_his_share_and_is_up_at_the_end() {
    let (often, seldom) = (Diary::default(), Diary::default());
    let cast = Cast::default()
        .with("often", 3, often.clone())
        .with("seldom", 1, seldom.clone());
    let storm = Storm::begin(cast, WEATHER, fastrand::Rng::with_seed(1));
    until(|| storm.kills() >= 8);
    let mut cast = storm.end().unwrap();
    cast.end(&["seldom"]).unwrap();

    let kills: u64 = cast.kills().iter().map(|(_, kills)| kills).sum();
    assert!(kills >= 8 && cast.restarts() == kills, "{:?}", cast.kills());
    for diary in [&often, &seldom] {
        for pair in diary.read().chunks(2) {
            assert!(
                pair == ["killed", "started"] || pair == ["ended"],
                "{:?}",
                diary.read()
            );
        }
    }
    assert!(seldom.read().len() >= 3 && often.read().len() > seldom.read().len());
    assert_eq!(seldom.read().last(), Some(&"ended"));
}

#[test]
fn what_ends_by_itself_ends_the_storm() {
    let diary = Diary::default();
    let cast = Cast::default().with("frail", 1, diary.clone());
    let storm = Storm::begin(cast, WEATHER, fastrand::Rng::with_seed(1));
    until(|| storm.kills() > 0);
    until(|| {
        diary.note("ended by itself").unwrap();
        storm.has_failed()
    });
    let error = storm.end().err().unwrap();
    assert!(error.to_string().contains("ended by itself"), "{error}");
}
