//! A MariaDB server: rows of a table without a unique key, so that a row that is written twice is there twice.

use std::sync::Arc;

use handfast_conformance::{Effects, Operations, Options, Template};
use handfast_servers::MariadbServer;

use crate::agent_file::AgentFile;
use crate::{Subject, TWO_PHASES};

pub fn subject() -> Subject {
    let server = Arc::new(MariadbServer::start(&[]).unwrap());
    let database = server.create_database().unwrap();
    server
        .sql(
            &database,
            "CREATE TABLE orders (number bigint NOT NULL) ENGINE = InnoDB",
        )
        .unwrap();
    let file = AgentFile::new();
    let url = format!("url = {:?}", server.url(&database));
    let mut options = Options::new(file.exec("mariadb", "stock-db", &url), "stock-db");
    options.operations = Operations {
        succeed: vec![sql(
            r#"{"sql":"INSERT INTO orders VALUES (?)","params":[{n}],"expect_rows":1}"#,
        )],
        // It finds no row, and so locks none that a branch has written.
        refused: vec![sql(
            r#"{"sql":"INSERT INTO orders SELECT -{n} FROM DUAL WHERE 1 = 0","expect_rows":1}"#,
        )],
        read_only: vec![sql(r#"{"sql":"SELECT count(*) FROM orders"}"#)],
    };
    let reader = server.clone();
    options.effects = Some(Effects::function(move || {
        let rows = reader.sql(&database, "SELECT number FROM orders ORDER BY number");
        async move {
            let rows = rows.map_err(|error| format!("{error:#}"))?;
            Ok(rows.lines().map(str::to_owned).collect())
        }
    }));
    Subject {
        options,
        _keep: Box::new((server, file)),
        not_checked: TWO_PHASES.to_vec(),
    }
}

fn sql(statement: &str) -> Template {
    Template::from_bytes(format!(r#"{{"handfast_sql":1,"statements":[{statement}]}}"#))
}
