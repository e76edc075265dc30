//! A file that makes no sense is told with its line and what is accepted there.

use super::*;

const FILE: &str = "\
shrunk_seed = 7
transactions = 3
failure = \"x\"
faults = [
    \"ClientDies\",
    \"DiskFull\",
]
left_out = [1]
spared = []
";

#[test]
fn what_was_written_is_read() {
    let shrunk = Shrunk::parse(FILE).unwrap();
    assert_eq!(shrunk.faults, ["ClientDies", "DiskFull"]);
    assert_eq!(Shrunk::parse(&toml::to_string(&shrunk).unwrap()), Ok(shrunk));
}

#[test]
fn an_unknown_fault_is_told_with_its_line_and_those_that_there_are() {
    let (line, problem) = Shrunk::parse(&FILE.replace("DiskFull", "DiskFul")).unwrap_err();
    assert_eq!(line, 6, "{problem}");
    for word in ["`DiskFul`", "DiskFull", "SameKeyAtOnce"] {
        assert!(problem.contains(word), "{problem}");
    }
}

#[test]
fn an_unknown_field_is_told_with_its_line() {
    let (line, problem) = Shrunk::parse(&FILE.replace("spared", "spard")).unwrap_err();
    assert_eq!(line, 9, "{problem}");
    assert!(problem.contains("`spared`"), "{problem}");
}
