//! `handfast-agent postgres`, as a process.

use std::process::Command;

use handfast_servers::PostgresServer;

#[test]
fn the_agent_says_at_once_what_only_a_person_can_mend() {
    let server = PostgresServer::start_with_password(&["max_prepared_transactions=0"], "secret").unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port());
    for (password, words) in [("wrong", "password"), ("secret", "max_prepared_transactions = 0")] {
        let output = Command::new(env!("CARGO_BIN_EXE_handfast-agent"))
            .args([
                "postgres",
                "--name",
                "orders-db",
                "--coordinator",
                "127.0.0.1:1",
                "--url",
                &url,
            ])
            .env("PGPASSWORD", password)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
