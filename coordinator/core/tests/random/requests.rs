//! What clients ask for and what participants say of themselves.

use std::sync::Arc;

use handfast_core::{
    ExecuteRequest, KeyClaim, OperationRequest, RequestDigest, SessionHello, SessionId, Wait,
};
use handfast_ids::{Generation, IdempotencyKey, InstanceId, ResourceName, StoreId};

use crate::world::WALL_MS;

fn name(resource: usize) -> ResourceName {
    ResourceName::new(&format!("r{resource}")).expect("a name")
}

pub fn request(resources: impl Iterator<Item = usize>) -> ExecuteRequest {
    let operations = resources.map(|resource| OperationRequest {
        resource: name(resource),
        operation: Arc::from(&b"work"[..]),
    });
    ExecuteRequest {
        key: None,
        operations: operations.collect(),
        timeout_ms: None,
        wait: Wait::Decided,
    }
}

/// The one request that each key stands for.
pub fn keyed_request(key: u8) -> ExecuteRequest {
    let mut request = request([0, 1, 2].into_iter().take(usize::from(key) + 1));
    request.key = Some(KeyClaim {
        key: IdempotencyKey::new(&format!("k{key}")).expect("a key"),
        expires_at_ms: WALL_MS + 24 * 3600 * 1000,
        digest: RequestDigest([key; 32]),
    });
    request
}

pub fn hello(session: SessionId, resource: usize, attached: bool) -> SessionHello {
    SessionHello {
        resource: name(resource),
        store: StoreId(resource as u128),
        generation: Generation(1),
        instance: InstanceId(u128::from(session.0)),
        // One is always attached, one never decides by itself.
        attached: attached || resource == 0,
        one_phase: resource != 2,
        seen: Vec::new(),
    }
}
