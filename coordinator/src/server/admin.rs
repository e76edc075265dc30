//! What operators call.

use handfast_proto::v1;
use handfast_proto::v1::admin_server::Admin;
use tonic::{Request, Response, Status};

use super::{answers, transactions};
use crate::driver::{DriverHandle, Question};

/// The service.
#[derive(Clone, Debug)]
pub struct AdminService {
    driver: DriverHandle,
}

impl AdminService {
    /// Over this driver.
    pub fn new(driver: DriverHandle) -> Self {
        AdminService { driver }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let status = self.driver.ask(Question::Status).await?;
        Ok(Response::new(answers::status(status)))
    }

    async fn list_in_doubt(
        &self,
        request: Request<v1::ListInDoubtRequest>,
    ) -> Result<Response<v1::ListInDoubtResponse>, Status> {
        let request = request.into_inner();
        let page = transactions::page_request(request.page_size, &request.page_token)?;
        let lines = self.driver.ask(|answer| Question::InDoubt(page, answer)).await?;
        // All branches of a transaction come on one page, so a full page may be longer than it was asked to be.
        let next_page_token = match lines.last() {
            Some(last) if lines.len() >= page.limit => last.transaction.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListInDoubtResponse {
            transactions: lines.into_iter().map(answers::in_doubt).collect(),
            next_page_token,
        }))
    }
}
