use std::io::Write;

use super::{MAX_TRANSFERS, Name, read};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_file_gives_its_transfers_in_order() {
    let file = file("id,from,to,amount\na,left:acct-00,right:acct-01,5\nb, right:acct-01, left:acct-00, 7\n");
    let mut source = read(file.path(), 2).unwrap();
    assert_eq!(source.count_known(), Some(2));
    let first = source.next().unwrap();
    assert_eq!(
        (first.id.as_str(), first.from, first.amount),
        ("a", Name::Left, 5)
    );
    assert_eq!(source.next().unwrap().from, Name::Right);
    assert_eq!(source.next(), None);
}

#[test]
fn a_line_that_cannot_be_used_is_named_and_refuses_the_file() {
    for (text, said) in [
        (
            "id,from,to,amount\na,left:acct-00,left:acct-01,5\n",
            "from one side to the other",
        ),
        (
            "id,from,to,amount\na,left:acct-00,right:acct-09,5\n",
            "there are acct-00 to acct-01",
        ),
        (
            "id,from,to,amount\na,middle:acct-00,right:acct-01,5\n",
            "expected left:ACCOUNT or right:ACCOUNT",
        ),
        (
            "id,from,to,amount\na,left:acct-00,right:acct-01,-5\n",
            "positive number",
        ),
        ("id,from,to,amount\na,left:acct-00,right:acct-01,many\n", "line 2"),
        (
            "id,from,to,amount\na,left:acct-00,right:acct-01,1\na,left:acct-00,right:acct-01,1\n",
            "used before",
        ),
        ("id,from,to,amount\n", "has no transfers"),
        ("id,from,to,sum\na,left:acct-00,right:acct-01,1\n", "line 2"),
    ] {
        let file = file(text);
        let error = format!("{:#}", read(file.path(), 2).err().expect("refused"));
        assert!(error.contains(said), "{error:?} should say {said:?}");
    }
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let mut text = "id,from,to,amount\n".to_owned();
    for number in 0..MAX_TRANSFERS {
        text += &format!("{number},left:acct-00,right:acct-01,5\n");
    }
    assert!(read(file(&text).path(), 2).is_ok());
    text += "one-more,left:acct-00,right:acct-01,5\n";
    let error = read(file(&text).path(), 2).err().unwrap();
    assert!(error.to_string().contains("split it"), "{error}");
}
