//! Looks at a database before it takes part, and changes nothing: what holds, what is advised, what is broken.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::connection::connect;
use super::failure::resource_error;
use super::options::{CALL_LIMIT, PostgresOptions};
use super::scan::OLD_PREPARED;
use super::{identity, preconditions};
use crate::resource::ResourceError;
use crate::resources::Finding;

/// The name of the looking connection. It is no session's, so nobody ends it.
const NAME: &str = "handfast-check";

/// Every precondition, as far as one builds upon another.
pub(super) async fn check(options: &PostgresOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let looked = timeout(CALL_LIMIT, look(options, &mut findings)).await;
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(ResourceError {
            message, permanent, ..
        })) => {
            let todo = match permanent {
                true => "mend that, and check again",
                false => "see that the server runs at the host and port of the URL, and check again",
            };
            findings.push(Finding::broken("PostgreSQL", message, todo));
        }
        Err(_) => findings.push(Finding::broken(
            "PostgreSQL",
            format!("no answer within {CALL_LIMIT:?}"),
            "see whether the server hangs",
        )),
    }
    findings
}

async fn look(options: &PostgresOptions, findings: &mut Vec<Finding>) -> Result<(), ResourceError> {
    let client = connect(options, NAME).await?;
    let failed = |error| resource_error("asking PostgreSQL for its settings", &error);
    findings.push(whereabouts(&client).await.map_err(failed)?);
    let server = preconditions::ask(&client).await.map_err(failed)?;
    findings.extend(server.findings());
    // A standby can neither hold an identity of its own nor be asked where it writes.
    if findings.iter().any(Finding::is_broken) {
        return Ok(());
    }
    findings.push(slots(&client, options).await.map_err(failed)?);
    findings.push(connections(&client, options).await.map_err(failed)?);
    findings.push(standbys(&client).await.map_err(failed)?);
    findings.push(schema(&client).await.map_err(failed)?);
    findings.extend(store(&client).await.map_err(failed)?);
    findings.push(prepared(&client).await.map_err(failed)?);
    Ok(())
}

async fn whereabouts(client: &Client) -> Result<Finding, tokio_postgres::Error> {
    let found = ask(
        client,
        "SELECT format('database %s as user %s', current_database(), current_user)",
    )
    .await?;
    Ok(Finding::holds("connection", found))
}

/// Each branch that waits for its decision holds one.
async fn slots(client: &Client, options: &PostgresOptions) -> Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT current_setting('max_prepared_transactions')::bigint, count(*) FROM pg_prepared_xact()",
            &[],
        )
        .await?;
    let (all, used): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let work = i64::try_from(options.work_connections).unwrap_or(i64::MAX);
    let found = format!("{} of {all} free", all - used);
    Ok(match all - used < work {
        true => Finding::advice(
            "prepared slots",
            found,
            format!(
                "{work} pieces of work run at once, and what finds no free slot is refused; raise \
                 max_prepared_transactions, or finish what is prepared"
            ),
        ),
        false => Finding::holds("prepared slots", found),
    })
}

async fn connections(client: &Client, options: &PostgresOptions) -> Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint",
            &[],
        )
        .await?;
    let offered: i64 = row.try_get(0)?;
    let wanted = options.work_connections + options.decision_connections + options.interactive_connections;
    let found = format!("up to {wanted} of {offered}");
    Ok(match i64::try_from(wanted).is_ok_and(|wanted| wanted < offered) {
        true => Finding::holds("connections", found),
        false => Finding::advice(
            "connections",
            found,
            "raise max_connections, or let this participant have fewer: work that finds none is refused",
        ),
    })
}

/// With an asynchronous standby, a failover loses votes.
async fn standbys(client: &Client) -> Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT (SELECT count(*) FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'), \
             current_setting('synchronous_standby_names')",
            &[],
        )
        .await?;
    let (standbys, synchronous): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match (standbys, synchronous.is_empty()) {
        (0, true) => Finding::holds("standbys", "none"),
        (standbys, true) => Finding::advice(
            "standbys",
            format!("{standbys}, asynchronous"),
            "a failover to one of them may lose promises, which is then reported as a hazard; set \
             synchronous_standby_names",
        ),
        (standbys, false) => Finding::holds("standbys", format!("{standbys}, synchronous: {synchronous}")),
    })
}

/// Whether the participant's tables are there, or may be made. Who made them prepares, and only that user or a superuser can
/// finish what it has prepared: a member of its role cannot.
async fn schema(client: &Client) -> Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT coalesce(c.relowner, n.nspowner)::regrole::text, current_user::text, \
             CASE WHEN c.oid IS NOT NULL THEN c.relowner = r.oid OR r.rolsuper \
                 WHEN n.oid IS NOT NULL THEN has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') \
                 ELSE has_database_privilege(current_database(), 'CREATE') END \
             FROM pg_roles r LEFT JOIN pg_namespace n ON n.nspname = 'handfast' \
             LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'store' WHERE r.rolname = current_user",
            &[],
        )
        .await?;
    let (owner, user, is_allowed): (Option<String>, String, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let found = match &owner {
        Some(owner) => format!("belongs to {owner}"),
        None => "will be made".to_owned(),
    };
    Ok(match (is_allowed, owner) {
        (true, _) => Finding::holds("schema handfast", found),
        (false, Some(owner)) => Finding::broken(
            "schema handfast",
            found,
            format!("every instance must log in as the same user: log in as {owner} instead of {user}"),
        ),
        (false, None) => Finding::broken(
            "schema handfast",
            "is not there, and may not be made",
            format!(
                "let an administrator run, once in this database: CREATE SCHEMA handfast AUTHORIZATION {user}"
            ),
        ),
    })
}

/// Which store this is, if that was said before.
async fn store(client: &Client) -> Result<Option<Finding>, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT to_regclass('handfast.store') IS NOT NULL \
             AND coalesce(has_table_privilege(to_regclass('handfast.store'), 'SELECT'), false)",
            &[],
        )
        .await?;
    if !row.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    Ok(Some(match identity::look_up(client).await {
        Ok(found) => Finding::holds("store", found),
        Err(error) => Finding::broken("store", "is not the one that was made here", error.message),
    }))
}

async fn prepared(client: &Client) -> Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(prepared)), 0)::float8 \
             FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, 'hf1_')",
            &[],
        )
        .await?;
    let (branches, oldest): (i64, f64) = (row.try_get(0)?, row.try_get(1)?);
    let oldest = Duration::try_from_secs_f64(oldest).unwrap_or_default();
    let found = match branches {
        0 => "none".to_owned(),
        branches => format!("{branches}, the oldest for {} s", oldest.as_secs()),
    };
    Ok(match oldest > OLD_PREPARED {
        true => Finding::advice(
            "prepared branches",
            found,
            "they hold locks and hold vacuum back; `handfast tx in-doubt` tells what they wait for",
        ),
        false => Finding::holds("prepared branches", found),
    })
}

async fn ask(client: &Client, sql: &str) -> Result<String, tokio_postgres::Error> {
    client.query_typed_one(sql, &[]).await?.try_get(0)
}
