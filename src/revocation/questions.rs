//! Judging by what the store says now instead of by an index.
//!
//! A judgement is run twice. First against a view that knows nothing and writes down what it is asked; then, when the
//! store has answered just that, against the answers. So both ways of judging run the same code and agree.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use super::judge::{Bearings, RevocationView, Tally};
use crate::clock::Moment;
use crate::token::TokenId;

/// What a judgement needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Links that may be revoked.
    pub links: Vec<TokenId>,
    /// Members that may have a cut-off.
    pub members: Vec<Vec<u8>>,
}

/// What the store said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Those of the links that are revoked.
    pub links: Vec<TokenId>,
    /// Those of the members that have a cut-off, in milliseconds.
    pub cut_offs: Vec<(Vec<u8>, u64)>,
    /// How long others may have been missing from it.
    pub age: Duration,
}

/// Runs a judgement for its questions; what it answers means nothing.
pub fn record<R>(judge: impl FnOnce(&dyn RevocationView) -> R) -> Questions {
    let recorder = Recorder::default();
    judge(&recorder);
    let mut questions = recorder.0.into_inner();
    // A batch asks much the same again and again.
    questions.members.sort_unstable();
    questions.members.dedup();
    questions
}

/// A judgement whose later questions depend on earlier answers: asked in rounds, until none is left open.
#[derive(Default)]
pub struct Inquiry {
    answers: Answers,
    asked: Asked,
}

#[derive(Default)]
struct Asked {
    links: HashSet<TokenId>,
    members: HashSet<Vec<u8>>,
}

impl Inquiry {
    /// Runs the judgement by what was answered so far.
    ///
    /// # Errors
    /// What it asked besides: the store is to be asked that next.
    pub fn judge<R>(&self, judge: impl FnOnce(&dyn RevocationView) -> R) -> Result<R, Questions> {
        let view = Inquiring { inquiry: self, open: Recorder::default() };
        let result = judge(&view);
        let Questions { mut links, mut members } = view.open.0.into_inner();
        // A batch asks much the same again and again.
        links.sort_unstable();
        links.dedup();
        members.sort_unstable();
        members.dedup();
        if links.is_empty() && members.is_empty() { Ok(result) } else { Err(Questions { links, members }) }
    }

    /// Takes down what the store said to the questions.
    pub fn learn(&mut self, questions: Questions, answers: Answers) {
        self.asked.links.extend(questions.links);
        self.asked.members.extend(questions.members);
        self.answers.links.extend(answers.links);
        self.answers.cut_offs.extend(answers.cut_offs);
        self.answers.age = self.answers.age.max(answers.age);
    }
}

struct Inquiring<'i> {
    inquiry: &'i Inquiry,
    open: Recorder,
}

impl RevocationView for Inquiring<'_> {
    fn has_link(&self, id: TokenId) -> bool {
        if self.inquiry.asked.links.contains(&id) { self.inquiry.answers.has_link(id) } else { self.open.has_link(id) }
    }

    fn cut_off(&self, member: &[u8]) -> Option<u64> {
        if self.inquiry.asked.members.contains(member) {
            self.inquiry.answers.cut_off(member)
        } else {
            self.open.cut_off(member)
        }
    }

    fn may_cover(&self, _bearings: &Bearings<'_>) -> bool {
        true
    }

    fn may_have(&self, _tag: u8) -> bool {
        true
    }

    fn age(&self, now: Moment) -> Option<Duration> {
        self.inquiry.answers.age(now)
    }
}

/// A view that knows nothing and remembers what it was asked.
#[derive(Default)]
struct Recorder(RefCell<Questions>);

impl RevocationView for Recorder {
    fn has_link(&self, id: TokenId) -> bool {
        self.0.borrow_mut().links.push(id);
        false
    }

    fn cut_off(&self, member: &[u8]) -> Option<u64> {
        self.0.borrow_mut().members.push(member.to_vec());
        None
    }

    fn may_cover(&self, _bearings: &Bearings<'_>) -> bool {
        true
    }

