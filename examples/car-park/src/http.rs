//! Reading over HTTP. Writing is what transactions do.
//!
//! ```text
//!   GET /spaces      {"3": "B-AD 1843"}                       all that are taken
//!   GET /spaces/3    {"space": 3, "plate": "B-AD 1843"}       null if it is free
//! ```

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::board::Board;

/// Answers from this board.
pub fn router(board: Board) -> Router {
    Router::new()
        .route("/spaces", get(all))
        .route("/spaces/{space}", get(one))
        .with_state(board)
}

async fn all(State(board): State<Board>) -> Json<Value> {
    Json(json!(board.all()))
}

async fn one(State(board): State<Board>, Path(space): Path<u32>) -> Json<Value> {
    Json(json!({ "space": space, "plate": board.plate(space) }))
}
