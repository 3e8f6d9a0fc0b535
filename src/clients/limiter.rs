//! Who may go on: a client's requests and links, and those of each of its subjects, counted by this process.
//!
//! A subject draws from its own bucket first. What that refuses takes nothing from the others: one subject alone
//! cannot use up what all share.
//!
//! Buckets go by the client's name, its generation and the subject, never by an object: all who come with the same name
//! draw from the same bucket, however they have proved it; a client that was removed and added again does not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Client;
use super::rates::{BucketId, Buckets, Level, Quota, Shortage};

/// Clients whose buckets are not full at the same time.
const CLIENT_ROOM: usize = 8_192;
/// Subjects whose buckets are not full at the same time: about a megabyte.
const SUBJECT_ROOM: usize = 65_536;

/// How many parts a shared limit has, when a login's own is not said.
const PARTS: u32 = 10;
/// The least part.
const LEAST_PART: u32 = 5;

/// How fast a client may go; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateRules {
    pub requests: Option<Quota>,
    /// For each login's subject by itself.
    pub subject_requests: Option<Quota>,
    pub links: Option<Quota>,
    /// For each subject by itself.
    pub subject_links: Option<Quota>,
}

impl RateRules {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Those there are, in the order in which they are told.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, Quota)> {
        [
            (Limit::Requests, self.requests),
            (Limit::SubjectRequests, self.subject_requests),
            (Limit::Links, self.links),
            (Limit::SubjectLinks, self.subject_links),
        ]
        .into_iter()
        .filter_map(|(limit, quota)| Some((limit, quota?)))
    }

    /// Gives each login a part of what all share, where its own is not said: a tenth, and at least [`LEAST_PART`]. As
    /// many links at once as all may have, so that no batch is refused that fits in the shared limit.
    #[must_use]
    pub fn with_parts(mut self) -> Self {
        let part = |whole: u32| u64::from((whole / PARTS).max(LEAST_PART));
        let requests = |all: Quota| Quota::new(part(all.per_second()), Some(part(all.burst())));
        let links = |all: Quota| Quota::new(part(all.per_second()), Some(all.burst().into()));
        self.subject_requests = self.subject_requests.or_else(|| requests(self.requests?));
        self.subject_links = self.subject_links.or_else(|| links(self.links?));
        self
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Requests,
    SubjectRequests,
    Links,
    SubjectLinks,
}

impl Limit {
    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::SubjectRequests => "subject-requests",
            Self::Links => "links",
            Self::SubjectLinks => "subject-links",
        }
    }

    /// The setting of its rate.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_second",
            Self::SubjectRequests => "subject_requests_per_second",
            Self::Links => "links_per_second",
            Self::SubjectLinks => "subject_links_per_second",
        }
    }

    /// The setting of its burst.
    pub const fn burst_rule(self) -> &'static str {
        match self {
            Self::Requests => "requests_burst",
            Self::SubjectRequests => "subject_requests_burst",
            Self::Links => "links_burst",
            Self::SubjectLinks => "subject_links_burst",
        }
    }
}

/// Why a client must not go on. Nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// It may after this long.
    Wait { limit: Limit, wait: Duration },
    /// It asked for more at once than it may ever have.
    TooMany { limit: Limit, asked: u32, most: u32 },
}

impl Exceeded {
    const fn new(limit: Limit, quota: Quota, asked: u32, shortage: Shortage) -> Self {
        match shortage {
            Shortage::Wait(wait) => Self::Wait { limit, wait },
            Shortage::Never => Self::TooMany { limit, asked, most: quota.burst() },
        }
    }
}

/// Everybody's buckets.
pub struct Limiter {
    requests: Buckets,
    subject_requests: Buckets,
    links: Buckets,
    subject_links: Buckets,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            requests: Buckets::new(CLIENT_ROOM),
            subject_requests: Buckets::new(SUBJECT_ROOM),
            links: Buckets::new(CLIENT_ROOM),
            subject_links: Buckets::new(SUBJECT_ROOM),
        }
    }
}

