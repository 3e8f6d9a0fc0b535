//! Which of our links a text is: a whole URL or a bare token, as people and apps hand them in.

use super::Signing;
use crate::clock::UnixMillis;
use crate::collection::Collection;
use crate::token::{Examined, Keyring, Presentation, TokenBuffer, TokenId, UntrustedToken, examine};

/// An authentic link's id and end: what is needed to revoke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    pub id: TokenId,
    pub expires_at: UnixMillis,
}

impl Signing {
    /// The id of an authentic link, whatever its times and the revocations say.
    pub fn identify(&self, link: &str, now: UnixMillis) -> Option<Identified> {
        let keyring = self.keyring.load();
        self.authentic(link, &keyring, Presentation::of_an_onlooker(now, now), |examined, _| Identified {
            id: examined.token.id(),
            expires_at: examined.token.claims().expires_at,
        })
    }

    /// Whom an authentic link is for.
    pub fn subject_of(&self, link: &str, now: UnixMillis) -> Option<String> {
        let keyring = self.keyring.load();
        let subject = |examined: &Examined<'_>, _: &Collection| {
            examined.token.claims().subject.map(|subject| subject.as_str().to_owned())
        };
        self.authentic(link, &keyring, Presentation::of_an_onlooker(now, now), subject)?
    }

    /// Hands an authentic link to `look`, with how its times and networks were judged; `None` when it is none of ours.
    pub(crate) fn authentic<R>(
        &self,
        link: &str,
        keyring: &Keyring,
        presentation: Presentation,
        look: impl Fn(&Examined<'_>, &Collection) -> R,
    ) -> Option<R> {
        self.candidates(link).find_map(|(collection, token)| {
            let mut buffer = TokenBuffer::default();
            let token = UntrustedToken::parse(token, &mut buffer).ok()?;
            let examined = examine(token, collection.rules(), keyring, presentation).ok()?;
            Some(look(&examined, collection))
        })
    }

    /// The collections a text can belong to: a URL names one, a bare token none.
    pub(crate) fn candidates<'a>(&'a self, link: &'a str) -> impl Iterator<Item = (&'a Collection, &'a str)> {
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
