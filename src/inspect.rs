//! Looking into a link: what it holds and how it would be judged now. For people with the key only.

use std::fmt::Display;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::{Moment, Rfc3339, UnixMillis};
use crate::collection::Collection;
use crate::mint::Signing;
use crate::revocation::{Denied, Download, Kind, RevocationView, StalenessPolicy, Tally, Target, admit, covers};
use crate::token::{
    Examined, KeyId, Malformed, Presentation, Refusal, TokenBuffer, UntrustedToken, VerifiedToken, examine, outcomes,
};

/// What there is to say about a link.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Inspection {
    /// Whether a download would be permitted now.
    pub valid: bool,
    /// The status a download would get.
    #[schema(examples(410))]
    pub status: u16,
    /// `permitted`, or the first check that fails.
    #[schema(examples("revoked"))]
    pub check: &'static str,
    /// The check in a sentence.
    pub detail: String,
    /// Whether the signature holds; without it nothing more is said.
    pub authentic: bool,
    #[serde(flatten)]
    pub contents: Option<Contents>,
    /// Each check of an authentic link and its outcome, in the order in which they decide.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Check {
    /// What is checked.
    pub check: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// What is wrong, or why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// Whoever inspects is not the client that the link is bound to, or the store cannot be asked.
    Unknown,
}

impl Check {
    fn of(check: &'static str, outcome: Result<(), impl Display>) -> Self {
        let (outcome, detail) = match outcome {
            Ok(()) => (Outcome::Passed, None),
            Err(why) => (Outcome::Failed, Some(why.to_string())),
        };
        Self { check, outcome, detail }
    }

    fn unknown(check: &'static str, why: impl Display) -> Self {
        Self { check, outcome: Outcome::Unknown, detail: Some(why.to_string()) }
    }
}

/// What an authentic link holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Contents {
    /// Names the link in logs and revocations.
    pub id: String,
    /// Its collection.
    pub collection: String,
    /// The number of the key that signed it.
    pub key: u32,
    /// The client that made it.
    pub client: String,
    /// Its file.
    pub path: String,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub subject: Option<String>,
    /// When it was made.
    pub issued_at: Rfc3339,
    /// When it ends.
    pub expires_at: Rfc3339,
    /// From when on it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub not_before: Option<Rfc3339>,
    /// The name offered for saving.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub filename: Option<String>,
    /// Whether a browser saves or shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disposition: Option<crate::token::Disposition>,
    /// The media type it is sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub content_type: Option<String>,
    /// The networks it may be used from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub client_networks: Vec<String>,
    /// How many downloads it is good for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_downloads: Option<u32>,
    /// Bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rate_limit: Option<u64>,
    /// The kind of the strictest revocation that covers it; `link` for `link` and `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub revoked_by: Option<&'static str>,
}

impl Signing {
    /// Judges a link or token as a download would be, client networks aside, and says what it holds.
    pub fn inspect(
        &self,
        link: &str,
        revocations: &dyn RevocationView,
        staleness: StalenessPolicy,
        (now, latest_issue): (Moment, UnixMillis),
    ) -> Inspection {
        let presentation = Presentation::of_an_onlooker(now.wall, latest_issue);
        let keyring = self.keyring.load();
        let mut unauthentic = Inspection::refused(403, "malformed", "this is not a link of ours".into());
        for (collection, token) in self.candidates(link) {
            let mut buffer = TokenBuffer::default();
            let token = match UntrustedToken::parse(token, &mut buffer) {
                Ok(token) => token,
                Err(malformed) => return Inspection::malformed(malformed),
            };
            match examine(token, collection.rules(), &keyring, presentation) {
                Ok(examined) => {
                    let mut inspection = judged(&examined, revocations, staleness, now);
                    inspection.checks =
                        checks(&examined.token, (collection, presentation), revocations, staleness, now);
                    return inspection;
                }
                Err(refusal) => unauthentic = Inspection::refused(403, refusal.name(), refusal.to_string()),
            }
        }
        unauthentic
    }
}

fn judged(
    examined: &Examined<'_>,
    revocations: &dyn RevocationView,
    staleness: StalenessPolicy,
    now: Moment,
) -> Inspection {
    let mut contents = Contents::of(&examined.token);
    let admitted = admit(revocations, staleness, examined.token, now);
    contents.revoked_by = covers(revocations, &examined.token).map(Kind::as_str);
    // Whoever inspects is not the client that the link is bound to.
    let own =
        examined.verdict.or_else(|refusal| if refusal == Refusal::OutsideNetworks { Ok(()) } else { Err(refusal) });
    let mut inspection = match (own, admitted) {
        (Err(refusal), _) => {
            let status = if refusal == Refusal::Expired { 410 } else { 403 };
            Inspection::refused(status, refusal.name(), refusal.to_string())
        }
        (Ok(()), Err(denied)) => {
            let status = if matches!(denied, Denied::Revoked(_) | Denied::UsedUp) { 410 } else { 503 };
            Inspection::refused(status, denied.name(), denied.to_string())
        }
        (Ok(()), Ok(_)) if !contents.client_networks.is_empty() => {
            Inspection { detail: "the link is valid from its networks".into(), ..Inspection::permitted() }
        }
        (Ok(()), Ok(_)) => Inspection::permitted(),
    };
    inspection.authentic = true;
    inspection.contents = Some(contents);
    inspection
}

