//! Faults that last until protocol points have come, whatever the time.

use tokio::sync::watch;

use super::ScriptedFault;
use super::point::{Occurrence, Point};

/// How often the points have come that end faults.
pub(super) struct Untils {
    /// By the number of the fault: its points, and how often each has come since the run began.
    points: Vec<Vec<(Point, u32)>>,
    turned: watch::Sender<()>,
}

impl Untils {
    /// Before anything has happened.
    pub fn new(faults: &[ScriptedFault]) -> Untils {
        let of_fault = |fault: &ScriptedFault| fault.until.iter().map(|point| (*point, 0)).collect();
        Untils {
            points: faults.iter().map(of_fault).collect(),
            turned: watch::channel(()).0,
        }
    }

    /// Something has happened.
    pub fn take(&mut self, occurrence: &Occurrence) {
        for (point, count) in self.points.iter_mut().flatten() {
            if point.is(occurrence) {
                *count += 1;
                self.turned.send_replace(());
            }
        }
    }

    /// Points of a fault that have not come yet.
    pub fn missing(&self, fault: usize) -> impl Iterator<Item = Point> {
        let points = self.points[fault].iter();
        points
            .filter(|(point, count)| *count < point.nth.unwrap_or(1))
            .map(|(point, _)| *point)
    }

    /// Wakes whoever waits when a point has come.
    pub fn turns(&self) -> watch::Receiver<()> {
        self.turned.subscribe()
    }
}
