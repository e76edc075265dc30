//! A PostgreSQL server: rows of a table without a key, so that a row that is written twice is there twice.

use std::sync::Arc;

use handfast_conformance::{Effects, Operations, Options, Template};
use handfast_servers::PostgresServer;

use crate::{Subject, TWO_PHASES};

/// Branches that may be prepared at once; more than any case has.
const SLOTS: &str = "max_prepared_transactions=64";

pub fn subject() -> Subject {
    let server = Arc::new(PostgresServer::start(&[SLOTS]).unwrap());
    let database = server.create_database().unwrap();
    server
        .psql(&database, "CREATE TABLE orders (number bigint NOT NULL)")
        .unwrap();
    let agent = env!("CARGO_BIN_EXE_handfast-agent");
    let url = server.url(&database);
    let exec = format!("exec {agent} postgres --name {{resource}} --coordinator {{coordinator}} --url {url}");
    let mut options = Options::new(exec, "orders-db");
    options.operations = Operations {
        succeed: vec![sql(
            r#"{"sql":"INSERT INTO orders VALUES ($1)","params":[{n}],"expect_rows":1}"#,
        )],
        refused: vec![sql(
            r#"{"sql":"DELETE FROM orders WHERE number = -{n}","expect_rows":1}"#,
        )],
        read_only: vec![sql(r#"{"sql":"SELECT count(*) FROM orders"}"#)],
    };
    let reader = server.clone();
    options.effects = Some(Effects::function(move || {
        let rows = reader
            .psql(&database, "SELECT number FROM orders ORDER BY number")
            .unwrap();
        async move { Ok(rows.lines().map(str::to_owned).collect()) }
    }));
    Subject {
        options,
        _keep: Box::new(server),
        not_checked: TWO_PHASES.to_vec(),
    }
}

fn sql(statement: &str) -> Template {
    Template::from_bytes(format!(r#"{{"handfast_sql":1,"statements":[{statement}]}}"#))
}
