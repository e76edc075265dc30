use std::time::Duration;

use super::TccOptions;

#[test]
fn no_other_host_is_called_unless_it_is_allowed() {
    for (base, allow, words) in [
        ("http://127.0.0.1:8080", &[][..], ""),
        ("http://localhost:8080", &[][..], ""),
        ("http://[::1]:8080", &[][..], ""),
        ("http://10.0.0.7:8080", &[][..], "allow_hosts"),
        ("http://127.0.0.1.example:8080", &[][..], "allow_hosts"),
        ("http://localhost.example", &[][..], "allow_hosts"),
        ("http://hotel.example:8080", &["hotel.example"][..], ""),
        ("http://hotel.example:8080", &["hotel.example:8080"][..], ""),
        (
            "http://hotel.example:8080",
            &["hotel.example:80"][..],
            "allow_hosts",
        ),
        ("http://evil.hotel.example", &["hotel.example"][..], "allow_hosts"),
        (
            "http://hotel.example@10.0.0.7",
            &["hotel.example"][..],
            "password",
        ),
        ("https://127.0.0.1:8080", &[][..], "ca_file"),
        ("ftp://127.0.0.1", &[][..], "cannot be spoken"),
        ("127.0.0.1:8080", &[][..], "is an address"),
    ] {
        let mut options = TccOptions::new("/tmp/x", base);
        options.allow_hosts = allow.iter().map(|host| (*host).to_owned()).collect();
        match options.validate() {
            Ok(()) => assert_eq!(words, "", "{base} is allowed"),
            Err(error) => assert!(!words.is_empty() && error.contains(words), "{base}: {error}"),
        }
    }
}

#[test]
fn the_path_of_an_address_names_the_method_that_is_called() {
    for (base, words) in [
        ("http://127.0.0.1:50051", "/handfast.tcc.v1.TryConfirmCancel/Try"),
        ("http://127.0.0.1:50051/", "/handfast.tcc.v1.TryConfirmCancel/Try"),
        (
            "http://127.0.0.1:50051/hotel.v1.Bookings",
            "/hotel.v1.Bookings/Try",
        ),
        ("http://127.0.0.1:50051/Bookings/", "/Bookings/Try"),
    ] {
        let options = TccOptions::grpc("/tmp/x", base);
        options.validate().unwrap();
        assert_eq!(options.urls().unwrap().attempt.path(), words, "{base}");
    }
    let mut options = TccOptions::grpc("/tmp/x", "http://127.0.0.1:50051");
    options.cancel_url = "http://127.0.0.1:50051/hotel.v1.Bookings/Release".to_owned();
    options.validate().unwrap();
    for path in [
        "",
        "/",
        "/Release",
        "/hotel.v1.Bookings/",
        "//Release",
        "/hotel v1/Release",
        "/a/b/c",
        "/a.B/C.D",
        "/a.B/C?d=e",
        "/1a.B/C",
    ] {
        options.cancel_url = format!("http://127.0.0.1:50051{path}");
        let said = options.validate().unwrap_err();
        assert!(
            said.starts_with("cancel_url is the address of a method such as "),
            "{path}: {said}"
        );
    }
    options.cancel_url = "http://10.0.0.7:50051/hotel.v1.Bookings/Release".to_owned();
    assert!(options.validate().unwrap_err().contains("allow_hosts"));
}

#[test]
fn a_call_has_a_bound_that_it_can_keep() {
    for (millis, fits) in [(0, false), (1, true), (3_600_000, true), (3_600_001, false)] {
        let mut options = TccOptions::new("/tmp/x", "http://127.0.0.1:8080");
        options.timeout = Duration::from_millis(millis);
        let said = options.validate();
        assert_eq!(said.is_ok(), fits, "{said:?}");
        assert!(fits || said.unwrap_err().ends_with("accepted are 1 to 3600000"));
    }
}
