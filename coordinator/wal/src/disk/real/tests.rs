use super::*;

/// A start reads first, and what may only be read then is kept open. Permissions do not bind whoever runs these tests as root, so
/// the file is put where such a start leaves it; `permissions.rs` of the coordinator's tests runs the real thing as another user.
#[test]
fn what_was_opened_for_reading_only_is_opened_anew_to_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    std::fs::write(&path, b"before").unwrap();
    let mut disk = Directory {
        path: directory.path().to_owned(),
        open: vec![OpenFile {
            name: "segment".to_owned(),
            file: File::open(&path).unwrap(),
            reads_only: true,
            dirty: false,
        }],
        lock: None,
    };
    assert_eq!(disk.read("segment", 0, 10).unwrap(), b"before");
    disk.write("segment", 0, b"behind").unwrap();
    disk.sync("segment").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"behind");
    assert_eq!(disk.open.len(), 1);
}
