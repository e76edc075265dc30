//! What one transaction costs in the protocol alone: from the request to the End record, over participants that agree.

mod world;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use world::World;

/// Transactions that are under way at once.
const AT_ONCE: u64 = 64;

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(AT_ONCE));
    for branches in [1, 2, 16] {
        let mut world = World::new(branches);
        group.bench_function(format!("transaction of {branches} branches"), |bencher| {
            bencher.iter(|| {
                world.commit(AT_ONCE, &mut |record| {
                    std::hint::black_box(record);
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
