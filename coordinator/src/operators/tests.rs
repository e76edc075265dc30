use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn token() -> OperatorToken {
    OperatorToken::new(TOKEN).unwrap()
}

fn request(header: &str) -> Request<()> {
    let mut request = Request::new(());
    request.metadata_mut().insert(METADATA, header.parse().unwrap());
    request
}

fn refusal(admitted: Result<Request<()>, Status>) -> Failure {
    let status = admitted.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    Failure::from_status(&status).unwrap()
}

#[test]
fn only_the_token_lets_a_call_in() {
    let operators = Operators::with(&token());
    let mut signed = Request::new(());
    token().sign(&mut signed);
    assert!(operators.admit(signed).is_ok());
    assert!(operators.admit(request(&format!("bearer  {TOKEN}"))).is_ok());

    let none = refusal(operators.admit(Request::new(())));
    assert_eq!(none.reason, Reason::Unauthenticated);
    assert!(none.message.contains("no token"), "{none}");
    for header in [TOKEN.to_owned(), format!("Basic {TOKEN}"), "Bearer".to_owned()] {
        assert_eq!(refusal(operators.admit(request(&header))), none, "{header}");
    }
    for other in ["", "x", &TOKEN[1..], &format!("{TOKEN}0"), &TOKEN.to_uppercase()] {
        let wrong = refusal(operators.admit(request(&format!("Bearer {other}"))));
        assert!(wrong.message.contains("not the operators' token"), "{wrong}");
    }
}

#[test]
fn without_a_token_everybody_is_an_operator() {
    assert!(Operators::default().are_everybody());
    assert!(Operators::default().admit(Request::new(())).is_ok());
    assert!(!Operators::with(&token()).are_everybody());
}

#[test]
fn nothing_prints_the_token() {
    let mut signed = Request::new(());
    token().sign(&mut signed);
    let digest: String = digest(TOKEN.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for printed in [
        format!("{signed:?}"),
        format!("{:?}", token()),
        format!("{:?}", Operators::with(&token())),
    ] {
        assert!(
            !printed.contains(TOKEN) && !printed.contains(&digest),
            "{printed}"
        );
    }
}

fn file(text: &[u8], mode: u32) -> tempfile::TempPath {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_file_with_a_token_is_read() {
    let path = file(format!("{TOKEN}\n").as_bytes(), 0o600);
    assert_eq!(OperatorToken::read(&path).unwrap(), token());
    let path = file(TOKEN.as_bytes(), 0o400);
    assert_eq!(OperatorToken::read(&path).unwrap(), token());
}

#[test]
fn a_file_that_holds_no_secret_is_refused_with_advice() {
    let long = "x".repeat(5000);
    let cases: [(&[u8], u32, &str); 8] = [
        (TOKEN.as_bytes(), 0o640, "mode 640"),
        (TOKEN.as_bytes(), 0o604, "mode 604"),
        (b"", 0o600, "it is empty"),
        (b" \n", 0o600, "it is empty"),
        (b"0123456789abcdef0123456789abcde\n", 0o600, "at least 32"),
        (b"0123456789abcdef 0123456789abcdef", 0o600, "one word"),
        (b"0123456789abcdef0123456789abcde\xff", 0o600, "valid UTF-8"),
        (long.as_bytes(), 0o600, "longer than 4096 bytes"),
    ];
    for (text, mode, words) in cases {
        let error = OperatorToken::read(&file(text, mode)).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        assert!(error.message.contains(words), "{error}");
        assert!(!error.message.contains("0123456789"), "{error}");
    }
    let error = OperatorToken::read(Path::new("/nonexistent")).unwrap_err();
    assert!(error.message.contains("/nonexistent"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let error = OperatorToken::read(directory.path()).unwrap_err();
    assert!(error.message.contains("no file"), "{error}");
}
