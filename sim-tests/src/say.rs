//! Standard output, for the commands.

use std::io::Write;

/// How a shell tells of a program that wrote into a pipe without a reader.
const NOBODY_READS: i32 = 141;

/// Prints a line, and ends the program if nobody reads any more (`cargo sim run | head`).
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::say::line(format_args!($($argument)*))
    };
}
pub(crate) use say;

/// See [`say!`].
pub fn line(arguments: std::fmt::Arguments<'_>) {
    if writeln!(std::io::stdout().lock(), "{arguments}").is_err() {
        std::process::exit(NOBODY_READS);
    }
}
