//! How far a run is.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many steps, which shows nothing where nobody looks (standard error is no terminal).
pub fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("the template is fixed");
    ProgressBar::new(steps).with_style(style)
}
