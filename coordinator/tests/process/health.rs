//! What load balancers and people with `grpcurl` ask: whether it serves, and what.

use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::coordinator::{Coordinator, data_directory};
use crate::participant::{Manner, Store};
use crate::requests::{committed, unkeyed};
use crate::soon;

const SERVICES: [&str; 3] = [
    "handfast.v1.Transactions",
    "handfast.v1.Participants",
    "handfast.v1.Admin",
];

async fn channel(coordinator: &Coordinator) -> Channel {
    let address = format!("http://{}", coordinator.address);
    Channel::from_shared(address).unwrap().connect().await.unwrap()
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn status(response: &HealthCheckResponse) -> ServingStatus {
    response.status.try_into().unwrap()
}

#[tokio::test]
async fn it_is_serving_while_it_serves_and_not_serving_while_it_drains() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut health = HealthClient::new(channel(&coordinator).await);
    let mut watched = Vec::new();
    for service in SERVICES.into_iter().chain([""]) {
        let checked = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(status(&checked), ServingStatus::Serving, "{service:?}");
        let mut changes = health.watch(of(service)).await.unwrap().into_inner();
        let first = soon("the first word", changes.message()).await.unwrap().unwrap();
        assert_eq!(status(&first), ServingStatus::Serving, "{service:?}");
        watched.push((service, changes));
    }
    assert!(health.check(of("handfast.v1.Nothing")).await.is_err());

    // What is decided and not acknowledged, by a participant that is there, holds up the end.
    Store::new("orders-db", 1)
        .serve_as(&coordinator.address, Manner::VotesOnly)
        .await;
    committed(coordinator.client().await.execute(unkeyed(&["orders-db"])).await);
    coordinator.terminate();
    for (service, changes) in &mut watched {
        let change = soon("the end of service", changes.message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status(&change), ServingStatus::NotServing, "{service:?}");
    }
    // It is still there, and answers what was decided.
    assert_eq!(coordinator.live().await, 1);
}

/// Whoever watches would watch for ever.
#[tokio::test]
async fn who_watches_its_health_does_not_hold_up_its_end() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut health = HealthClient::new(channel(&coordinator).await);
    let mut changes = health.watch(of("")).await.unwrap().into_inner();
    soon("the first word", changes.message()).await.unwrap().unwrap();
    coordinator.terminate();
    let (code, words) = coordinator.ended().await;
    assert_eq!(code, Some(0), "{words}");
}

#[tokio::test]
async fn reflection_lists_the_services_and_describes_them() {
    let (_temporary, data) = data_directory();
    let coordinator = Coordinator::start(&data);
    let mut reflection = ServerReflectionClient::new(channel(&coordinator).await);
    let ask = |message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICES[0].to_owned())),
    ]);
    let mut answers = reflection
        .server_reflection_info(questions)
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        let answer = soon("an answer", answers.message()).await.unwrap();
        answer.unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(listed) = next().await else {
        panic!("no list");
    };
    let names: Vec<&str> = listed
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for service in SERVICES {
        assert!(names.contains(&service), "{names:?}");
    }
    let MessageResponse::FileDescriptorResponse(described) = next().await else {
        panic!("no description");
    };
    assert!(!described.file_descriptor_proto.is_empty());
}
