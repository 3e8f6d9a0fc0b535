//! What `tests/fuzz` asks of this part, and nobody else.

use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use super::asked;
use super::client_bodies::{CreateRequest, KeyRequest};
use super::edge_auth;
use super::express::head::{self, Room};
use super::json;
use super::links::{Batch, InspectRequest};
use super::problem::Problem;
use super::refresh::RefreshRequest;
use super::revocation_bodies::RevokeRequest;
use crate::clients::{ClientPatch, PolicyRecord};
use crate::mint::MintRequest;

/// Most header lines of a plain head.
const MAX_FIELDS: usize = 16;

/// The path that an edge was asked for, where it has the one spelling that is judged.
pub fn original_path(headers: &HeaderMap) -> Option<&str> {
    asked::original_path(headers).and_then(|path| edge_auth::canonical(path).ok())
}

/// Method, path and number of header lines of a head that the express lane takes.
pub fn plain_head(bytes: &[u8]) -> Option<(Method, String, usize)> {
    let mut room = Room::default();
    let head = head::parse(bytes, &mut room, MAX_FIELDS)?;
    Some((head.method, head.path.to_owned(), head.fields.len()))
}

/// Reads bytes as the body of each request there is; answers the statuses of the refusals.
pub fn api_bodies(bytes: &[u8]) -> Vec<u16> {
    fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> Option<Problem> {
        json::parse::<T>(bytes).err()
    }
    let readers = [
        refusal::<MintRequest>,
        refusal::<InspectRequest>,
        refusal::<RefreshRequest>,
        refusal::<RevokeRequest>,
        refusal::<CreateRequest>,
        refusal::<KeyRequest>,
        refusal::<PolicyRecord>,
    ];
    let mut refusals: Vec<Problem> = readers.into_iter().filter_map(|read| read(bytes)).collect();
    refusals.extend(json::parse_with(bytes, ClientPatch::parse).err());
    match json::parse::<Batch>(bytes) {
        Ok(batch) => refusals.extend(batch.requests().into_iter().filter_map(Result::err)),
        Err(refusal) => refusals.push(refusal),
    }
    refusals.iter().map(|problem| problem.kind().status().as_u16()).collect()
}