/// Each check by itself, those included that an earlier failure keeps from deciding.
fn checks(
    token: &VerifiedToken<'_>,
    (collection, presentation): (&Collection, Presentation),
    revocations: &dyn RevocationView,
    staleness: StalenessPolicy,
    now: Moment,
) -> Vec<Check> {
    let mut checks = vec![Check::of("signature", Ok::<_, Refusal>(()))];
    checks.extend(outcomes(token.claims(), collection.rules(), presentation).map(|(name, outcome)| match outcome {
        Err(Refusal::OutsideNetworks) => Check::unknown(name, "it depends on who asks"),
        other => Check::of(name, other),
    }));
    checks.push(Check::of("revocations", covers(revocations, token).map_or(Ok(()), |kind| Err(Denied::Revoked(kind)))));
    checks.push(match revocations.age(now) {
        None => Check::of("freshness", Err(Denied::NotLoaded)),
        Some(age) => Check::of("freshness", if age > staleness.max_staleness { Err(Denied::Stale) } else { Ok(()) }),
    });
    if token.claims().max_downloads.is_some() {
        checks.push(match revocations.tally() {
            Some(Tally::Within) => Check::of("downloads", Ok::<_, Denied>(())),
            Some(Tally::UsedUp) => Check::of("downloads", Err(Denied::UsedUp)),
            None => Check::unknown("downloads", Denied::CannotCount),
        });
    }
    checks
}

impl Inspection {
    /// What must be asked of the store before the verdict can be told: the link counts its downloads. Asking takes none.
    pub fn counted_download(&self) -> Option<Download> {
        let contents = self.contents.as_ref().filter(|_| self.check == Denied::CannotCount.name())?;
        Some(Download {
            link: contents.id.parse().ok()?,
            most: contents.max_downloads?,
            issued_at: contents.issued_at.0,
            expires_at: contents.expires_at.0,
            client: None,
            begins: false,
        })
    }

    fn permitted() -> Self {
        Self {
            valid: true,
            status: 200,
            check: "permitted",
            detail: "the link is valid".into(),
            authentic: true,
            contents: None,
            checks: Vec::new(),
        }
    }

    const fn refused(status: u16, check: &'static str, detail: String) -> Self {
        Self { valid: false, status, check, detail, authentic: false, contents: None, checks: Vec::new() }
    }

    fn malformed(malformed: Malformed) -> Self {
        let status = if malformed == Malformed::TooLong { 414 } else { 403 };
        Self::refused(status, malformed.name(), malformed.to_string())
    }
}

impl Contents {
    /// Everything whose revocation could cover the link.
    pub fn targets(&self) -> Vec<Target> {
        let Self { collection, path, .. } = self;
        let folders = path.match_indices('/').map(|(at, _)| &path[..=at]).chain(["/"]);
        let links = self.id.parse().ok().map(Target::Link);
        let named = [Target::path(collection, path), Target::client(&self.client)];
        let subject = self.subject.iter().map(|subject| Target::subject(subject));
        let folders = folders.map(|folder| Target::folder(collection, folder));
        let checked = named.into_iter().chain(subject).chain(folders).filter_map(Result::ok);
        links.into_iter().chain([Target::Key(KeyId(self.key)), Target::Everything]).chain(checked).collect()
    }

    fn of(token: &VerifiedToken<'_>) -> Self {
        let claims = token.claims();
        Self {
            id: token.id().to_string(),
            collection: token.collection().as_str().to_owned(),
            key: token.key_id().0,
            client: claims.client.as_str().to_owned(),
            path: claims.path.as_str().to_owned(),
            subject: claims.subject.map(|subject| subject.as_str().to_owned()),
            issued_at: Rfc3339(claims.issued_at),
            expires_at: Rfc3339(claims.expires_at),
            not_before: claims.not_before.map(Rfc3339),
            filename: claims.file_name.map(|name| name.as_str().to_owned()),
            disposition: claims.disposition,
            content_type: claims.content_type.map(|kind| kind.as_str().to_owned()),
            client_networks: claims.networks.iter().map(|network| network.to_string()).collect(),
            max_downloads: claims.max_downloads.map(std::num::NonZero::get),
            rate_limit: claims.rate_limit.map(std::num::NonZero::get),
            revoked_by: None,
        }
    }
}
