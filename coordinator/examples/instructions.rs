//! Runs transactions through the protocol and the codec of its records, and nothing else: a program whose instructions are
//! worth counting, because they do not depend on the machine's load. `.ci/instructions` counts them.
//!
//! The argument is the number of transactions. With 0, it only prepares what the others run on.

#[path = "../core/benches/world/mod.rs"]
mod world;

use handfast_coordinator::driver::codec;
use world::World;

/// Transactions under way at once.
const AT_ONCE: u64 = 50;

fn main() -> std::process::ExitCode {
    let argument = std::env::args().nth(1).and_then(|text| text.parse::<u64>().ok());
    let Some(transactions) = argument.filter(|count| count % AT_ONCE == 0) else {
        eprintln!("give a number of transactions that is a multiple of {AT_ONCE}");
        return std::process::ExitCode::from(2);
    };
    let mut world = World::new(2);
    let (mut bytes, mut written) = (Vec::new(), 0);
    for _ in 0..transactions / AT_ONCE {
        world.commit(AT_ONCE, &mut |record| {
            codec::encode(record, &mut bytes);
        });
        written += bytes.len();
        bytes.clear();
    }
    println!("{transactions} transactions, {written} bytes of records");
    std::process::ExitCode::SUCCESS
}
