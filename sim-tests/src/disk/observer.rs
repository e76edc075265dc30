//! Who sees what goes to a disk.

use std::fmt;
use std::sync::Arc;

use crate::scenario::Moment;

/// Something that happens on a disk.
pub struct Observed<'a> {
    /// When.
    pub moment: Moment,
    /// To which file.
    pub name: &'a str,
    /// From where.
    pub offset: u64,
    /// What is written.
    pub bytes: &'a [u8],
}

/// Sees it, before the process goes on.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&Observed<'_>) + Send + Sync>);

impl Observer {
    /// Sees by calling this.
    pub fn new(see: impl Fn(&Observed<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Arc::new(see))
    }

    /// Shows it something.
    pub(super) fn see(&self, observed: &Observed<'_>) {
        (self.0)(observed);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
