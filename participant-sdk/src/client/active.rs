//! An interactive transaction: begin, let services join and work, commit.

use std::sync::Arc;
use std::time::Duration;

use handfast_proto::ids::{BranchId, TransactionId};
use handfast_proto::v1;

use super::call::{Ambiguity, Caller, Tries};
use super::{ClientError, Outcome, Wait};

/// An open transaction. Dropped without a commit, it aborts by itself when its time is over.
#[derive(Clone, Debug)]
pub struct ActiveTransaction {
    caller: Arc<Caller>,
    id: TransactionId,
    timeout: Duration,
    expected: Vec<v1::ExpectedBranch>,
}

impl ActiveTransaction {
    pub(super) fn new(caller: Arc<Caller>, id: TransactionId, timeout: Duration) -> Self {
        ActiveTransaction {
            caller,
            id,
            timeout,
            expected: Vec::new(),
        }
    }

    /// The id, to be handed to the services that join.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The time that the coordinator granted, from begin to commit.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Notes that a service joined as `branch` and has worked this many operations in it so far. The last call for a
    /// branch counts. A set that differs from what the services enlisted and did aborts.
    pub fn expect(&mut self, branch: BranchId, operations: u64) {
        match self
            .expected
            .iter_mut()
            .find(|expected| expected.branch == branch.0)
        {
            Some(expected) => expected.operations = operations,
            None => self.expected.push(v1::ExpectedBranch {
                branch: branch.0,
                operations,
            }),
        }
    }

    /// Seals the set of branches, prepares them and decides. May be called again: the decision stays.
    ///
    /// # Errors
    /// Nothing was committed, and the error says what to do.
    pub async fn commit(&self, wait: Wait) -> Result<Outcome, ClientError> {
        let request = v1::CommitRequest {
            transaction_id: self.id.to_string(),
            expected: self.expected.clone(),
            wait: wait.into_wire(),
        };
        let answer = self
            .caller
            .call(self.tries(), |mut client, _| {
                let request = request.clone();
                async move { client.transactions.commit(request).await }
            })
            .await;
        Outcome::from_answer(answer.map(|response| response.result), Some(self.id))
    }

    /// Aborts, unless it is decided already. Tells what was decided.
    ///
    /// # Errors
    /// The coordinator could not be asked; the transaction aborts by itself when its time is over.
    pub async fn abort(&self) -> Result<Outcome, ClientError> {
        let request = v1::AbortRequest {
            transaction_id: self.id.to_string(),
        };
        let answer = self
            .caller
            .call(self.tries(), |mut client, _| {
                let request = request.clone();
                async move { client.transactions.abort(request).await }
            })
            .await;
        Outcome::from_answer(answer.map(|response| response.result), Some(self.id))
    }

    fn tries(&self) -> Tries {
        let patience = self.timeout.saturating_add(self.caller.options().answer_margin);
        Tries {
            patience,
            ambiguity: Ambiguity::TryAgain,
        }
    }
}