impl Limiter {
    /// Counts a request.
    ///
    /// # Errors
    /// When the client must wait.
    pub fn admit_request(&self, client: &Client, now: Duration) -> Result<(), Exceeded> {
        let (owner, mut taken) = (owner(client), Taken::at(now));
        if let Some(subject) = client.policy.subject.as_deref() {
            let id = self.subject_requests.id((owner, subject));
            taken.take(&self.subject_requests, id, Limit::SubjectRequests, client.rates.subject_requests, 1)?;
        }
        taken.take(&self.requests, self.requests.id(owner), Limit::Requests, client.rates.requests, 1)
    }

    /// Counts links that are asked for, given whom each is for: all of them, or none.
    ///
    /// # Errors
    /// The first limit that stands against it.
    pub fn admit_links<'a>(
        &self,
        client: &Client,
        subjects: impl Iterator<Item = Option<&'a str>>,
        now: Duration,
    ) -> Result<(), Exceeded> {
        if client.rates.links.is_none() && client.rates.subject_links.is_none() {
            return Ok(());
        }
        let (mut asked, mut by_subject) = (0, BTreeMap::<&str, u32>::new());
        for subject in subjects {
            asked += 1;
            if let Some(subject) = subject {
                *by_subject.entry(subject).or_default() += 1;
            }
        }
        // What can never be comes first: nobody shall wait for it.
        let largest = by_subject.values().copied().max().unwrap_or_default();
        for (limit, quota, asked) in
            [(Limit::Links, client.rates.links, asked), (Limit::SubjectLinks, client.rates.subject_links, largest)]
        {
            if let Some(quota) = quota.filter(|quota| asked > quota.burst()) {
                return Err(Exceeded::new(limit, quota, asked, Shortage::Never));
            }
        }
        let (owner, mut taken) = (owner(client), Taken::at(now));
        for (subject, asked) in by_subject {
            let id = self.subject_links.id((owner, subject));
            taken.take(&self.subject_links, id, Limit::SubjectLinks, client.rates.subject_links, asked)?;
        }
        taken.take(&self.links, self.links.id(owner), Limit::Links, client.rates.links, asked)
    }

    /// What is left to a client, and to one of its subjects where that is known.
    pub fn levels<'a>(
        &'a self,
        client: &'a Client,
        subject: Option<&'a str>,
        now: Duration,
    ) -> impl Iterator<Item = (Limit, Level)> + 'a {
        let owner = owner(client);
        client.rates.iter().filter_map(move |(limit, quota)| {
            let level = match limit {
                Limit::Requests => self.requests.level(self.requests.id(owner), quota, now),
                Limit::SubjectRequests => {
                    let id = self.subject_requests.id((owner, client.policy.subject.as_deref()?));
                    self.subject_requests.level(id, quota, now)
                }
                Limit::Links => self.links.level(self.links.id(owner), quota, now),
                Limit::SubjectLinks => self.subject_links.level(self.subject_links.id((owner, subject?)), quota, now),
            };
            Some((limit, level))
        })
    }
}

/// What was taken out of several buckets so far: all that is wanted, or it is put back.
struct Taken<'b> {
    now: Duration,
    taken: Vec<(&'b Buckets, BucketId, Quota, u32)>,
}

impl<'b> Taken<'b> {
    const fn at(now: Duration) -> Self {
        Self { now, taken: Vec::new() }
    }

    /// Takes from one more, if it is limited.
    ///
    /// # Errors
    /// When there is not enough; what was taken from the others is put back.
    fn take(
        &mut self,
        buckets: &'b Buckets,
        id: BucketId,
        limit: Limit,
        quota: Option<Quota>,
        asked: u32,
    ) -> Result<(), Exceeded> {
        let Some(quota) = quota else { return Ok(()) };
        match buckets.take(id, quota, self.now, asked) {
            Ok(()) => {
                self.taken.push((buckets, id, quota, asked));
                Ok(())
            }
            Err(shortage) => {
                for (buckets, id, quota, asked) in self.taken.drain(..) {
                    buckets.put_back(id, quota, asked);
                }
                Err(Exceeded::new(limit, quota, asked, shortage))
            }
        }
    }
}

