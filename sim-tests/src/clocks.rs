//! The wall clocks of the coordinators' machines, which may be wrong. Time itself is the simulator's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use handfast_coordinator::runtime::install_wall_clock;
use madsim::task::NodeId;

/// By how many milliseconds each machine's clock is ahead.
#[derive(Clone, Debug, Default)]
pub struct Clocks(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    coordinators: BTreeMap<NodeId, u8>,
    ahead_ms: BTreeMap<u8, i64>,
}

impl Clocks {
    /// From here on, whoever asks for the time on this thread is told what its machine's clock shows.
    pub fn install(&self) {
        let clocks = self.clone();
        install_wall_clock(move |right_ms| right_ms.saturating_add_signed(clocks.ahead_ms()));
    }

    /// The process that calls this is a coordinator on its own machine.
    pub fn runs_here(&self, coordinator: u8) {
        self.state()
            .coordinators
            .insert(madsim::plugin::node(), coordinator);
    }

    /// A machine's clock jumps, ahead or back.
    pub fn jump(&self, coordinator: u8, by_ms: i64) {
        *self.state().ahead_ms.entry(coordinator).or_default() += by_ms;
    }

    fn ahead_ms(&self) -> i64 {
        let state = self.state();
        let here = state.coordinators.get(&madsim::plugin::node());
        here.and_then(|coordinator| state.ahead_ms.get(coordinator).copied())
            .unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}