    fn may_have(&self, _tag: u8) -> bool {
        true
    }

    fn age(&self, _now: Moment) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl RevocationView for Answers {
    fn has_link(&self, id: TokenId) -> bool {
        self.links.contains(&id)
    }

    fn cut_off(&self, member: &[u8]) -> Option<u64> {
        self.cut_offs.iter().find(|(known, _)| known == member).map(|(_, score)| *score)
    }

    fn may_cover(&self, _bearings: &Bearings<'_>) -> bool {
        !self.cut_offs.is_empty()
    }

    fn may_have(&self, _tag: u8) -> bool {
        !self.cut_offs.is_empty()
    }

    fn age(&self, _now: Moment) -> Option<Duration> {
        Some(self.age)
    }
}

/// The view of a store that did not answer: nothing is known to be revoked, nothing is known to be well.
pub struct Blind {
    /// Links are permitted all the same.
    pub serves: bool,
}

impl RevocationView for Blind {
    fn has_link(&self, _id: TokenId) -> bool {
        false
    }

    fn cut_off(&self, _member: &[u8]) -> Option<u64> {
        None
    }

    fn may_cover(&self, _bearings: &Bearings<'_>) -> bool {
        false
    }

    fn may_have(&self, _tag: u8) -> bool {
        false
    }

    fn age(&self, _now: Moment) -> Option<Duration> {
        self.serves.then_some(Duration::ZERO)
    }
}

/// A view, and what the store said about the link's downloads.
pub struct Informed<'v> {
    pub view: &'v dyn RevocationView,
    pub tally: Option<Tally>,
}

impl RevocationView for Informed<'_> {
    fn has_link(&self, id: TokenId) -> bool {
        self.view.has_link(id)
    }

    fn cut_off(&self, member: &[u8]) -> Option<u64> {
        self.view.cut_off(member)
    }

    fn may_cover(&self, bearings: &Bearings<'_>) -> bool {
        self.view.may_cover(bearings)
    }

    fn may_have(&self, tag: u8) -> bool {
        self.view.may_have(tag)
    }

    fn age(&self, now: Moment) -> Option<Duration> {
        self.view.age(now)
    }

    fn tally(&self) -> Option<Tally> {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::{Bearings, Kind, covering};
    use crate::token::KeyId;

    #[test]
    fn what_depends_on_an_answer_is_asked_in_the_next_round() {
        let [first, second] = [TokenId([1; 16]), TokenId([2; 16])];
        let judge = |view: &dyn RevocationView| if view.has_link(first) { view.has_link(second) } else { false };
        let mut inquiry = Inquiry::default();
        let questions = inquiry.judge(judge).unwrap_err();
        assert_eq!(questions.links, [first]);
        inquiry.learn(questions, Answers { links: vec![first], ..Answers::default() });
        let questions = inquiry.judge(judge).unwrap_err();
        assert_eq!(questions.links, [second]);
        inquiry.learn(questions, Answers { links: vec![second], ..Answers::default() });
        assert_eq!(inquiry.judge(judge), Ok(true));
    }

    #[test]
    fn a_judgement_by_answers_asks_for_all_that_could_cover_the_link() {
        let bearings = Bearings {
            key: KeyId(42),
            client: "backend",
            subject: Some("user-7"),
            collection: "image",
            path: "users/7/cat.jpg",
        };
        let questions = record(|view| covering(view, bearings));
        let asked: Vec<_> = questions.members.iter().map(|member| String::from_utf8_lossy(member)).collect();
        assert_eq!(
            asked,
            [
                "*",
                "a:backend",
                "i:image/users/7/cat.jpg",
                "k:42",
                "p:image/",
                "p:image/users/",
                "p:image/users/7/",
                "s:user-7"
            ]
        );
        let answers = Answers { cut_offs: vec![(b"p:image/users/".to_vec(), 9)], ..Answers::default() };
        assert_eq!(covering(&answers, bearings), Some((Kind::PathPrefix, 9)));
    }
}
