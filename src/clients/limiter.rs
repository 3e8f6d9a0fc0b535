//! Who may go on: a client's requests and links, and the links of each of its subjects, counted by this process.
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

/// How fast a client may go; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateRules {
    pub requests: Option<Quota>,
    pub links: Option<Quota>,
    /// For each subject by itself.
    pub subject_links: Option<Quota>,
}

impl RateRules {
    /// Whether nothing is limited.
    pub const fn is_empty(&self) -> bool {
        self.requests.is_none() && self.links.is_none() && self.subject_links.is_none()
    }

    /// Those there are, in the order in which they are told.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, Quota)> {
        [(Limit::Requests, self.requests), (Limit::Links, self.links), (Limit::SubjectLinks, self.subject_links)]
            .into_iter()
            .filter_map(|(limit, quota)| Some((limit, quota?)))
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Requests,
    Links,
    SubjectLinks,
}

impl Limit {
    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Links => "links",
            Self::SubjectLinks => "subject-links",
        }
    }

    /// The setting of its rate.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_second",
            Self::Links => "links_per_second",
            Self::SubjectLinks => "subject_links_per_second",
        }
    }

    /// The setting of its burst.
    pub const fn burst_rule(self) -> &'static str {
        match self {
            Self::Requests => "requests_burst",
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
    links: Buckets,
    subjects: Buckets,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            requests: Buckets::new(CLIENT_ROOM),
            links: Buckets::new(CLIENT_ROOM),
            subjects: Buckets::new(SUBJECT_ROOM),
        }
    }
}

impl Limiter {
    /// Counts a request.
    ///
    /// # Errors
    /// When the client must wait.
    pub fn admit_request(&self, client: &Client, now: Duration) -> Result<(), Exceeded> {
        let Some(quota) = client.rates.requests else { return Ok(()) };
        let id = self.requests.id(owner(client));
        self.requests.take(id, quota, now, 1).map_err(|shortage| Exceeded::new(Limit::Requests, quota, 1, shortage))
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
        let mut taken: Vec<(&Buckets, BucketId, Quota, u32)> = Vec::new();
        let mut take = |buckets, id, limit, quota: Option<Quota>, asked| {
            let Some(quota) = quota else { return Ok(()) };
            match Buckets::take(buckets, id, quota, now, asked) {
                Ok(()) => {
                    taken.push((buckets, id, quota, asked));
                    Ok(())
                }
                Err(shortage) => {
                    for (buckets, id, quota, asked) in taken.drain(..) {
                        buckets.put_back(id, quota, asked);
                    }
                    Err(Exceeded::new(limit, quota, asked, shortage))
                }
            }
        };
        let owner = owner(client);
        take(&self.links, self.links.id(owner), Limit::Links, client.rates.links, asked)?;
        for (subject, asked) in by_subject {
            let id = self.subjects.id((owner, subject));
            take(&self.subjects, id, Limit::SubjectLinks, client.rates.subject_links, asked)?;
        }
        Ok(())
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
                Limit::Links => self.links.level(self.links.id(owner), quota, now),
                Limit::SubjectLinks => self.subjects.level(self.subjects.id((owner, subject?)), quota, now),
            };
            Some((limit, level))
        })
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

    const SECOND: Duration = Duration::from_secs(1);

    fn client(name: &str, links: Option<u64>, subject_links: Option<u64>) -> Client {
        let quota = |number: Option<u64>| Quota::new(number?, None);
        let rates =
            RateRules { requests: Quota::new(2, None), links: quota(links), subject_links: quota(subject_links) };
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
}
