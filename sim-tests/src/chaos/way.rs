//! One direction of one session.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;
use handfast_participant::runtime::link::Frames;
use handfast_proto::alarm::Alarm;
use madsim::time::Instant;

use super::messages::Frame;
use super::{Direction, Wire, now};

/// Frames that are under way at once; with more, no more is taken from whoever sends.
const FRAMES_UNDER_WAY: usize = 64;

/// Frames in one direction, on their way.
pub(super) struct Way<T> {
    wire: Wire,
    direction: Direction,
    source: Frames<T>,
    end: End,
    /// By the time of arrival, and among those of one time by the order of sending.
    under_way: BTreeMap<(Instant, u64), Passenger<T>>,
    sent: u64,
    latest: Instant,
    /// When the frame that is next arrives, and what wakes us then.
    alarm: Alarm,
}

/// A frame under way.
struct Passenger<T> {
    frame: T,
    /// It arrives for the second time.
    is_again: bool,
}

/// Whether the sender has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Open,
    /// It has, and the receiver will be told.
    Told,
    /// It has, and the receiver waits for ever.
    Hidden,
}

impl<T> Way<T> {
    pub fn new(wire: Wire, direction: Direction, source: Frames<T>) -> Self {
        let latest = now();
        Way {
            wire,
            direction,
            source,
            end: End::Open,
            under_way: BTreeMap::new(),
            sent: 0,
            latest,
            alarm: Alarm::new(),
        }
    }
}

impl<T: Frame + Unpin> Way<T> {
    /// A frame sets out. It comes back if nothing keeps it: it has arrived.
    fn send(&mut self, mut frame: T) -> Option<T> {
        frame.record(&self.wire);
        let mut fate = self.wire.fate();
        if fate.strays {
            frame.is_overheard(&self.wire);
        }
        let is_first_or_last = self.sent == 0 || frame.ends();
        if is_first_or_last {
            // A stream begins with its first frame and ends with its last one, or it is none.
            fate.is_doubled = false;
            fate.overtakes = false;
        }
        // A store that forgets can only report a hazard when the decision comes afterwards. No transport reorders a
        // stream, and no older session is heard beside a newer one.
        fate.overtakes &= !frame.forgets();
        if fate.is_lost && !frame.ends() {
            self.sent += 1;
            return None;
        }
        if let Some(echo) = fate.echo {
            self.put(now() + echo, frame.clone(), false);
        }
        let now = now();
        let arrival = now + fate.delay;
        let arrival = if fate.overtakes {
            arrival
        } else {
            arrival.max(self.latest)
        };
        // By chance, a frame overtakes those before it; in a scenario, those behind it may overtake it too.
        if !fate.overtakes || self.wire.world.script.is_none() {
            self.latest = self.latest.max(arrival);
        }
        if fate.is_doubled {
            // What follows does not overtake it: a stream may repeat itself, but not turn back.
            self.latest = self.latest.max(arrival + fate.again_after);
            self.put(arrival + fate.again_after, frame.clone(), true);
        }
        if !is_first_or_last {
            // No property sees it, and it does not come again: it is not what the instance says that was asked.
            frame.takes_stray(&self.wire);
        }
        if self.under_way.is_empty() && arrival <= now && self.wire.cut_until(self.direction).is_none() {
            self.sent += 1;
            return Some(frame);
        }
        self.put(arrival, frame, false);
        None
    }

    fn put(&mut self, arrival: Instant, frame: T, is_again: bool) {
        self.under_way
            .insert((arrival, self.sent), Passenger { frame, is_again });
        self.sent += 1;
    }

    /// Takes all that is sent, up to the first that has arrived already.
    fn take_what_is_sent(&mut self, context: &mut Context<'_>) -> Option<T> {
        while self.end == End::Open && self.under_way.len() < FRAMES_UNDER_WAY {
            let arrived = match self.source.as_mut().poll_next(context) {
                Poll::Pending => return None,
                Poll::Ready(Some(frame)) => {
                    if frame.ends() {
                        self.is_ending();
                    }
                    match self.end {
                        End::Hidden => None,
                        End::Open | End::Told => self.send(frame),
                    }
                }
                Poll::Ready(None) => {
                    self.is_ending();
                    None
                }
            };
            if arrived.is_some() {
                return arrived;
            }
        }
        None
    }

    fn is_ending(&mut self) {
        let is_hidden = self.direction == Direction::In && self.wire.hides_the_end();
        self.end = if is_hidden { End::Hidden } else { End::Told };
    }
}

impl<T: Frame + Unpin> Stream for Way<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if let Some(frame) = this.take_what_is_sent(context) {
            return Poll::Ready(Some(frame));
        }
        let Some((&(arrival, _), _)) = this.under_way.first_key_value() else {
            return if this.end == End::Told {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        };
        let cut_until = this.wire.cut_until(this.direction).unwrap_or(arrival);
        ready!(this.alarm.poll_until(arrival.max(cut_until), context));
        let arrived = this.under_way.pop_first().map(|(_, passenger)| passenger);
        if let Some(Passenger {
            frame,
            is_again: true,
        }) = &arrived
        {
            frame.record(&this.wire);
        }
        Poll::Ready(arrived.map(|passenger| passenger.frame))
    }
}

impl<T> Drop for Way<T> {
    fn drop(&mut self) {
        if self.direction == Direction::In {
            self.wire.over();
        }
    }
}
