//! HTTP: one router per audience, one table of refusals, and the connections they run on.
//!
//! | audience | routes | file |
//! | --- | --- | --- |
//! | download | `GET`, `HEAD /download/{collection}/{token}` | [`download`] |
//! | download | `GET /auth` | [`edge_auth`] |
//! | api | `POST /v1/links`, `/v1/links/batch` | [`links`] |
//! | api | `POST /v1/links/refresh` | [`refresh`] |
//! | api | `POST /v1/links/inspect` | [`links`] |
//! | api | `POST`, `GET /v1/revocations`, `GET`, `DELETE /v1/revocations/{id}` | [`revocations`], [`revocation_bodies`] |
//! | api | `GET /v1/verifiers` | [`verifiers`] |
//! | api | `GET`, `POST /v1/clients`, `GET`, `PATCH`, `DELETE /v1/clients/{name}` | [`clients`] |
//! | api | `POST /v1/clients/{name}/keys`, `DELETE /v1/clients/{name}/keys/{id}` | [`clients`] |
//! | api | `GET /openapi.json`, `/docs` | [`openapi`] |
//! | ops | `GET /livez`, `/readyz`, `/metrics` | [`ops`] |
//!
//! A route stands here and its documentation at its handler: [`openapi`] says how, and makes the document of it.
//!
//! A download does not pass through the router: [`Routes`] hands it straight to [`download`], and the [`express`] lane
//! does so without hyper.

mod accept;
mod apart;
mod arriving;
mod asked;
mod client_bodies;
mod clients;
mod credentials;
mod download;
mod edge_auth;
mod express;
mod fields;
#[cfg(fuzzing)]
pub mod fuzz_doors;
mod idempotency;
pub mod inherited;
mod issuing;
mod json;
mod links;
pub mod listen;
mod login_metrics;
mod metrics;
pub mod openapi;
mod ops;
mod page;
mod problem;
mod rates;
mod refresh;
mod request_id;
mod revocation_bodies;
mod revocations;
mod room;
mod sending;
pub mod server;
pub mod slots;
mod state;
mod stream;
mod text_format;
mod verifiers;
pub mod web;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, MatchedPath, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, Request, Response};
use tower::ServiceExt;
use tracing::Instrument;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

pub use self::apart::Apart;
use self::arriving::Arriving;
use self::asked::Asked;
pub use self::credentials::Caller;
pub use self::idempotency::UnderWay;
use self::listen::Peer;
pub use self::metrics::{Metrics, Verdict};
pub use self::problem::{Problem, ProblemKind, TYPE_PREFIX};
use self::rates::Visit;
use self::request_id::RequestId;
use self::server::Answer;
pub use self::state::AppState;
use crate::edge::has_redirect;

/// Who a listener is for; one listener may be for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    Download,
    Api,
    Ops,
}

/// What one listener answers.
pub struct Routes {
    state: Arc<AppState>,
    has_downloads: bool,
    is_for_downloads_alone: bool,
    is_for_operators: bool,
    router: Router,
    request_timeout: Duration,
}

impl Routes {
    /// The routes of some audiences. `caller` is who everybody on this listener is taken for without an API key:
    /// nobody, except on the operator's own socket.
    pub fn new(state: &Arc<AppState>, audiences: &[Audience], caller: Option<Caller>) -> Self {
        let mut router = Router::new();
        for audience in audiences {
            let answered: Router<_> = routes(*audience);
            router = router.merge(match audience {
                Audience::Api => answered
                    .route_layer(from_fn(web::tag))
                    .route_layer(from_fn_with_state(Arc::clone(state), idempotency::once))
                    .route_layer(web::compression())
                    .route_layer(from_fn_with_state(Arc::clone(state), apart::large))
                    .route_layer(from_fn_with_state(Arc::clone(state), account))
                    .layer(Extension(credentials::Assumed(caller.clone()))),
                Audience::Download | Audience::Ops => answered,
            });
        }
        let router = router
            .fallback(|| async { Problem::new(ProblemKind::NotFound) })
            .method_not_allowed_fallback(|| async { Problem::new(ProblemKind::MethodNotAllowed) })
            .with_state(Arc::clone(state));
        // Around everything: a browser asks about an address with a method that nothing else answers.
        let router = match state.origins.layer() {
            Some(cors) if audiences.contains(&Audience::Api) => router.layer(cors),
            _ => router,
        };
        Self {
            state: Arc::clone(state),
            has_downloads: audiences.contains(&Audience::Download),
            is_for_downloads_alone: audiences == [Audience::Download],
            is_for_operators: caller.is_some() || audiences == [Audience::Ops],
            router,
            request_timeout: state.limits.request_timeout,
        }
    }