/// Whose bucket it is.
fn owner(client: &Client) -> (&str, u64) {
    (client.name.as_str(), client.generation())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::token::MintPolicy;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(name: &str, links: Option<u64>, subject_links: Option<u64>) -> Client {
        let quota = |number: Option<u64>| Quota::new(number?, None);
        let rates = RateRules {
            requests: Quota::new(2, None),
            subject_requests: None,
            links: quota(links),
            subject_links: quota(subject_links),
        };
        Client { name: name.into(), rates, ..Client::default() }
    }

    fn admit(limiter: &Limiter, client: &Client, subjects: &[Option<&str>]) -> Result<(), Exceeded> {
        limiter.admit_links(client, subjects.iter().copied(), SECOND)
    }

    #[test]
    fn clients_do_not_take_from_each_other_but_two_of_one_name_share() {
        let limiter = Limiter::default();
        let (one, same, other) = (client("a", None, None), client("a", None, None), client("b", None, None));
        assert_eq!(limiter.admit_request(&one, SECOND), Ok(()));
        assert_eq!(limiter.admit_request(&same, SECOND), Ok(()));
        let wait = Duration::from_millis(500);
        assert_eq!(limiter.admit_request(&one, SECOND), Err(Exceeded::Wait { limit: Limit::Requests, wait }));
        assert_eq!(limiter.admit_request(&other, SECOND), Ok(()));
    }

    #[test]
    fn a_client_that_was_added_again_begins_with_full_buckets() {
        let limiter = Limiter::default();
        let added_at = |time| Client { created_at: Some(UnixMillis(time)), ..client("a", Some(1), Some(1)) };
        for time in [1, 2] {
            let client = added_at(time);
            assert_eq!(admit(&limiter, &client, &[Some("u")]), Ok(()));
            assert!(admit(&limiter, &client, &[Some("u")]).is_err());
            assert_eq!([(); 3].map(|()| limiter.admit_request(&client, SECOND).is_ok()), [true, true, false]);
        }
    }

    #[test]
    fn a_batch_is_counted_whole_or_not_at_all() {
        let (limiter, client) = (Limiter::default(), client("a", Some(10), Some(2)));
        let greedy = [Some("u"), Some("u"), Some("u"), Some("v")];
        let never = Exceeded::TooMany { limit: Limit::SubjectLinks, asked: 3, most: 2 };
        assert_eq!(admit(&limiter, &client, &greedy), Err(never));
        assert_eq!(
            admit(&limiter, &client, &[None; 11]),
            Err(Exceeded::TooMany { limit: Limit::Links, asked: 11, most: 10 })
        );
        assert_eq!(admit(&limiter, &client, &[Some("v"), Some("v")]), Ok(()));
        assert_eq!(admit(&limiter, &client, &greedy), Err(never), "waiting would not help, so nobody is told to");
        let refused = admit(&limiter, &client, &[Some("u"), Some("v")]);
        assert!(matches!(refused, Err(Exceeded::Wait { limit: Limit::SubjectLinks, .. })), "{refused:?}");
        let left: Vec<_> =
            limiter.levels(&client, Some("u"), SECOND).map(|(limit, level)| (limit, level.left)).collect();
        assert_eq!(left, [(Limit::Requests, 2), (Limit::Links, 8), (Limit::SubjectLinks, 2)]);
    }

    #[test]
    fn a_subject_of_another_client_is_another_subject() {
        let limiter = Limiter::default();
        let (one, other) = (client("a", None, Some(1)), client("b", None, Some(1)));
        assert_eq!(admit(&limiter, &one, &[Some("u")]), Ok(()));
        assert!(admit(&limiter, &one, &[Some("u")]).is_err());
        assert_eq!(admit(&limiter, &other, &[Some("u")]), Ok(()));
        assert_eq!(admit(&limiter, &one, &[None, None, None]), Ok(()), "links for nobody are nobody's");
    }

    /// A login of one provider.
    fn login(subject: &str, rates: RateRules) -> Client {
        let policy = MintPolicy { subject: Some(subject.into()), ..MintPolicy::default() };
        Client { name: "app".into(), policy, rates, ..Client::default() }
    }

    #[test]
    fn a_login_has_a_tenth_of_what_all_share_and_at_least_five() {
        for (all, burst, part, part_burst) in
            [(1, 1, 5, 5), (50, 50, 5, 5), (200, 1_000, 20, 100), (1_000_000, 1_000_000, 100_000, 100_000)]
        {
            let shared = Quota::new(all, Some(burst));
            let rates = RateRules { requests: shared, links: shared, ..RateRules::default() }.with_parts();
            assert_eq!(rates.subject_requests, Quota::new(part, Some(part_burst)));
            assert_eq!(rates.subject_links, Quota::new(part, Some(burst)), "no batch becomes too large");
        }
        let own = RateRules { subject_requests: Quota::new(1, None), ..RateRules::default() };
        assert_eq!(own.with_parts(), own, "where nothing is shared there are no parts, and what is said stays");
        assert_eq!(
            RateRules { requests: Quota::new(900, None), ..own }.with_parts().subject_requests.unwrap().burst(),
            1
        );
    }

    /// Something a login may ask for.
    type Way<'w> = dyn Fn(&Limiter, &Client, Duration) -> Result<(), Exceeded> + 'w;

    /// The family: whatever is shared between the logins of a provider is not one login's to use up.
    #[test]
    fn whatever_one_login_asks_for_without_pause_the_others_get_theirs() {
        let all = Quota::new(50, None);
        let rates = RateRules { requests: all, links: all, ..RateRules::default() }.with_parts();
        let (mallory, bob) = (login("mallory", rates), login("bob", rates));
        let links = |limiter: &Limiter, who: &Client, count: usize, now| {
            limiter.admit_links(who, std::iter::repeat_n(who.policy.subject.as_deref(), count), now)
        };
        let request = |limiter: &Limiter, who: &Client, now| limiter.admit_request(who, now);
        let link = |limiter: &Limiter, who: &Client, now| links(limiter, who, 1, now);
        let ways: [&Way<'_>; 2] = [&request, &link];
        for ask in ways {
            let limiter = Limiter::default();
            // A hundred thousand in ten seconds, and Bob once a second, once the first burst is over.
            for at in 1..=100_000 {
                let now = SECOND + Duration::from_micros(100) * at;
                let _ = ask(&limiter, &mallory, now);
                if at % 10_000 == 0 {
                    assert_eq!(ask(&limiter, &bob, now), Ok(()), "{now:?}");
                }
            }
        }
    }

    #[test]
    fn what_all_share_gives_back_to_the_login_what_it_refuses() {
        let rates =
            RateRules { requests: Quota::new(1, None), subject_requests: Quota::new(1, None), ..RateRules::default() };
        let limiter = Limiter::default();
        let (one, other) = (login("one", rates), login("other", rates));
        assert_eq!(limiter.admit_request(&one, SECOND), Ok(()));
        let refused = limiter.admit_request(&other, SECOND);
        assert!(matches!(refused, Err(Exceeded::Wait { limit: Limit::Requests, .. })), "{refused:?}");
        let own = limiter.levels(&other, None, SECOND).find(|(limit, _)| *limit == Limit::SubjectRequests);
        assert_eq!(own.unwrap().1.left, 1);
        let refused = limiter.admit_request(&one, SECOND);
        assert!(matches!(refused, Err(Exceeded::Wait { limit: Limit::SubjectRequests, .. })), "{refused:?}");
    }
}
