//! What becomes of a revocation when the store loses it.
//!
//! The promise: a revocation that was answered is lost only if the store loses it *and* no verifier remembers it that
//! can reach the store. A verifier with an index remembers what it has answered itself, and what it had to hear of
//! before the loss, until its process ends.
//!
//! - A verifier that remembers a revocation goes on refusing, whatever the store has lost.
//! - After a store was emptied, and as long as one that remembers can reach it, nothing is permitted by any other
//!   verifier either, newcomers included: what is empty is told apart from what was never used.
//! - A verifier that knows, from memory or from its data folder, which store it has judged by, permits nothing by another
//!   one until those have written back who know what was revoked, however long they are cut off.
//! - A store that came back as it was before looks whole to a verifier that does not know what is missing: there the
//!   revocation holds again once one that remembers has had time to write it back.

use super::checker::{History, RECOVERY, Revocation};
use super::events::{Folder, Loss, Nature, Time};
use crate::support::fleet::{BOUND, CUT_OFF_BOUND};

impl History {
    /// From when on a verifier must refuse by a revocation at a time, given when it must had nothing been lost; `None`
    /// when that is not promised.
    pub fn holds_from(&self, revocation: &Revocation, verifier: usize, at: Time, otherwise: Time) -> Option<Time> {
        let concerns = |loss: &&(Loss, Time, Time)| {
            let is_kept = matches!(loss.0, Loss::Rewound { to } if revocation.answered < to);
            loss.2 >= revocation.asked && loss.1 <= at && !is_kept
        };
        self.losses.iter().filter(concerns).try_fold(otherwise, |holds_from, &(loss, from, until)| {
            if self.remembers(revocation, verifier, from) && !self.has_ended(verifier, from, at) {
                return Some(holds_from);
            }
            let remembering = (0..self.natures.len()).filter(|other| self.remembers(revocation, *other, from));
            let written_back: Vec<(usize, Time)> =
                remembering.filter_map(|other| Some((other, self.writes_back_by(other, from, until)?))).collect();
            let in_time = |(other, by): &(usize, Time)| self.was_never_cut_off(*other, from, *by);
            let is_told_apart =
                || written_back.iter().any(in_time) || self.waits_for_those_who_know(revocation, verifier, from, at);
            if loss == Loss::Emptied && is_told_apart() {
                return Some(holds_from);
            }
            let by = written_back.iter().map(|(_, by)| *by).min()?;
            let has_heard = self.is_quiet(verifier, by.saturating_sub(RECOVERY), at);
            Some(holds_from.max(if has_heard { by } else { by + CUT_OFF_BOUND }))
        })
    }

    /// Whether a verifier has a revocation in memory at a time.
    fn remembers(&self, revocation: &Revocation, verifier: usize, at: Time) -> bool {
        let asked = revocation.asked.saturating_sub(RECOVERY);
        let heard_by = revocation.answered + BOUND;
        let has_heard = verifier == revocation.verifier || heard_by < at && self.is_quiet(verifier, asked, heard_by);
        self.natures[verifier].has_index && has_heard && !self.has_ended(verifier, revocation.asked, at)
    }

    /// When a verifier that remembers will have had peace to write back; `None` when its process ends before.
    fn writes_back_by(&self, verifier: usize, from: Time, until: Time) -> Option<Time> {
        let concerns = |fault: &&(Option<usize>, Time, Time)| fault.0.is_none_or(|at| at == verifier);
        let mut peace = until;
        while let Some(fault) =
            self.faults.iter().filter(concerns).find(|fault| fault.1 <= peace + RECOVERY && fault.2 > peace)
        {
            peace = fault.2;
        }
        let by = peace + RECOVERY;
        (self.natures[verifier].writes && !self.has_ended(verifier, from, by)).then_some(by)
    }

    /// Whether a verifier believes no store after a loss that lacks a revocation: it knows which one it has judged by, and
    /// no other one could write back what it knows without knowing this.
    fn waits_for_those_who_know(&self, revocation: &Revocation, verifier: usize, from: Time, at: Time) -> bool {
        let emptied =
            self.ended.iter().filter(|ended| ended.0 == verifier && ended.1 == Folder::Empty && ended.2 <= at);
        let knows_the_store =
            emptied.map(|ended| ended.2).max().is_none_or(|since| self.has_judged(verifier, since, from));
        let may_speak = |other: usize| {
            let Nature { has_index, writes, has_copy } = self.natures[other];
            // What started again without a copy has either loaded what was revoked or has nothing to write back.
            let starts_from_nothing = self.ended.iter().any(|(ended, folder, when)| {
                let lacks_copy = !has_copy || *folder == Folder::Empty;
                *ended == other && lacks_copy && (revocation.answered..=from).contains(when)
            });
            has_index && writes && !starts_from_nothing && !self.remembers(revocation, other, from)
        };
        knows_the_store && !(0..self.natures.len()).any(may_speak)
    }

    fn was_never_cut_off(&self, verifier: usize, from: Time, until: Time) -> bool {
        !self.faults.iter().any(|fault| fault.0 == Some(verifier) && fault.1 <= until && fault.2 >= from)
    }

    pub fn has_ended(&self, verifier: usize, from: Time, until: Time) -> bool {
        self.ended.iter().any(|(ended, _, at)| *ended == verifier && (from..=until).contains(at))
    }
}
