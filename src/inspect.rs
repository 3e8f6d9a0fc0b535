//! Looking into a link: what it holds and how it would be judged now. For people with the key only.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::clock::{Moment, Rfc3339};
use crate::collection::Collection;
use crate::mint::Signing;
use crate::revocation::{Denied, Download, RevocationView, StalenessPolicy, admit};
use crate::token::{
    Examined, Keyring, Malformed, Presentation, Refusal, TokenBuffer, TokenId, UntrustedToken, VerifiedToken, examine,
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

/// An authentic link's id and end: what is needed to revoke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    pub id: TokenId,
    pub expires_at: UnixMillis,
}

impl Signing {
    /// Judges a link or token as a download would be, client networks aside, and says what it holds.
    pub fn inspect(
        &self,
        link: &str,
        revocations: &dyn RevocationView,
        staleness: StalenessPolicy,
        now: Moment,
    ) -> Inspection {
        let keyring = self.keyring.load();
        let mut unauthentic = Inspection::refused(403, "malformed", "this is not a link of ours".into());
        for (collection, token) in self.candidates(link) {
            let mut buffer = TokenBuffer::default();
            let token = match UntrustedToken::parse(token, &mut buffer) {
                Ok(token) => token,
                Err(malformed) => return Inspection::malformed(malformed),
            };
            match look(token, collection, &keyring, now.wall) {
                Ok(examined) => return judged(examined, revocations, staleness, now),
                Err(refusal) => unauthentic = Inspection::refused(403, refusal.name(), refusal.to_string()),
            }
        }
        unauthentic
    }

    /// The id of an authentic link, whatever its times and the revocations say.
    pub fn identify(&self, link: &str, now: UnixMillis) -> Option<Identified> {
        let keyring = self.keyring.load();
        self.candidates(link).find_map(|(collection, token)| {
            let mut buffer = TokenBuffer::default();
            let token = UntrustedToken::parse(token, &mut buffer).ok()?;
            let examined = look(token, collection, &keyring, now).ok()?;
            Some(Identified { id: examined.token.id(), expires_at: examined.token.claims().expires_at })
        })
    }

    /// The collections a text can belong to: a URL names one, a bare token none.
    fn candidates<'a>(&'a self, link: &'a str) -> impl Iterator<Item = (&'a Collection, &'a str)> {
        let link = link.trim();
        let path = link.split(['?', '#']).next().unwrap_or(link);
        let (collection, token) = match path.rsplit_once('/') {
            Some((before, token)) => (before.rsplit('/').next(), token),
            None => (None, path),
        };
        self.collections
            .values()
            .filter(move |known| collection.is_none_or(|name| name == known.name().as_str()))
            .map(move |known| (known, token))
    }
}

fn look<'t>(
    token: UntrustedToken<'t>,
    collection: &'t Collection,
    keyring: &Keyring,
    now: UnixMillis,
) -> Result<Examined<'t>, Refusal> {
    examine(token, collection.rules(), keyring, Presentation { now, client_address: None })
}

fn judged(
    examined: Examined<'_>,
    revocations: &dyn RevocationView,
    staleness: StalenessPolicy,
    now: Moment,
) -> Inspection {
    let mut contents = Contents::of(&examined.token);
    let admitted = admit(revocations, staleness, examined.token, now);
    if let Err(Denied::Revoked(kind)) = admitted {
        contents.revoked_by = Some(kind.as_str());
    }
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
        }
    }

    const fn refused(status: u16, check: &'static str, detail: String) -> Self {
        Self { valid: false, status, check, detail, authentic: false, contents: None }
    }

    fn malformed(malformed: Malformed) -> Self {
        let status = if malformed == Malformed::TooLong { 414 } else { 403 };
        Self::refused(status, malformed.name(), malformed.to_string())
    }
}

impl Contents {
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
