use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn operations() -> impl Strategy<Value = FilesOperation> {
    let contents = prop_oneof![
        vec(any::<u8>(), 0..60),
        any::<String>().prop_map(String::into_bytes),
    ];
    let written = (prop_oneof![Just(Mode::Create), Just(Mode::Replace)], contents);
    let files = btree_map("[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", written, 0..6);
    files.prop_map(|files: BTreeMap<_, _>| {
        let file = |(path, (mode, contents))| FileWrite { path, mode, contents };
        FilesOperation {
            files: files.into_iter().map(file).collect(),
        }
    })
}

proptest! {
    #[test]
    fn every_operation_comes_back_as_it_was_written(operation in operations()) {
        prop_assert_eq!(FilesOperation::decode(&operation.encode()), Ok(operation));
    }

    #[test]
    fn no_input_is_fatal(bytes in vec(any::<u8>(), 0..200)) {
        let _ = FilesOperation::decode(&bytes);
    }

    #[test]
    fn a_damaged_operation_is_read_or_refused_for_good(
        operation in operations(), at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = operation.encode().to_vec();
        let position = at.index(bytes.len());
        bytes[position] = byte;
        bytes.truncate(length.index(2 * bytes.len()).max(position));
        if let Err(refusal) = FilesOperation::decode(&bytes) {
            prop_assert!(!refusal.retryable && !refusal.message.is_empty());
        }
    }
}
