use super::*;

fn compressed(records: &[NewRecord], compression: Compression) -> Bytes {
    let writer = Writer {
        producer: 1,
        epoch: 2,
        sequence: 3,
        transactional: false,
    };
    let mut plain = encode(records, writer, 4).unwrap();
    let set = RecordBatchDecoder::decode(&mut plain).unwrap();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut bytes, &set.records, &options).unwrap();
    bytes.freeze()
}

#[test]
fn what_a_broker_has_compressed_is_read() {
    // Larger than one block of any codec.
    let value: Bytes = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let record = NewRecord {
        key: Some("key".into()),
        value: Some(value.clone()),
        headers: Vec::new(),
    };
    let records = [record.clone(), record];
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let (read, next) = decode(compressed(&records, compression)).unwrap();
        assert_eq!(next, Some(2));
        let values: Vec<_> = read.into_iter().map(|record| record.value.unwrap()).collect();
        assert_eq!(values, [value.clone(), value.clone()], "{compression:?}");
    }
}
