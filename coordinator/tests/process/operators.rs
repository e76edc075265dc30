//! What operators call, with their token and without.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use handfast_proto::status::{Failure, Reason};
use handfast_proto::v1;
use handfast_proto::v1::admin_client::AdminClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::coordinator::{Coordinator, data_directory, handfast, serve_arguments, stderr, stdout};
use crate::participant::Store;
use crate::requests::{committed, unkeyed};

const TOKEN: &str = "6b1f0d3c9a5e47728d1c0b9e8f7a6d5c";
const OTHER: &str = "00000000000000000000000000000000";

/// A file that only its owner may read.
fn secret(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

/// A coordinator that asks operators for the token.
fn guarded(data: &Path, token: &Path) -> Coordinator {
    Coordinator::start_with(
        data,
        &[("HANDFAST_SERVER__OPERATOR_TOKEN_FILE", token.to_str().unwrap())],
    )
}

async fn admin(coordinator: &Coordinator) -> AdminClient<Channel> {
    AdminClient::connect(format!("http://{}", coordinator.address))
        .await
        .unwrap()
}

/// A request with this in `authorization`.
fn with<T>(message: T, header: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(header) = header {
        request
            .metadata_mut()
            .insert("authorization", header.parse().unwrap());
    }
    request
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>) {
    use tonic_types::StatusExt;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert_eq!(
        Failure::from_status(&status).unwrap().reason,
        Reason::Unauthenticated
    );
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("UNAUTHENTICATED", "handfast")
    );
    assert!(status.message().contains("nothing was done"), "{status:?}");
    assert!(!status.message().contains(TOKEN), "{status:?}");
}

// FAULTS 62: refused without the token and with another, nothing is executed, and everybody else is served.
#[tokio::test]
async fn a_call_of_operators_without_their_token_is_refused_and_does_nothing() {
    let (temporary, data) = data_directory();
    let coordinator = guarded(&data, &secret(temporary.path(), "token", &format!("{TOKEN}\n")));
    let mut admin = admin(&coordinator).await;
    let right = format!("Bearer {TOKEN}");
    let before = admin
        .status(with(v1::StatusRequest {}, Some(&right)))
        .await
        .unwrap();
    let before = before.into_inner();
    let (basic, other) = (format!("Basic {TOKEN}"), format!("Bearer {OTHER}"));
    for header in [
        None,
        Some(TOKEN),
        Some(&basic),
        Some(&other),
        Some("Bearer "),
        Some(""),
    ] {
        assert_refused(admin.status(with(v1::StatusRequest {}, header)).await);
        let request = v1::ListInDoubtRequest::default();
        assert_refused(admin.list_in_doubt(with(request.clone(), header)).await);
        // Nor is a request looked at that is wrong beside.
        let request = v1::ListInDoubtRequest {
            page_token: "no token of a page".to_owned(),
            ..request
        };
        assert_refused(admin.list_in_doubt(with(request, header)).await);
    }
    let after = admin
        .status(with(v1::StatusRequest {}, Some(&right)))
        .await
        .unwrap();
    let after = v1::StatusResponse {
        uptime_ms: before.uptime_ms,
        ..after.into_inner()
    };
    assert_eq!(after, before);
    let request = with(v1::ListInDoubtRequest::default(), Some(&right));
    assert_eq!(
        admin
            .list_in_doubt(request)
            .await
            .unwrap()
            .into_inner()
            .transactions,
        []
    );

    // Applications and participants are no operators.
    Store::new("orders-db", 1).serve(&coordinator.address).await;
    committed(coordinator.client().await.execute(unkeyed(&["orders-db"])).await);
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains(TOKEN) && !words.contains(OTHER), "{words}");
}

/// Runs a subcommand that asks this coordinator with the token in a file, named by a flag or in the environment.
fn ask(
    coordinator: &Coordinator,
    arguments: &[&str],
    flag: Option<&Path>,
    variable: Option<&Path>,
) -> Output {
    let mut command = handfast(arguments);
    command.args(["--address", &coordinator.address]);
    if let Some(file) = flag {
        command.arg("--operator-token-file").arg(file);
    }
    if let Some(file) = variable {
        command.env("HANDFAST_OPERATOR_TOKEN_FILE", file);
    }
    command.output().unwrap()
}

#[tokio::test]
async fn the_command_line_sends_the_token_and_says_what_to_do_without() {
    let (temporary, data) = data_directory();
    let token = secret(temporary.path(), "token", TOKEN);
    let other = secret(temporary.path(), "other", OTHER);
    let coordinator = guarded(&data, &token);
    for arguments in [&["status"][..], &["tx", "in-doubt"]] {
        for (flag, words) in [
            (None, "carries no token"),
            (Some(other.as_path()), "not the operators' token"),
        ] {
            let output = ask(&coordinator, arguments, flag, None);
            assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
            let text = stderr(&output);
            assert!(text.contains("UNAUTHENTICATED") && text.contains(words), "{text}");
            assert!(
                text.contains("--operator-token-file") && text.contains("HANDFAST_OPERATOR_TOKEN_FILE"),
                "{text}"
            );
            assert!(stdout(&output).is_empty() && !text.contains(OTHER), "{text}");
        }
        for (flag, variable) in [
            (Some(&token), None),
            (None, Some(&token)),
            (Some(&token), Some(&other)),
        ] {
            let output = ask(
                &coordinator,
                arguments,
                flag.map(PathBuf::as_path),
                variable.map(PathBuf::as_path),
            );
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
    }
    // Applications call this one.
    let output = coordinator.ask(&["tx", "list"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[tokio::test]
async fn a_token_file_that_is_no_secret_ends_the_start() {
    let (temporary, data) = data_directory();
    let open = secret(temporary.path(), "open", TOKEN);
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&open, permissions).unwrap();
    let cases = [
        (open, "mode 644"),
        (secret(temporary.path(), "empty", "\n"), "it is empty"),
        (secret(temporary.path(), "short", &TOKEN[1..]), "at least 32"),
        (temporary.path().join("missing"), "No such file"),
    ];
    for (file, words) in cases {
        let mut command = handfast(&serve_arguments(&data));
        command.arg("--operator-token-file").arg(&file);
        let (code, text) = Coordinator::refused(command).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains(words) && text.contains(file.to_str().unwrap()),
            "{text}"
        );
        assert!(!text.contains(&TOKEN[1..]), "{text}");
        assert!(!data.exists(), "nothing was made before the file was looked at");
    }
}

#[tokio::test]
async fn an_address_that_others_reach_without_a_token_is_warned_of() {
    let warns = async |listen: &str, token: Option<&Path>| {
        let (_temporary, data) = data_directory();
        let mut command = handfast(&["serve", "--listen", listen, "--data-dir", data.to_str().unwrap()]);
        if let Some(token) = token {
            command.arg("--operator-token-file").arg(token);
        }
        let coordinator = Coordinator::run(command);
        coordinator.terminate();
        let (code, words) = coordinator.ended().await;
        assert_eq!(code, Some(0), "{words}");
        words.contains("can call what operators call")
    };
    let folder = tempfile::tempdir().unwrap();
    let token = secret(folder.path(), "token", TOKEN);
    assert!(warns("0.0.0.0:0", None).await);
    assert!(!warns("0.0.0.0:0", Some(&token)).await);
    assert!(!warns("127.0.0.1:0", None).await);
}
