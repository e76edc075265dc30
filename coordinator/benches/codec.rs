//! What it costs to turn a record of the log into bytes and back.
#![allow(clippy::unwrap_used)] // a benchmark that cannot go on ends

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use handfast_coordinator::driver::codec;
use handfast_core::{BranchRecord, DecisionRecord, Record};
use handfast_ids::{BranchId, Epoch, Partition, ResourceName, StoreId, TransactionId};

fn records() -> [(&'static str, Record); 3] {
    let transaction = TransactionId::new(1_800_000_000_000, Partition(0), Epoch(1), 7);
    let branch = |(number, name): (u32, &str)| BranchRecord {
        branch: BranchId(number),
        resource: ResourceName::new(name).unwrap(),
        store: StoreId(0x1234_5678_9abc_def0_1234_5678_9abc_def0),
    };
    let branches: Vec<_> = [(1, "orders-db"), (2, "ledger")]
        .into_iter()
        .map(branch)
        .collect();
    let registered = Record::Registered {
        transaction,
        branches: branches.clone(),
    };
    let decided = Record::Decided {
        transaction,
        decision: DecisionRecord::Commit,
        branches,
        key: None,
    };
    [
        ("registered", registered),
        ("decided", decided),
        ("ended", Record::Ended { transaction }),
    ]
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, record) in records() {
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes);
        assert_eq!(codec::decode(&bytes).unwrap(), record);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("encode {name}"), |bencher| {
            let mut buffer = Vec::with_capacity(bytes.len());
            bencher.iter(|| {
                buffer.clear();
                codec::encode(std::hint::black_box(&record), &mut buffer);
                buffer.len()
            });
        });
        group.bench_function(format!("decode {name}"), |bencher| {
            bencher.iter(|| codec::decode(std::hint::black_box(&bytes)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