    /// Whether nobody else comes here, who would want to hear why there are no downloads yet.
    pub const fn is_for_downloads_alone(&self) -> bool {
        self.is_for_downloads_alone
    }

    /// Whether downloads come here.
    pub const fn has_downloads(&self) -> bool {
        self.has_downloads
    }

    /// Whether only operators and their probes come here: they must get through when everybody else waits.
    pub const fn is_for_operators(&self) -> bool {
        self.is_for_operators
    }

    /// Answers a request that is not a download.
    pub async fn call(&self, peer: Peer, mut request: Request<Body>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        request.extensions_mut().insert(peer);
        let id = RequestId::of(request.headers());
        let answer = self.router.clone().oneshot(request).instrument(id.span());
        let mut response = match tokio::time::timeout(self.request_timeout, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => Problem::new(ProblemKind::Timeout).into_response(),
        };
        if is_head {
            *response.body_mut() = Body::empty();
        }
        id.put(response.headers_mut());
        response
    }
}

impl Answer for Routes {
    async fn answer(&self, peer: Peer, request: Request<Arriving>) -> Response<Body> {
        self.guard(if self.has_downloads && request.uri().path().starts_with(download::PREFIX) {
            download::answer(&self.state, peer, &request).await
        } else {
            self.call(peer, request.map(Body::new)).await
        })
    }

    fn is_edges(&self, path: &str) -> bool {
        self.has_downloads && download::is_edges(&self.state, path)
    }

    async fn write_answer(
        &self,
        asked: Asked<'_, [httparse::Header<'_>]>,
        out: &mut Vec<u8>,
    ) -> Option<Response<Body>> {
        download::write_answer(&self.state, asked, out).await.map(|response| self.guard(response))
    }
}

impl Routes {
    /// Edges follow a redirect header whatever the status says: that of a refusal must never leave the house.
    fn guard(&self, response: Response<Body>) -> Response<Body> {
        if response.status() == http::StatusCode::OK || !has_redirect(response.headers()) {
            return response;
        }
        self.state.metrics.count_guarded();
        tracing::error!("an answer that was no permit carried a redirect header");
        Problem::new(ProblemKind::Internal).into_response()
    }
}

/// Takes routes up, each with its documentation.
trait Take: Default {
    fn take(self, route: UtoipaMethodRouter<Arc<AppState>>) -> Self;
}

/// With what is documented about them.
impl Take for OpenApiRouter<Arc<AppState>> {
    fn take(self, route: UtoipaMethodRouter<Arc<AppState>>) -> Self {
        self.routes(route)
    }
}

/// Without: all of it at once would take a process that starts more memory than anything else.
impl Take for Router<Arc<AppState>> {
    fn take(self, route: UtoipaMethodRouter<Arc<AppState>>) -> Self {
        self.merge(Router::from(OpenApiRouter::new().routes(route)))
    }
}

/// Every route of an audience; but for downloads, which pass by the router.
fn routes<R: Take>(audience: Audience) -> R {
    let router = R::default();
    match audience {
        Audience::Download => router.take(routes!(edge_auth::judge)),
        Audience::Api => router
            .take(routes!(links::mint))
            .take(routes!(links::batch))
            .take(routes!(refresh::refresh))
            .take(routes!(links::inspect))
            .take(routes!(revocations::create, revocations::list))
            .take(routes!(revocations::find, revocations::reinstate))
            .take(routes!(verifiers::list))
            .take(routes!(clients::create, clients::list))
            .take(routes!(clients::find, clients::patch, clients::remove))
            .take(routes!(clients::add_key))
            .take(routes!(clients::drop_key))
            .take(routes!(openapi::document))
            .take(routes!(openapi::page)),
        Audience::Ops => router.take(routes!(ops::livez)).take(routes!(ops::readyz)).take(routes!(ops::metrics)),
    }
}

/// Counts an API request, tells the client about its limits, and sees to it that links and lists are nobody's to keep.
async fn account(
    State(state): State<Arc<AppState>>,
    path: MatchedPath,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let visit = Visit::default();
    request.extensions_mut().insert(visit.clone());
    let operation = format!("{} {}", request.method(), path.as_str());
    let mut response = next.run(request).await;
    state.metrics.count_api(operation, response.status().as_u16());
    visit.tell(&state, response.headers_mut());
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
