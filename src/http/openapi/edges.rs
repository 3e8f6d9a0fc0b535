//! What edges send and are told: headers, mostly.

use std::collections::BTreeMap;

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses};

use super::problems::header;

/// Where a download stands.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "it describes what `download` reads")]
pub struct Address {
    /// The link's collection.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$", example = "image")]
    collection: String,
    /// The link's token.
    #[param(min_length = 1, max_length = 2048, pattern = "^[A-Za-z0-9_-]+$")]
    token: String,
}

/// What may be asked of a download.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes what `download` and the edge read")]
pub struct Wishes {
    /// One range of bytes; of several, the whole file is sent.
    #[param(rename = "Range", nullable = false, example = "bytes=0-1023")]
    range: Option<String>,
    /// Send the range only while the file still has this `ETag` or date, and else the whole file.
    #[param(rename = "If-Range", nullable = false)]
    if_range: Option<String>,
    /// Answer 304 when the file still has this `ETag`.
    #[param(rename = "If-None-Match", nullable = false)]
    if_none_match: Option<String>,
    /// `deferred`: name disposition and caching in `X-Linkgate-Disposition` and `X-Linkgate-Cache-Control` instead, so that
    /// an edge can leave them off its own 404; the same with the policy of what a browser may run.
    #[param(rename = "X-Linkgate-Delivery", nullable = false, example = "deferred")]
    delivery: Option<String>,
}

/// What `/auth` reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes what `edge_auth` reads")]
pub struct AuthHeaders {
    /// The address that the client asked for, as nginx names it.
    #[param(rename = "X-Original-URI", nullable = false, example = "/download/image/AQAAAAGrFsVO")]
    original_uri: Option<String>,
    /// The same, as Traefik and Caddy name it. Every line of both must say the same.
    #[param(rename = "X-Forwarded-Uri", nullable = false)]
    forwarded_uri: Option<String>,
    /// The client's method: a `HEAD` takes no download of a counted link. Unless every line of both names says `HEAD`, it is a `GET`.
    #[param(rename = "X-Original-Method", nullable = false, example = "GET")]
    original_method: Option<String>,
    /// The same, as Traefik and Caddy name it.
    #[param(rename = "X-Forwarded-Method", nullable = false)]
    forwarded_method: Option<String>,
}

/// A download that goes on: what the edge is told, or the file.
pub struct Permitted;

impl IntoResponses for Permitted {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let file = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String).build())).build();
        let file_headers = [
            ("Content-Disposition", "`attachment` or `inline`, and the name in a form that is safe for any client."),
            ("Cache-Control", "`private, max-age=` the rest of the link's life, at most the collection's `cache`."),
            (
                "Content-Security-Policy",
                "A sandbox without scripts, unless the file is a picture, a film, a sound or a PDF.",
            ),
            ("X-Content-Type-Options", "`nosniff`"),
            ("Referrer-Policy", "`no-referrer`"),
            ("X-Linkgate-Token-Id", "The link's id, for the edge's log."),
        ];
        let edge = [("X-Accel-Redirect", "For nginx: the file below the internal location. The body is empty then.")];
        let own =
            [("ETag", "The file's version; when Linkgate sends it itself."), ("Last-Modified", "The same as a time.")];
        let whole =
            "Permitted: the edge sends the file, or this is it. An edge answers 206, 304, 404 and 416 on its own.";
        let part = "The range that was asked for. When Linkgate sends the file itself, like the two below.";
        let answer = |about: &str, headers: &[&[(&str, &str)]]| {
            let response = ResponseBuilder::new().description(about);
            headers.concat().into_iter().fold(response, |response, (name, about)| response.header(name, header(about)))
        };
        BTreeMap::from([
            ("200".into(), answer(whole, &[&file_headers, &edge, &own]).content("*/*", file.clone()).build().into()),
            ("206".into(), answer(part, &[&file_headers, &own]).content("*/*", file).build().into()),
            ("304".into(), answer("What the client has is still the file.", &[&own]).build().into()),
            ("412".into(), answer("The condition of the request does not hold.", &[]).build().into()),
            ("416".into(), answer("The file has no such range.", &[]).build().into()),
            ("400".into(), answer("The request is broken.", &[]).build().into()),
            (
                "431".into(),
                answer("The head of the request is larger than `limits.header_bytes` or has too many lines.", &[])
                    .build()
                    .into(),
            ),
        ])
    }
}

/// What `/auth` answers.
pub struct Judged;

impl IntoResponses for Judged {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let answer = |about: &str, headers: &[(&str, &str)]| {
            let response = ResponseBuilder::new().description(about).header("Cache-Control", header("`no-store`"));
            headers
                .iter()
                .fold(response, |response, (name, about)| response.header(*name, header(about)))
                .build()
                .into()
        };
        let file = [
            ("X-Linkgate-Path", "The file, relative to its collection's root, as it is, in UTF-8."),
            ("X-Linkgate-Disposition", "The `Content-Disposition` to send it with."),
            ("X-Linkgate-Cache-Control", "The `Cache-Control` to send it with."),
            ("X-Linkgate-Content-Type", "The media type to send it with, if the link names one."),
            ("X-Linkgate-Content-Security-Policy", "The `Content-Security-Policy` to send it with, if it needs one."),
            ("X-Linkgate-Token-Id", "The link's id, for the edge's log."),
        ];
        let missing = [("X-Linkgate-Reason", "`missing`"), ("WWW-Authenticate", "`Linkgate`")];
        let reasons = "`invalid`; `expired`, `revoked` or `used` when the link is over; `stale` when it is not known what is revoked.";
        BTreeMap::from([
            ("204".into(), answer("Permitted. The answer names the file and what goes onto it.", &file)),
            ("401".into(), answer("No address in the request, or two that differ.", &missing)),
            ("403".into(), answer("Not permitted.", &[("X-Linkgate-Reason", reasons)])),
        ])
    }
}
