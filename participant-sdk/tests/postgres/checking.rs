use handfast_participant::Decision;
use handfast_participant::Resource;
use handfast_participant::resources::postgres::{PostgresOptions, PostgresResource};
use handfast_participant::resources::{Finding, Verdict};

use super::{Bank, PREPARED, add, branch, options, prepare};
use handfast_servers::PostgresServer;

async fn check(options: PostgresOptions) -> Vec<Finding> {
    PostgresResource::new(options).check().await
}

fn find<'a>(findings: &'a [Finding], what: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.what == what);
    found.unwrap_or_else(|| panic!("nothing of {what} in {findings:?}"))
}

fn is_broken(findings: &[Finding], what: &str, words: &str) -> bool {
    matches!(&find(findings, what).verdict, Verdict::Broken(todo) if todo.contains(words))
}

fn is_advised(findings: &[Finding], what: &str, words: &str) -> bool {
    matches!(&find(findings, what).verdict, Verdict::Advice(todo) if todo.contains(words))
}

#[tokio::test]
async fn a_database_is_described_before_and_after_it_took_part() {
    let bank = Bank::new();
    let before = check(bank.options()).await;
    assert!(
        before.iter().all(|finding| finding.verdict == Verdict::Holds),
        "{before:?}"
    );
    assert_eq!(find(&before, "schema handfast").found, "will be made");
    let identity = PostgresResource::new(bank.options()).open().await.unwrap();
    let after = check(bank.options()).await;
    assert_eq!(find(&after, "schema handfast").found, "belongs to postgres");
    assert_eq!(
        find(&after, "store").found,
        format!("{}, generation 1", identity.store)
    );
}

#[tokio::test]
async fn prepared_branches_are_counted_and_full_slots_are_told() {
    let server = PostgresServer::start(&["max_prepared_transactions=1", "fsync=off"]).unwrap();
    server.psql("postgres", "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint); INSERT INTO accounts VALUES ('alice', 100)").unwrap();
    let resource = PostgresResource::new(options(&server.url("postgres")));
    resource.open().await.unwrap();
    let branch = branch();
    assert_eq!(prepare(&resource, branch, &add("alice", 1)).await, PREPARED);
    let findings = resource.check().await;
    assert_eq!(find(&findings, "prepared slots").found, "0 of 1 free");
    assert!(is_advised(
        &findings,
        "prepared slots",
        "raise max_prepared_transactions"
    ));
    assert!(is_advised(
        &findings,
        "fsync",
        "a crash of its machine loses votes"
    ));
    let prepared = &find(&findings, "prepared branches").found;
    assert!(prepared.starts_with("1, the oldest for "), "{prepared}");
    resource.finish(branch, Decision::Abort).await.unwrap();
}

#[tokio::test]
async fn a_user_without_privileges_and_a_copy_are_told_without_opening() {
    let bank = Bank::new();
    let user = format!("looker_{}", bank.database);
    bank.sql(&format!("CREATE ROLE {user} LOGIN"));
    let limited = options(&bank.url().replace("postgres@", &format!("{user}@")));
    let findings = check(limited.clone()).await;
    let words = format!("CREATE SCHEMA handfast AUTHORIZATION {user}");
    assert!(is_broken(&findings, "schema handfast", &words), "{findings:?}");
    bank.open().await;
    let findings = check(limited).await;
    assert!(
        is_broken(&findings, "schema handfast", "log in as postgres instead of"),
        "{findings:?}"
    );

    bank.sql("UPDATE handfast.store SET system_identifier = 1");
    let findings = check(bank.options()).await;
    assert!(is_broken(&findings, "store", "is a copy"), "{findings:?}");
}

/// What a user has prepared is finished by that user or a superuser; a member of its role may do everything else, and not that.
#[tokio::test]
async fn a_member_of_the_role_that_prepares_is_told_that_it_could_not_finish() {
    let bank = Bank::new();
    let (keeper, member) = (
        format!("keeper_{}", bank.database),
        format!("member_{}", bank.database),
    );
    bank.sql(&format!(
        "CREATE ROLE {keeper} LOGIN; CREATE ROLE {member} LOGIN; GRANT {keeper} TO {member}; \
         GRANT CREATE ON DATABASE {} TO {keeper}",
        bank.database
    ));
    let options_of = |user: &str| options(&bank.url().replace("postgres@", &format!("{user}@")));
    PostgresResource::new(options_of(&keeper)).open().await.unwrap();
    let findings = check(options_of(&member)).await;
    let words = format!("log in as {keeper} instead of {member}");
    assert!(is_broken(&findings, "schema handfast", &words), "{findings:?}");
    for able in [keeper.as_str(), "postgres"] {
        let findings = check(options_of(able)).await;
        assert_eq!(
            find(&findings, "schema handfast").verdict,
            Verdict::Holds,
            "{able}"
        );
    }
}

#[tokio::test]
async fn too_few_connections_and_a_standby_are_told() {
    let bank = Bank::new();
    let mut greedy = bank.options();
    greedy.work_connections = 1_000;
    let findings = check(greedy).await;
    assert!(is_advised(&findings, "connections", "raise max_connections"));

    let mut server = PostgresServer::start(&["max_prepared_transactions=4"]).unwrap();
    server.stop().unwrap();
    server.become_standby().unwrap();
    server.restart().unwrap();
    let findings = check(options(&server.url("postgres"))).await;
    assert!(is_broken(
        &findings,
        "pg_is_in_recovery",
        "connect to the primary"
    ));
}
