//! Certificates: whom a service is trusted by, and what is said of the others.

use handfast_participant::resources::tcc::{TccOptions, TccResource};
use handfast_participant::{Completion, Decision, Resource};

use super::certificates::Authority;
use super::hotel::{Booking, Hotel, Wire};
use super::{PREPARED, Stay, finish, open, prepare, refused};

over_each_wire! {
    a_service_is_trusted_by_the_authority_that_signed_it_and_by_no_other
    a_certificate_for_another_name_is_refused
    a_file_without_a_certificate_is_told_before_anything_is_called
}

/// A hotel with a certificate for this name, and a file with the authority that signed it.
async fn secure(wire: Wire, name: &str) -> (Stay, TccOptions) {
    let authority = Authority::new("the hotel's authority");
    let stay = Stay::at(Hotel::secure(wire, authority.sign(name)).await);
    let mut options = stay.options();
    options.data_dir = stay.folder.path().join("journal");
    let ca_file = stay.folder.path().join("ca.pem");
    authority.write(&ca_file);
    options.ca_file = Some(ca_file);
    (stay, options)
}

async fn a_service_is_trusted_by_the_authority_that_signed_it_and_by_no_other(wire: Wire) {
    let (stay, options) = secure(wire, "127.0.0.1").await;
    let findings = TccResource::new(options.clone()).check().await;
    assert!(
        !findings.iter().any(|finding| finding.is_broken()),
        "{findings:?}"
    );
    let resource = open(options.clone()).await;
    assert_eq!(prepare(&resource, 1, 12).await, PREPARED);
    assert_eq!(finish(&resource, 1, Decision::Commit).await, Completion::Done);
    assert_eq!(stay.hotel.room(12), [Booking::Confirmed]);
    drop(resource);

    Authority::new("somebody else").write(options.ca_file.as_ref().unwrap());
    let calls = stay.hotel.steps().len();
    let findings = TccResource::new(options.clone()).check().await;
    let words = findings[0].to_string();
    assert!(
        findings[0].is_broken()
            && words.contains("the service's certificate is not one that ca_file vouches for")
            && words.contains("write the authority that signed the service's certificate into ca_file"),
        "{words}"
    );
    let refusal = refused(&open(options).await, 2, 13).await;
    assert_eq!(
        (refusal.reason.as_str(), refusal.retryable),
        ("TRY_UNKNOWN", true)
    );
    assert!(
        refusal
            .message
            .contains("the service's certificate is not one that ca_file vouches for"),
        "{}",
        refusal.message
    );
    assert_eq!(stay.hotel.steps().len(), calls, "nothing was said to a stranger");
}

async fn a_certificate_for_another_name_is_refused(wire: Wire) {
    let (stay, options) = secure(wire, "another.example").await;
    let words = TccResource::new(options.clone()).check().await[0].to_string();
    assert!(
        words.contains("ca_file vouches for") && words.contains("another.example"),
        "{words}"
    );
    assert_eq!(refused(&open(options).await, 1, 12).await.reason, "TRY_UNKNOWN");
    assert_eq!(stay.hotel.steps(), [] as [&str; 0]);
}

async fn a_file_without_a_certificate_is_told_before_anything_is_called(wire: Wire) {
    let (_stay, options) = secure(wire, "127.0.0.1").await;
    for (contents, words) in [
        (Some(""), "there is no certificate in it; name a PEM file"),
        (
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "cannot be used",
        ),
        (None, "cannot be used"),
    ] {
        let path = options.ca_file.as_ref().unwrap();
        match contents {
            Some(contents) => std::fs::write(path, contents).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let error = TccResource::new(options.clone()).open().await.unwrap_err();
        assert!(error.permanent && error.message.contains(words), "{error}");
        let findings = TccResource::new(options.clone()).check().await;
        assert!(
            findings[0].is_broken() && findings[0].to_string().contains(words),
            "{findings:?}"
        );
    }
}
